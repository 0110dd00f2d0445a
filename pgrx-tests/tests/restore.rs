//! State belongs to the user: a dump brings it back, a copy starts paused, and DROP EXTENSION takes nothing of it.

use std::process::{Command, Stdio};

use odoo_sim::Totals;
use pg_etl_tests::prelude::*;
use pg_etl_tests::{DATABASE, adopted_deployment};

/// What must come back: rows, columns, owners, grants, constraints, indexes, triggers of the state.
fn state(db: &mut Client) -> Vec<String> {
    db.all(
        "SELECT 'row ' || o::text FROM ops.odoo_outbox o
         UNION ALL SELECT 'history ' || h::text FROM ops.outbox_history h
         UNION ALL SELECT 'config ' || c::text FROM ops.odoo_sync_config c
         UNION ALL SELECT 'run ' || r::text FROM ops.odoo_sync_runs r
         UNION ALL SELECT 'connection ' || c::text FROM etl.connections c
         UNION ALL SELECT concat_ws(' ', c.relname, c.relkind, c.relowner::regrole, array(SELECT a::text FROM unnest(relacl) a ORDER BY 1)::text)
           FROM pg_class c WHERE relnamespace = 'ops'::regnamespace
         UNION ALL SELECT concat_ws(' ', 'schema', nspowner::regrole, array(SELECT a::text FROM unnest(nspacl) a ORDER BY 1)::text)
           FROM pg_namespace WHERE nspname = 'ops'
         UNION ALL SELECT concat_ws(' ', attrelid::regclass, attname, atttypid::regtype, attnotnull, pg_get_expr(adbin, adrelid))
           FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
           WHERE attnum > 0 AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'ops'::regnamespace AND relkind = 'r')
         UNION ALL SELECT concat_ws(' ', conname, pg_get_constraintdef(oid)) FROM pg_constraint WHERE connamespace = 'ops'::regnamespace
         UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'ops'
         UNION ALL SELECT concat_ws(' ', tgname, tgfoid::regproc, tgtype, tgenabled) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE relnamespace = 'ops'::regnamespace
         UNION ALL SELECT concat_ws(' ', 'view', viewname, viewowner) FROM pg_views WHERE schemaname = 'etl'
         ORDER BY 1",
        &[],
    )
}

