//! Rows that contradict each other, or what Odoo holds by the time they go.

use pg_etl_tests::PastUs;
use pg_etl_tests::prelude::*;

/// `id` in a payload names the Odoo record; it is never a value, and never an external id.
#[test]
fn a_field_named_id_names_the_record_and_nothing_else() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let ada = db.enqueue("res.partner", "create", json!({"name": "Ada"}), Some("ada"));
    let ada = db.await_status(ada, "done").record();
    let before = sim.external_ids().len();
    for (city, payload) in [
        ("One", json!({"id": ada, "city": "One"})),
        ("Two", json!({"odoo_id": ada, "id": 0, "city": "Two"})),
        ("Three", json!({"id": ada.to_string(), "city": "Three"})),
    ] {
        for (operation, key) in [("update", None), ("upsert", Some("ada"))] {
            let id = db.insert("res.partner", operation, &payload, key);
            let row = db.await_status(id, "done");
            assert_eq!(
                (row.record(), &sim.partner("Ada")["city"]),
                (ada, &json!(city)),
                "{operation} {payload}"
            );
        }
    }
    // Not known: a new record each.
    for (number, id) in [json!(0), Value::Null, json!(false), json!("")]
        .into_iter()
        .enumerate()
    {
        let name = format!("New {number}");
        let row = db.insert(
            "res.partner",
            "create",
            &json!({"id": id, "name": name}),
            Some(&name),
        );
        let made = db.await_status(row, "done").record();
        assert_eq!(sim.partner(&name)["id"], json!(made));
    }
    assert_eq!(sim.external_ids().len(), before + 4);
    // An external id, another notation of the same, and what load() would read as a way to a record: no value of a partner.
    for payload in [
        json!({"id": "base.main_partner", "name": "Hijacked"}),
        json!({".id": 1, "name": "Hijacked"}),
        json!({"parent_id/id": "base.main_partner", "name": "Hijacked"}),
        json!({"parent_id/.id": 1, "name": "Hijacked"}),
        json!({"child_ids/name": "x", "name": "Hijacked"}),
    ] {
        let id = db.insert("res.partner", "create", &payload, None);
        let row = db.await_status(id, "failed");
        assert!(
            !row.error().is_empty() && !row.class().is_empty(),
            "{payload}: {row:?}"
        );
    }
    assert_eq!(sim.partners("Hijacked").len(), 0);
    db.the_rest_goes_on();
}

/// Without a "key" a line has its position, and only in a create.
#[test]
fn a_line_without_an_identity_is_refused_where_it_could_be_doubled() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let buyer = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Buyer"}),
        Some("buyer"),
    );
    db.await_status(buyer, "done");
    let line = |text: &str| json!({"display_type": "line_note", "name": text});
    let order = json!({"partner_id": {"key": "buyer"}, "order_line": [line("a"), line("b")]});
    let made = db.enqueue("sale.order", "create", order, Some("order"));
    db.await_status(made, "done");
    assert_eq!(sim.records("sale.order.line").len(), 2);
    for operation in ["update", "upsert"] {
        let change = db.insert(
            "sale.order",
            operation,
            &json!({"partner_id": {"key": "buyer"}, "order_line": [line("c")]}),
            Some("order"),
        );
        let row = db.await_status(change, "failed");
        println!("{operation}: {} {}", row.class(), row.error());
        assert!(
            row.error().contains("order_line") && row.error().contains("key"),
            "{row:?}"
        );
    }
    assert_eq!(sim.records("sale.order.line").len(), 2);
    // Lines that are no objects, and a key that two of them share.
    for lines in [
        json!(["text"]),
        json!([1]),
        json!("text"),
        json!([{"key": "1", "name": "a"}, {"key": "1", "name": "b"}]),
    ] {
        let id = db.insert(
            "sale.order",
            "update",
            &json!({"order_line": lines}),
            Some("order"),
        );
        let row = db.await_status(id, "failed");
        println!("{lines}: {} {}", row.class(), row.error());
        assert!(row.error().contains("order_line"), "{lines}: {row:?}");
    }
    db.the_rest_goes_on();
}

