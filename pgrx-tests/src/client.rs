//! What tests say to the database, and what they see of the outbox.

use std::time::{Duration, SystemTime};

use postgres::Client;
use postgres::types::{FromSqlOwned, ToSql};
use serde_json::{Value, json};

use crate::wait::{PATIENCE, eventually, eventually_some};

/// A row of `ops.odoo_outbox`, as a user reads it.
#[derive(Debug, Clone)]
pub struct OutboxRow {
    pub id: i64,
    pub status: String,
    pub attempts: i32,
    pub crashes: i32,
    pub odoo_id: Option<i64>,
    pub error_class: Option<String>,
    pub last_error: Option<String>,
    pub next_run_at: Option<SystemTime>,
    pub claim: Option<i64>,
    pub run_id: Option<i64>,
}

impl OutboxRow {
    /// `last_error`, empty where there is none.
    pub fn error(&self) -> &str {
        self.last_error.as_deref().unwrap_or_default()
    }

    pub fn class(&self) -> &str {
        self.error_class.as_deref().unwrap_or_default()
    }

    /// The Odoo record it became.
    #[track_caller]
    pub fn record(&self) -> i64 {
        self.odoo_id
            .unwrap_or_else(|| panic!("no Odoo id on {self:?}"))
    }
}

/// Short forms for tests, on top of a plain client. Everything panics with the server's own words when it fails.
pub trait Sql {
    /// Runs statements without arguments.
    fn run(&mut self, sql: &str);
    /// The first column of the only row.
    fn one<T: FromSqlOwned>(&mut self, sql: &str, arguments: &[&(dyn ToSql + Sync)]) -> T;
    /// The first column of all rows.
    fn all<T: FromSqlOwned>(&mut self, sql: &str, arguments: &[&(dyn ToSql + Sync)]) -> Vec<T>;
    /// The error of a statement that must fail.
    fn refused(&mut self, sql: &str) -> postgres::error::DbError;

    /// `etl.enqueue` with the arguments that most tests give.
    fn enqueue(
        &mut self,
        model: &str,
        operation: &str,
        payload: Value,
        record_key: Option<&str>,
    ) -> i64;
    /// A plain INSERT, as anyone who could do it before still does it. Gives the id.
    fn insert(
        &mut self,
        model: &str,
        operation: &str,
        payload: &Value,
        record_key: Option<&str>,
    ) -> i64;
    fn row(&mut self, id: i64) -> OutboxRow;
    /// Rows of a status.
    fn count(&mut self, status: &str) -> i64;
    /// Waits until the row has that status; fails at once when it ends in another one.
    fn await_status(&mut self, id: i64, status: &str) -> OutboxRow;
    /// A good row that comes now is delivered, whatever was queued before it.
    fn the_rest_goes_on(&mut self);
    /// Waits until nothing is queued or on its way.
    fn await_empty(&mut self, limit: Duration);
    /// Waits for that too, and for no row to have met a failure.
    fn settled(&mut self);
    /// `etl.drain_outbox()`.
    fn drain(&mut self) -> Value;
    /// One line of `etl.health_report()`: status, value, detail and remedy in one text, empty when there is none.
    fn health(&mut self, component_like: &str) -> String;
    /// Status of one component of health, by the report and by the JSON, which must agree.
    fn health_status(&mut self, component: &str) -> String;
    /// A column of `etl.connections_status` for the connection `odoo`.
    fn connection(&mut self, column: &str) -> String;
}

impl Sql for Client {
    #[track_caller]
    fn run(&mut self, sql: &str) {
        if let Err(error) = self.batch_execute(sql) {
            panic!("{sql}\nfailed: {}", words(&error));
        }
    }

    #[track_caller]
    fn one<T: FromSqlOwned>(&mut self, sql: &str, arguments: &[&(dyn ToSql + Sync)]) -> T {
        match self.query_one(sql, arguments) {
            Ok(row) => row.get(0),
            Err(error) => panic!("{sql}\nfailed: {}", words(&error)),
        }
    }

    #[track_caller]
    fn all<T: FromSqlOwned>(&mut self, sql: &str, arguments: &[&(dyn ToSql + Sync)]) -> Vec<T> {
        match self.query(sql, arguments) {
            Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
            Err(error) => panic!("{sql}\nfailed: {}", words(&error)),
        }
    }

    #[track_caller]
    fn refused(&mut self, sql: &str) -> postgres::error::DbError {
        match self.batch_execute(sql) {
            Ok(()) => panic!("must be refused: {sql}"),
            Err(error) => error
                .as_db_error()
                .cloned()
                .unwrap_or_else(|| panic!("{sql}\nended with: {}", words(&error))),
        }
    }

