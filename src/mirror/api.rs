//! `etl.pull()`, and what `etl.mirror()` asks.

use std::time::Duration;

use pgrx::prelude::*;
use serde_json::{Value, json};

use crate::error::{complain, spi_failed};
use crate::reading;
use crate::worker::{Errand, checked_max_time, run_errand};

/// Longest that `etl.mirror()` waits for Odoo's description of a model.
const DESCRIBES: Duration = Duration::from_secs(60);

#[pg_extern(sql = false)]
fn pull(
    model: Option<String>,
    full: Option<bool>,
    connection: Option<String>,
    max_time: Option<pgrx::datum::Interval>,
) -> pgrx::JsonB {
    crate::setup::must_be_set_up();
    let mirrors = wanted(model.as_deref(), connection.as_deref());
    if mirrors.is_empty() {
        let what = model.as_deref().unwrap_or("no model");
        complain(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!(
                "{what} is mirrored{}",
                if model.is_some() { " by no table" } else { "" }
            ),
        )
        .hint(format!(
            "SELECT etl.mirror('{}'); and commit it first.",
            model.as_deref().unwrap_or("res.partner")
        ))
        .raise();
    }
    let mode = if full.unwrap_or(false) {
        "full"
    } else {
        "changes"
    };
    let max_time = checked_max_time(max_time.as_ref(), Duration::from_secs(600));
    pgrx::JsonB(errand(mirrors, mode, max_time))
}

/// The committed mirrors that the arguments name.
fn wanted(model: Option<&str>, connection: Option<&str>) -> Vec<(String, String)> {
    let result = Spi::connect(|client| {
        client
            .select(
                "SELECT m.connection, m.model FROM etl._mirrors() m
                 WHERE ($1 IS NULL OR m.model = $1) AND ($2 IS NULL OR m.connection = $2) ORDER BY 1, 2",
                None,
                &[model.into(), connection.into()],
            )?
            .map(|tuple| {
                Ok((
                    tuple.get::<String>(1)?.unwrap_or_default(),
                    tuple.get::<String>(2)?.unwrap_or_default(),
                ))
            })
            .collect::<pgrx::spi::Result<Vec<_>>>()
    });
    result.unwrap_or_else(|error| spi_failed(error))
}

#[pg_extern(sql = false)]
fn describe(
    connection: Option<&str>,
    model: Option<&str>,
    fields: Option<Vec<String>>,
    options: Option<pgrx::JsonB>,
) -> pgrx::JsonB {
    let (Some(connection), Some(model)) = (connection, model) else {
        complain(
            PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            "model and connection must not be null",
        )
        .hint("SELECT etl.mirror('res.partner');")
        .raise();
    };
    reading::one::<()>(
        "SELECT etl._connection_must_exist($1)",
        &[connection.into()],
    );
    let known = reading::one::<pgrx::JsonB>(
        "SELECT (SELECT c.value -> 'fields' FROM ops.odoo_sync_config c WHERE c.key = etl._mirror_key($1, $2))",
        &[connection.into(), model.into()],
    );
    let fields = fields.or_else(|| known.and_then(|json| serde_json::from_value(json.0).ok()));
    let mut answer = run_errand(&Errand::Describe {
        connection: connection.to_owned(),
        model: model.to_owned(),
        fields,
        options: options.map(|json| json.0).unwrap_or_default(),
        max_time: DESCRIBES,
    });
    if let Some(fields) = answer.as_object_mut()
        && fields.get("columns").is_none()
    {
        fields
            .entry("error")
            .or_insert_with(|| json!("Odoo did not describe it within 60 s"));
    }
    pgrx::JsonB(answer)
}

#[pg_extern(sql = false)]
fn verify(
    model: Option<&str>,
    connection: Option<&str>,
    max_time: Option<pgrx::datum::Interval>,
) -> pgrx::JsonB {
    crate::setup::must_be_set_up();
    let mirrors = wanted(model, connection);
    let [mirror] = mirrors.as_slice() else {
        complain(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("{} is mirrored by no table", model.unwrap_or("no model")),
        )
        .hint("SELECT model, connection FROM etl.sync_lag;")
        .raise();
    };
    let max_time = checked_max_time(max_time.as_ref(), Duration::from_secs(600));
    let mut compared = errand(vec![mirror.clone()], "verify", max_time);
    let run = compared["mirrors"][0].take();
    let found = |what: &str| run[what].as_array().map_or(0, Vec::len);
    let clean =
        run["status"] == "succeeded" && found("missing") + found("extra") + found("different") == 0;
    let mut answer = json!({"clean": clean});
    if let (Some(answer), Some(run)) = (answer.as_object_mut(), run.as_object()) {
        let kept = run.iter().filter(|(name, _)| {
            ![
                "inserted",
                "updated",
                "unchanged",
                "deleted",
                "hidden",
                "mode",
            ]
            .contains(&name.as_str())
        });
        answer.extend(kept.map(|(name, value)| (name.clone(), value.clone())));
    }
    pgrx::JsonB(answer)
}

/// Pulls, or compares, and waits for it.
fn errand(mirrors: Vec<(String, String)>, mode: &'static str, max_time: Duration) -> Value {
    let mut answer = run_errand(&Errand::Pull {
        mirrors,
        mode,
        max_time,
    });
    if let Some(message) = answer.get("error").and_then(Value::as_str) {
        complain(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("the pull could not run: {message}"),
        )
        .hint("SELECT * FROM etl.health_report(); tells more.")
        .raise();
    }
    if let Some(fields) = answer.as_object_mut() {
        for counter in ["claimed", "done", "retried", "failed", "calls"] {
            fields.remove(counter);
        }
        if fields.get("note").is_some_and(Value::is_null) {
            fields.remove("note");
        }
    }
    answer
}
