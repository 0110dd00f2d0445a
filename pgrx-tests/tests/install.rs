//! CREATE and DROP EXTENSION: into what, beside what, and what is left.

use pg_etl_tests::prelude::*;

fn versions(db: &mut Client) -> Vec<String> {
    db.all(
        "SELECT extversion FROM pg_extension WHERE extname = 'pg_etl'",
        &[],
    )
}

#[test]
fn into_an_empty_database_preloaded_or_not() {
    for preload in [&["pg_etl"][..], &[]] {
        let bench = Bench::builder().preload(preload).no_extension().start();
        let mut db = bench.client();
        db.run("CREATE EXTENSION pg_etl");
        assert_eq!(versions(&mut db), [env!("CARGO_PKG_VERSION")]);
        assert!(
            db.one::<bool>("SELECT to_regnamespace('ops') IS NULL", &[]),
            "state is made by etl.setup(), not by CREATE EXTENSION"
        );
        db.run("SELECT etl.health(); SELECT etl.setup()");
        bench.connect(&mut db, json!({}));
        let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
        if preload.is_empty() {
            assert_eq!(db.drain()["done"], 1);
        }
        db.await_status(id, "done");
    }
}

#[test]
fn beside_a_schema_of_the_same_name_it_says_so() {
    let bench = Bench::builder().no_extension().start();
    let mut db = bench.client();
    db.run("CREATE SCHEMA etl; CREATE TABLE etl.theirs (id int)");
    let said = db.refused("CREATE EXTENSION pg_etl");
    assert_eq!(said.code().code(), "42P06", "{}", said.message());
    assert!(
        said.message().contains("etl") && said.hint().is_some_and(|hint| hint.contains("RENAME")),
        "{said:?}"
    );
    assert_eq!(versions(&mut db), [""; 0]);
    db.run("ALTER SCHEMA etl RENAME TO theirs; CREATE EXTENSION pg_etl");
}

#[test]
fn two_databases_of_one_server_keep_apart() {
    let bench = Bench::builder().setting("etl.poll_interval", "5s").start();
    bench.client_in("postgres").run("CREATE DATABASE other");
    let (mut shop, mut other) = (bench.client(), bench.client_in("other"));
    other.run("CREATE EXTENSION pg_etl");
    bench.connect(&mut other, json!({}));
    let ids = (
        shop.enqueue("res.partner", "create", json!({"name": "Ada"}), Some("1")),
        other.enqueue("res.partner", "create", json!({"name": "Bob"}), Some("1")),
    );
    shop.await_status(ids.0, "done");
    other.await_status(ids.1, "done");
    let names: Vec<Value> = bench
        .sim()
        .records("res.partner")
        .iter()
        .map(|partner| partner["name"].clone())
        .collect();
    // The record keys are equal, the namespaces are not: neither took the other's record.
    assert!(
        names.contains(&json!("Ada")) && names.contains(&json!("Bob")),
        "{names:?}"
    );
    let mut look = bench.client_in("postgres");
    eventually(PATIENCE, "a worker in each", || {
        let mut databases: Vec<String> = Worker::all(&mut look)
            .into_iter()
            .map(|worker| worker.database)
            .collect();
        databases.sort();
        databases == ["other", "shop"]
    });
    shop.run("DROP EXTENSION pg_etl CASCADE");
    let id = other.enqueue("res.partner", "create", json!({"name": "Cyd"}), None);
    other.await_status(id, "done");
    eventually(PATIENCE, "the worker of the first to leave", || {
        Worker::of(&mut look, "shop").is_empty()
    });
}

/// Objects of every kind that live in a database, without those of Postgres.
const OBJECTS: &str = "SELECT pg_describe_object(classid, objid, 0) FROM (
      SELECT 'pg_class'::regclass AS classid, oid AS objid FROM pg_class WHERE oid >= 16384 AND relnamespace <> 'pg_toast'::regnamespace
      UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE oid >= 16384
      UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE oid >= 16384 AND typnamespace <> 'pg_toast'::regnamespace
      UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace WHERE oid >= 16384
      UNION ALL SELECT 'pg_trigger'::regclass, oid FROM pg_trigger
      UNION ALL SELECT 'pg_policy'::regclass, oid FROM pg_policy
      UNION ALL SELECT 'pg_extension'::regclass, oid FROM pg_extension WHERE oid >= 16384
      UNION ALL SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
    ) x ORDER BY 1";