fn run(mut command: Command) {
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn program(bench: &Bench, name: &str, arguments: &[&str]) -> Command {
    let mut command = bench.cluster.program(name).expect("a server program");
    command.args(arguments);
    command
}

/// The copy has rows and no pause of its own yet; its worker must find out that it is a copy, and send nothing.
fn starts_paused(bench: &Bench, copy: &mut Client, before: Totals) {
    eventually(PATIENCE, "the copy to be paused", || {
        copy.one("SELECT EXISTS (SELECT FROM etl.connection_state WHERE connection = 'odoo' AND paused_reason LIKE '%copy%')", &[])
    });
    let worker: Vec<String> = eventually_some(PATIENCE, "an idle worker in the copy", || {
        let states: Vec<String> = copy.all("SELECT state FROM etl.workers", &[]);
        if states == ["idle"] {
            Ok(states)
        } else {
            Err(states)
        }
    });
    assert_eq!(worker, ["idle"]);
    assert_eq!(copy.count("queued"), 3);
    assert_eq!(copy.one::<i64>("SELECT count(*) FROM etl.queue", &[]), 3);
    assert_eq!(
        bench.sim().totals().requests,
        before.requests,
        "a copy sends nothing before somebody says so"
    );
    let health = copy.health("connection odoo");
    assert!(
        health.contains("| fail | paused |") && health.contains("etl.resume"),
        "{health}"
    );
}

fn delivers_after_resume(bench: &Bench, copy: &mut Client) {
    copy.run("SELECT etl.resume()");
    copy.await_empty(PATIENCE);
    for (name, count) in [("Ada Lovelace", 1), ("Ada", 0), ("Bob", 1), ("Cyd", 1)] {
        assert_eq!(bench.sim().partners(name).len(), count, "{name}");
    }
}

#[test]
fn dump_and_psql_bring_everything_back_and_wait_for_a_word() {
    let (bench, mut db) = adopted_deployment();
    let file = bench.cluster.socket_dir().join("dump.sql");
    let file = file.to_str().expect("a path");
    run(program(
        &bench,
        "pg_dump",
        &["-d", &bench.cluster.dsn(DATABASE), "-f", file],
    ));
    let before = bench.sim().totals();
    db.run("CREATE DATABASE copy");
    run(program(
        &bench,
        "psql",
        &[
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            &bench.cluster.dsn("copy"),
            "-f",
            file,
        ],
    ));
    let mut copy = bench.client_in("copy");
    starts_paused(&bench, &mut copy, before);
    assert_eq!(state(&mut copy), state(&mut db));
    delivers_after_resume(&bench, &mut copy);
    // The original still waits with the same rows: what the copy created is not created again.
    db.run("SELECT etl.resume()");
    db.await_empty(PATIENCE);
    assert_eq!(
        (
            bench.sim().partners("Bob").len(),
            bench.sim().partners("Cyd").len()
        ),
        (1, 1)
    );
}

#[test]
fn a_custom_dump_restored_in_parallel_does_too() {
    let (bench, mut db) = adopted_deployment();
    let file = bench.cluster.socket_dir().join("dump.custom");
    let file = file.to_str().expect("a path");
    run(program(
        &bench,
        "pg_dump",
        &["-Fc", "-d", &bench.cluster.dsn(DATABASE), "-f", file],
    ));
    let before = bench.sim().totals();
    db.run("CREATE DATABASE copy");
    run(program(
        &bench,
        "pg_restore",
        &[
            "-j2",
            "--exit-on-error",
            "-d",
            &bench.cluster.dsn("copy"),
            file,
        ],
    ));
    let mut copy = bench.client_in("copy");
    starts_paused(&bench, &mut copy, before);
    assert_eq!(state(&mut copy), state(&mut db));
    delivers_after_resume(&bench, &mut copy);
}

#[test]
fn a_copy_by_template_starts_paused() {
    let (bench, mut db) = adopted_deployment();
    let before = bench.sim().totals();
    db.run("SELECT etl.resume(); UPDATE etl.connection_state SET paused_at = now(), paused_reason = 'by hand'");
    drop(db);
    let mut maintenance = bench.client_in("postgres");
    eventually(
        PATIENCE,
        "CREATE DATABASE … TEMPLATE to get through",
        || {
            maintenance
                .batch_execute("CREATE DATABASE copy TEMPLATE shop")
                .is_ok()
        },
    );
    let mut copy = bench.client_in("copy");
    copy.run("UPDATE etl.connection_state SET paused_at = NULL, paused_reason = NULL WHERE paused_reason = 'by hand'");
    starts_paused(&bench, &mut copy, before);
    delivers_after_resume(&bench, &mut copy);
}

#[test]
fn a_drain_without_a_resident_worker_knows_a_copy_too() {
    let bench = Bench::builder().preload(&[]).start();
    let mut db = bench.client();
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    drop(db);
    let mut maintenance = bench.client_in("postgres");
    eventually(PATIENCE, "the template to be free", || {
        maintenance
            .batch_execute("CREATE DATABASE copy TEMPLATE shop")
            .is_ok()
    });
    let mut copy = bench.client_in("copy");
    let before = bench.sim().totals();
    let answer = copy.drain();
    assert_eq!(
        (&answer["claimed"], &answer["remaining"]),
        (&json!(0), &json!(1)),
        "{answer}"
    );
    assert_eq!(bench.sim().totals().requests, before.requests);
    copy.run("SELECT etl.resume()");
    assert_eq!(copy.drain()["done"], 1);
    assert_eq!(copy.row(id).status, "done");
}

#[test]
fn a_word_right_after_the_restore_counts() {
    let bench = Bench::builder().preload(&[]).start();
    let mut db = bench.client();
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    drop(db);
    let mut maintenance = bench.client_in("postgres");
    eventually(PATIENCE, "the template to be free", || {
        maintenance
            .batch_execute("CREATE DATABASE copy TEMPLATE shop")
            .is_ok()
    });
    let mut copy = bench.client_in("copy");
    // Before any worker had a look at it.
    assert!(
        copy.one::<bool>("SELECT etl.health() ->> 'status' = 'fail'", &[]),
        "a copy says that it is one: {}",
        copy.health("%")
    );
    copy.run("SELECT etl.resume()");
    assert_eq!(copy.drain()["done"], 1);
    assert_eq!(copy.row(id).status, "done");
}

/// A dump of the database, restored into `copy`.
fn copied(bench: &Bench, db: &mut Client) -> Client {
    let file = bench.cluster.socket_dir().join("dump.sql");
    let file = file.to_str().expect("a path");
    run(program(
        bench,
        "pg_dump",
        &["-d", &bench.cluster.dsn(DATABASE), "-f", file],
    ));
    db.run("CREATE DATABASE copy");
    run(program(
        bench,
        "psql",
        &[
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            &bench.cluster.dsn("copy"),
            "-f",
            file,
        ],
    ));
    bench.client_in("copy")
}

/// Mirrors and tracked tables come back with what makes them so.
#[test]
fn mirrors_and_tracked_tables_survive_a_dump() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE customers (gone int, id int PRIMARY KEY, name text, city text); ALTER TABLE customers DROP COLUMN gone;
           CREATE TABLE contacts (gone int, id int PRIMARY KEY, customer int, called text); ALTER TABLE contacts DROP COLUMN gone; CREATE INDEX ON contacts (customer);
           SELECT etl.track('customers', 'res.partner', '{"name": "name", "child_ids": {"lines": "contacts", "column": "customer", "fields": {"name": "called"}}}', on_truncate => 'delete');
           SELECT etl.mirror('res.country')"#,
    );
    db.run("INSERT INTO customers VALUES (1, 'Ada')");
    db.await_empty(PATIENCE);
    eventually(PATIENCE, "the mirror", || {
        db.one("SELECT state = 'ok' FROM etl.sync_lag", &[])
    });
    let mut copy = copied(&bench, &mut db);
    copy.run("SELECT etl.setup(); SELECT etl.pause()");
    let countries = "SELECT count(*) FROM odoo_raw.res_country";
    assert_eq!(
        copy.one::<i64>(countries, &[]),
        db.one::<i64>(countries, &[])
    );
    copy.run("INSERT INTO customers VALUES (2, 'Bob'); ALTER TABLE customers RENAME COLUMN name TO called; UPDATE customers SET called = 'Bert' WHERE id = 2;
              ALTER TABLE contacts RENAME COLUMN called TO name; INSERT INTO contacts VALUES (10, 2, 'Kim'), (9, 2, 'Lea')");
    let captured: Vec<Value> = copy.all(
        "SELECT payload FROM ops.odoo_outbox WHERE record_key = 'public.customers:2' ORDER BY id",
        &[],
    );
    let lines = json!([{"key": "9", "name": "Lea"}, {"key": "10", "name": "Kim"}]);
    assert_eq!(
        captured,
        [
            json!({"name": "Bob"}),
            json!({"name": "Bert"}),
            json!({"name": "Bert", "child_ids": lines})
        ]
    );
    let known: i64 = copy.one("SELECT count(*) FROM etl.tracked_records('customers')", &[]);
    assert_eq!(known, 1);
    copy.run("SELECT etl.untrack('customers')");
}

