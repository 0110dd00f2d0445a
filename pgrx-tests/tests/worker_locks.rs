//! Table locks that others hold: the worker waits for them, but neither deaf nor for ever.

use pg_etl_tests::prelude::*;
use pg_etl_tests::tables_locked;

/// A row that is due, a table that nobody but the test may touch, and a worker that wants to claim.
fn wants_a_locked_table<'c>(
    holder: &'c mut Client,
    other: &mut Client,
) -> (postgres::Transaction<'c>, i64) {
    other.run("SELECT etl.pause()");
    let id = other.enqueue(
        "res.partner",
        "create",
        json!({"name": "Behind the lock"}),
        None,
    );
    let mut transaction = holder.transaction().unwrap();
    transaction
        .batch_execute("LOCK TABLE ops.odoo_outbox")
        .unwrap();
    other.run("SELECT etl.resume()");
    (transaction, id)
}

/// G10: SIGTERM is heard in the middle of a wait for a table lock.
#[test]
fn a_worker_that_waits_for_a_lock_ends_at_once() {
    let bench = Bench::builder().alone().start();
    let (mut holder, mut db) = (bench.client(), bench.client());
    let worker = bench.worker();
    let (transaction, id) = wants_a_locked_table(&mut holder, &mut db);
    eventually(PATIENCE, "the worker to wait for the table", || {
        tables_locked(&mut db, worker)
    });
    let begin = Instant::now();
    db.run(&format!("SELECT pg_terminate_backend({worker})"));
    eventually(PATIENCE, "the worker to end", || {
        Worker::all(&mut db).iter().all(|other| other.pid != worker)
    });
    measure(
        "end of a worker that waits for a lock",
        begin.elapsed(),
        Duration::from_secs(5),
    );
    let begin = Instant::now();
    assert_ne!(bench.worker(), worker);
    measure(
        "back after that, the lock still held",
        begin.elapsed(),
        Duration::from_secs(5),
    );
    transaction.rollback().unwrap();
    db.await_status(id, "done");
}

/// A table lock that is kept for long stops nothing for good, and nobody waits in line behind the worker.
#[test]
fn a_kept_lock_is_outlived() {
    let bench = Bench::ready();
    let (mut holder, mut db) = (bench.client(), bench.client());
    let worker = bench.worker();
    let (transaction, id) = wants_a_locked_table(&mut holder, &mut db);
    eventually(PATIENCE, "the worker to have met the lock twice", || {
        bench.cluster.log().matches("lock timeout").count() >= 2
    });
    transaction.commit().unwrap();
    db.await_status(id, "done");
    assert_eq!(bench.worker(), worker, "it went on, it did not die");
}
