//! pg_cron drives the delivery where pg_etl is not preloaded.

use pg_etl_tests::DATABASE;
use pg_etl_tests::prelude::*;

/// A minute, and what a busy machine adds.
const A_MINUTE: Duration = Duration::from_secs(90);

/// The scheduler itself calls `SELECT etl.drain_outbox()`, in a server that preloads pg_cron and not pg_etl.
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
    db.run("CREATE EXTENSION pg_cron");
    let id = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "By cron"}),
        Some("partner:cron"),
    );
    // Seconds came with pg_cron 1.5; before, a minute is the shortest.
    let every = if knows_seconds(&mut db) {
        "1 second"
    } else {
        "* * * * *"
    };
    println!("pg_cron runs the job every: {every}");
    db.one::<i64>(
        "SELECT cron.schedule('drain', $1, 'SELECT etl.drain_outbox()')",
        &[&every],
    );
    assert_eq!(db.health_status("pg_cron"), "pass");
    db.one::<i64>(
        "SELECT cron.schedule('wrong', $1, 'SELECT etl.no_such_function()')",
        &[&every],
    );
    eventually(A_MINUTE, "the first run to deliver the row", || {
        db.row(id).status == "done"
    });
    sim.partner("By cron");

    // The job goes on: what commits later is found by a later run.
    eventually(A_MINUTE, "a job that fails to be seen", || {
        let line = db.health("pg_cron");
        line.contains("wrong")
            && !line.contains("no_such_function")
            && db.health_status("pg_cron") == "fail"
    });
    db.run("SELECT cron.unschedule('wrong')");
    assert_eq!(
        db.health_status("pg_cron"),
        "pass",
        "{}",
        db.health("pg_cron")
    );
    let update = db.enqueue(
        "res.partner",
        "update",
        json!({"city": "Later"}),
        Some("partner:cron"),
    );
    eventually(A_MINUTE, "a later run to deliver the second row", || {
        db.row(update).status == "done"
    });
    assert_eq!(sim.partner("By cron")["city"], "Later");
    eventually(PATIENCE, "the runs to be recorded as succeeded", || {
        let runs: Vec<String> = db.all(
            "SELECT status FROM cron.job_run_details WHERE command LIKE '%drain%'",
            &[],
        );
        assert!(runs.iter().all(|status| status != "failed"), "{runs:?}");
        runs.iter().filter(|status| *status == "succeeded").count() >= 2
    });
    db.run("SELECT cron.unschedule('drain')");
    assert!(
        db.health("pg_cron").contains("etl.drain_outbox()"),
        "nobody drains: {}",
        db.health("pg_cron")
    );
    eventually(PATIENCE, "no errand worker to be left", || {
        Worker::all(&mut db).is_empty()
    });
}

fn knows_seconds(db: &mut Client) -> bool {
    let version: String = db.one(
        "SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'",
        &[],
    );
    let numbers: Vec<u32> = version
        .split(['.', '-'])
        .filter_map(|part| part.parse().ok())
        .collect();
    numbers
        .get(..2)
        .is_some_and(|numbers| numbers >= &[1, 5][..])
}
