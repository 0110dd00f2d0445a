//! G10, G11 with fifty requests on the wire that nobody will ever answer: whoever wants the worker gone, gets it gone, it is back at
//! once, and what was on the wire is delivered, once.

use pg_etl_tests::prelude::*;
use pg_etl_tests::{DATABASE, HUNG, hang, is_alive, many_threads};
use xtask::pg::Stop;

/// From the signal to the end of the worker.
const ENDS: Duration = Duration::from_secs(3);
/// `pg_ctl -m fast stop`.
const STOPS: Duration = Duration::from_secs(5);
/// From its end to the next worker.
const BACK: Duration = Duration::from_secs(5);

const LAST_CLAIM: &str = "SELECT max(claim) FROM ops.odoo_outbox";

fn bench() -> (Bench, Client, Vec<i64>, i32) {
    let bench = many_threads().alone().start();
    let mut db = bench.client();
    let ids = hang(&bench, &mut db);
    let worker = bench.worker();
    (bench, db, ids, worker)
}

/// Each row is delivered now, and made one record, however often it was sent.
#[track_caller]
fn all_delivered(bench: &Bench, db: &mut Client, ids: &[i64]) {
    for id in ids {
        db.await_status(*id, "done");
    }
    assert_eq!(bench.sim().partner_names("Hung ").len(), HUNG);
    assert_eq!(db.one::<i64>("SELECT count(*) FROM etl.claims", &[]), 0);
}

/// Waits until a worker has each row in hand, by a claim of at least this number.
#[track_caller]
fn all_claimed(db: &mut Client, claim: i64) {
    let sql = "SELECT count(*) FROM ops.odoo_outbox WHERE status = 'processing' AND claim >= $1";
    eventually(PATIENCE, "the rows to be in hand again", || {
        db.one::<i64>(sql, &[&claim]) == HUNG as i64
    });
}

#[track_caller]
fn ended(worker: i32, begin: Instant, what: &str) {
    eventually(PATIENCE, "the worker to end", || !is_alive(worker));
    measure(what, begin.elapsed(), ENDS);
}

#[test]
fn a_fast_shutdown_waits_for_no_answer() {
    let (bench, db, ids, worker) = bench();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            ended(
                worker,
                begin,
                "the worker's end in a fast shutdown, 50 requests hung",
            )
        });
        bench.cluster.stop(Stop::Fast).unwrap();
        measure("fast shutdown, 50 requests hung", begin.elapsed(), STOPS);
    });
    drop(db);
    bench.sim().clear_faults();
    bench.cluster.start_again().unwrap();
    let mut db = bench.reconnect();
    let attempts: i32 = db.one("SELECT min(attempts) FROM ops.odoo_outbox", &[]);
    assert!(attempts >= 1, "counted before they were sent, and durably");
    all_delivered(&bench, &mut db, &ids);
}

#[test]
fn a_terminated_worker_ends_and_is_back() {
    let (bench, mut db, ids, worker) = bench();
    // What hangs goes on hanging; what the next worker sends does not.
    bench.sim().clear_faults();
    let begin = Instant::now();
    db.run(&format!("SELECT pg_terminate_backend({worker})"));
    ended(
        worker,
        begin,
        "the end of a terminated worker, 50 requests hung",
    );
    let next = bench.worker();
    assert_ne!(next, worker);
    measure(
        "back after pg_terminate_backend, 50 requests hung",
        begin.elapsed(),
        BACK,
    );
    all_delivered(&bench, &mut db, &ids);
    assert_eq!(bench.worker(), next, "and stays");
}

/// The server restarts as a whole.
#[test]
fn a_killed_worker_is_back() {
    let (bench, db, ids, worker) = bench();
    drop(db);
    bench.sim().clear_faults();
    let begin = Instant::now();
    let mut db = bench.kill_worker();
    assert_ne!(bench.worker(), worker);
    measure(
        "back after kill -9, 50 requests hung",
        begin.elapsed(),
        BACK,
    );
    all_delivered(&bench, &mut db, &ids);
}

#[test]
fn a_rename_and_a_copy_get_through() {
    let (bench, mut db, ids, worker) = bench();
    let mut outside = bench.client_in("postgres");
    let claim: i64 = db.one(LAST_CLAIM, &[]);
    drop(db);
    let begin = Instant::now();
    outside.run(&format!("ALTER DATABASE {DATABASE} RENAME TO renamed"));
    ended(worker, begin, "ALTER DATABASE RENAME, 50 requests hung");

    // The next worker takes the rows back, and they hang again.
    let mut db = bench.client_in("renamed");
    all_claimed(&mut db, claim + 1);
    let claim: i64 = db.one(LAST_CLAIM, &[]);
    drop(db);
    let begin = Instant::now();
    outside.run("CREATE DATABASE copy TEMPLATE renamed");
    measure(
        "CREATE DATABASE … TEMPLATE, 50 requests hung",
        begin.elapsed(),
        STOPS,
    );
    let mut copy = bench.client_in("copy");
    let paused = "SELECT count(*) FROM etl.connections_status WHERE state = 'paused'";
    eventually(
        PATIENCE,
        "every connection of the copy to be paused",
        || copy.one::<i64>(paused, &[]) == HUNG as i64 + 1,
    );
    drop(copy);

    let mut db = bench.client_in("renamed");
    all_claimed(&mut db, claim + 1);
    bench.sim().clear_faults();
    let worker = Worker::of(&mut db, "renamed").remove(0).pid;
    db.run(&format!("SELECT pg_terminate_backend({worker})"));
    all_delivered(&bench, &mut db, &ids);
}

#[test]
fn a_forced_drop_gets_through() {
    let (bench, db, _, worker) = bench();
    drop(db);
    let mut outside = bench.client_in("postgres");
    let begin = Instant::now();
    outside.run(&format!("DROP DATABASE {DATABASE} WITH (FORCE)"));
    measure(
        "DROP DATABASE WITH (FORCE), 50 requests hung",
        begin.elapsed(),
        STOPS,
    );
    ended(
        worker,
        begin,
        "the worker's end when its database is dropped",
    );
    eventually(PATIENCE, "no worker to be left", || {
        Worker::all(&mut outside).is_empty()
    });
}
