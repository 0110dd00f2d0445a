//! What is asked all the time is counted as it changes, and reads no whole table.

use pg_etl_tests::prelude::*;

/// Every look of programs and people, and the views.
fn looks(db: &mut Client) -> Vec<String> {
    let views: Vec<String> = db.all("SELECT 'etl.' || name FROM etl._views()", &[]);
    assert!(views.len() >= 9, "{views:?}");
    let mut looks: Vec<String> = views
        .iter()
        .map(|view| format!("SELECT count(*) FROM {view} v WHERE v IS NOT NULL OR v IS NULL"))
        .collect();
    looks.extend([
        "SELECT etl.health()".to_owned(),
        "SELECT etl.metrics()".to_owned(),
        "SELECT count(*) FROM etl.log_tail()".to_owned(),
        "SELECT count(*) FROM etl.health_report()".to_owned(),
    ]);
    looks
}

#[test]
fn no_look_reads_the_whole_outbox_or_the_whole_queue() {
    let (_bench, mut db) = Bench::paused();
    db.run(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, status, finished_at)
         SELECT 'res.partner', 'create', '{}', n::text, CASE WHEN n % 2 = 0 THEN 'done' WHEN n % 5000 = 1 THEN 'failed' ELSE 'queued' END, now() FROM generate_series(1, 40000) n;
         SELECT etl._fold_counts()",
    );
    db.run("VACUUM ANALYZE ops.odoo_outbox, etl.queue, etl.counts, etl.failures");
    let read = |db: &mut Client, table: &str| -> i64 {
        db.run("SELECT pg_stat_force_next_flush()");
        db.one(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_all_tables WHERE relid = $1::text::regclass",
            &[&table],
        )
    };
    for look in looks(&mut db) {
        for (table, most) in [("ops.odoo_outbox", 2_500), ("etl.queue", 4_500)] {
            let before = read(&mut db, table);
            db.batch_execute(&look).expect(&look);
            let rows = read(&mut db, table) - before;
            assert!(rows <= most, "{look} read {rows} rows of {table}");
        }
    }
}

#[test]
fn what_was_delivered_is_counted_by_hour() {
    let bench = Bench::ready();
    let mut db = bench.client();
    for name in ["Ada", "Bob", "Cy"] {
        db.enqueue("res.partner", "create", json!({"name": name}), None);
    }
    db.enqueue("res.partner", "create", json!({"no_such_field": 1}), None);
    db.await_empty(PATIENCE);
    let rate = |db: &mut Client| -> Vec<String> {
        db.all("SELECT concat_ws(' ', connection, model, sum(delivered), sum(failed)) FROM etl.error_rate_hourly GROUP BY connection, model", &[])
    };
    assert_eq!(rate(&mut db), ["odoo res.partner 3 1"]);
    let classes: Vec<String> = db.all(
        "SELECT DISTINCT class FROM etl.deliveries WHERE outcome = 'failed'",
        &[],
    );
    assert_eq!(classes, ["invalid"]);
    let waited: f64 = db.one("SELECT max(extract(epoch FROM finished_at - created_at))::float8 * 1000 FROM ops.odoo_outbox WHERE status = 'done'", &[]);
    let (p50, longest): (f64, f64) = {
        let row = db
            .query_one(
                "SELECT max(p50_ms), max(max_ms) FROM etl.delivery_latency",
                &[],
            )
            .unwrap();
        (row.get(0), row.get(1))
    };
    // A transaction's beginning is a little before what its statements call now.
    assert!(
        p50 > 0.0 && longest >= waited && longest < waited * 1.19 + 500.0,
        "{p50} {longest} {waited}"
    );

    // Minutes become hours, and the sums stay.
    db.run("UPDATE etl.deliveries SET at = at - interval '5 hours'; SELECT etl.apply_retention()");
    assert!(db.one::<bool>(
        "SELECT bool_and(at = date_trunc('hour', at, 'UTC')) FROM etl.deliveries",
        &[]
    ));
    db.run("INSERT INTO etl.deliveries SELECT at + interval '7 minutes', connection, model, outcome, class, bucket, rows FROM etl.deliveries; SELECT etl.apply_retention()");
    assert_eq!(rate(&mut db), ["odoo res.partner 6 2"]);
    db.run("UPDATE etl.deliveries SET at = at - interval '91 days'; SELECT etl.apply_retention()");
    assert_eq!(rate(&mut db), Vec::<String>::new());
    let ever: Vec<String> = db.all(
        "SELECT concat_ws(' ', outcome, sum(rows)) FROM etl.deliveries GROUP BY outcome ORDER BY 1",
        &[],
    );
    assert_eq!(ever, ["done 6", "failed 2"], "but are still counted");
}

/// Sessions that enqueue, replay and delete at the same time as others add up what they did.
#[test]
fn the_sum_is_right_whoever_adds_it_up() {
    let (bench, mut db) = Bench::paused();
    std::thread::scope(|scope| {
        for session in 0..4 {
            let mut other = bench.client();
            scope.spawn(move || {
                for n in 0..60 {
                    other.run(&format!(
                        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, status)
                           SELECT 'm{session}', 'create', '{{}}', '{session} {n} ' || i, CASE WHEN i % 3 = 0 THEN 'failed' ELSE 'queued' END FROM generate_series(1, 10) i;
                         UPDATE ops.odoo_outbox SET status = 'cancelled' WHERE model = 'm{session}' AND id % 7 = 0 AND status <> 'cancelled';
                         DELETE FROM ops.odoo_outbox WHERE model = 'm{session}' AND id % 11 = 0;
                         SELECT etl._fold_counts()"
                    ));
                    if n % 20 == session {
                        other.run("SELECT etl._recount()");
                    }
                }
            });
        }
    });
    let differs: i64 = db.one(
        "SELECT count(*) FROM (SELECT model, status, count(*) AS rows FROM ops.odoo_outbox GROUP BY 1, 2) o
         FULL JOIN (SELECT model, status, sum(rows) AS rows FROM etl.counts GROUP BY 1, 2 HAVING sum(rows) <> 0) c USING (model, status) WHERE o.rows IS DISTINCT FROM c.rows",
        &[],
    );
    assert_eq!(differs, 0, "{:?}", db.all::<String>("SELECT concat_ws(' ', model, status, sum(rows)) FROM etl.counts GROUP BY model, status", &[]));
    let failures: bool = db.one("SELECT (SELECT array_agg(id ORDER BY id) FROM etl.failures) = (SELECT array_agg(id ORDER BY id) FROM ops.odoo_outbox WHERE status = 'failed')", &[]);
    assert!(failures);
}
