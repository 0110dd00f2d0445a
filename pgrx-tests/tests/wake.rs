//! G9: what commits starts on its way at once; what does not commit does not.

use pg_etl_tests::prelude::*;

/// From the commit to the request's arrival, of one row at a time, with an idle worker in between.
#[test]
fn a_commit_is_on_the_wire_at_once() {
    let bench = Bench::builder().alone().start();
    let (mut db, sim) = (bench.client(), bench.sim());
    // The first row pays for what is asked once: version, fields, prepared statements.
    let first = db.enqueue("res.partner", "create", json!({"name": "First"}), None);
    db.await_status(first, "done");
    let mut times = Vec::new();
    for round in 0..15 {
        let worker_idle = || {
            bench
                .client()
                .one::<String>("SELECT coalesce((SELECT state FROM etl.workers), '')", &[])
                == "idle"
        };
        eventually(PATIENCE, "an idle worker", worker_idle);
        sim.clear_requests();
        let mut transaction = db.transaction().unwrap();
        let name = format!("Round {round}");
        transaction
            .execute(
                "SELECT etl.enqueue('res.partner', 'create', $1)",
                &[&json!({"name": name})],
            )
            .unwrap();
        transaction.commit().unwrap();
        let committed = std::time::SystemTime::now();
        eventually(PATIENCE, "the request to arrive", || {
            !sim.calls("load").is_empty()
        });
        // The commit may return after the request has arrived.
        times.push(
            sim.calls("load")[0]
                .at
                .duration_since(committed)
                .unwrap_or_default(),
        );
        eventually(PATIENCE, "the row to be delivered", || {
            sim.partners(&name).len() == 1
        });
    }
    times.sort();
    println!(
        "measured: commit to request: {:.1?} median, {:.1?} at most",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    measure(
        "commit to request, median",
        times[times.len() / 2],
        Duration::from_secs(1),
    );
}

#[test]
fn what_is_rolled_back_is_not_sent() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let mut transaction = db.transaction().unwrap();
    transaction
        .execute(
            "SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Never\"}')",
            &[],
        )
        .unwrap();
    transaction.rollback().unwrap();
    let mut transaction = db.transaction().unwrap();
    transaction
        .execute(
            "SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Outer\"}')",
            &[],
        )
        .unwrap();
    let mut inner = transaction.transaction().unwrap();
    inner
        .execute(
            "SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Inner lost\"}')",
            &[],
        )
        .unwrap();
    inner.rollback().unwrap();
    let mut inner = transaction.transaction().unwrap();
    inner
        .execute(
            "SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Inner kept\"}')",
            &[],
        )
        .unwrap();
    inner.commit().unwrap();
    assert!(
        sim.changes().is_empty(),
        "nothing is sent before the commit"
    );
    transaction.commit().unwrap();
    eventually(PATIENCE, "what committed to arrive", || {
        db.count("done") == 2
    });
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM ops.odoo_outbox", &[]),
        2
    );
    sim.partner("Outer");
    sim.partner("Inner kept");
    assert!(sim.partners("Never").is_empty() && sim.partners("Inner lost").is_empty());
}

/// Enqueued only inside a subtransaction, as an EXCEPTION block of PL/pgSQL makes one.
#[test]
fn a_subtransaction_wakes_the_worker_too() {
    let bench = Bench::builder()
        .setting("etl.poll_interval", "3600s")
        .start();
    let mut db = bench.client();
    bench.worker();
    let ready = db.enqueue("res.partner", "create", json!({"name": "Ready"}), None);
    db.await_status(ready, "done");
    db.run(
        "DO $$ BEGIN
           BEGIN PERFORM etl.enqueue('res.partner', 'create', '{\"name\": \"Within\"}'); EXCEPTION WHEN OTHERS THEN RAISE; END;
           BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN NULL; END;
         END $$",
    );
    eventually(
        PATIENCE,
        "the row to be delivered by the wake alone",
        || bench.sim().partners("Within").len() == 1,
    );
}

/// COMMIT PREPARED fires no callback; the slow poll finds the row.
#[test]
fn a_prepared_transaction_is_found_by_the_slow_poll() {
    let bench = Bench::builder()
        .setting("max_prepared_transactions", "2")
        .setting("etl.poll_interval", "5s")
        .start();
    let mut db = bench.client();
    bench.worker();
    db.run("BEGIN; SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Prepared\"}'); PREPARE TRANSACTION 'p'");
    assert!(bench.sim().changes().is_empty());
    db.run("COMMIT PREPARED 'p'");
    eventually(PATIENCE, "the row to be delivered", || {
        bench.sim().partners("Prepared").len() == 1
    });
}
