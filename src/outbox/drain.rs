//! `etl.drain_outbox()`: deliver now, and wait for it.

use std::time::{Duration, Instant};

use pgrx::prelude::*;
use serde_json::{Value, json};

use crate::error::complain;
use crate::worker::{Errand, checked_max_time, run_errand};

#[pg_extern(sql = false)]
fn drain_outbox(
    max_rows: Option<i32>,
    max_time: Option<pgrx::datum::Interval>,
    dry_run: Option<bool>,
) -> pgrx::JsonB {
    crate::setup::must_be_set_up();
    let max_time = checked_max_time(max_time.as_ref(), Duration::from_secs(15));
    let max_rows = max_rows.map(|rows| {
        usize::try_from(rows)
            .ok()
            .filter(|rows| *rows > 0)
            .unwrap_or_else(|| {
                complain(
                    PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                    format!("max_rows is {rows}"),
                )
                .hint("Give a positive number, or leave it out for no limit.")
                .raise()
            })
    });
    let started = Instant::now();
    let mut answer = if dry_run.unwrap_or(false) {
        look_only()
    } else {
        run_errand(&Errand::Drain { max_rows, max_time })
    };
    if let Some(message) = answer.get("error").and_then(Value::as_str) {
        complain(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            format!("the drain could not run: {message}"),
        )
        .hint("The server log has more.")
        .raise();
    }
    if let Some(fields) = answer.as_object_mut() {
        fields.insert(
            "elapsed_ms".to_owned(),
            json!(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)),
        );
        fields.entry("remaining").or_insert(Value::Null);
        if fields.get("running").is_some() {
            fields.insert(
                "note".to_owned(),
                json!("max_time is over; a background worker still finishes what is on the wire"),
            );
        }
    }
    pgrx::JsonB(answer)
}

/// What a drain would find, per connection.
fn look_only() -> Value {
    let query = "SELECT coalesce(jsonb_object_agg(d.connection, jsonb_build_object('due', d.due, 'queued', d.queued)), '{}') FROM etl.queue_depth d";
    let connections = crate::reading::one::<pgrx::JsonB>(query, &[])
        .map(|json| json.0)
        .unwrap_or_default();
    let sum = |name: &str| -> u64 {
        connections
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(_, depth)| depth.get(name).and_then(Value::as_u64))
            .sum()
    };
    json!({
        "dry_run": true, "would_claim": sum("due"), "connections": connections,
        "claimed": 0, "done": 0, "retried": 0, "failed": 0, "calls": 0, "remaining": sum("queued"),
    })
}
