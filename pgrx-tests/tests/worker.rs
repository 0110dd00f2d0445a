//! The worker as a process: what it leaves alone while it waits, how it ends, how it comes back.

use pg_etl_tests::prelude::*;
use pg_etl_tests::{DATABASE, launcher};

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
    let (mut looks, mut at_work) = (0, 0);
    // As long as the call has not made its record, the answer cannot be there. Meanwhile the worker may claim what comes next, in
    // transactions of their own: none may be as old as the call.
    while sim.partners("Slow").is_empty() {
        let (open, old): (bool, bool) = {
            let seen = db
                .query_one(
                    "SELECT xact_start IS NOT NULL OR backend_xmin IS NOT NULL OR backend_xid IS NOT NULL
                            OR EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype IN ('relation', 'transactionid', 'tuple')),
                            coalesce(clock_timestamp() - xact_start > interval '500 ms', false)
                     FROM pg_stat_activity a WHERE pid = $1",
                    &[&worker],
                )
                .expect("the worker is there");
            (seen.get(0), seen.get(1))
        };
        assert!(!old, "a transaction is open for as long as the call");
        looks += 1;
        at_work += i32::from(open);
    }
    assert!(
        at_work * 2 < looks,
        "in a transaction at {at_work} of {looks} looks"
    );
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

/// SIGHUP and pg_cancel_backend() a thousand times, while rows go: nothing is lost, nothing leaks, and the last
/// reload is still heard.
#[test]
fn a_storm_of_signals_loses_nothing() {
    const STORM: usize = 1_000;
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    sim.inject(
        Fault::new(Effect::Delay {
            before_ms: 10,
            after_ms: 10,
        })
        .on("res.partner", "load"),
    );
    let first = db.enqueue("res.partner", "create", json!({"name": "First"}), None);
    db.await_status(first, "done");
    let (worker, launcher_pid) = (bench.worker(), launcher(&mut db).expect("a launcher"));
    let open_files = || {
        std::fs::read_dir(format!("/proc/{worker}/fd"))
            .expect("the worker is there")
            .count()
    };
    let before = open_files();
    let signal = |pid| {
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    };
    for round in 1..=STORM {
        signal(worker);
        signal(launcher_pid);
        // A round trip in between, so that many of them are heard one by one.
        db.run(&format!("SELECT pg_cancel_backend({worker})"));
        if round % 10 == 0 {
            bench.cluster.reload();
        }
        if round % 50 == 0 {
            db.enqueue(
                "res.partner",
                "create",
                json!({"name": format!("Storm {round}")}),
                None,
            );
        }
    }
    db.await_empty(PATIENCE);
    assert_eq!(sim.partner_names("Storm ").len(), STORM / 50);
    let attempts: i32 = db.one("SELECT max(attempts) FROM ops.odoo_outbox", &[]);
    assert_eq!((db.count("failed"), attempts), (0, 1));
    assert_eq!(
        (bench.worker(), launcher(&mut db)),
        (worker, Some(launcher_pid))
    );
    // Connections to Odoo come and go; a leak would be one for each reload.
    assert!(
        open_files() < before + STORM / 20,
        "{before} open files, then {}",
        open_files()
    );
    bench.cluster.set("etl.enabled", "off").unwrap();
    bench.cluster.reload();
    eventually(PATIENCE, "the last reload to be heard", || {
        db.health("worker").contains("etl.enabled")
            && db.one::<bool>(
                "SELECT EXISTS (SELECT FROM etl.workers WHERE detail LIKE '%etl.enabled%')",
                &[],
            )
    });
}

/// Whoever is killed, in whatever order: each is back within 5 s, and there is one worker, not two.
#[test]
fn launcher_and_worker_come_back_whoever_is_terminated() {
    let bench = Bench::builder().alone().start();
    let mut db = bench.client();
    bench.worker();
    for victims in [
        "'pg_etl launcher'",
        "'pg_etl launcher', 'pg_etl worker'",
        "'pg_etl worker', 'pg_etl launcher'",
    ] {
        let before = (bench.worker(), launcher(&mut db));
        let begin = Instant::now();
        db.run(&format!(
            "SELECT pg_terminate_backend(a.pid) FROM unnest(ARRAY[{victims}]) WITH ORDINALITY v (type, n)
             JOIN pg_stat_activity a ON a.backend_type = v.type ORDER BY n"
        ));
        let workers_too = victims.contains("worker");
        eventually(PATIENCE, "all to be back", || {
            let now = launcher(&mut db);
            let workers = Worker::of(&mut db, DATABASE);
            now.is_some()
                && now != before.1
                && workers.len() == 1
                && (workers[0].pid != before.0) == workers_too
        });
        measure(
            &format!("back after the end of {victims}"),
            begin.elapsed(),
            Duration::from_secs(5),
        );
        let id = db.enqueue("res.partner", "create", json!({"name": "After"}), None);
        db.await_status(id, "done");
    }
    // The new launcher knows what is to be done: a database that comes later is served.
    let mut outside = bench.client_in("postgres");
    outside.run("CREATE DATABASE later");
    bench.client_in("later").run("CREATE EXTENSION pg_etl");
    eventually(PATIENCE, "a worker in each database", || {
        Worker::all(&mut outside).len() == 2
    });
}
