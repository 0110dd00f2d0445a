//! G11: a worker runs exactly where it should, and stands in nobody's way.

use pg_etl_tests::DATABASE;
use pg_etl_tests::prelude::*;

fn databases_with_a_worker(client: &mut Client) -> Vec<String> {
    let mut names: Vec<String> = Worker::all(client)
        .into_iter()
        .map(|worker| worker.database)
        .collect();
    names.sort();
    names
}

#[test]
fn one_worker_where_the_extension_is_and_none_elsewhere() {
    let bench = Bench::builder().no_extension().start();
    let mut outside = bench.client_in("postgres");
    outside.run("CREATE DATABASE other");
    let mut db = bench.client();
    let mut aborted = bench.client_in("other");
    let mut transaction = aborted.transaction().unwrap();
    transaction
        .batch_execute("CREATE EXTENSION pg_etl")
        .unwrap();
    transaction.rollback().unwrap();

    let begin = Instant::now();
    db.run("CREATE EXTENSION pg_etl");
    eventually(PATIENCE, "a worker after CREATE EXTENSION", || {
        databases_with_a_worker(&mut outside) == [DATABASE]
    });
    measure(
        "worker after CREATE EXTENSION",
        begin.elapsed(),
        Duration::from_secs(10),
    );
    // Before setup it idles; a connection makes it work.
    bench.connect(&mut db, json!({}));
    let id = db.enqueue("res.partner", "create", json!({"name": "First"}), None);
    db.await_status(id, "done");

    aborted.run("CREATE EXTENSION pg_etl");
    eventually(PATIENCE, "a worker in each", || {
        databases_with_a_worker(&mut outside) == ["other", DATABASE]
    });
    let begin = Instant::now();
    db.run("DROP EXTENSION pg_etl CASCADE");
    eventually(PATIENCE, "the worker to leave", || {
        databases_with_a_worker(&mut outside) == ["other"]
    });
    measure(
        "worker gone after DROP EXTENSION",
        begin.elapsed(),
        Duration::from_secs(5),
    );

    // And back, with the rows that stayed.
    db.run("CREATE EXTENSION pg_etl");
    bench.connect(&mut db, json!({}));
    let id = db.enqueue("res.partner", "create", json!({"name": "Second"}), None);
    db.await_status(id, "done");
    assert_eq!(db.count("done"), 2);
    bench.sim().partner("First");
}

#[test]
fn only_listed_databases_are_served() {
    let bench = Bench::builder()
        .no_extension()
        .setting("etl.database", "other, third")
        .start();
    let mut outside = bench.client_in("postgres");
    outside.run("CREATE DATABASE other");
    let mut db = bench.client();
    db.run("CREATE EXTENSION pg_etl");
    bench.connect(&mut db, json!({}));
    let id = db.enqueue("res.partner", "create", json!({"name": "By drain"}), None);
    bench.client_in("other").run("CREATE EXTENSION pg_etl");
    eventually(PATIENCE, "a worker in the listed database", || {
        databases_with_a_worker(&mut outside) == ["other"]
    });
    assert_eq!(db.row(id).status, "queued");
    assert!(
        db.health("worker").contains("etl.database"),
        "{}",
        db.health("worker")
    );
    assert_eq!(db.drain()["done"], 1);
}

/// A template's worker would stop everyone who makes a database from it.
#[test]
fn rename_and_drop_get_through() {
    let bench = Bench::ready();
    let mut outside = bench.client_in("postgres");
    bench.worker();
    let begin = Instant::now();
    outside.run(&format!("ALTER DATABASE {DATABASE} RENAME TO renamed"));
    measure(
        "ALTER DATABASE RENAME",
        begin.elapsed(),
        Duration::from_secs(15),
    );
    let mut db = bench.client_in("renamed");
    let id = db.enqueue("res.partner", "create", json!({"name": "Renamed"}), None);
    db.await_status(id, "done");
    drop(db);

    let begin = Instant::now();
    outside.run("DROP DATABASE renamed");
    measure("DROP DATABASE", begin.elapsed(), Duration::from_secs(15));
    eventually(PATIENCE, "the worker to be gone", || {
        Worker::all(&mut outside).is_empty()
    });

    outside.run("CREATE DATABASE again");
    let mut db = bench.client_in("again");
    db.run("CREATE EXTENSION pg_etl");
    eventually(PATIENCE, "a worker", || {
        databases_with_a_worker(&mut outside) == ["again"]
    });
    bench.connect(&mut db, json!({}));
    // A call that hangs does not keep the database either.
    bench.sim().inject(Fault::new(Effect::Hang));
    db.enqueue("res.partner", "create", json!({"name": "Hung"}), None);
    eventually(PATIENCE, "a request that hangs", || {
        !bench.sim().requests().is_empty()
    });
    let begin = Instant::now();
    outside.run("DROP DATABASE again WITH (FORCE)");
    measure(
        "DROP DATABASE WITH (FORCE)",
        begin.elapsed(),
        Duration::from_secs(15),
    );
    assert!(!outside.one::<bool>(
        "SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'again')",
        &[]
    ));
}

