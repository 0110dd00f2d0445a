//! Library and SQL of different versions. 0.1.0 is the first release: there is no older one to come from yet, so the way
//! `ALTER EXTENSION … UPDATE` will take is tested by what happens around it.

use pg_etl_tests::prelude::*;

#[test]
fn a_worker_of_another_version_idles_and_says_so() {
    let bench = Bench::builder().setting("etl.poll_interval", "5s").start();
    let mut db = bench.client();
    let first = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    db.await_status(first, "done");
    db.run("UPDATE pg_extension SET extversion = '0.0.9' WHERE extname = 'pg_etl'");
    // A turn that began before goes to its end.
    eventually(PATIENCE, "the worker to see the other version", || {
        db.one::<String>("SELECT string_agg(detail, '') FROM etl.workers", &[])
            .contains("ALTER EXTENSION pg_etl UPDATE")
    });
    let requests = bench.sim().totals().requests;
    let second = db.enqueue("res.partner", "create", json!({"name": "Bob"}), None);
    // One that delivered would have done so by then.
    std::thread::sleep(Duration::from_secs(1));
    let health = db.health("version");
    assert!(
        health.contains("| fail |")
            && health.contains("0.0.9")
            && health.contains("ALTER EXTENSION pg_etl UPDATE"),
        "{health}"
    );
    assert_eq!(
        db.one::<Value>("SELECT etl.health() -> 'status'", &[]),
        "fail"
    );
    assert_eq!(
        (db.row(second).status.as_str(), db.row(second).attempts),
        ("queued", 0)
    );
    assert_eq!(
        bench.sim().totals().requests,
        requests,
        "nothing is sent by a library that does not know its tables"
    );
    // The drain is no back door.
    let said = db.refused("SELECT etl.drain_outbox()");
    assert!(
        said.message().contains("version")
            || said
                .hint()
                .is_some_and(|hint| hint.contains("ALTER EXTENSION")),
        "{said:?}"
    );

    db.run(&format!(
        "UPDATE pg_extension SET extversion = '{}' WHERE extname = 'pg_etl'",
        env!("CARGO_PKG_VERSION")
    ));
    db.await_status(second, "done");
    assert!(db.health("version").contains("| pass |"));
}

#[test]
fn an_update_to_the_same_version_changes_nothing() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run("ALTER EXTENSION pg_etl UPDATE");
    assert_eq!(
        db.one::<String>(
            "SELECT extversion FROM pg_extension WHERE extname = 'pg_etl'",
            &[]
        ),
        env!("CARGO_PKG_VERSION")
    );
    let said = db.refused("ALTER EXTENSION pg_etl UPDATE TO '99.0'");
    assert_eq!(said.code().code(), "22023", "{}", said.message());
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    db.await_status(id, "done");
}

#[test]
fn setup_records_its_version() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run("UPDATE etl.instance SET setup_version = '0.0.9'");
    let report: Value = db.one("SELECT etl.setup()", &[]);
    assert_eq!(
        (&report["previous_version"], &report["version"]),
        (&json!("0.0.9"), &json!(env!("CARGO_PKG_VERSION"))),
        "{report}"
    );
    assert_eq!(
        db.one::<String>("SELECT setup_version FROM etl.instance", &[]),
        env!("CARGO_PKG_VERSION")
    );
}