    #[track_caller]
    fn enqueue(
        &mut self,
        model: &str,
        operation: &str,
        payload: Value,
        record_key: Option<&str>,
    ) -> i64 {
        self.one(
            "SELECT etl.enqueue($1, $2, $3, record_key => $4)",
            &[&model, &operation, &payload, &record_key],
        )
    }

    #[track_caller]
    fn insert(
        &mut self,
        model: &str,
        operation: &str,
        payload: &Value,
        record_key: Option<&str>,
    ) -> i64 {
        self.one(
            "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, record_key) VALUES ($1, $2, $3, gen_random_uuid()::text, $4) RETURNING id",
            &[&model, &operation, payload, &record_key],
        )
    }

    #[track_caller]
    fn row(&mut self, id: i64) -> OutboxRow {
        let sql = "SELECT id, status, attempts, crashes::int, odoo_id, error_class, last_error, next_run_at, claim, run_id
                   FROM ops.odoo_outbox WHERE id = $1";
        match self.query_one(sql, &[&id]) {
            Ok(row) => OutboxRow {
                id: row.get(0),
                status: row.get(1),
                attempts: row.get(2),
                crashes: row.get(3),
                odoo_id: row.get(4),
                error_class: row.get(5),
                last_error: row.get(6),
                next_run_at: row.get(7),
                claim: row.get(8),
                run_id: row.get(9),
            },
            Err(error) => panic!("outbox row {id}: {}", words(&error)),
        }
    }

    #[track_caller]
    fn count(&mut self, status: &str) -> i64 {
        self.one(
            "SELECT count(*) FROM ops.odoo_outbox WHERE status = $1",
            &[&status],
        )
    }

    #[track_caller]
    fn await_status(&mut self, id: i64, status: &str) -> OutboxRow {
        eventually_some(PATIENCE, &format!("row {id} to be {status}"), || {
            let row = self.row(id);
            let ended = matches!(row.status.as_str(), "done" | "failed" | "cancelled");
            assert!(
                !ended || row.status == status,
                "must become {status}: {row:?}"
            );
            if row.status == status {
                Ok(row)
            } else {
                Err(Box::new(row))
            }
        })
    }

    #[track_caller]
    fn the_rest_goes_on(&mut self) {
        let good = self.enqueue("res.partner", "create", json!({"name": "Good"}), None);
        self.await_status(good, "done");
    }

    #[track_caller]
    fn await_empty(&mut self, limit: Duration) {
        eventually(limit, "an outbox without queued or processing rows", || {
            self.one::<i64>(
                "SELECT count(*) FROM ops.odoo_outbox WHERE status IN ('queued', 'processing')",
                &[],
            ) == 0
        });
    }

    #[track_caller]
    fn settled(&mut self) {
        self.await_empty(PATIENCE);
        let failures: Option<String> = self.one(
            "SELECT string_agg(last_error, '; ') FROM ops.odoo_outbox WHERE last_error IS NOT NULL",
            &[],
        );
        assert_eq!(failures, None);
    }

    #[track_caller]
    fn drain(&mut self) -> Value {
        self.one("SELECT etl.drain_outbox()", &[])
    }

    #[track_caller]
    fn health(&mut self, component_like: &str) -> String {
        let lines: Vec<String> = self.all(
            "SELECT concat_ws(' | ', component, status, value, detail, remedy) FROM etl.health_report() WHERE component LIKE $1",
            &[&component_like],
        );
        lines.join("\n")
    }

    #[track_caller]
    fn health_status(&mut self, component: &str) -> String {
        let both: Vec<String> = self.one(
            "SELECT ARRAY[(SELECT status FROM etl.health_report() WHERE component = $1), etl.health() -> 'checks' -> replace($1, ' ', '_') ->> 'status']",
            &[&component],
        );
        assert_eq!(both[0], both[1], "{component}");
        both[0].clone()
    }

    #[track_caller]
    fn connection(&mut self, column: &str) -> String {
        self.one(&format!("SELECT coalesce({column}::text, '') FROM etl.connections_status WHERE connection = 'odoo'"), &[])
    }
}

/// What the server said, all of it.
fn words(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!(
            "{} {}\nDETAIL: {}\nHINT: {}",
            said.code().code(),
            said.message(),
            said.detail().unwrap_or_default(),
            said.hint().unwrap_or_default()
        ),
        None => error.to_string(),
    }
}
