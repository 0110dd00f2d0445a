//! A key of Odoo's that ends soon.

use std::time::Duration;

use postgres::Client;
use serde_json::json;

use crate::client::Sql;
use crate::wait::eventually;

/// Health warns of a key that ends in nine days, when the worker has asked Odoo.
#[track_caller]
pub fn assert_key_ends_in_nine_days(db: &mut Client) {
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    db.await_status(id, "done");
    let mut n = 0;
    eventually(Duration::from_secs(150), "the key to be seen", || {
        // A worker that nothing wakes does not ask.
        n += 1;
        if n % 20 == 0 {
            db.enqueue(
                "res.partner",
                "create",
                json!({"name": n.to_string()}),
                None,
            );
        }
        db.one::<i64>(
            "SELECT count(*) FROM etl.health_report() WHERE component = 'api key odoo'",
            &[],
        ) == 1
    });
    let line = db.health("api key odoo");
    assert_eq!(db.health_status("api key odoo"), "warn", "{line}");
    assert!(line.contains("9 days"), "{line}");
}
