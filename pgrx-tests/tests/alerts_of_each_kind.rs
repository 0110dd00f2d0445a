//! Each trouble turns its own line of the health report, is told once, and is told to be over once.

use odoo_sim::ear::Ear;
use pg_etl_tests::DATABASE;
use pg_etl_tests::prelude::*;
use pg_etl_tests::told::*;

/// How often something was said of a component.
fn said(ear: &Ear, event: &str, component: &str) -> usize {
    let begins = format!("{event} {component} ");
    told(ear)
        .iter()
        .filter(|line| line.starts_with(&begins))
        .count()
}

/// The trouble is there: its line turns, and it is told once, however often somebody looks.
#[track_caller]
fn turns(db: &mut Client, ear: &Ear, component: &str, status: &str) {
    eventually(
        Duration::from_secs(60),
        &format!("{component} to turn"),
        || db.health(component).contains(&format!("| {status} |")),
    );
    for _ in 0..3 {
        db.run("SELECT etl.check_alerts()");
    }
    eventually(PATIENCE, &format!("{component} to be told"), || {
        said(ear, "opened", component) > 0
    });
    db.run("SELECT etl.check_alerts()");
    assert_eq!(said(ear, "opened", component), 1, "{:?}", told(ear));
}

/// The trouble is over: its line passes by itself, and that is told once.
#[track_caller]
fn is_over(db: &mut Client, ear: &Ear, component: &str) {
    eventually(
        Duration::from_secs(60),
        &format!("{component} to pass"),
        || db.health(component).contains("| pass |"),
    );
    for _ in 0..2 {
        look_later(db);
    }
    eventually(
        PATIENCE,
        &format!("the end of {component} to be told"),
        || said(ear, "resolved", component) > 0,
    );
    look_later(db);
    assert_eq!(
        (
            said(ear, "opened", component),
            said(ear, "resolved", component)
        ),
        (1, 1),
        "{:?}",
        told(ear)
    );
}

#[test]
fn odoo_is_down() {
    let (bench, mut db, ear) = watched();
    bench.sim().stop();
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    turns(&mut db, &ear, "circuit odoo", "fail");
    turns(&mut db, &ear, "connection odoo", "fail");
    bench.sim().restart().expect("the simulator comes back");
    db.await_status(id, "done");
    is_over(&mut db, &ear, "circuit odoo");
    is_over(&mut db, &ear, "connection odoo");
}

#[test]
fn the_key_is_wrong() {
    let (bench, mut db, ear) = watched();
    bench.connect_with(&mut db, json!({}), "ETL_HOOK");
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    turns(&mut db, &ear, "connection odoo", "fail");
    bench.connect(&mut db, json!({}));
    db.run("SELECT etl.resume()");
    db.await_status(id, "done");
    is_over(&mut db, &ear, "connection odoo");
}

#[test]
fn a_thousand_rows_wait() {
    let (_bench, mut db, ear) = watched();
    db.run(
        "SELECT etl.pause();
         INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key) SELECT 'res.partner', 'create', '{}', n::text FROM generate_series(1, 1001) n",
    );
    turns(&mut db, &ear, "outbox", "fail");
    db.run("DELETE FROM ops.odoo_outbox WHERE connection = 'odoo'; SELECT etl.resume()");
    is_over(&mut db, &ear, "outbox");
}

#[test]
fn a_row_is_given_up_and_with_it_the_success_rate() {
    let (_bench, mut db, ear) = watched();
    let bad = db.enqueue("res.partner", "create", json!({"no_such_field": 1}), None);
    db.await_status(bad, "failed");
    turns(&mut db, &ear, "dead letters", "fail");
    turns(&mut db, &ear, "success rate", "fail");
    db.run(&format!("SELECT etl.cancel({bad}, 'a test')"));
    is_over(&mut db, &ear, "dead letters");
    for n in 0..30 {
        db.enqueue(
            "res.partner",
            "create",
            json!({"name": n.to_string()}),
            None,
        );
    }
    is_over(&mut db, &ear, "success rate");
}

#[test]
fn a_mirror_is_behind_and_drifts() {
    let (_bench, mut db, ear) = watched();
    db.run("SELECT etl.mirror('res.partner', options => '{\"every_seconds\": 300}')");
    db.one::<Value>("SELECT etl.pull('res.partner')", &[]);
    db.run("UPDATE ops.odoo_sync_checkpoints SET cursor = jsonb_set(cursor, '{at}', to_jsonb(now() - interval '11 min')) WHERE key LIKE '%res.partner'");
    turns(&mut db, &ear, "sync lag res.partner", "warn");
    db.one::<Value>("SELECT etl.pull('res.partner')", &[]);
    is_over(&mut db, &ear, "sync lag res.partner");

    db.run("ALTER TABLE odoo_raw.res_partner ALTER COLUMN phone TYPE date USING NULL");
    db.one::<Value>("SELECT etl.pull('res.partner', true)", &[]);
    turns(&mut db, &ear, "schema drift", "warn");
    let remedy: String = db.one(
        "SELECT remedy FROM etl.schema_drift WHERE field = 'phone'",
        &[],
    );
    db.run(&remedy);
    db.one::<Value>("SELECT etl.pull('res.partner', true)", &[]);
    is_over(&mut db, &ear, "schema drift");
}

/// As pg_cron calls it: a dead worker tells nobody.
#[test]
fn the_worker_is_killed_and_held_down() {
    let (bench, mut db, ear) = watched();
    let worker = bench.worker();
    // Nobody starts another one here.
    bench
        .cluster
        .set("etl.database", "elsewhere")
        .expect("the setting");
    bench.cluster.reload();
    db.run(&format!("SELECT pg_terminate_backend({worker})"));
    eventually(PATIENCE, "the worker to be gone", || {
        db.health("worker").contains("| fail |")
    });
    for _ in 0..2 {
        db.run("SELECT etl.check_alerts()");
        db.one::<Value>("SELECT etl.drain_outbox()", &[]);
    }
    assert_eq!(said(&ear, "opened", "worker"), 1, "{:?}", told(&ear));
    bench.cluster.set("etl.database", "*").expect("the setting");
    bench.cluster.reload();
    is_over(&mut db, &ear, "worker");
}

/// The real pg_cron, whose older versions know no second: a job runs at the full minute.
#[test]
fn a_job_of_pg_cron_fails() {
    let builder = Bench::builder()
        .preload(&["pg_cron", "pg_etl"])
        .setting("cron.database_name", DATABASE)
        .setting("cron.use_background_workers", "on");
    let (_bench, mut db, ear) = watched_on(builder);
    db.run("CREATE EXTENSION pg_cron; SELECT cron.schedule('nightly', '* * * * *', 'SELECT etl.health() FROM public.not_there_yet')");
    eventually(Duration::from_secs(90), "the job to fail", || {
        db.one(
            "SELECT EXISTS (SELECT FROM cron.job_run_details WHERE status = 'failed')",
            &[],
        )
    });
    turns(&mut db, &ear, "pg_cron", "fail");
    db.run("CREATE TABLE public.not_there_yet ()");
    eventually(Duration::from_secs(90), "the job to succeed", || {
        db.one(
            "SELECT EXISTS (SELECT FROM cron.job_run_details WHERE status = 'succeeded')",
            &[],
        )
    });
    is_over(&mut db, &ear, "pg_cron");
}
