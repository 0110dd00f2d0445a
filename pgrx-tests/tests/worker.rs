//! The worker as a process: what it leaves alone while it waits, how it ends, how it comes back.

use pg_etl_tests::DATABASE;
use pg_etl_tests::prelude::*;

/// G1: while a slow request is on the wire the worker holds nothing that anyone could see.
#[test]
fn nothing_is_open_while_a_request_is_on_the_wire() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let worker = bench.worker();
    sim.inject(
        Fault::new(Effect::Delay {
            before_ms: 3_000,
            after_ms: 0,
        })
        .on("res.partner", "load")
        .times(1),
    );
    let id = db.enqueue("res.partner", "create", json!({"name": "Slow"}), None);
    eventually(PATIENCE, "the slow call to be at work", || {
        sim.calls("load").len() == 1
    });
    let mut looks = 0;
    // As long as the call has not made its record, the answer cannot be there.
    while sim.partners("Slow").is_empty() {
        let seen = db
            .query_one(
                "SELECT xact_start IS NULL, backend_xmin IS NULL, backend_xid IS NULL,
                        (SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid AND l.locktype IN ('relation', 'transactionid', 'tuple')), state
                 FROM pg_stat_activity a WHERE pid = $1",
                &[&worker],
            )
            .expect("the worker is there");
        let seen: (bool, bool, bool, i64, Option<String>) = (
            seen.get(0),
            seen.get(1),
            seen.get(2),
            seen.get(3),
            seen.get(4),
        );
        assert_eq!(
            (seen.0, seen.1, seen.2, seen.3),
            (true, true, true, 0),
            "{seen:?}"
        );
        looks += 1;
    }
    assert!(looks > 5, "looked only {looks} times");
    // The attempt was counted and durable before the request was sent (G2).
    assert_eq!(db.await_status(id, "done").attempts, 1);
}

#[test]
fn the_attempt_is_durable_before_the_request() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    sim.inject(
        Fault::new(Effect::Delay {
            before_ms: 2_000,
            after_ms: 0,
        })
        .on("res.partner", "load")
        .times(1),
    );
    let id = db.enqueue("res.partner", "create", json!({"name": "Counted"}), None);
    eventually(PATIENCE, "the call to be at work", || {
        sim.calls("load").len() == 1
    });
    let row = db.row(id);
    assert_eq!((row.status.as_str(), row.attempts), ("processing", 1));
    db.await_status(id, "done");
}

#[test]
fn a_terminated_worker_is_back_within_5_s() {
    let bench = Bench::builder().alone().start();
    let mut db = bench.client();
    let first = bench.worker();
    let begin = Instant::now();
    db.run(&format!("SELECT pg_terminate_backend({first})"));
    eventually(PATIENCE, "another worker", || {
        Worker::of(&mut db, DATABASE)
            .iter()
            .any(|worker| worker.pid != first)
    });
    measure(
        "back after pg_terminate_backend",
        begin.elapsed(),
        Duration::from_secs(5),
    );
    let id = db.enqueue("res.partner", "create", json!({"name": "After"}), None);
    db.await_status(id, "done");
}

#[test]
fn switched_off_it_delivers_nothing_and_health_says_so() {
    let bench = Bench::builder().setting("etl.poll_interval", "5s").start();
    let (mut db, sim) = (bench.client(), bench.sim());
    bench.worker();
    bench.cluster.set("etl.enabled", "off").unwrap();
    bench.cluster.reload();
    eventually(PATIENCE, "the setting to be seen", || {
        bench.client().one::<String>("SHOW etl.enabled", &[]) == "off"
    });
    let id = db.enqueue("res.partner", "create", json!({"name": "Waiting"}), None);
    eventually(
        PATIENCE,
        "the worker to say that it is switched off",
        || {
            db.one::<String>("SELECT coalesce((SELECT detail FROM etl.workers), '')", &[])
                .contains("etl.enabled")
        },
    );
    assert!(
        db.health("worker").contains("etl.enabled"),
        "{}",
        db.health("worker")
    );
    assert_eq!((db.row(id).attempts, sim.changes().len()), (0, 0));
    bench.cluster.set("etl.enabled", "on").unwrap();
    bench.cluster.reload();
    db.await_status(id, "done");
}