/// A copy would send everything a second time: it starts paused, and delivers once told to.
#[test]
fn a_copy_starts_paused_and_the_original_goes_on() {
    let bench = Bench::ready();
    let mut outside = bench.client_in("postgres");
    let mut db = bench.client();
    let id = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Before"}),
        Some("partner:before"),
    );
    db.await_status(id, "done");
    db.run("SELECT etl.pause()");
    let queued = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Queued"}),
        Some("partner:queued"),
    );
    db.run("SELECT etl.resume()");
    db.await_status(queued, "done");
    let scheduled: i64 = db.one(
        "SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Scheduled\"}', record_key => 's', not_before => now() + interval '1 day')",
        &[],
    );
    drop(db);
    let begin = Instant::now();
    eventually(PATIENCE, "CREATE DATABASE … TEMPLATE", || {
        outside
            .batch_execute(&format!("CREATE DATABASE copy TEMPLATE {DATABASE}"))
            .is_ok()
    });
    measure(
        "CREATE DATABASE … TEMPLATE",
        begin.elapsed(),
        Duration::from_secs(20),
    );

    let mut copy = bench.client_in("copy");
    eventually(PATIENCE, "the copy to be paused", || {
        copy.connection("state") == "paused"
    });
    copy.execute(
        "UPDATE ops.odoo_outbox SET next_run_at = now() WHERE id = $1",
        &[&scheduled],
    )
    .unwrap();
    let report = copy.health("connection odoo");
    assert!(
        report.contains("copy") && report.contains("etl.resume"),
        "{report}"
    );
    // The original goes on meanwhile; had the copy sent its row, Odoo would have it by then.
    let mut db = bench.client();
    let later = db.enqueue("res.partner", "create", json!({"name": "Later"}), None);
    db.await_status(later, "done");
    assert_eq!(copy.drain()["claimed"], 0);
    assert!(bench.sim().partners("Scheduled").is_empty());
    copy.run("SELECT etl.resume()");
    copy.await_status(scheduled, "done");
    bench.sim().partner("Scheduled");
}

/// Where worker processes run out, some databases wait, and the log says what to raise.
#[test]
fn more_databases_than_workers_is_said_and_survived() {
    let bench = Bench::builder()
        .no_extension()
        .setting("max_worker_processes", "3")
        .start();
    let mut outside = bench.client_in("postgres");
    for name in ["one", "two", "three", "four"] {
        outside.run(&format!("CREATE DATABASE {name}"));
        bench.client_in(name).run("CREATE EXTENSION pg_etl");
    }
    eventually(
        PATIENCE,
        "the launcher to say that there is no room",
        || bench.cluster.log().contains("raise max_worker_processes"),
    );
    let served = databases_with_a_worker(&mut outside).len();
    assert!((1..=2).contains(&served), "{served} workers");
    // Who has none is told so, and what to do; and a drain says why it cannot run.
    let first = databases_with_a_worker(&mut outside).remove(0);
    let unserved = ["one", "two", "three", "four"]
        .into_iter()
        .find(|name| !databases_with_a_worker(&mut outside).contains(&(*name).to_owned()));
    let mut without = bench.client_in(unserved.expect("one that waits"));
    without.run("SELECT etl.setup()");
    let health = without.health("worker");
    assert!(
        health.contains("| fail | none |") && health.contains("max_worker_processes"),
        "{health}"
    );
    let refused = without.refused("SELECT etl.drain_outbox()");
    assert_eq!(refused.code().code(), "53000", "{refused:?}");
    assert!(
        refused
            .hint()
            .is_some_and(|hint| hint.contains("max_worker_processes")),
        "{refused:?}"
    );
    drop(without);
    // A place that becomes free is used.
    let names = ["one", "two", "three", "four"];
    outside.run(&format!("DROP DATABASE {first} WITH (FORCE)"));
    let took = eventually(PATIENCE, "another database to get the place", || {
        let now = databases_with_a_worker(&mut outside);
        now.len() == served
            && now
                .iter()
                .all(|name| *name != first && names.contains(&name.as_str()))
    });
    measure("a free place is used", took, Duration::from_secs(15));
}
