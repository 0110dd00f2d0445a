//! The outbox in SQL: claim, settle, recover; one statement each, in `sql/queries`.

use std::collections::HashMap;

use pg_etl_core::odoo::ModelPolicy;
use pg_etl_core::outbox::admission::MAX_PAYLOAD;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiClient, SpiHeapTupleData};
use serde_json::{Map, Value};

/// A statement that is planned once per session.
pub struct Planned {
    text: &'static str,
    types: &'static [pg_sys::Oid],
    plan: Option<OwnedPreparedStatement>,
}

impl Planned {
    pub const fn new(text: &'static str, types: &'static [pg_sys::Oid]) -> Self {
        Self {
            text,
            types,
            plan: None,
        }
    }

    fn run<'conn>(
        &mut self,
        client: &mut SpiClient<'conn>,
        args: &[DatumWithOid<'_>],
    ) -> pgrx::spi::Result<pgrx::spi::SpiTupleTable<'conn>> {
        if self.plan.is_none() {
            let types: Vec<PgOid> = self.types.iter().map(|oid| PgOid::from(*oid)).collect();
            self.plan = Some(client.prepare_mut(self.text, &types)?.keep());
        }
        match &self.plan {
            Some(plan) => client.update(plan, None, args),
            None => client.update(self.text, None, args),
        }
    }
}

/// The statements of one worker.
pub struct Statements {
    claim: Planned,
    settle: Planned,
}

impl Default for Statements {
    fn default() -> Self {
        use pg_sys::{
            FLOAT8ARRAYOID, INT4ARRAYOID, INT4OID, INT8ARRAYOID, INT8OID, TEXTARRAYOID, TEXTOID,
        };
        Self {
            claim: Planned::new(
                crate::chaos::claim_sql(include_str!("../../sql/queries/claim.sql")),
                &[
                    TEXTOID, INT4OID, INT8OID, INT4OID, INT8OID, INT8OID, INT8OID, TEXTOID,
                    INT8OID, INT8OID, INT8OID, INT4OID, INT8OID, INT4OID,
                ],
            ),
            settle: Planned::new(
                crate::chaos::settle_sql(include_str!("../../sql/queries/settle.sql")),
                &[
                    INT8ARRAYOID,
                    INT8ARRAYOID,
                    INT8ARRAYOID,
                    TEXTARRAYOID,
                    INT8ARRAYOID,
                    TEXTARRAYOID,
                    TEXTARRAYOID,
                    FLOAT8ARRAYOID,
                    INT4ARRAYOID,
                    FLOAT8ARRAYOID,
                    INT8ARRAYOID,
                    TEXTARRAYOID,
                    INT8ARRAYOID,
                    TEXTARRAYOID,
                    TEXTARRAYOID,
                ],
            ),
        }
    }
}

/// Where the two laps through the queue have got to: the last rows looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Rank and id, among rows that are due as they came.
    pub fresh: (i32, i64),
    /// Due time (µs since 1970) and id, among rows that were scheduled or tried before.
    pub due: (i64, i64),
}

impl Cursor {
    /// Before every row: no due time of the queue is before 1970.
    pub const START: Self = Self {
        fresh: (i32::MIN, i64::MIN),
        due: (-1, i64::MIN),
    };
}

/// Calls without `unless` in one claim. A crash makes dead letters of them, whether they were sent or not: so there are few.
const MOST_CALLS: i32 = 8;

/// What a claim asks for.
pub struct Wanted<'a> {
    pub connection: &'a str,
    pub cursor: Cursor,
    /// The youngest row that was found before the cursor's rank: see [`ClaimedRows::urgent`].
    pub urgent: i64,
    /// Rows looked at.
    pub window: usize,
    /// Most rows taken.
    pub rows: usize,
    /// Bytes of payload; the row that crosses the line is the last one.
    pub bytes: i64,
    pub owner: i64,
    pub run: Option<i64>,
}

/// A claimed row as it is stored; nothing of it is checked yet.
pub struct RawRow {
    pub id: i64,
    pub model: String,
    pub operation: String,
    /// JSON text; `None`: larger than anything that is sent.
    pub payload: Option<String>,
    pub record_key: Option<String>,
    pub idempotency_key: String,
    pub attempts: u32,
    pub odoo_id: Option<i64>,
    pub key: Option<i64>,
    /// `odoo_id` is the row's own: an earlier try made the record and was not over.
    pub own: bool,
    pub priority: i16,
}

/// One claim: its fencing token and its rows in the order of their ids.
pub struct ClaimedRows {
    pub claim: i64,
    pub rows: Vec<RawRow>,
    /// Where the next claim goes on; a lap that is over is at the start again.
    pub cursor: Cursor,
    /// The youngest row known to come before the cursor: it was looked at, and waits for something.
    pub urgent: i64,
    /// Its rows were in the hands of a worker when it died.
    pub suspect: bool,
}

