//! Health: `signals → verdict → report`. What was counted comes in, one finding per component comes out, worst first.

mod connections;
mod finding;
mod mirrors;
mod outbox;
mod server;
mod signals;
mod thresholds;

use connections::{api_key, circuit, connections_missing, protocol, reachable};
use outbox::{dead_letters, latency, oldest_due, outbox, retention, runs, success_rate};
use server::{bloat, cron, setup, snapshot, version, worker};

pub use finding::{Finding, Status};
pub use signals::{
    ConflictSignal, ConnectionSignal, CronSignal, DriftSignal, MirrorSignal, Signals,
    SnapshotSignal, TableSignal, TrackSignal, WorkerSignal,
};
pub use thresholds::{Limits, THRESHOLDS, Threshold, Thresholds, Unit, threshold_of};

/// What components are called; of a family, the words that the names of several begin with.
pub const COMPONENTS: [(&str, bool); 22] = [
    ("setup", false),
    ("version", false),
    ("worker", false),
    ("outbox", false),
    ("oldest due row", false),
    ("dead letters", false),
    ("success rate", false),
    ("delivery latency", false),
    ("runs", false),
    ("retention", false),
    ("bloat", false),
    ("oldest snapshot", false),
    ("connections", false),
    ("connection", true),
    ("circuit", true),
    ("protocol", true),
    ("pg_cron", false),
    ("sync lag", true),
    ("schema drift", false),
    ("conflicts", false),
    ("backfill", true),
    ("api key", true),
];

/// The findings, worst first; among equals in the order in which one would look.
#[must_use]
pub fn report(signals: &Signals) -> Vec<Finding> {
    let mut findings = vec![setup(signals), version(signals), worker(signals)];
    // Of another version what is there may be called otherwise: nothing was read of it.
    if signals.set_up && signals.loaded_version == signals.extension_version {
        findings.extend([
            outbox(signals),
            oldest_due(signals),
            dead_letters(signals),
            success_rate(signals),
            latency(signals),
            runs(signals),
            retention(signals),
            bloat(signals),
            snapshot(signals),
        ]);
        findings.extend(connections_missing(signals));
        for connection in &signals.connections {
            findings.push(reachable(connection));
            if connection.kind == "odoo" {
                findings.push(circuit(connection));
                findings.extend(protocol(signals, connection));
                findings.extend(api_key(signals, connection));
            }
        }
        findings.extend(cron(signals));
        let mirrors = signals.mirrors.iter();
        findings.extend(mirrors.map(|mirror| mirrors::mirror(signals, mirror)));
        if !signals.mirrors.is_empty() {
            findings.push(mirrors::drift(signals));
        }
        let conflicts = signals.conflicts.into_iter();
        findings.extend(conflicts.map(|found| mirrors::conflicts(signals, found)));
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
