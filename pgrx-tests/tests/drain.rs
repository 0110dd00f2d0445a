//! `etl.drain_outbox()` and `CALL etl.drain()`: an answer in every transaction, with and without a resident worker.

use pg_etl_tests::prelude::*;

const KEYS: [&str; 7] = [
    "calls",
    "claimed",
    "done",
    "elapsed_ms",
    "failed",
    "remaining",
    "retried",
];

/// A server that does not preload pg_etl: rows go only when someone drains.
fn without_preload() -> Bench {
    Bench::builder().preload(&[]).start()
}

fn create(db: &mut Client, prefix: &str, rows: i32) {
    db.run(&format!(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
         SELECT 'res.partner', 'create', jsonb_build_object('name', '{prefix} ' || i), '{prefix}-' || i FROM generate_series(1, {rows}) i"
    ));
}

#[test]
fn without_preload_a_drain_delivers_and_counts() {
    let bench = without_preload();
    let (mut db, sim) = (bench.client(), bench.sim());
    create(&mut db, "Row", 10);
    db.enqueue(
        "res.partner",
        "create",
        json!({"email": "nameless@example.com"}),
        None,
    );
    let before: Value = db.one("SELECT etl.drain_outbox(dry_run => true)", &[]);
    assert_eq!(
        (
            &before["would_claim"],
            &before["claimed"],
            &before["remaining"]
        ),
        (&json!(11), &json!(0), &json!(11)),
        "{before}"
    );
    assert!(sim.requests().is_empty(), "a dry run sends nothing");

    let answer = db.drain();
    let fields: Vec<&String> = answer.as_object().expect("an object").keys().collect();
    assert_eq!(fields, KEYS, "{answer}");
    let counts = ["claimed", "done", "failed", "retried", "remaining"]
        .map(|name| answer[name].as_i64().expect(name));
    assert_eq!(counts, [11, 10, 1, 0, 0], "{answer}");
    assert!(
        answer["calls"].as_i64() >= Some(1) && answer["elapsed_ms"].as_i64() >= Some(0),
        "{answer}"
    );
    assert_eq!(
        (
            sim.partner_names("Row ").len(),
            db.count("done"),
            db.count("failed")
        ),
        (10, 10, 1)
    );
    let empty = db.drain();
    assert_eq!(
        (&empty["claimed"], &empty["calls"]),
        (&json!(0), &json!(0)),
        "{empty}"
    );
    assert!(
        db.health("worker").contains("not preloaded"),
        "{}",
        db.health("worker")
    );
    eventually(PATIENCE, "no errand worker to be left", || {
        Worker::all(&mut db).is_empty()
    });
}

#[test]
fn max_rows_and_slices_are_obeyed() {
    let bench = without_preload();
    let (mut db, sim) = (bench.client(), bench.sim());
    create(&mut db, "Slice", 30);
    let answer: Value = db.one("SELECT etl.drain_outbox(max_rows => 7)", &[]);
    assert_eq!(
        (&answer["claimed"], &answer["done"], &answer["remaining"]),
        (&json!(7), &json!(7), &json!(23)),
        "{answer}"
    );
    db.run("CALL etl.drain(max_rows => 10)");
    assert_eq!((db.count("done"), db.count("queued")), (17, 13));
    db.run("CALL etl.drain()");
    assert_eq!(
        (db.count("done"), sim.partner_names("Slice ").len()),
        (30, 30)
    );
    for (sql, code) in [
        ("SELECT etl.drain_outbox(max_rows => 0)", "22023"),
        ("SELECT etl.drain_outbox(max_rows => -1)", "22023"),
        ("SELECT etl.drain_outbox(max_time => '-1 s')", "22023"),
        ("SELECT etl.drain_outbox(max_time => '2 days')", "22023"),
        // A procedure that commits cannot run inside someone's transaction.
        ("BEGIN; CALL etl.drain()", "2D000"),
    ] {
        let refused = db.refused(sql);
        assert_eq!(refused.code().code(), code, "{sql}: {refused:?}");
        db.run("ROLLBACK");
    }
}