/// Claims due rows. `None`: another worker claims for this connection just now. Inside a transaction.
pub fn claim(statements: &mut Statements, wanted: &Wanted<'_>) -> Option<ClaimedRows> {
    // Before the statement whose snapshot must see what the claimer before us did.
    if !crate::worker::become_claimer(wanted.connection) {
        return None;
    }
    let result = Spi::connect_mut(|client| {
        // The outbox first: TRUNCATE takes it first too, and two orders would deadlock.
        client.update(
            "LOCK TABLE ops.odoo_outbox IN ROW EXCLUSIVE MODE",
            None,
            &[],
        )?;
        // Something more urgent than where the lap has got to, and newer than what was found blocked there before, starts a new one.
        let before = client.select(
            "SELECT nextval('etl.claim_seq'), (SELECT max(q.id) FROM etl.queue q WHERE q.connection = $1 AND q.fresh AND q.rank < $2)",
            None,
            &[wanted.connection.into(), wanted.cursor.fresh.0.into()],
        )?;
        let (claim, urgent) = before.first().get_two::<i64, i64>()?;
        let claim = claim.unwrap_or_default();
        let urgent = urgent.unwrap_or(i64::MIN).max(wanted.urgent);
        let start = if urgent > wanted.urgent {
            Cursor::START.fresh
        } else {
            wanted.cursor.fresh
        };
        let cursor = Cursor {
            fresh: start,
            due: wanted.cursor.due,
        };
        let rows = i32::try_from(wanted.rows).unwrap_or(i32::MAX);
        let window = i32::try_from(wanted.window).unwrap_or(i32::MAX);
        let locked_by = format!("pg_etl {}", wanted.owner);
        let table = statements.claim.run(
            client,
            &[
                wanted.connection.into(),
                cursor.fresh.0.into(),
                cursor.fresh.1.into(),
                window.into(),
                claim.into(),
                wanted.owner.into(),
                wanted.bytes.into(),
                locked_by.into(),
                wanted.run.into(),
                cursor.due.0.into(),
                cursor.due.1.into(),
                MOST_CALLS.into(),
                i64::try_from(MAX_PAYLOAD).unwrap_or(i64::MAX).into(),
                rows.into(),
            ],
        )?;
        let mut claimed = ClaimedRows {
            claim,
            rows: Vec::with_capacity(table.len()),
            cursor: Cursor::START,
            urgent,
            suspect: false,
        };
        for tuple in table {
            if let Some(lap) = tuple["lap_rank"]
                .value::<i32>()?
                .zip(tuple["lap_id"].value::<i64>()?)
            {
                claimed.cursor.fresh = lap;
            }
            if let Some(lap) = tuple["due_lap_due"]
                .value::<i64>()?
                .zip(tuple["due_lap_id"].value::<i64>()?)
            {
                claimed.cursor.due = lap;
            }
            if let Some(id) = tuple["id"].value::<i64>()? {
                claimed.suspect |= tuple["lot"].value::<i64>()?.is_some();
                claimed.rows.push(raw_row(id, &tuple)?);
            }
        }
        Ok::<_, pgrx::spi::Error>(claimed)
    });
    Some(result.unwrap_or_else(|error| crate::error::spi_failed(error)))
}

/// The cursor moved by one row in each lap: behind a row that cannot even be claimed. Inside a transaction.
pub fn behind(connection: &str, cursor: Cursor) -> Cursor {
    let result = Spi::connect(|client| {
        let fresh = client.select(
            "SELECT q.rank, q.id FROM etl.queue q WHERE q.connection = $1 AND q.fresh AND (q.rank, q.id) > ($2, $3)
             ORDER BY q.rank, q.id LIMIT 1",
            None,
            &[connection.into(), cursor.fresh.0.into(), cursor.fresh.1.into()],
        )?;
        let fresh = if fresh.is_empty() {
            (None, None)
        } else {
            fresh.first().get_two::<i32, i64>()?
        };
        let due = client.select(
            "SELECT (extract(epoch FROM q.due) * 1000000)::bigint, q.id FROM etl.queue q
             WHERE q.connection = $1 AND NOT q.fresh AND q.due <= now()
               AND (q.due, q.id) > (timestamptz 'epoch' + $2 * interval '1 microsecond', $3)
             ORDER BY q.due, q.id LIMIT 1",
            None,
            &[connection.into(), cursor.due.0.into(), cursor.due.1.into()],
        )?;
        let due = if due.is_empty() {
            (None, None)
        } else {
            due.first().get_two::<i64, i64>()?
        };
        Ok::<_, pgrx::spi::Error>(Cursor {
            fresh: fresh.0.zip(fresh.1).unwrap_or(Cursor::START.fresh),
            due: due.0.zip(due.1).unwrap_or(Cursor::START.due),
        })
    });
    result.unwrap_or_else(|error| crate::error::spi_failed(error))
}