/// Order is that of the ids, whatever the clocks of the writers said.
#[test]
fn ids_decide_and_not_created_at() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let ada = db.enqueue("res.partner", "create", json!({"name": "Ada"}), Some("ada"));
    db.await_status(ada, "done");
    db.run("SELECT etl.pause()");
    let written = |db: &mut Client, city: &str, age: &str| {
        let id = db.insert("res.partner", "update", &json!({"city": city}), Some("ada"));
        db.run(&format!(
            "UPDATE ops.odoo_outbox SET created_at = now() - interval '{age}' WHERE id = {id}"
        ));
        id
    };
    // The older by id claims to be the younger.
    let first = written(&mut db, "First", "1 minute");
    let second = written(&mut db, "Second", "1 hour");
    assert!(first < second);
    db.run("SELECT etl.resume()");
    db.await_status(first, "done");
    db.await_status(second, "done");
    assert_eq!(sim.partner("Ada")["city"], "Second");
    // One statement, rows in the opposite order of their times; the next one is a correction.
    db.run("INSERT INTO ops.odoo_outbox (model, operation, payload, record_key, idempotency_key, created_at)
            SELECT 'res.partner', 'update', jsonb_build_object('city', 'Number ' || i), 'ada', 'n' || i, now() - i * interval '1 day'
            FROM generate_series(1, 5) i ORDER BY i");
    db.await_empty(PATIENCE);
    assert_eq!(sim.partner("Ada")["city"], "Number 5");
}

/// Somebody deletes a record in Odoo while changes of it wait: each says so, none blocks, none makes the record again.
#[test]
fn a_record_that_was_deleted_in_odoo_is_missed_in_words() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let ada = db.enqueue("res.partner", "create", json!({"name": "Ada"}), Some("ada"));
    let ada = db.await_status(ada, "done").record();
    let bob = db.enqueue("res.partner", "create", json!({"name": "Bob"}), Some("bob"));
    let bob = db.await_status(bob, "done").record();
    db.run("SELECT etl.pause()");
    let gone = [
        db.enqueue(
            "res.partner",
            "update",
            json!({"city": "Late"}),
            Some("ada"),
        ),
        db.enqueue(
            "res.partner",
            "update",
            json!({"odoo_id": ada, "city": "Late"}),
            None,
        ),
    ];
    let refers = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Child", "parent_id": ada}),
        Some("child"),
    );
    let deleted = db.enqueue("res.partner", "delete", json!({}), Some("ada"));
    let lives = db.enqueue(
        "res.partner",
        "update",
        json!({"city": "There"}),
        Some("bob"),
    );
    sim.unlink("res.partner", ada);
    db.run("SELECT etl.resume()");
    for id in gone {
        let row = db.await_status(id, "failed");
        println!("{} {}", row.class(), row.error());
        assert_eq!(row.class(), "missing", "{row:?}");
        assert!(row.error().contains(&ada.to_string()), "{row:?}");
    }
    let row = db.await_status(refers, "failed");
    println!("{} {}", row.class(), row.error());
    assert!(!row.error().is_empty());
    // It is gone: what a delete is for.
    db.await_status(deleted, "done");
    assert_eq!(db.await_status(lives, "done").record(), bob);
    assert!(sim.partners("Ada").is_empty() && sim.partners("Child").is_empty());
    // An upsert may make it anew.
    let again = db.enqueue("res.partner", "upsert", json!({"name": "Ada"}), Some("ada"));
    let row = db.await_status(again, "done");
    assert_eq!(sim.partner("Ada")["id"], json!(row.record()));
    assert_ne!(row.record(), ada);
    let changed = db.enqueue(
        "res.partner",
        "update",
        json!({"city": "Again"}),
        Some("ada"),
    );
    db.await_status(changed, "done");
    assert_eq!(sim.partner("Ada")["city"], "Again");
}
