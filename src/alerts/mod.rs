//! Alerts: what turned in the health report, and who is told. Decided by `pg_etl_core::alerts`, written by `sql/schema/alerts.sql`.

use std::collections::HashMap;

use pg_etl_core::alerts::{State, step};
use pg_etl_core::health::COMPONENTS;
use pg_etl_core::outbox::RawRow;
use pgrx::prelude::*;
use serde_json::{Value, json};

use crate::error::{complain, spi_failed};

/// Looks, decides, and puts messages into the outbox. `None`: no rule, and nothing whose end is to be told; or somebody else is at it, and
/// is not waited for. Inside a transaction.
pub fn check(waits: bool) -> Option<Value> {
    let state =
        Spi::get_one_with_args::<pgrx::JsonB>("SELECT etl._alert_state($1)", &[waits.into()]);
    let state = state.unwrap_or_else(|error| spi_failed(error))?.0;
    let state: State = serde_json::from_value(state).unwrap_or_else(|error| {
        complain(
            PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            format!("the alerts could not be read: {error}"),
        )
        .raise()
    });
    let step = step(
        &state.rules,
        &state.open,
        &crate::health::findings(),
        state.now,
    );
    let applied = Spi::get_one_with_args::<pgrx::JsonB>(
        "SELECT etl._apply_alerts($1)",
        &[pgrx::JsonB(json!(step)).into()],
    );
    applied
        .unwrap_or_else(|error| spi_failed(error))
        .map(|json| json.0)
}

/// Gives rows for a channel what they say. It is not in the outbox, where everybody may write who enqueues: of a row that is not ours
/// nothing is said, and it becomes a dead letter. Inside a transaction.
pub fn put_in_messages(channel: &str, rows: &mut [RawRow]) {
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let known = Spi::connect(|client| {
        let query = "SELECT m.id, m.message::text FROM etl.messages m WHERE m.id = ANY ($1) AND m.channel = $2";
        let table = client.select(query, None, &[ids.into(), channel.into()])?;
        table
            .map(|tuple| Ok((tuple.get::<i64>(1)?, tuple.get::<String>(2)?)))
            .collect::<pgrx::spi::Result<HashMap<_, _>>>()
    });
    let known = known.unwrap_or_else(|error| spi_failed(error));
    for row in rows {
        let message = known.get(&Some(row.id));
        row.payload = Some(json!({ "message": message }).to_string());
    }
}

/// Whether anybody is to be told of anything: also of the end of what he was told, when the last rule is gone. Inside a transaction.
pub fn are_expected() -> bool {
    let query = "SELECT EXISTS (SELECT FROM etl.alert_rules) OR EXISTS (SELECT FROM etl.alerts a WHERE a.resolved_at IS NULL OR a.told <> '{}')";
    crate::reading::one::<bool>(query, &[]).unwrap_or(false)
}

#[pg_extern(sql = false)]
fn check_alerts() -> pgrx::JsonB {
    crate::setup::must_be_set_up();
    let nothing = || json!({"opened": 0, "resolved": 0, "messages": 0});
    pgrx::JsonB(check(true).unwrap_or_else(nothing))
}

/// What components of the health report are called.
#[pg_extern(sql = false)]
fn components() -> TableIterator<'static, (name!(component, String), name!(is_family, bool))> {
    TableIterator::new(
        COMPONENTS
            .iter()
            .map(|(component, is_family)| ((*component).to_owned(), *is_family)),
    )
}
