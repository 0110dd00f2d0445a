//! Health: `signals → verdict → report`. What was counted comes in, one finding per component comes out, worst first.

mod connections;
mod finding;
mod mirrors;
mod outbox;
mod server;
mod signals;

use connections::{circuit, no_connection, reachable, unknown_connection};
use outbox::{dead_letters, oldest_due, outbox, runs, success_rate};
use server::{setup, version, worker};

pub use finding::{Finding, Status};
pub use mirrors::SYNC_LAG;
pub use outbox::{DEPTH, OLDEST_DUE, RUN_AGE, SUCCESS_RATE};
pub use signals::{
    ConnectionSignal, DriftSignal, MirrorSignal, Signals, TrackSignal, WorkerSignal,
};

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
        findings.extend(signals.mirrors.iter().map(mirrors::mirror));
        findings.extend(mirrors::drift(&signals.drift));
        findings.extend(signals.stuck_backfills.iter().map(mirrors::backfill));
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

#[cfg(test)]
mod tests;
