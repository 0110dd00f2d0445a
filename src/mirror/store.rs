//! Mirrors in SQL: which are due, what a run merges, how it ends. Everything here is inside a transaction of the caller.

use std::time::Duration;

use pg_etl_core::failure::Failure;
use pg_etl_core::mirror::Mode;
use pgrx::prelude::*;
use serde_json::Value;

use crate::error::spi_failed;

/// A mirror, and when its next pull is due.
#[derive(Debug, Clone)]
pub struct Mirror {
    pub connection: String,
    pub model: String,
    /// The table, as `regclass` writes it; `None` where it is gone.
    pub rel: Option<String>,
    pub config: Value,
    /// Seconds; past when negative.
    pub due_in: f64,
}

/// Every mirror that no other session pulls.
pub fn due() -> Vec<Mirror> {
    let result = Spi::connect(|client| {
        client
            .select(include_str!("../../sql/queries/mirrors_due.sql"), None, &[])?
            .map(|tuple| {
                Ok(Mirror {
                    connection: tuple["connection"].value::<String>()?.unwrap_or_default(),
                    model: tuple["model"].value::<String>()?.unwrap_or_default(),
                    rel: tuple["rel"].value()?,
                    config: tuple["config"]
                        .value::<pgrx::JsonB>()?
                        .map(|json| json.0)
                        .unwrap_or_default(),
                    due_in: tuple["due_in"].value::<f64>()?.unwrap_or_default(),
                })
            })
            .collect::<pgrx::spi::Result<Vec<_>>>()
    });
    result.unwrap_or_else(|error| spi_failed(error))
}

/// A run that this session has now.
#[derive(Debug)]
pub struct Begun {
    pub run: i64,
    pub mode: Mode,
    pub floor: Option<String>,
    /// Every record up to this id is merged already.
    pub done_to: i64,
    /// It was opened now, and not taken over from a worker that died.
    pub is_new: bool,
    /// Since when it is open.
    pub age: Duration,
    /// The last runs failed.
    pub failures: i32,
}

/// Opens or takes over the mirror's run. `None`: somebody else has it, or its table is gone.
pub fn begin(mirror: &Mirror, owner: i64) -> Option<Begun> {
    let result = Spi::connect_mut(|client| {
        let table = client.update(
            "SELECT run, mode, floor, done_to, is_new, age, failures FROM etl._begin_pull($1, $2, $3)",
            Some(1),
            &[
                mirror.connection.as_str().into(),
                mirror.model.as_str().into(),
                owner.into(),
            ],
        )?;
        let Some(tuple) = table.into_iter().next() else {
            return Ok(None);
        };
        let floor: Option<String> = tuple.get(3)?;
        let mode = tuple.get::<String>(2)?.unwrap_or_default();
        Ok::<_, pgrx::spi::Error>(Some(Begun {
            run: tuple.get::<i64>(1)?.unwrap_or_default(),
            mode: match (mode.as_str(), &floor) {
                ("changes", Some(floor)) => Mode::Changes {
                    floor: floor.clone(),
                },
                ("reconcile", _) => Mode::Reconcile,
                ("verify", _) => Mode::Verify,
                _ => Mode::Full,
            },
            floor,
            done_to: tuple.get::<i64>(4)?.unwrap_or_default(),
            is_new: tuple.get::<bool>(5)?.unwrap_or_default(),
            age: Duration::from_secs_f64(tuple.get::<f64>(6)?.unwrap_or_default().clamp(0.0, 1e9)),
            failures: tuple.get::<i32>(7)?.unwrap_or_default(),
        }))
    });
    result.unwrap_or_else(|error| spi_failed(error))
}

/// Merges a page and writes down how far the run came.
pub fn merge(mirror: &Mirror, run: i64, names: &[String], rows: &str, read: usize) {
    let result = Spi::connect_mut(|client| {
        client.update(
            "WITH merged AS MATERIALIZED (SELECT * FROM etl._merge($1, $2, $3::regclass, $4, $5::json, $6))
             UPDATE etl.pulls p SET read = p.read + $7, inserted = p.inserted + g.inserted, updated = p.updated + g.updated
             FROM merged g WHERE p.connection = $1 AND p.model = $2 AND p.run_id = $6",
            None,
            &[
                mirror.connection.as_str().into(),
                mirror.model.as_str().into(),
                mirror.rel.as_deref().into(),
                names.to_vec().into(),
                rows.into(),
                run.into(),
                i64::try_from(read).unwrap_or(i64::MAX).into(),
            ],
        )?;
        Ok::<_, pgrx::spi::Error>(())
    });
    result.unwrap_or_else(|error| spi_failed(error));
}

