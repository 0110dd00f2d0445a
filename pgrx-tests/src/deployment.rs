//! A deployment that was there before pg_etl, and was adopted.

use postgres::Client;
use serde_json::json;

use crate::bench::Bench;
use crate::client::Sql;
use crate::wait::PATIENCE;

/// Tables, rows, owners, grants and a capture trigger of such a deployment.
pub const OLD_DEPLOYMENT: &str = include_str!("../tests/fixtures/old_deployment.sql");

/// An adopted deployment that has delivered `ada`, and then waits with three rows: a change of `ada` and two new partners.
#[track_caller]
pub fn adopted_deployment() -> (Bench, Client) {
    // A worker that finds nothing set up looks again soon.
    let bench = Bench::builder()
        .setting("etl.poll_interval", "5s")
        .no_connection()
        .start();
    let mut db = bench.client();
    db.run(OLD_DEPLOYMENT);
    db.run("CREATE INDEX outbox_by_tenant ON ops.odoo_outbox (tenant)");
    db.run("SELECT etl.setup()");
    bench.connect(&mut db, json!({}));
    let ada = db.enqueue("res.partner", "upsert", json!({"name": "Ada"}), Some("ada"));
    db.await_status(ada, "done");
    db.await_empty(PATIENCE);
    db.run("SELECT etl.pause('odoo', 'before the dump')");
    db.enqueue(
        "res.partner",
        "upsert",
        json!({"name": "Ada Lovelace"}),
        Some("ada"),
    );
    db.enqueue("res.partner", "create", json!({"name": "Bob"}), Some("bob"));
    db.run("INSERT INTO public.odoo_partners (name) VALUES ('Cyd')");
    (bench, db)
}
