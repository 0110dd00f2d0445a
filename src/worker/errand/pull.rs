//! The errand that pulls mirrors.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::engine::{Engine, Limits};
use super::super::intake::Duties;
use super::super::session;
use super::stands;
use crate::mirror::store as mirror;

/// Turns in a row in which something fails before a pull says so and stops; whoever comes next tries again.
const MOST_TROUBLES: u32 = 5;

/// Pulls mirrors, or waits for whoever does: the resident worker may have begun already.
pub fn pull(mirrors: &Value, request: &Value, deadline: Instant) -> Value {
    if !crate::gucs::enabled() {
        return json!({"error": "etl.enabled is off: nothing is pulled"});
    }
    if let Err(why) = stands() {
        return json!({"error": why});
    }
    let wanted: Vec<(String, String)> = serde_json::from_value(mirrors.clone()).unwrap_or_default();
    let mode = request
        .get("mode")
        .and_then(Value::as_str)
        .unwrap_or("changes");
    let since = match session::transaction(|| mirror::ask(&wanted, mode)) {
        Ok(since) => since,
        Err(aborted) => return json!({"error": aborted.message}),
    };
    let limits = Limits {
        max_rows: Some(0),
        deadline: Some(deadline),
    };
    let mut engine = match Engine::start(
        limits,
        Duties {
            mirrors: Some(wanted.clone()),
            backfills: false,
            upkeep: false,
        },
    ) {
        Ok(engine) => engine,
        Err(message) => return json!({"error": message}),
    };
    let mut troubles = 0;
    let note = loop {
        let turn = engine.turn();
        session::show_activity(engine.pulling().as_deref());
        let trouble = turn.as_ref().err().or(engine.trouble()).cloned();
        troubles = if trouble.is_some() { troubles + 1 } else { 0 };
        let wait = turn.unwrap_or(Duration::from_millis(200));
        if !engine.awaits_answers() {
            match session::transaction(|| mirror::ended(&wanted, since)) {
                Ok(true) => break None,
                Ok(false) => {}
                Err(aborted) => break Some(aborted.message),
            }
            // What one mirror or connection cannot do keeps the others from nothing.
            if let (Some(closed), false) = (engine.closed(&wanted), engine.can_pull()) {
                break Some(format!(
                    "connection \"{closed}\" cannot be used now: see etl.connections_status"
                ));
            }
            if troubles >= MOST_TROUBLES {
                break trouble.map(|aborted| aborted.message);
            }
        }
        if engine.is_over() || !session::database_is_free() {
            // What is merged stays merged; whoever comes next goes on behind it.
            break Some("max_time is over; the next pull goes on from here".to_owned());
        }
        let readable = Some(engine.readable());
        session::wait(readable, wait.min(Duration::from_millis(100)), || {});
    };
    session::show_activity(None);
    let runs = session::transaction(|| mirror::runs(&wanted, since));
    match runs {
        Ok(runs) => json!({"mirrors": runs, "note": note}),
        Err(aborted) => json!({"error": aborted.message}),
    }
}
