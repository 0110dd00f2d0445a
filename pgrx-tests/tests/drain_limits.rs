//! Drains that are cut short, crowded out, or not alone.

use std::collections::BTreeSet;

use pg_etl_tests::prelude::*;

fn create(db: &mut Client, rows: i32) {
    db.run(&format!(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, record_key, idempotency_key)
         SELECT 'res.partner', 'create', jsonb_build_object('name', 'Row ' || i), 'row:' || i, 'row-' || i FROM generate_series(1, {rows}) i"
    ));
}

/// A cancelled caller takes its errand with it; what was on the wire is finished by whoever comes next, once.
#[test]
fn a_cancelled_caller_leaves_no_worker_behind() {
    let bench = Bench::builder().preload(&[]).start();
    let (mut db, sim) = (bench.client(), bench.sim());
    sim.inject(Fault::new(Effect::Hang).on("res.partner", "load"));
    create(&mut db, 3);
    db.run("SET statement_timeout = '2s'");
    let cancelled = db.refused("SELECT etl.drain_outbox(max_time => '60 s')");
    assert_eq!(cancelled.code().code(), "57014", "{cancelled:?}");
    eventually(PATIENCE, "the errand worker to be gone", || {
        Worker::all(&mut db).is_empty()
    });
    db.run("SET statement_timeout = 0");

    // A caller that is killed outright, too.
    db.run("UPDATE ops.odoo_outbox SET status = 'queued' WHERE status = 'processing'");
    let mut victim = bench.client();
    let pid: i32 = victim.one("SELECT pg_backend_pid()", &[]);
    let drained = std::thread::spawn(move || {
        victim.batch_execute("SELECT etl.drain_outbox(max_time => '60 s')")
    });
    eventually(PATIENCE, "its errand worker", || {
        !Worker::all(&mut db).is_empty()
    });
    db.run(&format!("SELECT pg_terminate_backend({pid})"));
    assert!(drained.join().unwrap().is_err());
    eventually(PATIENCE, "that errand worker to be gone as well", || {
        Worker::all(&mut db).is_empty()
    });

    sim.clear_faults();
    eventually(
        PATIENCE,
        "the rows to be delivered by the next drain",
        || {
            db.drain();
            db.count("done") == 3
        },
    );
    assert_eq!(sim.partner_names("Row ").len(), 3);
}

/// max_time is the caller's deadline, also when Odoo never answers.
#[test]
fn a_hanging_odoo_does_not_keep_the_caller() {
    let bench = Bench::builder().preload(&[]).start();
    let mut db = bench.client();
    bench
        .sim()
        .inject(Fault::new(Effect::Hang).on("res.partner", "load"));
    create(&mut db, 1);
    let begin = Instant::now();
    let answer: Value = db.one("SELECT etl.drain_outbox(max_time => '2 s')", &[]);
    measure(
        "drain_outbox() with a deadline of 2 s",
        begin.elapsed(),
        Duration::from_secs(12),
    );
    assert_eq!(answer["done"], 0, "{answer}");
}

#[test]
fn no_free_worker_is_an_error_with_a_hint() {
    let bench = Bench::builder()
        .preload(&[])
        .setting("max_worker_processes", "0")
        .start();
    let mut db = bench.client();
    create(&mut db, 1);
    let refused = db.refused("SELECT etl.drain_outbox()");
    assert_eq!(refused.code().code(), "53000", "{refused:?}");
    assert!(
        refused
            .hint()
            .is_some_and(|hint| hint.contains("max_worker_processes")),
        "{refused:?}"
    );
    assert_eq!(db.count("queued"), 1);
}

/// The resident worker and drains of several sessions share the rows; no row goes twice.
#[test]
fn drains_and_the_resident_worker_deliver_each_row_once() {
    let bench = Bench::builder().setting("etl.batch_rows", "20").start();
    let (mut db, sim) = (bench.client(), bench.sim());
    sim.inject(
        Fault::new(Effect::Delay {
            before_ms: 30,
            after_ms: 30,
        })
        .on("res.partner", "load"),
    );
    db.run("SELECT etl.pause()");
    create(&mut db, 600);
    db.run("SELECT etl.resume()");
    let delivered: i64 = std::thread::scope(|scope| {
        let drains: Vec<_> = (0..3)
            .map(|_| {
                let mut db = bench.client();
                scope.spawn(move || db.drain()["done"].as_i64().expect("a count"))
            })
            .collect();
        drains.into_iter().map(|drain| drain.join().unwrap()).sum()
    });
    println!("{delivered} of 600 rows were delivered by the drains");
    db.await_empty(PATIENCE);
    assert_eq!((db.count("done"), db.count("failed")), (600, 0));
    let attempts: i32 = db.one("SELECT max(attempts) FROM ops.odoo_outbox", &[]);
    assert_eq!(attempts, 1, "a row was claimed twice");
    let names: Vec<String> = sim.partner_names("Row ");
    assert_eq!(
        (names.len(), names.iter().collect::<BTreeSet<_>>().len()),
        (600, 600)
    );
    let sent: usize = sim.calls("load").iter().map(|call| call.records).sum();
    assert_eq!(sent, 600, "rows sent, all calls together");
}

/// A small drain looks past rows that wait for something, however many there are.
#[test]
fn a_drain_reaches_what_is_behind_blocked_rows() {
    let bench = Bench::builder().preload(&[]).start();
    let (mut db, sim) = (bench.client(), bench.sim());
    db.run(
        r#"SELECT etl.enqueue('res.partner', 'upsert', '{"name": "Later"}', record_key => 'crowd', not_before => now() + interval '1 hour');
         INSERT INTO ops.odoo_outbox (model, operation, payload, record_key, idempotency_key)
           SELECT 'res.partner', 'upsert', '{"name": "Crowd"}', 'crowd', 'crowd-' || i FROM generate_series(1, 4000) i"#,
    );
    let free = db.enqueue("res.partner", "create", json!({"name": "Free"}), None);
    let drained: Value = db.one("SELECT etl.drain_outbox(max_rows => 10)", &[]);
    assert_eq!(
        (&drained["claimed"], &drained["done"]),
        (&json!(1), &json!(1)),
        "{drained}"
    );
    db.await_status(free, "done");
    assert_eq!(sim.partner_names("Free").len(), 1);
}
