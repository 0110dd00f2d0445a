//! `kill -9` in the middle: nothing lost, nothing made twice, whatever died and whenever (G2, G4).

use std::collections::BTreeSet;

use pg_etl_tests::prelude::*;

/// While the returned transaction is open no answer can be settled, for settling writes the record's link. Claims go on.
fn no_settling(holder: &mut Client) -> postgres::Transaction<'_> {
    let mut transaction = holder.transaction().unwrap();
    transaction
        .batch_execute("LOCK TABLE etl.links IN SHARE MODE")
        .unwrap();
    transaction
}

#[test]
fn a_create_whose_worker_dies_before_the_settle_is_made_once() {
    let bench = Bench::ready();
    let (mut db, mut holder, sim) = (bench.client(), bench.client(), bench.sim());
    let lock = no_settling(&mut holder);
    let id = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Once"}),
        Some("partner:once"),
    );
    eventually(PATIENCE, "Odoo to hold the record", || {
        sim.partners("Once").len() == 1
    });
    assert_eq!(
        (db.row(id).status.as_str(), db.row(id).attempts),
        ("processing", 1)
    );
    let mut db = bench.kill_worker();
    drop(lock);
    let done = db.await_status(id, "done");
    assert_eq!(
        (done.crashes, done.attempts),
        (1, 2),
        "crashes are counted apart: {done:?}"
    );
    assert_eq!(sim.partner("Once")["id"].as_i64(), done.odoo_id);
    assert_eq!(db.one::<i64>("SELECT count(*) FROM etl.claims", &[]), 0);
}

#[test]
fn an_order_whose_worker_dies_before_the_settle_has_its_two_lines() {
    let bench = Bench::ready();
    let (mut db, mut holder, sim) = (bench.client(), bench.client(), bench.sim());
    let product = db.enqueue(
        "product.product",
        "create",
        json!({"name": "Skyr"}),
        Some("product:skyr"),
    );
    let product = db.await_status(product, "done").record();
    let buyer = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Buyer"}),
        Some("partner:buyer"),
    );
    db.await_status(buyer, "done");
    let lock = no_settling(&mut holder);
    let order = json!({"partner_id": {"key": "partner:buyer"}, "order_line": [
        {"key": "1", "product_id": product, "product_uom_qty": 2}, {"key": "2", "product_id": product, "product_uom_qty": 3},
    ]});
    let id = db.enqueue("sale.order", "create", order, Some("order:1"));
    eventually(PATIENCE, "Odoo to hold the order with its lines", || {
        sim.records("sale.order.line").len() == 2
    });
    let mut db = bench.kill_worker();
    drop(lock);
    assert_eq!(db.await_status(id, "done").crashes, 1);
    let quantities: Vec<Value> = sim
        .records("sale.order.line")
        .iter()
        .map(|line| line["product_uom_qty"].clone())
        .collect();
    assert_eq!(
        (sim.records("sale.order").len(), quantities),
        (1, vec![json!(2.0), json!(3.0)])
    );
}

/// Killed again and again under load, with updates behind creates.
#[test]
fn kills_under_load_lose_nothing_and_double_nothing() {
    const ROWS: i64 = 400;
    let bench = Bench::builder()
        .setting("etl.batch_rows", "25")
        .setting("etl.unknown_grace", "1s")
        .start();
    let sim = bench.sim();
    sim.inject(
        Fault::new(Effect::Delay {
            before_ms: 60,
            after_ms: 60,
        })
        .on("res.partner", "load"),
    );
    let mut db = bench.client();
    db.run("SELECT etl.pause()");
    db.run(&format!(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, record_key, idempotency_key)
         SELECT 'res.partner', operation, jsonb_build_object('name', 'Load ' || i, 'ref', operation), 'load:' || i, operation || i
         FROM unnest(ARRAY['create', 'update']) WITH ORDINALITY AS o (operation, n), generate_series(1, {ROWS}) i ORDER BY n, i"
    ));
    db.run("SELECT etl.resume()");
    for kill in 1..=4 {
        let so_far = db.count("done");
        eventually(
            PATIENCE,
            "some more rows to be done and some to be on their way",
            || {
                let (done, processing) = (db.count("done"), db.count("processing"));
                (done > so_far && processing > 0) || done == 2 * ROWS
            },
        );
        println!("kill {kill} at {} of {} rows", db.count("done"), 2 * ROWS);
        if db.count("done") == 2 * ROWS {
            break;
        }
        db = bench.kill_worker();
    }
    db.await_empty(PATIENCE * 2);
    let crashed: i64 = db.one(
        "SELECT count(*) FROM ops.odoo_outbox WHERE crashes > 0",
        &[],
    );
    println!("{crashed} rows were in the hands of a worker that was killed");
    assert!(crashed > 0, "no kill hit a row");
    assert_eq!(
        (db.count("done"), db.count("failed")),
        (2 * ROWS, 0),
        "{:?}",
        db.all::<String>("SELECT last_error FROM etl.dead_letters", &[])
    );
    let names = sim.partner_names("Load ");
    assert_eq!(
        (
            names.len() as i64,
            names.iter().collect::<BTreeSet<_>>().len() as i64
        ),
        (ROWS, ROWS)
    );
    assert_eq!(
        sim.having("res.partner", "ref", "update").len() as i64,
        ROWS
    );
    assert_eq!(db.one::<i64>("SELECT count(*) FROM etl.claims", &[]), 0);
}

