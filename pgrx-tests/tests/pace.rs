//! What goes together, what goes first, and how much at a time.

use pg_etl_tests::prelude::*;
use pg_etl_tests::{HUNG, hang};

/// Fifty connections whose endpoint never answers take neither a thread nor a turn from the one that works.
#[test]
fn dead_connections_take_nothing_from_a_live_one() {
    let bench = Bench::ready();
    let mut db = bench.client();
    hang(&bench, &mut db);
    let ids: Vec<i64> = (0..3)
        .map(|n| {
            let name = json!({"name": format!("Alive {n}")});
            let id = db.enqueue("product.product", "create", name, None);
            db.await_status(id, "done");
            id
        })
        .collect();
    assert_eq!(ids.len(), 3);
    let waiting = db.count("processing");
    assert_eq!(waiting, HUNG as i64, "the others still hang");
}

/// Pending changes of one record are one call; every row is settled and names the row it went with.
#[test]
fn pending_changes_of_a_record_go_as_one() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let made = db.enqueue("res.partner", "create", json!({"name": "One"}), Some("p:1"));
    db.await_status(made, "done");
    db.run("SELECT etl.pause()");
    sim.clear_requests();
    let ids: Vec<i64> = [
        json!({"city": "Bern", "ref": "1"}),
        json!({"city": "Basel"}),
        json!({"street": "Weg 3"}),
    ]
    .into_iter()
    .map(|values| db.enqueue("res.partner", "update", values, Some("p:1")))
    .collect();
    db.run("SELECT etl.resume()");
    for id in &ids {
        db.await_status(*id, "done");
    }
    let partner = sim.partner("One");
    assert_eq!(
        (&partner["city"], &partner["ref"], &partner["street"]),
        (&json!("Basel"), &json!("1"), &json!("Weg 3"))
    );
    let writes = sim.calls("write").len() + sim.calls("web_save_multi").len();
    assert_eq!(writes, 1, "one call for three rows");
    let with: Vec<Option<i64>> = db
        .query(
            "SELECT went_with FROM ops.odoo_outbox WHERE id = ANY ($1) ORDER BY id",
            &[&ids],
        )
        .expect("the rows")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(with, [Some(ids[2]), Some(ids[2]), None]);
}

/// One bad row among joined ones is the only dead letter.
#[test]
fn a_bad_row_among_joined_ones_fails_alone() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let made = db.enqueue("res.partner", "create", json!({"name": "Two"}), Some("p:2"));
    db.await_status(made, "done");
    db.run("SELECT etl.pause()");
    let ids: Vec<i64> = [
        json!({"city": "Bern"}),
        json!({"country_id": 999_999}),
        json!({"street": "Weg 4"}),
    ]
    .into_iter()
    .map(|values| db.enqueue("res.partner", "update", values, Some("p:2")))
    .collect();
    db.run("SELECT etl.resume()");
    let statuses: Vec<String> = ids
        .iter()
        .map(|id| {
            eventually(PATIENCE, "a row to be settled", || {
                matches!(db.row(*id).status.as_str(), "done" | "failed")
            });
            db.row(*id).status
        })
        .collect();
    assert_eq!(statuses, ["done", "failed", "done"]);
    let partner = sim.partner("Two");
    assert_eq!(
        (&partner["city"], &partner["street"]),
        (&json!("Bern"), &json!("Weg 4"))
    );
}

/// A live change passes a backfill that is under way.
#[test]
fn an_urgent_row_passes_a_backfill() {
    let bench = Bench::builder().setting("etl.batch_rows", "10").start();
    let (mut db, sim) = (bench.client(), bench.sim());
    let slow = Effect::Delay {
        before_ms: 20,
        after_ms: 0,
    };
    sim.inject(Fault::new(slow).on("res.partner", "load"));
    db.run(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, priority)
         SELECT 'res.partner', 'create', jsonb_build_object('name', 'Fill ' || i), 'fill-' || i, -10 FROM generate_series(1, 3000) i",
    );
    eventually(PATIENCE, "the backfill to be under way", || {
        db.count("done") > 100
    });
    let urgent = db.enqueue("res.partner", "create", json!({"name": "Urgent"}), None);
    db.await_status(urgent, "done");
    let left = db.count("queued") + db.count("processing");
    assert!(left > 500, "only {left} rows of the backfill were left");
}

/// What waits for a record that another row makes waits without losing attempts, however long that row takes.
#[test]
fn a_row_waits_for_the_record_it_refers_to() {
    let bench = Bench::builder().setting("etl.max_attempts", "2").start();
    let (mut db, sim) = (bench.client(), bench.sim());
    let parent = db.one::<i64>(
        "SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Parent\"}', 'p:parent', not_before => now() + interval '6 s')",
        &[],
    );
    let own = json!({"name": "Child", "parent_id": {"key": "p:parent"}});
    let child = db.enqueue("res.partner", "create", own, Some("p:child"));
    let done = db.await_status(child, "done");
    assert!(done.attempts <= 2, "{done:?}");
    assert_eq!(db.row(parent).status, "done");
    assert_eq!(
        sim.partner("Child")["parent_id"],
        sim.partner("Parent")["id"]
    );
}

/// Conflicts halve the calls at a time; the rows lose nothing by them but their attempts.
#[test]
fn conflicts_and_throttling_slow_down_and_deliver_all() {
    let bench = Bench::builder()
        .option("max_in_flight", json!(8))
        .setting("etl.batch_rows", "5")
        .start();
    let (mut db, sim) = (bench.client(), bench.sim());
    sim.inject(
        Fault::new(Effect::Conflict)
            .on("res.partner", "load")
            .probability(0.3)
            .times(12),
    );
    let throttled = Effect::Status {
        status: 429,
        retry_after: Some(1),
    };
    sim.inject(
        Fault::new(throttled)
            .on("res.partner", "load")
            .nth(20)
            .times(2),
    );
    db.run(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
         SELECT 'res.partner', 'create', jsonb_build_object('name', 'Slow ' || i), 'slow-' || i FROM generate_series(1, 400) i",
    );
    db.await_empty(PATIENCE * 2);
    assert_eq!((db.count("done"), db.count("failed")), (400, 0));
    assert_eq!(sim.partner_names("Slow ").len(), 400);
}

/// One row in a hundred is bad: the others cost few calls more.
#[test]
fn poison_costs_its_neighbours_few_calls() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let warm = db.enqueue("res.partner", "create", json!({"name": "Warm"}), None);
    db.await_status(warm, "done");
    sim.clear_requests();
    db.run("SELECT etl.pause()");
    db.run(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
         SELECT 'res.partner', 'create', jsonb_build_object('name', 'P ' || i, 'country_id', CASE WHEN i % 100 = 50 THEN 999999 ELSE 1 END), 'p-' || i
         FROM generate_series(1, 2000) i",
    );
    db.run("SELECT etl.resume()");
    db.await_empty(PATIENCE);
    assert_eq!((db.count("done"), db.count("failed")), (1981, 20));
    let loads = sim.calls("load").len();
    println!("{loads} calls for 2000 rows, 20 of them bad");
    // Small ones: a refused call is lost work for all its rows.
    assert!(loads <= 200, "{loads} calls");
}
