//! What health is judged by.

use serde::Deserialize;

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
    /// Rows delivered and rows given up in the last hour.
    pub done_last_hour: u64,
    pub failed_last_hour: u64,
    pub connections: Vec<ConnectionSignal>,
    /// Connections that rows name and that do not exist.
    pub unknown_connections: Vec<String>,
    /// Age of the oldest open run, in seconds.
    pub oldest_run_seconds: Option<f64>,
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
}