/// What both sides agreed on comes back, and which record a row was made for.
#[test]
fn two_way_tables_survive_a_dump() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let theirs = |values: Value| {
        let made = bench.colleague().create("res.partner", &values);
        made.expect("a record of theirs")
    };
    db.run(
        r#"CREATE TABLE people (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, title text NOT NULL, tel text);
           INSERT INTO people (title) VALUES ('Ada'); SELECT etl.mirror('res.partner', domain => '[["email", "=", false], ["name", "in", ["Ada", "Born there"]]]');
           SELECT etl.track('people', 'res.partner', '{"name": "title", "phone": "tel"}', two_way => 'odoo', on_odoo_create => 'insert')"#,
    );
    let born = theirs(json!({"name": "Born there"}));
    eventually(PATIENCE, "both rows, and nothing on its way", || {
        db.one::<Value>("SELECT etl.pull('res.partner')", &[]);
        db.one(
            "SELECT count(*) FILTER (WHERE i.remote IS NOT NULL) = 2 FROM etl.images i",
            &[],
        )
    });
    let mut copy = copied(&bench, &mut db);
    copy.run("SELECT etl.setup(); SELECT etl.resume()");
    let linked = "SELECT odoo_id FROM etl.tracked_records('people') ORDER BY 1";
    let links: Vec<i64> = copy.all(linked, &[]);
    assert!(links.contains(&born), "{links:?}");
    assert_eq!(links, db.all::<i64>(linked, &[]));
    bench
        .colleague()
        .write("res.partner", &links, &json!({"phone": "from Odoo"}))
        .expect("a change of theirs");
    let pulled: Value = copy.one("SELECT etl.pull('res.partner')", &[]);
    assert_eq!(pulled["mirrors"][0]["status"], "succeeded", "{pulled}");
    let rows: Vec<String> = copy.all("SELECT title || ' ' || tel FROM people ORDER BY title", &[]);
    assert_eq!(rows, ["Ada from Odoo", "Born there from Odoo"]);
    let sent: i64 = copy.one(
        "SELECT count(*) FROM ops.odoo_outbox WHERE payload ->> 'phone' = 'from Odoo'",
        &[],
    );
    assert_eq!(sent, 0, "no echo");
}