/// Where another session would go on.
pub fn reached(mirror: &Mirror, run: i64, done_to: i64) {
    let result = Spi::run_with_args(
        "UPDATE etl.pulls p SET done_to = $4 WHERE p.connection = $1 AND p.model = $2 AND p.run_id = $3 AND p.done_to <> $4",
        &[
            mirror.connection.as_str().into(),
            mirror.model.as_str().into(),
            run.into(),
            done_to.into(),
        ],
    );
    result.unwrap_or_else(|error| spi_failed(error));
}

/// What of the listed ids the mirror lacks, and what it has beyond them.
pub fn compare(mirror: &Mirror, after: i64, upto: i64, ids: &[i64]) -> (Vec<i64>, Vec<i64>) {
    let result = Spi::connect(|client| {
        let table = client
            .select(
                "SELECT missing, lost FROM etl._compare($1::regclass, $2, $3, $4)",
                Some(1),
                &[
                    mirror.rel.as_deref().into(),
                    after.into(),
                    upto.into(),
                    ids.to_vec().into(),
                ],
            )?
            .first();
        Ok::<_, pgrx::spi::Error>((
            table.get::<Vec<i64>>(1)?.unwrap_or_default(),
            table.get::<Vec<i64>>(2)?.unwrap_or_default(),
        ))
    });
    result.unwrap_or_else(|error| spi_failed(error))
}

/// What a page of records and the mirror have otherwise.
#[derive(Debug, Default, Clone)]
pub struct Differences {
    /// Odoo has it, the mirror does not.
    pub missing: Vec<i64>,
    pub different: Vec<i64>,
    /// Changed in Odoo since the last pull.
    pub behind: Vec<i64>,
}

/// Compares a page with the mirror and changes nothing. What is younger than `overlap` after `floor`, where the last run began, is behind.
pub fn differences(
    mirror: &Mirror,
    names: &[String],
    rows: &str,
    floor: Option<&str>,
    overlap: Duration,
) -> Differences {
    let result = Spi::connect(|client| {
        let table = client
            .select(
                "SELECT missing, different, behind FROM etl._differences($1::regclass, $2, $3::json, ($4 || '+00')::timestamptz + make_interval(secs => $5 + 1))",
                Some(1),
                &[
                    mirror.rel.as_deref().into(),
                    names.to_vec().into(),
                    rows.into(),
                    floor.into(),
                    overlap.as_secs_f64().into(),
                ],
            )?
            .first();
        Ok::<_, pgrx::spi::Error>(Differences {
            missing: table.get::<Vec<i64>>(1)?.unwrap_or_default(),
            different: table.get::<Vec<i64>>(2)?.unwrap_or_default(),
            behind: table.get::<Vec<i64>>(3)?.unwrap_or_default(),
        })
    });
    result.unwrap_or_else(|error| spi_failed(error))
}

/// Writes down what a comparison found, in its run.
pub fn found(mirror: &Mirror, run: i64, findings: Value, checked: usize) {
    let result = Spi::run_with_args(
        "WITH counted AS (UPDATE etl.pulls p SET read = $4 WHERE p.connection = $1 AND p.model = $2 AND p.run_id = $3 RETURNING p.run_id)
         UPDATE ops.odoo_sync_runs r SET meta = r.meta || $5 FROM counted c WHERE r.id = c.run_id",
        &[
            mirror.connection.as_str().into(),
            mirror.model.as_str().into(),
            run.into(),
            i64::try_from(checked).unwrap_or(i64::MAX).into(),
            pgrx::JsonB(findings).into(),
        ],
    );
    result.unwrap_or_else(|error| spi_failed(error));
}

