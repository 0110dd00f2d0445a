//! Health: `signals → verdict → report`. What was counted comes in, one finding per component comes out, worst first.

mod signals;

use serde::{Deserialize, Serialize};

pub use signals::{ConnectionSignal, Signals, WorkerSignal};

/// How a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Pass,
    Warn,
    Fail,
}

impl Status {
    /// The word in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// How one component is, in words for a person.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    pub component: String,
    pub status: Status,
    pub value: String,
    pub threshold: String,
    pub detail: String,
    /// Empty where nothing needs to be done.
    pub remedy: String,
}

/// Queued rows from which the outbox warns and fails.
pub const DEPTH: (u64, u64) = (100, 1_000);
/// Seconds that a due row may wait.
pub const OLDEST_DUE: (f64, f64) = (60.0, 600.0);
/// Share of deliveries that must succeed.
pub const SUCCESS_RATE: f64 = 0.95;
/// Seconds that a run may be open.
pub const RUN_AGE: (f64, f64) = (3_600.0, 21_600.0);

/// The findings, worst first; among equals in the order in which one would look.
#[must_use]
pub fn report(signals: &Signals) -> Vec<Finding> {
    let mut findings = vec![setup(signals), version(signals), worker(signals)];
    if signals.set_up {
        findings.extend([
            outbox(signals),
            oldest_due(signals),
            dead_letters(signals),
            success_rate(signals),
            runs(signals),
        ]);
        if signals.connections.is_empty() {
            findings.push(no_connection());
        }
        for connection in &signals.connections {
            findings.push(reachable(connection));
            if connection.kind == "odoo" {
                findings.push(circuit(connection));
            }
        }
        findings.extend(
            signals
                .unknown_connections
                .iter()
                .map(|name| unknown_connection(name)),
        );
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.status));
    findings
}

/// The worst status of a report.
#[must_use]
pub fn overall(findings: &[Finding]) -> Status {
    findings
        .iter()
        .map(|finding| finding.status)
        .max()
        .unwrap_or(Status::Pass)
}

fn finding(
    component: impl Into<String>,
    status: Status,
    value: impl Into<String>,
    threshold: &str,
    detail: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    let remedy = if status == Status::Pass {
        String::new()
    } else {
        remedy.into()
    };
    Finding {
        component: component.into(),
        status,
        value: value.into(),
        threshold: threshold.to_owned(),
        detail: detail.into(),
        remedy,
    }
}

fn above<T: PartialOrd>(value: T, (warn, fail): (T, T)) -> Status {
    if value >= fail {
        Status::Fail
    } else if value >= warn {
        Status::Warn
    } else {
        Status::Pass
    }
}

fn setup(signals: &Signals) -> Finding {
    if signals.copied {
        return finding(
            "setup",
            Status::Fail,
            "copy",
            "done",
            "this database is a copy or was restored: nothing is sent before you say so",
            "If this database is to deliver from now on: SELECT etl.resume();",
        );
    }
    if signals.set_up {
        finding(
            "setup",
            Status::Pass,
            "done",
            "done",
            "state tables and triggers are in place",
            "",
        )
    } else {
        finding(
            "setup",
            Status::Fail,
            "missing",
            "done",
            "the state tables or their triggers are missing",
            "SELECT etl.setup();",
        )
    }
}

fn version(signals: &Signals) -> Finding {
    let (library, extension) = (&signals.loaded_version, &signals.extension_version);
    if library == extension {
        finding(
            "version",
            Status::Pass,
            library,
            "equal",
            "library and extension are of one version",
            "",
        )
    } else {
        let detail = format!(
            "the library is {library}, the extension's SQL is {extension}: the worker is idle"
        );
        finding(
            "version",
            Status::Fail,
            format!("{library} / {extension}"),
            "equal",
            detail,
            "ALTER EXTENSION pg_etl UPDATE;  (and restart Postgres if the library is the older one)",
        )
    }
}

