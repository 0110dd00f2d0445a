//! The main job: what commits in Postgres is in Odoo, once, through every operation and both protocols.

use odoo_sim::Poison;
use pg_etl_tests::Seen;
use pg_etl_tests::prelude::*;

/// Records of every kind are made, changed, confirmed and deleted.
fn every_operation_arrives(protocol: &str) {
    let bench = Bench::builder().option("protocol", json!(protocol)).start();
    let (mut db, sim) = (bench.client(), bench.sim());
    db.run(
        r#"INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
           VALUES ('res.partner', 'create', '{"name": "Plain Insert"}', 'plain')"#,
    );
    let lagoon = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Lagoon", "is_company": true}),
        Some("partner:lagoon"),
    );
    db.enqueue(
        "res.partner",
        "update",
        json!({"phone": "+354 555 0101"}),
        Some("partner:lagoon"),
    );
    db.enqueue(
        "res.partner",
        "upsert",
        json!({"name": "Harbour"}),
        Some("partner:harbour"),
    );
    db.enqueue(
        "res.partner",
        "upsert",
        json!({"name": "Harbour", "city": "Kopavogur"}),
        Some("partner:harbour"),
    );
    db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Short Lived"}),
        Some("partner:short"),
    );
    let gone = db.enqueue("res.partner", "delete", json!({}), Some("partner:short"));
    let product = db.enqueue(
        "product.product",
        "create",
        json!({"name": "Skyr", "list_price": 5}),
        Some("product:skyr"),
    );
    db.await_empty(PATIENCE);
    let (lagoon, product) = (
        db.await_status(lagoon, "done"),
        db.await_status(product, "done"),
    );

    let order = json!({"partner_id": {"key": "partner:lagoon"}, "order_line": [
        {"key": "1", "product_id": product.record(), "product_uom_qty": 2},
        {"key": "2", "product_id": product.record(), "product_uom_qty": 3, "price_unit": 4},
    ]});
    let order = db.enqueue("sale.order", "create", order, Some("order:1"));
    let confirm = json!({"method": "action_confirm", "unless": [["state", "=", "sale"]]});
    let confirm = db.enqueue("sale.order", "call", confirm, Some("order:1"));
    let order = db.await_status(order, "done");
    let confirm = db.await_status(confirm, "done");
    db.await_empty(PATIENCE);

    assert_eq!(
        db.count("failed"),
        0,
        "{:?}",
        db.all::<String>("SELECT last_error FROM etl.dead_letters", &[])
    );
    sim.partner("Plain Insert");
    let held = sim.partner("Lagoon");
    assert_eq!(
        (held["id"].as_i64(), held["phone"].as_str()),
        (lagoon.odoo_id, Some("+354 555 0101"))
    );
    assert_eq!(sim.partner("Harbour")["city"], "Kopavogur");
    assert_eq!(db.row(gone).status, "done");
    assert!(sim.partners("Short Lived").is_empty());
    let orders = sim.records("sale.order");
    assert_eq!(
        (orders.len(), &orders[0]["state"], orders[0]["id"].as_i64()),
        (1, &json!("sale"), order.odoo_id)
    );
    assert_eq!(confirm.odoo_id, order.odoo_id);
    let quantities: Vec<Value> = sim
        .records("sale.order.line")
        .iter()
        .map(|line| line["product_uom_qty"].clone())
        .collect();
    assert_eq!(quantities, [json!(2.0), json!(3.0)]);
    assert!(sim.requests().iter().all(|call| call.protocol
        != if protocol == "json2" {
            "jsonrpc"
        } else {
            "json2"
        }));
}

#[test]
fn every_operation_arrives_over_json2() {
    every_operation_arrives("json2");
}

#[test]
fn every_operation_arrives_over_jsonrpc() {
    every_operation_arrives("jsonrpc");
}

