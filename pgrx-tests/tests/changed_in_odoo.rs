//! Records that changed in Odoo while rows for them waited, as `ops.odoo_sync_config` says what becomes of them.

use pg_etl_tests::prelude::*;

fn configure(db: &mut Client, model: &str, value: Value) {
    db.execute(
        "INSERT INTO ops.odoo_sync_config (key, value) VALUES ('sb_to_odoo:' || $1, $2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        &[&model, &value],
    )
    .expect("a configuration");
}

fn reference(bench: &Bench, order: i64) -> Value {
    let orders = bench.sim().records("sale.order");
    let order = orders.iter().find(|record| record["id"] == json!(order));
    order.expect("the order")["client_order_ref"].clone()
}

#[test]
fn a_locked_record_is_left_alone_skipped_or_reset() {
    let methods = json!([
        "sale.order.action_quotation_sent",
        "sale.order.action_draft"
    ]);
    let bench = Bench::builder().option("allow_methods", methods).start();
    let mut db = bench.client();
    let draft = json!([["state", "=", "draft"]]);
    configure(&mut db, "sale.order", json!({"editable_when": draft}));
    let buyer = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Buyer"}),
        Some("buyer"),
    );
    let buyer = db.await_status(buyer, "done").record();
    let values = json!({"partner_id": buyer, "client_order_ref": "first"});
    let order = db.enqueue("sale.order", "upsert", values, Some("o"));
    let order = db.await_status(order, "done").record();
    let sent = json!({"method": "action_quotation_sent"});
    let sent = db.enqueue("sale.order", "call", sent, Some("o"));
    db.await_status(sent, "done");

    let update = json!({"client_order_ref": "second"});
    let update = db.enqueue("sale.order", "update", update, Some("o"));
    let dead = db.await_status(update, "failed");
    assert_eq!(dead.class(), "invalid");
    assert!(dead.error().contains("sb_to_odoo:sale.order"), "{dead:?}");
    assert_eq!(reference(&bench, order), "first");
    let explained: Value = db.one("SELECT etl.explain($1)", &[&update]);
    let asked = &explained["requests"][0]["body"]["domain"];
    assert_eq!(
        *asked,
        json!([["id", "in", [order]], ["state", "=", "draft"]]),
        "{explained}"
    );

    let replay = |db: &mut Client| {
        let _: Option<String> = db.one("SELECT etl.replay($1, force => true)::text", &[&update]);
        db.await_status(update, "done")
    };
    configure(
        &mut db,
        "sale.order",
        json!({"editable_when": draft, "when_locked": "skip"}),
    );
    let skipped = replay(&mut db);
    assert_eq!((skipped.last_error, skipped.error_class), (None, None));
    assert_eq!(reference(&bench, order), "first");

    let reset =
        json!({"editable_when": draft, "when_locked": "reset", "reset_method": "action_draft"});
    configure(&mut db, "sale.order", reset);
    let update = json!({"client_order_ref": "third"});
    let update = db.enqueue("sale.order", "update", update, Some("o"));
    assert_eq!(db.await_status(update, "done").record(), order);
    assert_eq!(reference(&bench, order), "third");
}

#[test]
fn the_new_id_of_a_record_that_was_made_again_comes_back() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let upsert = |db: &mut Client, city: &str| {
        let values = json!({"name": "Ada", "city": city});
        let row = db.enqueue("res.partner", "upsert", values, Some("ada"));
        db.await_status(row, "done").record()
    };
    let first = upsert(&mut db, "London");
    // Someone else deletes it.
    let delete = db.enqueue("res.partner", "delete", json!({"odoo_id": first}), None);
    db.await_status(delete, "done");
    let second = upsert(&mut db, "Turin");
    assert_ne!(first, second);
    let linked: i64 = db.one(
        "SELECT odoo_id FROM etl.links WHERE record_key = 'ada'",
        &[],
    );
    assert_eq!(linked, second);
    let update = json!({"city": "Paris"});
    let update = db.enqueue("res.partner", "update", update, Some("ada"));
    assert_eq!(db.await_status(update, "done").record(), second);
    assert_eq!(bench.sim().partner("Ada")["city"], "Paris");
}