/// pg_terminate_backend with a request on the wire: the next worker knows at once that the owner is dead.
#[test]
fn a_terminated_workers_claims_are_taken_over_at_once() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    sim.inject(Fault::new(Effect::Hang).on("res.partner", "load").times(1));
    let id = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Taken over"}),
        Some("partner:over"),
    );
    eventually(PATIENCE, "the call to hang", || {
        sim.calls("load").len() == 1
    });
    let begin = Instant::now();
    db.run(&format!("SELECT pg_terminate_backend({})", bench.worker()));
    let done = db.await_status(id, "done");
    measure(
        "terminated to delivered",
        begin.elapsed(),
        Duration::from_secs(20),
    );
    assert_eq!(done.crashes, 1);
    sim.partner("Taken over");
}

/// Nobody knows whether a bare call took effect when its worker died: it is not sent again.
#[test]
fn a_bare_call_in_the_hands_of_a_dead_worker_is_not_sent_again() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let buyer = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Buyer"}),
        Some("partner:buyer"),
    );
    db.await_status(buyer, "done");
    let order = db.enqueue("sale.order", "create", json!({"partner_id": {"key": "partner:buyer"}, "order_line": [{"key": "1", "display_type": "line_note", "name": "n"}]}), Some("order:1"));
    let order = db.await_status(order, "done").record();
    sim.inject(Fault::new(Effect::Hang).on("sale.order", "action_confirm"));
    let call = db.enqueue(
        "sale.order",
        "call",
        json!({"method": "action_confirm", "ids": [order]}),
        None,
    );
    eventually(PATIENCE, "the call to hang", || {
        sim.calls("action_confirm").len() == 1
    });
    let mut db = bench.kill_worker();
    let dead = db.await_status(call, "failed");
    assert_eq!(dead.class(), "unknown");
    assert!(dead.error().contains("force => true"), "{}", dead.error());
    sim.clear_faults();
    let later = db.enqueue("res.partner", "create", json!({"name": "Later"}), None);
    db.await_status(later, "done");
    assert_eq!(sim.calls("action_confirm").len(), 1);
    db.run(&format!("SELECT etl.replay({call}, force => true)"));
    db.await_status(call, "done");
}

/// A row that kills whoever sends it ends as a dead letter, and its neighbours are delivered (G2, G6).
#[test]
fn a_row_that_kills_workers_is_given_up_and_its_neighbours_are_not() {
    let bench = Bench::ready();
    let sim = bench.sim();
    let mut db = bench.client();
    db.run("SELECT etl.pause()");
    let poison = db.enqueue(
        "res.partner",
        "update",
        json!({"odoo_id": 1, "city": "Deadly"}),
        None,
    );
    let good = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Good"}),
        Some("partner:good"),
    );
    // Whenever the deadly row is on the wire, the worker dies.
    for method in ["write", "web_save_multi"] {
        sim.inject(Fault::new(Effect::Hang).on("res.partner", method));
    }
    db.run("SELECT etl.resume()");
    let mut kills = 0;
    let dead = loop {
        let struck = sim.calls("write").len() + sim.calls("web_save_multi").len();
        let row = db.row(poison);
        if row.status == "failed" {
            break row;
        }
        if struck > kills {
            kills = struck;
            assert!(kills <= 12, "never given up: {row:?}");
            db = bench.kill_worker();
        }
        std::thread::yield_now();
    };
    println!("given up after {kills} kills: {}", dead.error());
    assert_eq!(dead.class(), "crashed", "{dead:?}");
    sim.clear_faults();
    db.await_status(good, "done");
    sim.partner("Good");
}

/// The whole server dies with calls on the wire.
#[test]
fn the_death_of_the_server_is_survived() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    sim.inject(
        Fault::new(Effect::Delay {
            before_ms: 300,
            after_ms: 1_500,
        })
        .on("res.partner", "load")
        .times(3),
    );
    db.run(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
         SELECT 'res.partner', 'create', jsonb_build_object('name', 'Dead ' || i), 'dead-' || i FROM generate_series(1, 300) i",
    );
    eventually(PATIENCE, "calls to be on the wire", || sim.in_flight() > 0);
    bench.cluster.kill9_postmaster();
    bench.cluster.start_again().unwrap();
    let mut db = bench.reconnect();
    db.await_empty(PATIENCE);
    assert_eq!(
        (db.count("done"), sim.partner_names("Dead ").len()),
        (300, 300)
    );
}