fn worker(signals: &Signals) -> Finding {
    const ALIVE: &str = "1 alive";
    if signals.standby {
        let detail = "a standby delivers nothing; promoted, it does";
        return finding("worker", Status::Pass, "standby", "none", detail, "");
    }
    if !signals.enabled {
        return finding(
            "worker",
            Status::Warn,
            "disabled",
            ALIVE,
            "etl.enabled is off: nothing is delivered",
            "ALTER SYSTEM SET etl.enabled = on; SELECT pg_reload_conf();",
        );
    }
    if !signals.preloaded {
        return finding(
            "worker",
            Status::Warn,
            "none",
            ALIVE,
            "the library is not preloaded, so rows go only when etl.drain_outbox() is called",
            "Add pg_etl to shared_preload_libraries and restart, or let pg_cron run SELECT etl.drain_outbox();",
        );
    }
    match signals.workers.first() {
        Some(worker) if worker.state == "trouble" => finding(
            "worker",
            Status::Fail,
            &worker.state,
            ALIVE,
            &worker.detail,
            "Look into the server log for \"pg_etl worker\".",
        ),
        Some(worker) => finding(
            "worker",
            Status::Pass,
            &worker.state,
            ALIVE,
            &worker.detail,
            "",
        ),
        None => finding(
            "worker",
            Status::Fail,
            "none",
            ALIVE,
            "no worker serves this database",
            "It comes back within 5 s of a crash. If not: is this database listed in etl.database, and is max_worker_processes large enough?",
        ),
    }
}

fn outbox(signals: &Signals) -> Finding {
    if signals.unseen > 0 {
        let detail = format!(
            "{} queued rows came in while the triggers were off, and will not be delivered",
            signals.unseen
        );
        return finding(
            "outbox",
            Status::Fail,
            format!("{} unseen", signals.unseen),
            "0",
            detail,
            "SELECT etl.setup();  derives the queue anew.",
        );
    }
    let status = above(signals.queued, DEPTH);
    finding(
        "outbox",
        status,
        format!("{} queued", signals.queued),
        "warn 100, fail 1000",
        "rows that wait for delivery",
        "SELECT * FROM etl.queue_depth;  then look at connections and worker in this report.",
    )
}

fn oldest_due(signals: &Signals) -> Finding {
    let seconds = signals.oldest_due_seconds.max(0.0);
    finding(
        "oldest due row",
        above(seconds, OLDEST_DUE),
        age(seconds),
        "warn 1 min, fail 10 min",
        "how late the first row that could go is",
        "Look at connections and worker in this report.",
    )
}

fn dead_letters(signals: &Signals) -> Finding {
    let status = if signals.dead_letters > 0 {
        Status::Fail
    } else {
        Status::Pass
    };
    finding(
        "dead letters",
        status,
        signals.dead_letters.to_string(),
        "0",
        "rows that were given up",
        "SELECT id, model, last_error FROM etl.dead_letters;  mend the cause, then SELECT etl.replay(id);",
    )
}

fn success_rate(signals: &Signals) -> Finding {
    let total = signals.done_last_hour + signals.failed_last_hour;
    if total == 0 {
        return finding(
            "success rate",
            Status::Pass,
            "no deliveries",
            "95 %",
            "nothing was delivered in the last hour",
            "",
        );
    }
    #[allow(clippy::cast_precision_loss, reason = "a share for people")]
    let rate = signals.done_last_hour as f64 / total as f64;
    let status = if rate < SUCCESS_RATE {
        Status::Fail
    } else {
        Status::Pass
    };
    let detail = format!(
        "{} of {total} rows of the last hour were delivered",
        signals.done_last_hour
    );
    // Rounded down: 94.99 % must not read as 95.
    let percent = (rate * 1_000.0).floor() / 10.0;
    finding(
        "success rate",
        status,
        format!("{percent} %"),
        "95 %",
        detail,
        "SELECT error_class, count(*) FROM etl.dead_letters GROUP BY 1;",
    )
}

fn runs(signals: &Signals) -> Finding {
    match signals.oldest_run_seconds {
        None => finding(
            "runs",
            Status::Pass,
            "none open",
            "warn 1 h, fail 6 h",
            "no sync run is open",
            "",
        ),
        Some(seconds) => finding(
            "runs",
            above(seconds, RUN_AGE),
            age(seconds),
            "warn 1 h, fail 6 h",
            "age of the oldest open sync run",
            "SELECT * FROM ops.odoo_sync_runs WHERE status = 'running';  close one that died: SELECT etl.finish_run(id, 'gave up');",
        ),
    }
}

