//! The findings about endpoints.

use super::finding::{Finding, Status, age, finding};
use super::signals::ConnectionSignal;
use crate::breaker::TRIPS_AFTER;

pub(super) fn no_connection() -> Finding {
    finding(
        "connections",
        Status::Fail,
        "none",
        "at least 1",
        "there is no endpoint to deliver to",
        "SELECT etl.set_connection('odoo', 'odoo', 'https://…', '{\"database\": \"…\", \"login\": \"…\"}', secret => 'vault:…');",
    )
}

pub(super) fn unknown_connection(name: &str) -> Finding {
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

pub(super) fn reachable(connection: &ConnectionSignal) -> Finding {
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
        let status = if connection.failures >= TRIPS_AFTER {
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

pub(super) fn circuit(connection: &ConnectionSignal) -> Finding {
    let name = format!("circuit {}", connection.name);
    if connection.failures >= TRIPS_AFTER {
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
