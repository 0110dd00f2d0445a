//! Each trouble turns its own line of the health report, is told once, and is told to be over once.

use odoo_sim::ear::Ear;
use pg_etl_tests::prelude::*;
use pg_etl_tests::told::*;
use pg_etl_tests::{Builder, DATABASE};

/// How many messages say that of a component.
fn said(ear: &Ear, events: &[&str], component: &str) -> usize {
    let says = |line: &String| {
        events
            .iter()
            .any(|event| line.starts_with(&format!("{event} {component} ")))
    };
    let messages = messages(ear);
    messages
        .iter()
        .filter(|lines| lines.iter().any(says))
        .count()
}

const TURNED: [&str; 3] = ["opened", "worse", "still"];

/// The trouble is there: its line turns within a minute, the worker tells of it by itself, and that is one message, however often somebody looks.
#[track_caller]
fn turns(db: &mut Client, ear: &Ear, component: &str, status: &str) {
    eventually(
        Duration::from_secs(60),
        &format!("{component} to turn"),
        || db.health(component).contains(&format!("| {status} |")),
    );
    eventually(PATIENCE, &format!("{component} to be told"), || {
        said(ear, &TURNED, component) > 0
    });
    is_said_once(db, ear, component);
}

#[track_caller]
fn is_said_once(db: &mut Client, ear: &Ear, component: &str) {
    for _ in 0..3 {
        db.run("SELECT etl.check_alerts()");
    }
    eventually(PATIENCE, "all messages to be sent", || {
        db.one("SELECT NOT EXISTS (SELECT FROM ops.odoo_outbox WHERE model = 'alert' AND status IN ('queued', 'processing'))", &[])
    });
    assert_eq!(said(ear, &TURNED, component), 1, "{:?}", messages(ear));
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
        || said(ear, &["resolved"], component) > 0,
    );
    look_later(db);
    assert_eq!(
        (
            said(ear, &TURNED, component),
            said(ear, &["resolved"], component)
        ),
        (1, 1),
        "{:?}",
        messages(ear)
    );
}

#[test]
fn odoo_is_down() {
    let (bench, mut db, ear) = watched();
    // Nobody sends anything: the worker asks.
    bench.sim().stop();
    turns(&mut db, &ear, "circuit odoo", "fail");
    turns(&mut db, &ear, "connection odoo", "fail");
    assert_eq!(messages(&ear).len(), 1, "both in one: {:?}", messages(&ear));
    bench.sim().restart().expect("the simulator comes back");
    is_over(&mut db, &ear, "circuit odoo");
    is_over(&mut db, &ear, "connection odoo");
}

#[test]
fn the_key_is_wrong() {
    let (bench, mut db, ear) = watched();
    bench.connect_with(&mut db, json!({}), "ETL_HOOK");
    turns(&mut db, &ear, "connection odoo", "fail");
    assert_eq!(messages(&ear).len(), 1, "{:?}", messages(&ear));
    // With the right one it goes on by itself.
    bench.connect(&mut db, json!({}));
    is_over(&mut db, &ear, "connection odoo");
}

#[test]
fn a_thousand_rows_wait() {
    let (_bench, mut db, ear) = watched();
    db.run(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, next_run_at)
         SELECT 'res.partner', 'create', jsonb_build_object('name', n::text), n::text, now() + interval '1 h' FROM generate_series(1, 1001) n",
    );
    turns(&mut db, &ear, "outbox", "fail");
    assert_eq!(messages(&ear).len(), 1, "{:?}", messages(&ear));
    db.run("UPDATE ops.odoo_outbox SET next_run_at = now() WHERE connection = 'odoo'");
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
    let (bench, mut db, ear) = watched();
    db.run("SELECT etl.mirror('res.partner')");
    db.one::<Value>("SELECT etl.pull('res.partner')", &[]);
    // Nobody pulls it: eleven minutes later.
    bench.sim().stop();
    db.run("UPDATE ops.odoo_sync_checkpoints SET cursor = jsonb_set(cursor, '{at}', to_jsonb(now() - interval '11 min')) WHERE key LIKE '%res.partner'");
    turns(&mut db, &ear, "sync lag res.partner", "warn");
    bench.sim().restart().expect("the simulator comes back");
    db.run("SELECT etl.request_pull('res.partner')");
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

/// A dead worker tells nobody: the real pg_cron does.
#[test]
fn the_worker_is_killed_and_held_down() {
    let (bench, mut db, ear) = watched_on(with_cron());
    db.run("CREATE EXTENSION pg_cron; SELECT cron.schedule('look', '* * * * *', 'SELECT etl.check_alerts()'), cron.schedule('drain', '* * * * *', 'SELECT etl.drain_outbox()')");
    let worker = bench.worker();
    // Nobody starts another one here.
    bench
        .cluster
        .set("etl.database", "elsewhere")
        .expect("the setting");
    bench.cluster.reload();
    db.run(&format!("SELECT pg_terminate_backend({worker})"));
    eventually(Duration::from_secs(60), "the worker to be gone", || {
        db.health("worker").contains("| fail |")
    });
    eventually(Duration::from_secs(150), "it to be told", || {
        said(&ear, &TURNED, "worker") > 0
    });
    for _ in 0..3 {
        db.run("SELECT etl.check_alerts()");
        db.one::<Value>("SELECT etl.drain_outbox()", &[]);
    }
    assert_eq!(said(&ear, &TURNED, "worker"), 1, "{:?}", messages(&ear));
    bench.cluster.set("etl.database", "*").expect("the setting");
    bench.cluster.reload();
    is_over(&mut db, &ear, "worker");
}

fn with_cron() -> Builder {
    Bench::builder()
        .preload(&["pg_cron", "pg_etl"])
        .setting("cron.database_name", DATABASE)
        .setting("cron.use_background_workers", "on")
}

/// The real pg_cron, whose older versions know no second: a job runs at the full minute.
#[test]
fn a_job_of_pg_cron_fails() {
    let (_bench, mut db, ear) = watched_on(with_cron());
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