/// A row as the statements of this file give it.
pub fn raw_row(id: i64, tuple: &SpiHeapTupleData<'_>) -> pgrx::spi::Result<RawRow> {
    let text = |name: &str| tuple[name].value::<String>().map(Option::unwrap_or_default);
    Ok(RawRow {
        id,
        model: text("model")?,
        operation: text("operation")?,
        payload: tuple["payload"].value()?,
        record_key: tuple["record_key"].value()?,
        idempotency_key: text("idempotency_key")?,
        attempts: tuple["attempts"]
            .value::<i32>()?
            .unwrap_or_default()
            .max(0)
            .cast_unsigned(),
        odoo_id: tuple["odoo_id"].value()?,
        key: tuple["key"].value()?,
        own: tuple["own"].value::<bool>()?.unwrap_or(false),
        priority: tuple["priority"]
            .value::<i32>()?
            .and_then(|priority| i16::try_from(priority).ok())
            .unwrap_or_default(),
    })
}

/// One row's settlement, as columns of `settle.sql`.
#[derive(Clone)]
pub struct Settled {
    pub id: i64,
    pub key: Option<i64>,
    pub status: &'static str,
    pub odoo_id: Option<i64>,
    pub class: Option<&'static str>,
    pub error: Option<String>,
    /// Seconds.
    pub wait: f64,
    pub refund: bool,
    /// Seconds.
    pub hold: Option<f64>,
    /// The hold is for deletes alone.
    pub hold_deletes_only: bool,
    /// The row in whose call it travelled.
    pub went_with: Option<i64>,
    /// The records that it refers to, where one of them was missed: see [`record_name`].
    pub needs: Option<String>,
}

/// A record as its key is hashed; several in one text have [`BETWEEN_RECORDS`] between them.
pub fn record_name(model: &str, key: &str) -> String {
    format!("{model}\u{1f}{key}")
}

pub const BETWEEN_RECORDS: &str = "\u{1e}";

/// Rows of a claim that stay on their way: ids and keys.
#[derive(Default)]
pub struct Remaining {
    pub claim: i64,
    pub ids: Vec<i64>,
    pub keys: Vec<i64>,
}

/// Rows by what became of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub done: i64,
    pub retried: i64,
    pub failed: i64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.done += other.done;
        self.retried += other.retried;
        self.failed += other.failed;
    }
}

/// Settles rows, each with its claim; only those that the claim still holds. Inside a transaction.
pub fn settle(
    statements: &mut Statements,
    settled: &[(i64, &Settled)],
    remaining: &[Remaining],
) -> Vec<(i64, Tally)> {
    fn column<'a, T>(settled: &[(i64, &'a Settled)], of: impl Fn(&'a Settled) -> T) -> Vec<T> {
        settled.iter().map(|(_, row)| of(row)).collect()
    }
    // Arrays of arrays must be rectangles: these are not.
    let array = |numbers: &[i64]| {
        let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
        format!("{{{}}}", numbers.join(","))
    };
    let claims: Vec<i64> = settled.iter().map(|(claim, _)| *claim).collect();
    let args: [DatumWithOid<'_>; 15] = [
        claims.into(),
        column(settled, |row| row.id).into(),
        column(settled, |row| row.key).into(),
        column(settled, |row| row.status).into(),
        column(settled, |row| row.odoo_id).into(),
        column(settled, |row| row.class).into(),
        column(settled, |row| row.error.as_deref()).into(),
        column(settled, |row| row.wait).into(),
        column(settled, |row| i32::from(row.refund)).into(),
        // Below zero: for deletes alone.
        column(settled, |row| {
            row.hold
                .map(|hold| if row.hold_deletes_only { -hold } else { hold })
        })
        .into(),
        column(settled, |row| row.went_with).into(),
        column(settled, |row| row.needs.as_deref()).into(),
        remaining
            .iter()
            .map(|of| of.claim)
            .collect::<Vec<_>>()
            .into(),
        remaining
            .iter()
            .map(|of| array(&of.ids))
            .collect::<Vec<_>>()
            .into(),
        remaining
            .iter()
            .map(|of| array(&of.keys))
            .collect::<Vec<_>>()
            .into(),
    ];
    let result = Spi::connect_mut(|client| {
        let mut tallies = Vec::with_capacity(remaining.len());
        for tuple in statements.settle.run(client, &args)? {
            tallies.push((number(&tuple, "claim")?, tally_of(&tuple)?));
        }
        Ok::<_, pgrx::spi::Error>(tallies)
    });
    result.unwrap_or_else(|error| crate::error::spi_failed(error))
}

