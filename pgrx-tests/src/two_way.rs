//! A two-way table of three customers beside a simulated Odoo, for the tests of both ways.

use postgres::Client;
use serde_json::{Map, Value, json};

use crate::bench::Bench;
use crate::client::Sql;
use crate::past_us::PastUs;
use crate::wait::{PATIENCE, eventually};

/// The table.
pub const CUSTOMERS: &str = "CREATE TABLE customers (id int PRIMARY KEY, full_name text NOT NULL, email varchar(40), phone text, note text, boss int)";
/// Its mapping.
pub const FIELDS: &str = r#"{"name": "full_name", "email": "email", "phone": {"column": "phone"}, "comment": {"sql": "upper(note)"},
    "parent_id": {"column": "boss", "ref": "customers"}}"#;

/// Three customers that both sides have, and nothing on its way.
#[track_caller]
pub fn in_step(wins: &str) -> (Bench, Client) {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(&format!(
        "{CUSTOMERS}; INSERT INTO customers VALUES (1, 'Ada', 'ada@x.test', '1', 'first', NULL), (2, 'Bob', NULL, NULL, NULL, 1), (3, 'Cy', 'cy@x.test', '3', NULL, NULL);
         SELECT etl.mirror('res.partner')"
    ));
    let said: Value = db.one(
        &format!("SELECT etl.track('customers', 'res.partner', '{FIELDS}', two_way => '{wins}')"),
        &[],
    );
    assert_eq!(
        said["both_ways"],
        json!(["email", "name", "parent_id", "phone"])
    );
    assert_eq!(said["one_way"], json!(["comment"]));
    // By itself: what is there already goes too.
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    db.await_empty(PATIENCE);
    assert_eq!(db.count("done"), 3);
    pull(&mut db);
    db.run("DELETE FROM ops.odoo_outbox");
    (bench, db)
}

/// What changed in Odoo comes in.
#[track_caller]
pub fn pull(db: &mut Client) {
    db.one::<Value>("SELECT etl.pull('res.partner')", &[]);
}

/// As somebody in Odoo would change it.
#[track_caller]
pub fn write(bench: &Bench, id: i64, values: Value) {
    bench
        .sim()
        .call("res.partner", "write", json!({"ids": [id], "vals": values}));
}

/// The record, as Odoo has it.
#[track_caller]
pub fn in_odoo(bench: &Bench, id: i64) -> Map<String, Value> {
    let mut found = bench.sim().records("res.partner");
    found.retain(|record| record["id"] == json!(id));
    found.remove(0)
}

/// The record of a row.
#[track_caller]
pub fn odoo_id(db: &mut Client, key: i32) -> i64 {
    db.one(
        "SELECT odoo_id FROM etl.tracked_records('customers') WHERE key = $1::int::text",
        &[&key],
    )
}

/// The row of a key.
#[track_caller]
pub fn row(db: &mut Client, key: i32) -> Value {
    db.one(
        "SELECT to_jsonb(c) FROM customers c WHERE id = $1::int",
        &[&key],
    )
}

/// Payloads of what was enqueued, oldest first.
#[track_caller]
pub fn enqueued(db: &mut Client) -> Vec<Value> {
    db.all("SELECT payload FROM ops.odoo_outbox ORDER BY id", &[])
}

/// What both sides changed, and who won.
#[track_caller]
pub fn conflicts(db: &mut Client) -> Vec<Value> {
    db.all(
        "SELECT jsonb_build_object('field', field, 'odoo', odoo_value, 'local', local_value, 'winner', winner) FROM etl.conflicts ORDER BY id",
        &[],
    )
}