/// A thousand rows are a handful of calls, not a thousand.
#[test]
fn a_batch_takes_few_calls() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    db.run(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
         SELECT 'res.partner', 'create', jsonb_build_object('name', 'Row ' || i), 'row-' || i FROM generate_series(1, 1000) i",
    );
    db.await_empty(PATIENCE);
    assert_eq!((db.count("done"), db.count("failed")), (1_000, 0));
    let names = sim.partner_names("Row ");
    let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
    assert_eq!((names.len(), distinct.len()), (1_000, 1_000));
    let loads = sim.calls("load").len();
    assert!(
        (1..=10).contains(&loads),
        "{loads} loads for 1000 rows of one model and field set"
    );
    assert!(
        sim.requests().len() <= 20,
        "{} requests",
        sim.requests().len()
    );
}

/// One row that Odoo refuses costs its neighbours nothing, neither as creates nor as updates.
#[test]
fn a_poisoned_row_fails_alone() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let message = "Mallory may not be a customer.";
    sim.poison(Poison {
        message: message.into(),
        ..Poison::new("res.partner", "name", "Mallory")
    });
    let insert = |db: &mut Client, operation: &str, bad: i32| {
        db.run(&format!(
            "INSERT INTO ops.odoo_outbox (model, operation, payload, record_key, idempotency_key)
             SELECT 'res.partner', '{operation}', jsonb_build_object('name', CASE WHEN i = {bad} THEN 'Mallory' ELSE 'Guest ' || i END, 'city', '{operation}'),
                    'guest:' || i, '{operation}-' || i
             FROM generate_series(1, 60) i"
        ));
        db.await_empty(PATIENCE);
    };
    insert(&mut db, "create", 41);
    insert(&mut db, "update", 7);

    let dead = db.query("SELECT idempotency_key, error_class, last_error, attempts FROM ops.odoo_outbox WHERE status = 'failed' ORDER BY id", &[]).unwrap();
    let dead: Vec<(String, String, String, i32)> = dead
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect();
    let keys: Vec<&str> = dead.iter().map(|row| row.0.as_str()).collect();
    // Guest 41 was never made, so its update has nothing to change; the poison of the update hits guest 7 only.
    assert_eq!(keys, ["create-41", "update-7", "update-41"], "{dead:?}");
    for (key, class, error, attempts) in &dead[..2] {
        assert_eq!((class.as_str(), *attempts), ("invalid", 1), "{key}");
        assert!(
            error.contains(message) && !error.contains("Traceback"),
            "{key}: {error}"
        );
    }
    let burnt: i64 = db.one("SELECT count(*) FROM ops.odoo_outbox WHERE attempts <> 1 AND idempotency_key <> 'update-41'", &[]);
    assert_eq!(burnt, 0, "rows that paid for a neighbour");
    assert_eq!(sim.partner_names("Guest ").len(), 59);
    let updated = sim.having("res.partner", "city", "update").len();
    assert_eq!(updated, 58);
}

/// A dead letter tells Odoo's own reason without a traceback; the corrected row is delivered by a replay.
#[test]
fn a_corrected_dead_letter_is_delivered_by_replay() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let id = db.enqueue(
        "res.partner",
        "create",
        json!({"email": "nameless@example.com"}),
        Some("partner:nameless"),
    );
    let dead = db.await_status(id, "failed");
    assert_eq!(dead.class(), "invalid");
    assert!(
        dead.error().to_lowercase().contains("name") && !dead.error().contains("Traceback"),
        "{}",
        dead.error()
    );
    let replay: String = db.one(
        "SELECT replay_with FROM etl.dead_letters WHERE id = $1",
        &[&id],
    );

    db.execute(
        "UPDATE ops.odoo_outbox SET payload = payload || '{\"name\": \"Named\"}' WHERE id = $1",
        &[&id],
    )
    .unwrap();
    assert_eq!(
        db.one::<String>(replay.trim_end_matches(';'), &[]),
        "queued"
    );
    let done = db.await_status(id, "done");
    assert_eq!(
        (
            done.attempts,
            done.last_error.clone(),
            done.error_class.clone()
        ),
        (1, None, None),
        "{done:?}"
    );
    assert_eq!(
        bench.sim().partner("Named")["email"],
        "nameless@example.com"
    );
    let again = db.refused(&format!("SELECT etl.replay({id})"));
    assert!(
        again.hint().unwrap_or_default().contains("force => true"),
        "{again:?}"
    );
}
