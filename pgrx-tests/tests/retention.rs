//! What is over goes when it is old; what is not over, and what was given up, stays.

use pg_etl_tests::prelude::*;

/// Rows of every status that were over so many days ago.
fn old_rows(db: &mut Client, days: i32) {
    db.run(&format!(
        "SELECT etl.pause();
         INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, status, created_at, finished_at)
         SELECT 'res.partner', 'create', '{{\"name\": \"x\"}}', s || n || ' {days}', s, now() - interval '{days} days', CASE WHEN s <> 'queued' THEN now() - interval '{days} days' END
         FROM unnest(ARRAY['done', 'cancelled', 'failed', 'queued']) s, generate_series(1, 3) n"
    ));
}

fn kept(db: &mut Client) -> Vec<String> {
    db.all("SELECT concat_ws(' ', status, count(*), (now()::date - min(created_at)::date)) FROM ops.odoo_outbox GROUP BY status, created_at::date ORDER BY 1", &[])
}

/// The worker deletes too, and would be faster or slower than the test.
fn without_the_worker() -> Bench {
    Bench::builder().setting("etl.enabled", "off").start()
}

#[test]
fn what_is_over_goes_when_it_is_old_and_nothing_else() {
    let bench = without_the_worker();
    let mut db = bench.client();
    old_rows(&mut db, 8);
    old_rows(&mut db, 6);
    db.run(
        "INSERT INTO ops.odoo_sync_runs (direction, status, started_at, finished_at) VALUES ('odoo_to_sb', 'succeeded', now() - interval '91 days', now() - interval '91 days'),
           ('odoo_to_sb', 'failed', now() - interval '89 days', now() - interval '89 days'), ('odoo_to_sb', 'running', now() - interval '1 year', NULL);
         INSERT INTO etl.audit_log (at, actor, action, target) VALUES (now() - interval '366 days', 'somebody', 'x', 'y'), (now() - interval '364 days', 'somebody', 'x', 'y')",
    );
    let report: Value = db.one("SELECT etl.apply_retention()", &[]);
    assert_eq!(
        report,
        json!({"rows": 6, "runs": 1, "audit": 1, "more": false})
    );
    assert_eq!(
        kept(&mut db),
        [
            "cancelled 3 6",
            "done 3 6",
            "failed 3 6",
            "failed 3 8",
            "queued 3 6",
            "queued 3 8"
        ]
    );
    let noted: Value = db.one(
        "SELECT after FROM etl.audit_log WHERE action = 'apply_retention'",
        &[],
    );
    assert_eq!(noted, report);
    let report: Value = db.one("SELECT etl.apply_retention()", &[]);
    assert_eq!(report["rows"], 0);

    // As is configured, in parts; and what is written wrongly is the default.
    db.run("INSERT INTO ops.odoo_sync_config (key, value) VALUES ('retention', '{\"done_days\": 2, \"audit_days\": 1, \"runs_days\": \"soon\"}')");
    let report: Value = db.one("SELECT etl.apply_retention(4)", &[]);
    assert_eq!(report["rows"], 4, "{report}");
    assert_eq!(report["more"], true);
    let report: Value = db.one("SELECT etl.apply_retention(100)", &[]);
    assert_eq!((&report["rows"], &report["runs"]), (&json!(2), &json!(0)));
    assert_eq!(
        db.one::<i64>(
            "SELECT count(*) FROM etl.audit_log WHERE at < now() - interval '364 days'",
            &[]
        ),
        0
    );
    assert!(
        db.one::<i64>("SELECT count(*) FROM etl.audit_log", &[]) > 2,
        "nothing of the last 30 days goes, whatever is configured"
    );
    assert_eq!(
        db.refused("SELECT etl.apply_retention(0)").code().code(),
        "22023"
    );
}

#[test]
fn the_worker_does_it_by_itself_and_health_says_when_nobody_does() {
    let bench = without_the_worker();
    let mut db = bench.client();
    old_rows(&mut db, 9);
    assert_eq!(db.health_status("retention"), "warn");
    let line = db.health("retention");
    assert!(
        line.contains("9 d") && line.contains("etl.apply_retention()"),
        "{line}"
    );
    // It looks when it starts.
    bench.cluster.set("etl.enabled", "on").expect("the setting");
    bench.cluster.reload();
    eventually(PATIENCE, "the worker to delete what is old", || {
        kept(&mut db) == ["failed 3 9", "queued 3 9"]
    });
    assert_eq!(db.health_status("retention"), "pass");
    let actor: String = db.one(
        "SELECT DISTINCT actor FROM etl.audit_log WHERE action = 'apply_retention'",
        &[],
    );
    assert_eq!(actor, "pg_etl worker");
}