#[test]
fn drop_leaves_nothing_but_state_and_roles() {
    let bench = Bench::builder()
        .setting("etl.poll_interval", "5s")
        .no_extension()
        .start();
    let mut db = bench.client();
    let before: Vec<String> = db.all(OBJECTS, &[]);
    // Never set up: nothing at all.
    db.run("CREATE EXTENSION pg_etl; DROP EXTENSION pg_etl");
    assert_eq!(db.all::<String>(OBJECTS, &[]), before);

    db.run("CREATE EXTENSION pg_etl");
    bench.connect(&mut db, json!({}));
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    db.await_status(id, "done");
    db.run("DROP EXTENSION pg_etl CASCADE");
    let after: Vec<String> = db.all(OBJECTS, &[]);
    let left: Vec<&String> = after
        .iter()
        .filter(|object| !before.contains(object))
        .collect();
    assert!(
        !left.is_empty() && left.iter().all(|object| object.contains("ops")),
        "{left:?}"
    );
    let roles: Vec<String> = db.all(
        "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'etl%' ORDER BY 1",
        &[],
    );
    assert_eq!(
        roles,
        ["etl_admin", "etl_operator", "etl_reader", "etl_worker"]
    );
    let mut look = bench.client_in("postgres");
    eventually(PATIENCE, "the worker to leave", || {
        Worker::all(&mut look).is_empty()
    });
}

#[test]
fn drop_gets_through_while_a_request_is_on_the_wire() {
    let bench = Bench::ready();
    let mut db = bench.client();
    bench.sim().inject(
        Fault::new(Effect::Delay {
            before_ms: 3_000,
            after_ms: 0,
        })
        .on("res.partner", "load"),
    );
    db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    eventually(PATIENCE, "the request to be on its way", || {
        bench.sim().in_flight() > 0
    });
    let begin = Instant::now();
    db.run("DROP EXTENSION pg_etl CASCADE");
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(
        db.count("processing"),
        1,
        "the row is still there and says what is known of it"
    );
    db.run("CREATE EXTENSION pg_etl");
    bench.connect(&mut db, json!({}));
    db.await_empty(PATIENCE);
    assert_eq!(
        bench
            .sim()
            .records("res.partner")
            .iter()
            .filter(|partner| partner["name"] == "Ada")
            .count(),
        1
    );
}

#[test]
fn inside_a_transaction_that_rolls_back_nothing_stays() {
    let bench = Bench::builder().no_extension().start();
    let mut db = bench.client();
    db.run("BEGIN; CREATE EXTENSION pg_etl; SELECT etl.setup(); ROLLBACK");
    assert!(db.one::<bool>(
        "SELECT to_regnamespace('etl') IS NULL AND to_regnamespace('ops') IS NULL",
        &[]
    ));
    db.run("CREATE EXTENSION pg_etl; SELECT etl.setup()");
}

#[test]
fn the_extension_is_only_for_superusers_and_its_schema_is_fixed() {
    let bench = Bench::builder().no_extension().start();
    let mut db = bench.client();
    db.run("CREATE ROLE tenant LOGIN; GRANT CREATE ON DATABASE shop TO tenant");
    let said = db.refused("SET ROLE tenant; CREATE EXTENSION pg_etl");
    assert_eq!(said.code().code(), "42501", "{}", said.message());
    db.run("RESET ROLE; CREATE EXTENSION pg_etl");
    let said = db.refused("CREATE SCHEMA elsewhere; ALTER EXTENSION pg_etl SET SCHEMA elsewhere");
    assert_eq!(said.code().code(), "0A000", "{}", said.message());
}
