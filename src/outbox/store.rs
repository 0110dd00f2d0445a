//! The outbox in SQL: claim, settle, recover; one statement each, in `sql/queries`.

use pg_etl_core::failure::ErrorClass;
use pg_etl_core::outbox::admission::MAX_PAYLOAD;
use pg_etl_core::outbox::{ClaimedRows, Cursor, RawRow, Remaining, Settled};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiClient, SpiHeapTupleData};

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

/// Calls without `unless` in one claim. A crash makes dead letters of them, whether they were sent or not: so there are few.
const MOST_CALLS: i32 = 8;

/// What a claim asks for.
pub struct Wanted<'a> {
    pub connection: &'a str,
    pub cursor: Cursor,
    /// Rows looked at.
    pub window: usize,
    /// Most rows taken.
    pub rows: usize,
    /// Bytes of payload; the row that crosses the line is the last one.
    pub bytes: i64,
    pub owner: i64,
    pub run: Option<i64>,
}

/// Opens the outbox for a claim. The outbox first: TRUNCATE takes it first too, and two orders would deadlock. Inside a transaction.
pub fn open_outbox() {
    Spi::run("LOCK TABLE ops.odoo_outbox IN ROW EXCLUSIVE MODE")
        .unwrap_or_else(|error| crate::error::spi_failed(error));
}

/// The youngest fresh row before this rank. Inside a transaction.
pub fn youngest_before(connection: &str, rank: i32) -> Option<i64> {
    let youngest = Spi::get_one_with_args::<i64>(
        "SELECT max(q.id) FROM etl.queue q WHERE q.connection = $1 AND q.fresh AND q.rank < $2",
        &[connection.into(), rank.into()],
    );
    youngest.unwrap_or_else(|error| crate::error::spi_failed(error))
}

/// Claims due rows, as the connection's only claimer and after [`open_outbox`]. Inside a transaction.
pub fn claim(statements: &mut Statements, wanted: &Wanted<'_>) -> ClaimedRows {
    let result = Spi::connect_mut(|client| {
        let claim = client
            .select("SELECT nextval('etl.claim_seq')", None, &[])?
            .first()
            .get_one::<i64>()?
            .unwrap_or_default();
        let cursor = wanted.cursor;
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
            suspect: false,
        };
        for tuple in table {
            if let Some(lap) = tuple["lap_rank"]
                .value::<i32>()?
                .zip(tuple["lap_id"].value::<i64>()?)
            {
                claimed.cursor.fresh = lap.max(Cursor::BEGUN);
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
    result.unwrap_or_else(|error| crate::error::spi_failed(error))
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
        seen: None,
    })
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
        column(settled, |row| row.status.name()).into(),
        column(settled, |row| row.odoo_id).into(),
        column(settled, |row| row.class.map(ErrorClass::name)).into(),
        column(settled, |row| row.error.as_deref()).into(),
        column(settled, |row| row.wait.as_secs_f64()).into(),
        column(settled, |row| i32::from(row.refund)).into(),
        // Below zero: for deletes alone.
        column(settled, |row| {
            row.hold.map(|hold| {
                let seconds = hold.as_secs_f64();
                if row.hold_deletes_only {
                    -seconds
                } else {
                    seconds
                }
            })
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
