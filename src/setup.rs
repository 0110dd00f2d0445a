//! State and its versions: what tells this database from a copy, and the text of the views.

use pgrx::prelude::*;

/// The public views that `etl.setup()` makes: name, text, comment.
const VIEWS: [(&str, &str, &str); 10] = [
    (
        "queue_depth",
        include_str!("../sql/views/queue_depth.sql"),
        "Per connection: rows that wait, are due, wait for a later time, are on their way; age of the oldest due row.",
    ),
    (
        "outbox_summary",
        include_str!("../sql/views/outbox_summary.sql"),
        "Rows of the outbox by connection, model, operation and status.",
    ),
    (
        "dead_letters",
        include_str!("../sql/views/dead_letters.sql"),
        "Rows that could not be delivered, why, and the statement that sends them again.",
    ),
    (
        "sync_runs_daily",
        include_str!("../sql/views/sync_runs_daily.sql"),
        "Sync runs by day (UTC), direction, connection and model: how many, how they ended, how long they took in seconds.",
    ),
    (
        "error_rate_hourly",
        include_str!("../sql/views/error_rate_hourly.sql"),
        "Rows that were sent, by hour (UTC), connection and model: delivered, given up, tried again; error_rate is the share that was given up, of 1.",
    ),
    (
        "delivery_latency",
        include_str!("../sql/views/delivery_latency.sql"),
        "Milliseconds from a row's insertion to its delivery, by hour (UTC), connection and model; percentiles are at most 19 % above the true value.",
    ),
    (
        "sync_lag",
        include_str!("../sql/views/sync_lag.sql"),
        "Each mirror of an Odoo model: how far behind Odoo it is, what it does, what stopped it.",
    ),
    (
        "open_alerts",
        include_str!("../sql/views/open_alerts.sql"),
        "What turned in the health report and is not well again, and which channels were told.",
    ),
    (
        "workers",
        include_str!("../sql/views/workers.sql"),
        "The background workers of this database.",
    ),
    (
        "connections_status",
        include_str!("../sql/views/connections_status.sql"),
        "Each connection: state, circuit breaker, protocol, last answer, and what to do about it.",
    ),
];

#[pg_extern(sql = false)]
fn views() -> TableIterator<
    'static,
    (
        name!(name, String),
        name!(body, String),
        name!(comment, String),
    ),
> {
    TableIterator::new(VIEWS.iter().map(|(name, body, comment)| {
        (
            (*name).to_owned(),
            (*body).to_owned(),
            (*comment).to_owned(),
        )
    }))
}

/// What tells this database from a copy of it: the cluster, the database, and a name given by hand for physical clones.
#[pg_extern(sql = false)]
fn fingerprint() -> String {
    // SAFETY: both are set before any function can be called.
    let (system, database) =
        unsafe { (pg_sys::GetSystemIdentifier(), pg_sys::MyDatabaseId.to_u32()) };
    format!("{system}/{database}/{}", crate::gucs::instance())
}

/// The version of the loaded library.
#[pg_extern(sql = false)]
fn library_version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Whether `etl.setup()` has run; SPI must be possible.
pub fn is_set_up() -> bool {
    crate::reading::one("SELECT etl._is_set_up()", &[]).unwrap_or(false)
}

/// Raises 55000 with a HINT until `etl.setup()` has run.
pub fn must_be_set_up() {
    if !is_set_up() {
        crate::error::complain(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "pg_etl is not set up in this database",
        )
        .hint("SELECT etl.setup();")
        .raise();
    }
}