/// Marks records as gone.
pub fn mark_gone(mirror: &Mirror, run: i64, deleted: &[i64], hidden: &[i64]) {
    let result = Spi::connect_mut(|client| {
        client.update(
            "WITH marked AS MATERIALIZED (SELECT * FROM etl._mark_gone($1, $2, $3::regclass, $4, $5, $6))
             UPDATE etl.pulls p SET deleted = p.deleted + g.marked_deleted, hidden = p.hidden + g.marked_hidden
             FROM marked g WHERE p.connection = $1 AND p.model = $2 AND p.run_id = $6",
            None,
            &[
                mirror.connection.as_str().into(),
                mirror.model.as_str().into(),
                mirror.rel.as_deref().into(),
                deleted.to_vec().into(),
                hidden.to_vec().into(),
                run.into(),
            ],
        )?;
        Ok::<_, pgrx::spi::Error>(())
    });
    result.unwrap_or_else(|error| spi_failed(error));
}

/// Closes the run.
pub fn end(mirror: &Mirror, owner: i64, floor: Option<&str>, failure: Option<&Failure>) {
    let result = Spi::run_with_args(
        "SELECT etl._end_pull($1, $2, $3, $4, $5, $6, $7)",
        &[
            mirror.connection.as_str().into(),
            mirror.model.as_str().into(),
            owner.into(),
            floor.into(),
            failure.map(|failure| failure.class.name()).into(),
            failure.map(|failure| failure.message.as_str()).into(),
            failure.and_then(|failure| failure.remedy.as_deref()).into(),
        ],
    );
    result.unwrap_or_else(|error| spi_failed(error));
}

/// Sees that the mirror has a column for each of `columns` (a JSON list of name and type), and writes down where it and Odoo
/// disagree. Returns the fields that can be merged, in order, without `id`.
pub fn notice_drift(
    mirror: &Mirror,
    columns: Value,
    skipped: Value,
    known: Vec<String>,
) -> Vec<String> {
    let result = Spi::get_one_with_args::<Vec<String>>(
        "SELECT etl._notice_drift($1, $2, $3::regclass, $4, $5, $6)",
        &[
            mirror.connection.as_str().into(),
            mirror.model.as_str().into(),
            mirror.rel.as_deref().into(),
            pgrx::JsonB(columns).into(),
            pgrx::JsonB(skipped).into(),
            known.into(),
        ],
    );
    result
        .unwrap_or_else(|error| spi_failed(error))
        .unwrap_or_default()
}

/// Asks for pulls of these mirrors. Returns when that was, as seconds of the epoch.
pub fn ask(mirrors: &[(String, String)], mode: &str) -> f64 {
    let (connections, models) = apart(mirrors);
    let result = Spi::get_one_with_args::<f64>(
        include_str!("../../sql/queries/ask_pull.sql"),
        &[connections.into(), models.into(), mode.into()],
    );
    result
        .unwrap_or_else(|error| spi_failed(error))
        .unwrap_or_default()
}

/// Whether a run of each of these mirrors has begun and ended since then, or failed before it could begin.
pub fn ended(mirrors: &[(String, String)], since: f64) -> bool {
    let (connections, models) = apart(mirrors);
    let ended = crate::reading::one::<bool>(
        "SELECT NOT EXISTS (SELECT FROM unnest($1, $2) AS w(c, m)
           WHERE NOT EXISTS (SELECT FROM etl.pulls p WHERE p.connection = w.c AND p.model = w.m
             AND p.run_id IS NULL AND (p.not_before > now()
               OR (p.started_at >= to_timestamp($3) AND p.ended_at >= p.started_at AND p.asked_at IS NULL AND p.verify_asked_at IS NULL))))",
        &[connections.into(), models.into(), since.into()],
    );
    ended.unwrap_or(false)
}

/// The last run of each of these mirrors since then, as a JSON list.
pub fn runs(mirrors: &[(String, String)], since: f64) -> Value {
    let (connections, models) = apart(mirrors);
    let runs = crate::reading::one::<pgrx::JsonB>(
        include_str!("../../sql/queries/pulled.sql"),
        &[connections.into(), models.into(), since.into()],
    );
    runs.map(|json| json.0).unwrap_or_default()
}

fn apart(mirrors: &[(String, String)]) -> (Vec<String>, Vec<String>) {
    mirrors.iter().cloned().unzip()
}
