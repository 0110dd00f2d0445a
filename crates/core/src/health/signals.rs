//! What health is judged by.

use serde::Deserialize;

use super::finding::Status;
use super::thresholds::Thresholds;

/// What was counted; the columns of `sql/queries/health_signals.sql`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Signals {
    pub set_up: bool,
    pub preloaded: bool,
    pub loaded_version: String,
    pub extension_version: String,
    pub workers: Vec<WorkerSignal>,
    /// This database is a copy, and its worker has not paused it yet.
    #[serde(default)]
    pub copied: bool,
    pub queued: u64,
    /// Rows that the outbox calls queued and that came in behind its triggers' back.
    #[serde(default)]
    pub unseen: u64,
    /// Age of the oldest row that could go and has not, in seconds.
    pub oldest_due_seconds: f64,
    pub dead_letters: u64,
    /// Of 95 in 100 rows that were delivered in the last hour; `None`: there were none.
    #[serde(default)]
    pub latency_p95_seconds: Option<f64>,
    /// Rows delivered and rows given up in the last hour.
    pub done_last_hour: u64,
    pub failed_last_hour: u64,
    pub connections: Vec<ConnectionSignal>,
    /// Connections that rows name and that do not exist.
    pub unknown_connections: Vec<String>,
    /// Age of the oldest open run, in seconds.
    pub oldest_run_seconds: Option<f64>,
    /// Days since the first row that is over was over, and for how many such rows are kept.
    #[serde(default)]
    pub oldest_done_days: Option<f64>,
    #[serde(default)]
    pub done_days: f64,
    /// Of the last day; `None`: no table goes both ways.
    #[serde(default)]
    pub conflicts: Option<ConflictSignal>,
    /// `etl.enabled`.
    pub enabled: bool,
    /// This server is a standby.
    #[serde(default)]
    pub standby: bool,
    #[serde(default)]
    pub mirrors: Vec<MirrorSignal>,
    /// Where somebody must do something.
    #[serde(default)]
    pub drift: Vec<DriftSignal>,
    #[serde(default)]
    pub stuck_backfills: Vec<TrackSignal>,
    /// Tables of ours and of `ops` with more dead rows than vacuum leaves.
    #[serde(default)]
    pub tables: Vec<TableSignal>,
    /// For whose sake no dead row can go; `None`: nobody.
    #[serde(default)]
    pub oldest_snapshot: Option<SnapshotSignal>,
    /// Jobs of `pg_cron` that call us; `None`: this database has no `pg_cron`.
    #[serde(default)]
    pub cron_jobs: Option<Vec<CronSignal>>,
    /// Days since 1970.
    #[serde(default)]
    pub today: f64,
    /// What this database says of when to warn and to fail.
    #[serde(default)]
    pub thresholds: Thresholds,
}

impl Signals {
    pub(super) fn judge(&self, component: &str, value: f64) -> (Status, String) {
        self.thresholds.judge(component, value)
    }

    pub(super) fn judge_with(&self, component: &str, value: f64, least: f64) -> (Status, String) {
        self.thresholds.judge_with(component, value, least)
    }
}

/// A table and its dead rows.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct TableSignal {
    pub name: String,
    pub live: f64,
    pub dead: f64,
}

/// A transaction that holds a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct SnapshotSignal {
    pub seconds: f64,
    /// Who, in words.
    pub holder: String,
    /// How to end it.
    pub remedy: String,
}

/// A job of `pg_cron`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct CronSignal {
    pub job: i64,
    /// Empty where it has none.
    pub name: String,
    pub active: bool,
    /// It delivers.
    pub drains: bool,
    /// Its last run that ended did not succeed.
    pub failed: bool,
    /// Since when it runs.
    pub running_seconds: Option<f64>,
}

/// One mirror.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct MirrorSignal {
    pub connection: String,
    pub model: String,
    /// Why it is not pulled until somebody asks.
    pub paused: Option<String>,
    /// `None`: it was never pulled to the end.
    pub lag_seconds: Option<f64>,
    pub every_seconds: f64,
    pub failures: u32,
    pub last_error: Option<String>,
    pub remedy: Option<String>,
}

/// A field that Odoo has otherwise than a mirror.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct DriftSignal {
    pub model: String,
    pub field: String,
    pub detail: String,
    pub remedy: String,
}

/// A tracked table whose backfill does not go on.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct TrackSignal {
    pub tab: String,
    pub rows: u64,
    pub error: String,
}

/// Fields that both sides changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct ConflictSignal {
    /// One side won.
    pub decided: u64,
    /// Both sides are as they were.
    pub apart: u64,
}

/// One background worker of this database.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct WorkerSignal {
    pub state: String,
    pub detail: String,
}

/// One connection.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct ConnectionSignal {
    pub name: String,
    pub kind: String,
    pub has_secret: bool,
    pub paused_reason: Option<String>,
    pub paused: bool,
    pub failures: u32,
    pub last_error: Option<String>,
    pub remedy: Option<String>,
    pub probe_in_seconds: Option<f64>,
    pub ok_seconds_ago: Option<f64>,
    pub throttled_seconds: Option<f64>,
    pub version: Option<String>,
    pub protocol: Option<String>,
    /// Days until the first key of its user ends.
    #[serde(default)]
    pub key_days: Option<f64>,
    /// Why its secret could not be read when that was last tried.
    #[serde(default)]
    pub secret_error: Option<String>,
}