fn no_connection() -> Finding {
    finding(
        "connections",
        Status::Fail,
        "none",
        "at least 1",
        "there is no endpoint to deliver to",
        "SELECT etl.set_connection('odoo', 'odoo', 'https://…', '{\"database\": \"…\", \"login\": \"…\"}', secret => 'vault:…');",
    )
}

fn unknown_connection(name: &str) -> Finding {
    finding(
        format!("connection {name}"),
        Status::Fail,
        "missing",
        "exists",
        "rows of the outbox name this connection, and it does not exist",
        format!(
            "SELECT etl.set_connection('{}', …);",
            name.replace('\'', "''")
        ),
    )
}

fn reachable(connection: &ConnectionSignal) -> Finding {
    let name = format!("connection {}", connection.name);
    let remedy = connection.remedy.clone();
    if connection.paused {
        let reason = connection.paused_reason.clone().unwrap_or_default();
        let resume = format!("SELECT etl.resume('{}');", connection.name);
        let remedy = remedy.map_or(resume.clone(), |remedy| {
            if remedy.contains("etl.resume") {
                remedy
            } else {
                format!("{remedy} Then: {resume}")
            }
        });
        return finding(name, Status::Fail, "paused", "reachable", reason, remedy);
    }
    if !connection.has_secret && connection.kind == "odoo" {
        return finding(
            name,
            Status::Fail,
            "no secret",
            "reachable",
            "the connection has no secret",
            "Call etl.set_connection() with secret => 'vault:NAME'.",
        );
    }
    if connection.failures > 0 {
        let detail = connection.last_error.clone().unwrap_or_default();
        let remedy = remedy.unwrap_or_else(|| {
            format!(
                "Is the endpoint up? SELECT etl.test_connection('{}');",
                connection.name
            )
        });
        let status = if connection.failures >= crate::breaker::TRIPS_AFTER {
            Status::Fail
        } else {
            Status::Warn
        };
        return finding(name, status, "failing", "reachable", detail, remedy);
    }
    if connection
        .throttled_seconds
        .is_some_and(|seconds| seconds > 0.0)
    {
        return finding(
            name,
            Status::Warn,
            "throttled",
            "reachable",
            "the endpoint asked for fewer requests",
            "Lower max_in_flight or set rate_limit in the connection's options.",
        );
    }
    match connection.ok_seconds_ago {
        Some(seconds) => {
            let what = [
                connection
                    .version
                    .as_deref()
                    .map(|version| format!("Odoo {version}")),
                connection.protocol.clone(),
            ];
            let what: Vec<String> = what.into_iter().flatten().collect();
            finding(
                name,
                Status::Pass,
                "ok",
                "reachable",
                format!("last answer {} ago {}", age(seconds), what.join(", "))
                    .trim_end()
                    .to_owned(),
                "",
            )
        }
        None => finding(
            name,
            Status::Pass,
            "not used yet",
            "reachable",
            "nothing has been sent",
            "",
        ),
    }
}

fn circuit(connection: &ConnectionSignal) -> Finding {
    let name = format!("circuit {}", connection.name);
    if connection.failures >= crate::breaker::TRIPS_AFTER {
        let detail = match connection.probe_in_seconds {
            Some(seconds) if seconds > 0.0 => format!(
                "the endpoint is probed in {}; rows wait and lose no attempt",
                age(seconds)
            ),
            _ => "the endpoint is being probed; rows wait and lose no attempt".to_owned(),
        };
        return finding(
            name,
            Status::Fail,
            "open",
            "closed",
            detail,
            "It closes by itself when the endpoint answers.",
        );
    }
    finding(
        name,
        Status::Pass,
        "closed",
        "closed",
        "requests go through",
        "",
    )
}

fn age(seconds: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped"
    )]
    let whole = seconds.clamp(0.0, 1e12) as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests;