fn number(tuple: &SpiHeapTupleData<'_>, name: &str) -> pgrx::spi::Result<i64> {
    Ok(tuple[name].value::<i64>()?.unwrap_or_default())
}

fn tally_of(tuple: &SpiHeapTupleData<'_>) -> pgrx::spi::Result<Tally> {
    Ok(Tally {
        done: number(tuple, "done")?,
        retried: number(tuple, "retried")?,
        failed: number(tuple, "failed")?,
    })
}

/// Crashes after which a row that a worker held alone is given up.
const MAX_CRASHES: i32 = 5;

/// Crashes after which the rows of one record, which go together, are taken apart: one of them may be what kills.
const APART_AFTER: i32 = 3;

/// Takes back what dead workers held. Inside a transaction.
pub fn recover(owner: i64) -> Tally {
    let grace = crate::gucs::unknown_grace().as_secs_f64();
    let result = Spi::connect_mut(|client| {
        // Most of the time there is nothing to take back: a look that locks nothing.
        let dead = client.select(
            "SELECT EXISTS (SELECT FROM etl.claims c WHERE c.owner <> $1)",
            None,
            &[owner.into()],
        )?;
        if dead.first().get_one::<bool>()? != Some(true) {
            return Ok(Tally::default());
        }
        client.update(
            "LOCK TABLE ops.odoo_outbox IN ROW EXCLUSIVE MODE",
            None,
            &[],
        )?;
        let table = client.update(
            crate::chaos::recover_sql(include_str!("../../sql/queries/recover.sql")),
            None,
            &[
                owner.into(),
                MAX_CRASHES.into(),
                grace.into(),
                APART_AFTER.into(),
            ],
        )?;
        let row = table.first();
        Ok(Tally {
            done: 0,
            retried: row.get_by_name("retried")?.unwrap_or_default(),
            failed: row.get_by_name("failed")?.unwrap_or_default(),
        })
    });
    result.unwrap_or_else(|error: pgrx::spi::Error| crate::error::spi_failed(error))
}

/// `ops.odoo_sync_config` for one model: `sb_to_odoo:<model>`. Absent keys fall back to the settings.
#[derive(Debug, Default, Clone)]
pub struct ModelConfig {
    pub max_batch: Option<usize>,
    pub max_attempts: Option<u32>,
    pub base_backoff_seconds: Option<f64>,
    pub context: Map<String, Value>,
    /// What becomes of rows whose record is locked or gone.
    pub policy: ModelPolicy,
}

/// What the user configured about outbound deliveries.
#[derive(Debug, Default)]
pub struct OutboundConfig {
    pub models: HashMap<String, ModelConfig>,
    /// Module prefix of our external ids.
    pub namespace: String,
}

impl OutboundConfig {
    /// What is configured about records of `model` that changed under us.
    pub fn policy(&self, model: &str) -> &ModelPolicy {
        static NONE: ModelPolicy = ModelPolicy::NONE;
        self.models
            .get(model)
            .map_or(&NONE, |config| &config.policy)
    }
}

const PREFIX: &str = "sb_to_odoo:";

/// Reads the configuration; a value of the wrong kind counts as absent. Inside a transaction.
pub fn outbound_config() -> OutboundConfig {
    let result = Spi::connect(|client| {
        let query = "SELECT key::text, value::text FROM ops.odoo_sync_config WHERE starts_with(key, 'sb_to_odoo:') OR key = 'external_id_namespace'";
        let mut config = OutboundConfig::default();
        for tuple in client.select(query, None, &[])? {
            let (Some(key), Some(value)) = (tuple.get::<String>(1)?, tuple.get::<String>(2)?)
            else {
                continue;
            };
            let value: Value = serde_json::from_str(&value).unwrap_or_default();
            match key.strip_prefix(PREFIX) {
                Some(model) => {
                    config.models.insert(model.to_owned(), model_config(&value));
                }
                None => value
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut config.namespace),
            }
        }
        Ok::<_, pgrx::spi::Error>(config)
    });
    result.unwrap_or_else(|error| crate::error::spi_failed(error))
}

fn model_config(value: &Value) -> ModelConfig {
    let whole = |name: &str| {
        value
            .get(name)
            .and_then(Value::as_u64)
            .filter(|number| *number > 0)
    };
    ModelConfig {
        max_batch: whole("max_batch").map(|rows| rows.min(1_000) as usize),
        max_attempts: whole("max_attempts").and_then(|attempts| u32::try_from(attempts).ok()),
        base_backoff_seconds: value
            .get("base_backoff_seconds")
            .and_then(Value::as_f64)
            .filter(|seconds| (0.0..=86_400.0).contains(seconds)),
        context: value
            .get("context")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default(),
        policy: ModelPolicy::from_config(value),
    }
}
