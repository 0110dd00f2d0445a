//! pg_cron drives the delivery where pg_etl is not preloaded.

use pg_etl_tests::DATABASE;
use pg_etl_tests::prelude::*;

/// The scheduler itself calls `SELECT etl.drain_outbox()` every second, in a server that preloads pg_cron and not pg_etl.
#[test]
fn pg_cron_delivers_without_preload() {
    let version = xtask::suite::pg_under_test().unwrap();
    assert!(
        version.has_library("pg_cron"),
        "pg_cron is not installed for PostgreSQL {version}: apt-get install postgresql-{version}-cron"
    );
    let bench = Bench::builder()
        .preload(&["pg_cron"])
        .setting("cron.database_name", DATABASE)
        .setting("cron.use_background_workers", "on")
        .setting("max_worker_processes", "16")
        .start();
    let (mut db, sim) = (bench.client(), bench.sim());
    assert!(!db.one::<String>("SHOW shared_preload_libraries", &[]).contains("pg_etl"));
    db.run("CREATE EXTENSION pg_cron");
    let id = db.enqueue("res.partner", "create", json!({"name": "By cron"}), Some("partner:cron"));
    db.run("SELECT cron.schedule('drain', '1 second', 'SELECT etl.drain_outbox()')");
    db.await_status(id, "done");
    sim.partner("By cron");

    // The job goes on: what commits later is found by a later run, and idle runs harm nothing.
    let runs = |db: &mut Client| db.one::<i64>("SELECT count(*) FROM cron.job_run_details WHERE status = 'succeeded'", &[]);
    let so_far = runs(&mut db);
    eventually(PATIENCE, "three more runs of the job", || runs(&mut db) >= so_far + 3);
    let update = db.enqueue("res.partner", "update", json!({"city": "Later"}), Some("partner:cron"));
    db.await_status(update, "done");
    assert_eq!(sim.partner("By cron")["city"], "Later");
    let failed: Vec<String> = db.all("SELECT return_message FROM cron.job_run_details WHERE status = 'failed'", &[]);
    assert!(failed.is_empty(), "{failed:?}");
    db.run("SELECT cron.unschedule('drain')");
    eventually(PATIENCE, "no errand worker to be left", || Worker::all(&mut db).is_empty());
}