/// A dead letter that somebody sends again must not overwrite what was delivered after it, however long ago.
#[test]
fn what_overtook_a_dead_letter_stays_as_long_as_it() {
    let bench = without_the_worker();
    let mut db = bench.client();
    db.run(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, record_key, status, created_at, finished_at)
           SELECT 'res.partner', 'upsert', '{}', k || s, k, s, now() - interval '9 days', now() - interval '9 days' FROM (VALUES ('a', 'failed'), ('a', 'done'), ('b', 'done')) AS v (k, s);
         INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, odoo_id, status, created_at, finished_at)
           SELECT 'res.partner', 'update', p::jsonb, s, i, s, now() - interval '9 days', now() - interval '9 days' FROM (VALUES ('{\"id\": 7}', NULL, 'failed'), ('{}', 7, 'done')) AS v (p, i, s)",
    );
    let report: Value = db.one("SELECT etl.apply_retention()", &[]);
    assert_eq!(report["rows"], 1, "{report}");
    let dead: Vec<i64> = db.all("SELECT id FROM etl.dead_letters", &[]);
    assert_eq!(dead.len(), 2);
    for dead in dead {
        let refused = db.refused(&format!("SELECT etl.replay({dead})"));
        assert_eq!(refused.code().code(), "55000");
    }
    assert_eq!(
        db.health_status("retention"),
        "pass",
        "they are kept on purpose: {}",
        db.health("retention")
    );
    db.run("DELETE FROM ops.odoo_outbox WHERE status = 'failed'");
    let mut other = bench.client();
    other.run("BEGIN; SELECT FROM ops.odoo_outbox FOR UPDATE");
    let report: Value = db.one("SELECT etl.apply_retention()", &[]);
    assert_eq!(report["rows"], 0, "somebody has it: {report}");
    other.run("COMMIT");
    let report: Value = db.one("SELECT etl.apply_retention()", &[]);
    assert_eq!(report["rows"], 2);
}

/// A table of the user's that refers to rows of the outbox keeps them, and stops nothing else.
#[test]
fn what_somebody_refers_to_stays_and_is_said() {
    let bench = without_the_worker();
    let mut db = bench.client();
    old_rows(&mut db, 9);
    db.run(
        "CREATE TABLE notes (row bigint REFERENCES ops.odoo_outbox (id)); INSERT INTO notes SELECT id FROM ops.odoo_outbox WHERE status = 'done' LIMIT 1;
         INSERT INTO ops.odoo_sync_runs (direction, status, started_at, finished_at) VALUES ('odoo_to_sb', 'succeeded', now() - interval '91 days', now() - interval '91 days')",
    );
    let report: Value = db.one("SELECT etl.apply_retention()", &[]);
    assert_eq!((&report["rows"], &report["runs"]), (&json!(5), &json!(1)));
    assert!(
        report["refused"]
            .as_str()
            .is_some_and(|why| why.contains("notes")),
        "{report}"
    );
    db.run("DROP TABLE notes");
    let report: Value = db.one("SELECT etl.apply_retention()", &[]);
    assert_eq!(report["rows"], 1, "{report}");
}

/// Whoever follows "next" has been everywhere, whatever a call had room for.
#[test]
fn whoever_goes_on_where_it_stopped_leaves_nothing() {
    let bench = without_the_worker();
    let mut db = bench.client();
    db.run(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, status, created_at, finished_at)
           SELECT 'res.partner', 'create', '{}', n::text, CASE WHEN n % 20 = 0 THEN 'failed' ELSE 'done' END, now() - interval '9 days', now() - interval '9 days' FROM generate_series(1, 12000) n;
         ALTER TABLE ops.odoo_sync_runs ALTER direction DROP NOT NULL;
         INSERT INTO ops.odoo_sync_runs (direction, status, started_at, finished_at) VALUES (NULL, 'succeeded', now() - interval '9 days', now() - interval '9 days')",
    );
    let mut after = 0;
    for _ in 0..30 {
        let report: Value = db.one("SELECT etl.apply_retention(1000, $1)", &[&after]);
        after = report["next"].as_i64().unwrap_or(0);
        if report["more"] == false {
            break;
        }
    }
    assert_eq!(
        db.all::<String>(
            "SELECT status || ' ' || count(*) FROM ops.odoo_outbox GROUP BY status",
            &[]
        ),
        ["failed 600"]
    );
    assert_eq!(
        db.one::<i64>(
            "SELECT sum(runs)::bigint FROM etl.sync_runs_daily WHERE direction IS NULL",
            &[]
        ),
        1
    );
}

/// A lock of somebody's is waited for once and stops it; it is no row that somebody keeps.
#[test]
fn a_lock_is_not_taken_for_a_row_that_is_kept() {
    let bench = without_the_worker();
    let mut db = bench.client();
    old_rows(&mut db, 9);
    db.run("CREATE TABLE notes (row bigint REFERENCES ops.odoo_outbox (id))");
    let mut other = bench.client();
    let mut holding = other.transaction().expect("a transaction");
    holding.batch_execute("LOCK TABLE notes").expect("the lock");
    let begun = Instant::now();
    let error = db.refused("SET lock_timeout = '300ms'; SELECT etl.apply_retention()");
    assert_eq!(error.code().code(), "55P03");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    holding.rollback().expect("the end");
    let report: Value = db.one("SELECT etl.apply_retention()", &[]);
    assert_eq!(report["rows"], 6, "{report}");
}
