//! An endpoint that is down, slow to be asked, or one of two: G7 and G8, as far as nothing was sent.

use pg_etl_tests::prelude::*;

#[test]
fn a_stopped_odoo_costs_no_attempt_and_comes_back_by_itself() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let first = db.enqueue("res.partner", "create", json!({"name": "Before"}), None);
    db.await_status(first, "done");
    sim.stop();
    let ids: Vec<i64> = (0..5)
        .map(|n| {
            db.enqueue(
                "res.partner",
                "create",
                json!({"name": format!("During {n}")}),
                None,
            )
        })
        .collect();
    eventually(PATIENCE, "the circuit to open", || {
        db.health("circuit odoo").contains("open")
    });
    let report = db.health("%odoo");
    assert!(
        report.contains("fail") && db.connection("state") == "circuit open",
        "{report}"
    );
    assert_eq!(
        db.one::<Value>("SELECT etl.health()", &[])["status"],
        "fail"
    );
    // Rows that commit while it is open wait like the others.
    let late = db.enqueue("res.partner", "create", json!({"name": "During 5"}), None);
    eventually(PATIENCE, "a probe that failed", || {
        db.one::<i32>(
            "SELECT failures FROM etl.connection_state WHERE connection = 'odoo'",
            &[],
        ) > 5
    });
    for id in ids.iter().chain([&late]) {
        let row = db.row(*id);
        assert_eq!(
            (row.status.as_str(), row.attempts),
            ("queued", 0),
            "{row:?}"
        );
    }
    sim.restart().expect("the port is still free");
    eventually(Duration::from_secs(90), "all rows to be delivered", || {
        db.count("done") == 7
    });
    let attempts: Vec<i32> = db.all("SELECT DISTINCT attempts FROM ops.odoo_outbox", &[]);
    assert_eq!((attempts, sim.partner_names("During ").len()), (vec![1], 6));
    eventually(PATIENCE, "the circuit to close", || {
        db.connection("state") == "ok"
    });
}

/// Calls that stood in line when the endpoint went are one incident: they do not put the first probe off by half a minute.
#[test]
fn many_calls_that_fail_together_open_the_circuit_once() {
    let bench = Bench::builder()
        .setting("etl.batch_rows", "1")
        .option("max_in_flight", json!(16))
        .start();
    let (mut db, sim) = (bench.client(), bench.sim());
    let many = "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
        SELECT 'res.partner', 'create', jsonb_build_object('name', 'N' || n), gen_random_uuid() FROM generate_series(1, 300) n";
    // It has to learn how much the endpoint bears before its line is long.
    db.batch_execute(many).unwrap();
    eventually(PATIENCE, "all rows to be delivered", || {
        db.count("done") == 300
    });
    sim.stop();
    db.batch_execute(many).unwrap();
    let now = "SELECT failures, (SELECT count(*) FROM etl.claims)::int FROM etl.connection_state";
    let mut failures = 0;
    eventually(PATIENCE, "every call to be back", || {
        let row = db.query_one(now, &[]).unwrap();
        failures = row.get(0);
        failures >= 5 && row.get::<_, i32>(1) == 0
    });
    // Five is an open circuit; a machine that stood still may have seen a probe fail.
    assert!(failures <= 6, "{failures} failures of one incident");
}

/// An answer of "too many" is obeyed: nothing is sent before its time, and no attempt is burnt.
#[test]
fn retry_after_is_obeyed() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let first = db.enqueue("res.partner", "create", json!({"name": "Before"}), None);
    db.await_status(first, "done");
    sim.clear_requests();
    sim.inject(
        Fault::new(Effect::Status {
            status: 429,
            retry_after: Some(4),
        })
        .on("res.partner", "load")
        .times(1),
    );
    let id = db.enqueue("res.partner", "create", json!({"name": "Throttled"}), None);
    eventually(PATIENCE, "the throttle to be known", || {
        db.connection("state") == "throttled"
    });
    let row = db.row(id);
    assert_eq!(
        (row.status.as_str(), row.attempts),
        ("queued", 0),
        "{row:?}"
    );
    let done = db.await_status(id, "done");
    assert_eq!(done.attempts, 1);
    let calls = sim.requests();
    let refused = calls
        .iter()
        .find(|call| call.method == "load")
        .expect("the call that was refused");
    let next = calls
        .iter()
        .find(|call| call.number > refused.number)
        .expect("a later call");
    let waited = next.at.duration_since(refused.at).unwrap();
    println!("measured: wait after Retry-After: 4: {waited:.1?}");
    assert!(
        waited >= Duration::from_millis(3_900),
        "asked again after {waited:?}"
    );
}

/// G8: what happens to one endpoint is nothing to the others, not even a hang.
#[test]
fn one_connection_in_trouble_leaves_the_others_alone() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let other = Sim::start(odoo_sim::Config::default()).unwrap();
    let (down, hanging) = (
        Sim::start(odoo_sim::Config::default()).unwrap(),
        bench.sim(),
    );
    for (name, sim) in [("other", &other), ("down", &down)] {
        db.execute(
            "SELECT etl.set_connection($1, 'odoo', $2, '{\"database\": \"odoo\", \"login\": \"admin\"}', secret => 'env:ETL_ODOO_KEY')",
            &[&name, &sim.url()],
        )
        .unwrap();
    }
    down.stop();
    hanging.inject(Fault::new(Effect::Hang));
    let enqueue = |db: &mut Client, connection: &str, name: &str| -> i64 {
        db.one(
            "SELECT etl.enqueue('res.partner', 'create', $1, connection => $2)",
            &[&json!({"name": name}), &connection],
        )
    };
    let stuck = enqueue(&mut db, "odoo", "Stuck");
    let waiting = enqueue(&mut db, "down", "Waiting");
    eventually(
        PATIENCE,
        "one endpoint to hang and one circuit to open",
        || !hanging.requests().is_empty() && db.health("circuit down").contains("open"),
    );
    for round in 0..10 {
        let id = enqueue(&mut db, "other", &format!("Free {round}"));
        db.await_status(id, "done");
    }
    assert_eq!(other.partner_names("Free ").len(), 10);
    assert_eq!(
        (db.row(waiting).attempts, db.row(waiting).status.as_str()),
        (0, "queued")
    );
    assert_ne!(db.row(stuck).status, "done");
    assert!(
        db.health("circuit other").contains("closed")
            && db.health("connection other").contains("pass")
    );
}

/// A row for a connection that does not exist waits for it, and health names it.
#[test]
fn a_connection_that_does_not_exist_is_waited_for() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, connection)
           VALUES ('res.partner', 'create', '{"name": "Early"}', 'early', 'annex')"#,
    );
    let report = db.health("connections");
    assert!(
        report.contains("fail")
            && report.contains("annex")
            && report.contains("etl.set_connection"),
        "{report}"
    );
    let refused = db.refused(r#"SELECT etl.enqueue('res.partner', 'create', '{"name": "Early"}', connection => 'annex')"#);
    assert_eq!(refused.code().code(), "42704");
    db.execute(
        "SELECT etl.set_connection('annex', 'odoo', $1, '{\"database\": \"odoo\", \"login\": \"admin\"}', secret => 'env:ETL_ODOO_KEY')",
        &[&bench.sim().url()],
    )
    .unwrap();
    db.await_empty(PATIENCE);
    bench.sim().partner("Early");
}
