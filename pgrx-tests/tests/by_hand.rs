//! The outbox is an ordinary table: what people do to it by hand means what it always meant.

use pg_etl_tests::prelude::*;

#[test]
fn a_status_set_to_queued_replays_the_row() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let id = db.enqueue(
        "res.partner",
        "create",
        json!({"email": "x@example.com"}),
        Some("partner:x"),
    );
    db.await_status(id, "failed");
    db.run("UPDATE ops.odoo_outbox SET payload = payload || '{\"name\": \"By hand\"}', status = 'queued'");
    let done = db.await_status(id, "done");
    assert_eq!(
        (done.attempts, done.error_class.clone()),
        (1, None),
        "{done:?}"
    );
    sim.partner("By hand");
}

#[test]
fn truncate_and_delete_empty_the_queue() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    db.run("SELECT etl.pause()");
    let fill = "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
                SELECT 'res.partner', 'create', jsonb_build_object('name', 'Gone ' || i), gen_random_uuid()::text FROM generate_series(1, 20) i";
    db.run(fill);
    assert_eq!(db.one::<i64>("SELECT queued FROM etl.queue_depth", &[]), 20);
    db.run("TRUNCATE ops.odoo_outbox");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM etl.queue", &[]), 0);
    db.run(fill);
    db.run("DELETE FROM ops.odoo_outbox WHERE payload ->> 'name' <> 'Gone 7'");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM etl.queue", &[]), 1);
    db.run("SELECT etl.resume()");
    db.await_empty(PATIENCE);
    assert_eq!(sim.partner_names("Gone "), ["Gone 7"]);
}

/// G3: whoever changed the row while its request was on the wire has the last word; the late answer changes nothing.
#[test]
fn a_late_settle_does_not_overwrite_a_change_by_hand() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    sim.inject(
        Fault::new(Effect::Delay {
            before_ms: 0,
            after_ms: 2_500,
        })
        .on("res.partner", "load")
        .times(1),
    );
    let id = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Contested"}),
        Some("partner:contested"),
    );
    eventually(
        PATIENCE,
        "Odoo to hold the record while its answer waits",
        || sim.partners("Contested").len() == 1,
    );
    assert_eq!(db.row(id).status, "processing");
    db.execute(
        "UPDATE ops.odoo_outbox SET status = 'cancelled', last_error = 'mine' WHERE id = $1",
        &[&id],
    )
    .unwrap();

    // The answer has been settled when the claim is gone.
    eventually(PATIENCE, "the claim to be settled", || {
        db.one::<i64>("SELECT count(*) FROM etl.claims", &[]) == 0
    });
    let row = db.row(id);
    assert_eq!(
        (row.status.as_str(), row.error()),
        ("cancelled", "mine"),
        "{row:?}"
    );
}

/// The same, where the change is a replay: the row goes again and its own claim decides, not the late one.
#[test]
fn a_replay_in_mid_flight_is_a_new_claim() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    sim.inject(
        Fault::new(Effect::Delay {
            before_ms: 0,
            after_ms: 2_500,
        })
        .on("res.partner", "load")
        .times(1),
    );
    let id = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Again"}),
        Some("partner:again"),
    );
    eventually(
        PATIENCE,
        "Odoo to hold the record while its answer waits",
        || sim.partners("Again").len() == 1,
    );
    let first_claim = db.row(id).claim.expect("a claim");
    db.execute(
        "UPDATE ops.odoo_outbox SET status = 'queued' WHERE id = $1",
        &[&id],
    )
    .unwrap();
    let done = db.await_status(id, "done");
    assert_ne!(
        done.claim.map(i64::abs),
        Some(first_claim),
        "settled by the claim that lost the row"
    );
    sim.partner("Again");
}

#[test]
fn cancel_pause_and_resume() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    db.run("SELECT etl.pause(reason => 'stocktaking')");
    let kept = db.enqueue("res.partner", "create", json!({"name": "Kept"}), None);
    let dropped = db.enqueue("res.partner", "create", json!({"name": "Dropped"}), None);
    assert_eq!(
        db.one::<String>("SELECT etl.cancel($1, 'not needed')", &[&dropped]),
        "cancelled"
    );
    let report = db.health("connection odoo");
    assert!(
        report.contains("paused")
            && report.contains("stocktaking")
            && report.contains("etl.resume"),
        "{report}"
    );
    assert_eq!(db.connection("state"), "paused");
    db.run("SELECT etl.resume()");
    db.await_status(kept, "done");
    assert!(sim.partners("Dropped").is_empty());
    assert!(db.row(dropped).error().contains("not needed"));
    let refused = db.refused(&format!("SELECT etl.cancel({kept})"));
    assert_eq!(refused.code().code(), "55000");
    let actions: Vec<String> = db.all("SELECT action FROM etl.audit_log ORDER BY id", &[]);
    for action in ["set_connection", "pause", "cancel", "resume"] {
        assert!(
            actions.iter().any(|done| done == action),
            "{action} is not in the audit log: {actions:?}"
        );
    }
    // A cancelled row comes back by replay.
    db.run(&format!("SELECT etl.replay({dropped})"));
    db.await_status(dropped, "done");
}

/// A run opens when there is work and closes when there is none, with what was done.
#[test]
fn runs_are_opened_closed_and_counted() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run("SELECT etl.pause()");
    let good = db.enqueue("res.partner", "create", json!({"name": "Good"}), None);
    let bad = db.enqueue(
        "res.partner",
        "create",
        json!({"email": "bad@example.com"}),
        None,
    );
    db.run("SELECT etl.resume()");
    db.await_status(good, "done");
    db.await_status(bad, "failed");
    let run = db.row(good).run_id.expect("a run");
    assert_eq!(db.row(bad).run_id, Some(run));
    eventually(PATIENCE, "the run to close", || {
        db.one(
            "SELECT finished_at IS NOT NULL FROM ops.odoo_sync_runs WHERE id = $1",
            &[&run],
        )
    });
    let row = db.query_one("SELECT direction, status, meta, error, started_at <= finished_at FROM ops.odoo_sync_runs WHERE id = $1", &[&run]).unwrap();
    let (direction, status, meta): (String, String, Value) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(
        (direction.as_str(), status.as_str(), row.get::<_, bool>(4)),
        ("sb_to_odoo", "failed", true)
    );
    assert_eq!(
        (
            &meta["claimed"],
            &meta["done"],
            &meta["failed"],
            &meta["retried"]
        ),
        (&json!(2), &json!(1), &json!(1), &json!(0)),
        "{meta}"
    );
    assert!(meta["calls"].as_i64() >= Some(1), "{meta}");
    assert!(row.get::<_, Option<String>>(3).is_some());

    let next = db.enqueue("res.partner", "create", json!({"name": "Next"}), None);
    let next = db.await_status(next, "done").run_id.expect("a run");
    assert_ne!(next, run);
    eventually(PATIENCE, "the second run to close as succeeded", || {
        db.one::<String>(
            "SELECT status FROM ops.odoo_sync_runs WHERE id = $1",
            &[&next],
        ) == "succeeded"
    });
}
