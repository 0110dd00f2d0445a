//! What a worker costs that has nothing to do.

use pg_etl_tests::DATABASE;
use pg_etl_tests::prelude::*;

/// As long as the worker asks an Odoo once that nobody calls.
const WATCHED: Duration = Duration::from_secs(60);

fn transactions(client: &mut Client) -> i64 {
    client.one(
        &format!(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{DATABASE}'"
        ),
        &[],
    )
}

/// Nothing but the worker is connected to the database; counts what it does after it came to rest.
fn spent(bench: &Bench, watched: Duration) -> i64 {
    let mut outside = bench.client_in("postgres");
    eventually(PATIENCE, "the test's own sessions to be gone", || {
        outside.one::<i64>(
            &format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{DATABASE}'"),
            &[],
        ) == 1
    });
    let mut seen = (transactions(&mut outside), Instant::now());
    eventually(PATIENCE, "two quiet seconds", || {
        let now = transactions(&mut outside);
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        seen.1.elapsed() >= Duration::from_secs(2)
    });
    let (before, begin) = (transactions(&mut outside), Instant::now());
    eventually(watched * 2, "the time of watching to pass", || {
        begin.elapsed() >= watched
    });
    transactions(&mut outside) - before
}

#[test]
fn an_idle_worker_costs_at_most_a_query_in_five_seconds() {
    let bench = Bench::builder().setting("autovacuum", "off").start();
    let mut db = bench.client();
    let id = db.enqueue("res.partner", "create", json!({"name": "First"}), None);
    db.await_status(id, "done");
    drop(db);
    let spent = spent(&bench, WATCHED);
    println!("measured: transactions of an idle worker in {WATCHED:?}: {spent} (bound 12)");
    assert!(spent <= 12, "{spent} transactions in {WATCHED:?}");
}

/// The other way round: the counter that the test above trusts does count the slow poll, where that is fast.
#[test]
fn the_slow_poll_is_seen_by_the_counter() {
    let bench = Bench::builder()
        .setting("autovacuum", "off")
        .setting("etl.poll_interval", "5s")
        .start();
    bench.worker();
    assert!(spent(&bench, Duration::from_secs(15)) > 0);
}
