//! What the tests stand on: a database that is set up, and a worker whose every step they take themselves.

use pg_etl_core::outbox::{ClaimedRows, Cursor, Remaining, Settled};
use pgrx::datum::{DatumWithOid, FromDatum, IntoDatum};
use pgrx::prelude::*;

use crate::outbox::store::{self, Statements, Tally, Wanted};

/// Sets up and makes the connection `odoo`. The resident worker sees nothing of it: it is never committed.
pub fn set_up() {
    run("SELECT etl.setup()");
    run("SELECT etl.set_connection('odoo', 'odoo', 'http://127.0.0.1:9', '{}', 'env:ETL_NOBODY')");
}

pub fn run(sql: &str) {
    Spi::run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The first column of the first row.
pub fn one<T: FromDatum + IntoDatum>(sql: &str) -> T {
    maybe(sql).unwrap_or_else(|| panic!("{sql}: nothing, or NULL"))
}

/// The statement runs to its end: cut off after the first row, as `Spi::get_one` does it, an INSERT fires no statement trigger.
pub fn maybe<T: FromDatum + IntoDatum>(sql: &str) -> Option<T> {
    let found = Spi::connect_mut(|client| {
        let table = client.update(sql, None, &[])?;
        if table.is_empty() {
            Ok(None)
        } else {
            table.first().get_one()
        }
    });
    found.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// What a refused statement says.
pub struct Refused {
    pub sqlstate: String,
    pub message: String,
    pub hint: String,
}

/// Runs what must be refused; the transaction goes on afterwards.
pub fn refused(sql: &str) -> Refused {
    run("CREATE OR REPLACE FUNCTION pg_temp.refused(statement text) RETURNS text[] LANGUAGE plpgsql AS $$
         DECLARE message text; hint text;
         BEGIN
           EXECUTE statement;
           RETURN NULL;
         EXCEPTION WHEN OTHERS THEN
           GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
           RETURN ARRAY[SQLSTATE, message, hint];
         END $$");
    let args: [DatumWithOid<'_>; 1] = [sql.to_owned().into()];
    let said = Spi::get_one_with_args::<Vec<String>>("SELECT pg_temp.refused($1)", &args)
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
        .unwrap_or_else(|| panic!("not refused: {sql}"));
    let [sqlstate, message, hint] = <[String; 3]>::try_from(said).expect("three texts");
    Refused {
        sqlstate,
        message,
        hint,
    }
}

/// A row with a record key, as a plain INSERT makes it; gives its id.
pub fn insert(record_key: Option<&str>) -> i64 {
    let key = record_key.map_or("NULL".to_owned(), |key| format!("'{key}'"));
    insert_row(&format!("record_key => {key}"))
}

/// A row with what differs from an upsert of a partner: `column => value`, separated by `; `.
pub fn insert_row(differences: &str) -> i64 {
    let mut columns = vec![
        ("model", "'res.partner'"),
        ("operation", "'upsert'"),
        ("payload", "'{\"name\": \"Ada\"}'"),
        ("idempotency_key", "gen_random_uuid()::text"),
    ];
    for difference in differences.split("; ") {
        let (name, value) = difference.split_once(" => ").expect("column => value");
        columns.retain(|(known, _)| *known != name);
        columns.push((name, value));
    }
    let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    one(&format!(
        "INSERT INTO ops.odoo_outbox ({}) VALUES ({}) RETURNING id",
        names.join(", "),
        values.join(", ")
    ))
}

/// The ids that wait, as the queue says.
pub fn queued() -> Vec<i64> {
    one("SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM etl.queue")
}

/// The counts are what counting says.
pub fn counted() {
    let miscounted: i64 = one(
        "SELECT count(*) FROM (SELECT connection, model, operation, CASE status WHEN 'processing' THEN 'queued' ELSE status END AS status, count(*) AS rows
                               FROM ops.odoo_outbox GROUP BY 1, 2, 3, 4) o
         FULL JOIN (SELECT connection, model, operation, status, sum(rows) AS rows FROM etl.counts GROUP BY 1, 2, 3, 4 HAVING sum(rows) <> 0) c
           USING (connection, model, operation, status)
         WHERE o.rows IS DISTINCT FROM c.rows",
    );
    assert_eq!(
        miscounted, 0,
        "what etl.counts says otherwise than the outbox"
    );
    let given_up: bool = one(
        "SELECT (SELECT array_agg(id ORDER BY id) FROM etl.failures) IS NOT DISTINCT FROM (SELECT array_agg(id ORDER BY id) FROM ops.odoo_outbox WHERE status = 'failed')",
    );
    assert!(given_up, "etl.failures are the dead letters");
}

/// Takes back what dead workers held; the counts are right then too.
pub fn recover(own: i64) -> Tally {
    let tally = store::recover(own);
    counted();
    tally
}

pub fn status(id: i64) -> String {
    one(&format!(
        "SELECT status FROM ops.odoo_outbox WHERE id = {id}"
    ))
}

/// A worker that claims and settles when it is told to.
#[derive(Default)]
pub struct Hand {
    statements: Statements,
}

/// The number of a worker that is no session: dead, as far as anyone can tell.
pub const NOBODY: i64 = 4_000_000_000_000;

impl Hand {
    pub fn claim(&mut self, rows: usize) -> ClaimedRows {
        self.claim_from(Cursor::START, rows, i64::MAX)
    }

    pub fn claim_from(&mut self, cursor: Cursor, rows: usize, bytes: i64) -> ClaimedRows {
        self.claim_within(cursor, rows, rows, bytes)
    }

    /// `rows` of a window that is larger.
    pub fn claim_within(
        &mut self,
        cursor: Cursor,
        window: usize,
        rows: usize,
        bytes: i64,
    ) -> ClaimedRows {
        let wanted = Wanted {
            window,
            connection: "odoo",
            cursor,
            rows,
            bytes,
            owner: NOBODY,
            run: None,
        };
        store::claim(&mut self.statements, &wanted)
    }

    pub fn claimed_ids(&mut self, rows: usize) -> Vec<i64> {
        ids(&self.claim(rows))
    }

    pub fn settle(&mut self, claim: i64, settled: Vec<Settled>) -> Tally {
        self.settle_part(claim, settled, Remaining::default())
    }

    pub fn settle_part(
        &mut self,
        claim: i64,
        settled: Vec<Settled>,
        remaining: Remaining,
    ) -> Tally {
        let rows: Vec<(i64, &Settled)> = settled.iter().map(|row| (claim, row)).collect();
        let remaining = [Remaining { claim, ..remaining }];
        let tallies = store::settle(&mut self.statements, &rows, &remaining);
        counted();
        let tally = tallies.into_iter().find(|(of, _)| *of == claim);
        tally.map(|(_, tally)| tally).unwrap_or_default()
    }
}

pub fn ids(claimed: &ClaimedRows) -> Vec<i64> {
    claimed.rows.iter().map(|row| row.id).collect()
}

/// The settlement of the claimed row `id`, delivered; what differs is for the caller to change.
pub fn delivered(claimed: &ClaimedRows, id: i64) -> Settled {
    let row = claimed
        .rows
        .iter()
        .find(|row| row.id == id)
        .expect("a claimed row");
    Settled {
        odoo_id: Some(7),
        ..Settled::done(id, row.key)
    }
}
