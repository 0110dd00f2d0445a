//! The findings about endpoints.

use super::finding::{Finding, Status, age, finding};
use super::signals::{ConnectionSignal, Signals};
use crate::breaker::TRIPS_AFTER;

/// Connections that there should be. Their names are whoever's who may write to the outbox: in the detail, which nobody is sent.
pub(super) fn connections_missing(signals: &Signals) -> Option<Finding> {
    let unknown = &signals.unknown_connections;
    if signals.connections.is_empty() {
        return Some(finding(
            "connections",
            Status::Fail,
            "none",
            "at least 1",
            "there is no endpoint to deliver to",
            "SELECT etl.set_connection('odoo', 'odoo', 'https://…', '{\"database\": \"…\", \"login\": \"…\"}', secret => 'vault:…');",
        ));
    }
    if unknown.is_empty() {
        return None;
    }
    Some(finding(
        "connections",
        Status::Fail,
        format!("{} missing", unknown.len()),
        "0 missing",
        format!(
            "rows of the outbox wait for connections that do not exist: {}",
            unknown.join(", ")
        ),
        "SELECT etl.set_connection(…) makes it; or let the rows name another: SELECT connection, count(*) FROM ops.odoo_outbox WHERE status = 'queued' GROUP BY 1;",
    ))
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
    if let Some(why) = &connection.secret_error {
        let remedy =
            "Provide the secret: it is read again before the next call, and every ten minutes.";
        return finding(
            name,
            Status::Fail,
            "secret unreadable",
            "reachable",
            why,
            remedy,
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

/// How long the keys of a connection's user last. `None`: none of them ends, or Odoo did not say.
pub(super) fn api_key(signals: &Signals, connection: &ConnectionSignal) -> Option<Finding> {
    let days = connection.key_days?;
    let name = format!("api key {}", connection.name);
    let (status, threshold) = signals.judge(&name, days);
    Some(finding(
        name,
        status,
        format!("{} days", days.floor()),
        threshold,
        "until the first API key of the connection's user ends; Odoo does not say which of them is ours",
        "Make a second key in Odoo, put it where the secret is, SELECT etl.test_connection(…), and remove the first one; within six hours this line is up to date.",
    ))
}

/// 2028-09-01: with Odoo 22, says Odoo's documentation, JSON-RPC is gone. The source of Odoo 19 speaks of an earlier one.
const JSONRPC_ENDS: f64 = 21_428.0;

/// How long the protocol that a connection speaks will be answered. `None`: nobody has said when that ends.
pub(super) fn protocol(signals: &Signals, connection: &ConnectionSignal) -> Option<Finding> {
    if connection.protocol.as_deref() != Some("jsonrpc") {
        return None;
    }
    let major = connection.version.as_deref()?.split('.').next()?;
    let major: u32 = major.trim_start_matches("saas~").parse().ok()?;
    let name = format!("protocol {}", connection.name);
    // What this Odoo answers, it answers as long as it is not replaced.
    if major < 19 {
        let detail = "JSON-RPC, which Odoo up to 21 answers; from 19 on use JSON-2";
        return Some(finding(name, Status::Pass, "jsonrpc", "none", detail, ""));
    }
    let days = (JSONRPC_ENDS - signals.today).floor();
    let (status, threshold) = signals.judge(&name, days);
    Some(finding(
        name,
        status,
        format!("{days} days"),
        threshold,
        "JSON-RPC is to be removed from Odoo with version 22, in autumn 2028, or sooner",
        format!(
            "Let etl.set_connection('{}', …) leave the option \"protocol\" out, with an API key as the secret: Odoo 19 speaks JSON-2.",
            connection.name
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(protocol: &str, version: &str, today: f64) -> Option<(Status, String)> {
        let connection = ConnectionSignal {
            name: "odoo".to_owned(),
            protocol: Some(protocol.to_owned()),
            version: Some(version.to_owned()),
            ..ConnectionSignal::default()
        };
        let signals = Signals {
            today,
            ..Signals::default()
        };
        super::protocol(&signals, &connection).map(|found| (found.status, found.value))
    }

    #[test]
    fn a_key_that_ends_soon_is_told() {
        for (days, status) in [
            (14.0, Status::Pass),
            (13.9, Status::Warn),
            (1.9, Status::Fail),
        ] {
            let connection = ConnectionSignal {
                key_days: Some(days),
                ..ConnectionSignal::default()
            };
            let found = api_key(&Signals::default(), &connection).unwrap();
            assert_eq!(found.status, status, "{days}");
        }
        assert_eq!(
            api_key(&Signals::default(), &ConnectionSignal::default()),
            None
        );
    }

    #[test]
    fn the_end_of_json_rpc_is_counted_down() {
        assert_eq!(on("json2", "19.0", 30_000.0), None);
        assert_eq!(
            on("jsonrpc", "17.0", 30_000.0),
            Some((Status::Pass, "jsonrpc".to_owned()))
        );
        for (today, status) in [
            (JSONRPC_ENDS - 400.0, Status::Pass),
            (JSONRPC_ENDS - 364.0, Status::Warn),
            (JSONRPC_ENDS + 1.0, Status::Fail),
        ] {
            assert_eq!(
                on("jsonrpc", "19.0", today).map(|found| found.0),
                Some(status)
            );
        }
        assert_eq!(
            on("jsonrpc", "saas~19.2", JSONRPC_ENDS - 400.5),
            Some((Status::Pass, "400 days".to_owned()))
        );
    }
}