/// What a hostile or careless owner of the database sets for it does not reach the worker.
#[test]
fn settings_of_the_database_and_the_role_do_not_reach_it() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let settings = [
        "default_transaction_read_only = on",
        "search_path = pg_temp, public",
        "statement_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "synchronous_commit = off",
        "default_transaction_isolation = 'serializable'",
        "session_replication_role = replica",
        "row_security = off",
        "standard_conforming_strings = off",
        "transform_null_equals = on",
        "array_nulls = off",
        "datestyle = 'German'",
        "intervalstyle = 'sql_standard'",
        "timezone = 'Asia/Kathmandu'",
        "idle_session_timeout = '1ms'",
        "plan_cache_mode = force_generic_plan",
        "enable_indexscan = off",
        "work_mem = '64kB'",
    ];
    for setting in settings {
        db.run(&format!("ALTER DATABASE {DATABASE} SET {setting}"));
        db.run(&format!(
            "ALTER ROLE etl_worker IN DATABASE {DATABASE} SET {setting}"
        ));
    }
    let first = bench.worker();
    db.run(&format!("SELECT pg_terminate_backend({first})"));
    eventually(
        PATIENCE,
        "a worker that started with these settings",
        || bench.worker() != first,
    );
    // This session began before the settings and is free of them.
    let id = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Unmoved"}),
        Some("partner:unmoved"),
    );
    let update = db.enqueue(
        "res.partner",
        "update",
        json!({"city": "There"}),
        Some("partner:unmoved"),
    );
    db.await_status(id, "done");
    db.await_status(update, "done");
    assert_eq!(bench.sim().partner("Unmoved")["city"], "There");
}

/// Sessions of the database begin as another role; the worker is etl_worker all the same.
#[test]
fn a_role_set_for_the_database_does_not_reach_it() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(&format!(
        "ALTER DATABASE {DATABASE} SET role = 'pg_monitor'"
    ));
    let first = bench.worker();
    db.run(&format!("SELECT pg_terminate_backend({first})"));
    eventually(PATIENCE, "a worker that started with this role", || {
        bench.worker() != first
    });
    let id = db.enqueue("res.partner", "create", json!({"name": "Unmoved"}), None);
    db.await_status(id, "done");
}

#[test]
fn a_storm_of_reloads_loses_nothing() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let worker = bench.worker();
    for round in 0..20 {
        for _ in 0..25 {
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(worker),
                nix::sys::signal::Signal::SIGHUP,
            )
            .unwrap();
        }
        bench.cluster.reload();
        db.enqueue(
            "res.partner",
            "create",
            json!({"name": format!("Storm {round}")}),
            None,
        );
    }
    db.await_empty(PATIENCE);
    assert_eq!(
        (db.count("done"), bench.sim().partner_names("Storm ").len()),
        (20, 20)
    );
    assert_eq!(bench.worker(), worker);
}

/// A fast shutdown does not wait for an Odoo that never answers, and what was on the wire is sent again.
#[test]
fn a_fast_shutdown_waits_for_no_answer() {
    let bench = Bench::builder().alone().start();
    let (mut db, sim) = (bench.client(), bench.sim());
    sim.inject(Fault::new(Effect::Hang));
    let ids: Vec<i64> = (0..4)
        .map(|n| {
            db.enqueue(
                "res.partner",
                "create",
                json!({"name": format!("Hung {n}")}),
                None,
            )
        })
        .collect();
    eventually(PATIENCE, "requests that hang", || {
        sim.in_flight() >= 1 || !sim.requests().is_empty()
    });
    drop(db);
    let begin = Instant::now();
    bench.cluster.stop(xtask::pg::Stop::Fast).unwrap();
    measure(
        "fast shutdown with hung requests",
        begin.elapsed(),
        Duration::from_secs(10),
    );
    sim.clear_faults();
    bench.cluster.start_again().unwrap();
    let mut db = bench.reconnect();
    for id in ids {
        db.await_status(id, "done");
    }
    assert_eq!(sim.partner_names("Hung ").len(), 4);
}