/// A caller that holds the very table gets an answer in bounded time, with and without the resident worker.
fn a_caller_with_a_lock_gets_an_answer(bench: &Bench) {
    let mut db = bench.client();
    db.run("SELECT etl.pause()");
    create(&mut db, "Locked", 3);
    db.run("SELECT etl.resume(), etl.pause()");
    let mut transaction = db.transaction().unwrap();
    transaction
        .batch_execute("SELECT etl.resume(); LOCK TABLE ops.odoo_outbox")
        .unwrap();
    transaction.commit().unwrap();
    let begin = Instant::now();
    let mut transaction = db.transaction().unwrap();
    transaction
        .batch_execute("LOCK TABLE ops.odoo_outbox")
        .unwrap();
    let answer: Value = transaction
        .query_one("SELECT etl.drain_outbox(max_time => '5 s')", &[])
        .expect("an answer")
        .get(0);
    measure(
        "drain_outbox() of a caller that holds the table",
        begin.elapsed(),
        Duration::from_secs(20),
    );
    println!("{answer}");
    transaction.rollback().unwrap();
    assert_eq!(
        answer["done"].as_i64().map(|done| done <= 3),
        Some(true),
        "{answer}"
    );
    eventually(
        PATIENCE,
        "the rows to be delivered once the lock is gone",
        || {
            bench.client().drain();
            bench.sim().partner_names("Locked ").len() == 3
        },
    );
}

#[test]
fn a_caller_with_a_lock_gets_an_answer_without_preload() {
    let bench = without_preload();
    a_caller_with_a_lock_gets_an_answer(&bench);
    let mut db = bench.client();
    create(&mut db, "Note", 1);
    let mut transaction = db.transaction().unwrap();
    transaction
        .batch_execute("LOCK TABLE ops.odoo_outbox")
        .unwrap();
    let answer: Value = transaction
        .query_one("SELECT etl.drain_outbox()", &[])
        .expect("an answer")
        .get(0);
    assert_eq!(answer["claimed"], 0, "{answer}");
    assert!(
        answer["note"]
            .as_str()
            .is_some_and(|note| note.contains("locked")),
        "it says why: {answer}"
    );
}

#[test]
fn a_caller_with_a_lock_gets_an_answer_with_preload() {
    a_caller_with_a_lock_gets_an_answer(&Bench::ready());
}

/// Neither isolation, nor a read-only transaction, nor an own row that is not committed yet keeps the answer away.
#[test]
fn every_transaction_gets_its_answer() {
    let bench = without_preload();
    let mut db = bench.client();
    for (number, mode) in [
        "REPEATABLE READ",
        "SERIALIZABLE",
        "READ ONLY",
        "READ COMMITTED",
    ]
    .iter()
    .enumerate()
    {
        create(&mut db, &format!("Mode{number}"), 2);
        db.run(&format!(
            "BEGIN TRANSACTION {}{mode}",
            if mode.starts_with("READ O") {
                ""
            } else {
                "ISOLATION LEVEL "
            }
        ));
        // The snapshot is taken before the rows are delivered.
        assert_eq!(db.count("queued"), 2);
        let answer = db.drain();
        assert_eq!(
            (&answer["claimed"], &answer["done"]),
            (&json!(2), &json!(2)),
            "{mode}: {answer}"
        );
        db.run("COMMIT");
        assert_eq!(db.count("queued"), 0, "{mode}");
    }
    let mut transaction = db.transaction().unwrap();
    transaction
        .execute(
            "SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Own\"}')",
            &[],
        )
        .unwrap();
    let answer: Value = transaction
        .query_one("SELECT etl.drain_outbox()", &[])
        .unwrap()
        .get(0);
    assert_eq!(
        answer["claimed"], 0,
        "an own open row is not seen: {answer}"
    );
    transaction.commit().unwrap();
    assert_eq!(db.drain()["done"], 1);
}
