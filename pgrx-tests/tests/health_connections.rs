//! Health of the worker and of the connections, with an endpoint that goes away and comes back.

use pg_etl_tests::prelude::*;

#[test]
fn the_worker_is_there_disabled_or_missing() {
    let bench = Bench::ready();
    let mut db = bench.client();
    bench.worker();
    eventually(PATIENCE, "the worker to be seen", || {
        db.health("worker").contains("| pass |")
    });
    bench
        .cluster
        .set("etl.enabled", "off")
        .expect("the setting");
    bench.cluster.reload();
    eventually(PATIENCE, "the worker to be disabled", || {
        db.health_status("worker") == "warn"
    });
    assert!(
        db.health("worker").contains("etl.enabled"),
        "{}",
        db.health("worker")
    );
    bench.cluster.set("etl.enabled", "on").expect("the setting");
    bench.cluster.reload();
    eventually(PATIENCE, "the worker to be back", || {
        db.health_status("worker") == "pass"
    });

    let without = Bench::builder().preload(&[]).start();
    let mut db = without.client();
    assert_eq!(db.health_status("worker"), "warn");
    assert!(db.health("worker").contains("shared_preload_libraries"));
}

#[test]
fn a_database_that_is_not_served_has_no_worker() {
    let bench = Bench::builder()
        .setting("etl.database", "another, and_another")
        .start();
    let mut db = bench.client();
    assert_eq!(db.health_status("worker"), "fail");
    assert!(db.health("worker").contains("etl.database"));
}

#[test]
fn connections_that_are_missing_paused_failing_or_unknown() {
    let bench = Bench::builder().no_connection().start();
    let mut db = bench.client();
    db.run("SELECT etl.setup()");
    assert!(
        db.health("connections").contains("| fail | none |"),
        "{}",
        db.health("connections")
    );
    bench.connect(&mut db, json!({}));
    assert_eq!(db.health_status("connection odoo"), "pass");
    db.run("SELECT etl.pause('odoo', 'stock-taking')");
    let health = db.health("connection odoo");
    assert!(
        health.contains("| fail | paused | stock-taking") && health.contains("etl.resume('odoo')"),
        "{health}"
    );
    db.run("SELECT etl.resume()");

    bench.sim().stop();
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    eventually(PATIENCE, "the circuit to open", || {
        db.health_status("circuit odoo") == "fail"
    });
    assert_eq!(
        db.health_status("connection odoo"),
        "fail",
        "{}",
        db.health("connection odoo")
    );
    assert!(
        db.health("connection odoo").contains("check the URL"),
        "{}",
        db.health("connection odoo")
    );
    bench.sim().restart().expect("the simulator comes back");
    assert_eq!(db.await_status(id, "done").attempts, 1, "no attempt burnt");
    eventually(PATIENCE, "all to be well again", || {
        db.health_status("circuit odoo") == "pass" && db.health_status("connection odoo") == "pass"
    });

    db.run("INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, connection) VALUES ('res.partner', 'create', '{}', 'lost', 'o''dd')");
    let health = db.health("connections");
    assert!(
        health.contains("| fail | 1 missing |") && health.contains("o'dd"),
        "{health}"
    );
    assert_eq!(db.count("queued"), 1, "the row waits for its connection");
}

#[test]
fn a_connection_without_a_secret_says_so() {
    let (_bench, mut db) = Bench::paused();
    db.run("SELECT etl.set_connection('bare', 'odoo', 'http://127.0.0.1:9')");
    let health = db.health("connection bare");
    assert!(
        health.contains("| fail | no secret |") && health.contains("vault:"),
        "{health}"
    );
}

/// Also of a connection that nobody has used yet.
#[test]
fn a_secret_that_cannot_be_read_is_seen_before_it_is_needed() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run("SELECT etl.set_connection('hook', 'webhook', 'https://127.0.0.1:9/hook', secret => 'env:ETL_NOT_THERE')");
    let mut db = bench.kill_worker();
    eventually(PATIENCE, "the worker to try", || {
        db.health_status("connection hook") == "fail"
    });
    let line = db.health("connection hook");
    assert!(
        line.contains("secret unreadable") && line.contains("ETL_NOT_THERE"),
        "{line}"
    );
    assert_eq!(db.health_status("connection odoo"), "pass");
}
