//! `etl.setup()` on ground that is empty, ready, contended or unfit.

use pg_etl_tests::prelude::*;

const TABLES: [&str; 4] = [
    "odoo_outbox",
    "odoo_sync_checkpoints",
    "odoo_sync_config",
    "odoo_sync_runs",
];

fn unprepared() -> Bench {
    Bench::builder().preload(&[]).no_connection().start()
}

/// A further database of the same server, with the extension.
fn another(bench: &Bench, name: &str) -> Client {
    bench
        .client_in("postgres")
        .run(&format!("CREATE DATABASE {name}"));
    let mut db = bench.client_in(name);
    db.run("CREATE EXTENSION pg_etl");
    db
}

fn list(report: &Value, part: &str) -> Vec<String> {
    report[part]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| item.as_str().expect("a text").to_owned())
        .collect()
}

#[test]
fn fresh_and_again() {
    let bench = unprepared();
    let mut db = bench.client();
    let report: Value = db.one("SELECT etl.setup()", &[]);
    let created = list(&report, "created");
    assert!(
        TABLES
            .iter()
            .all(|table| created.contains(&format!("ops.{table}"))),
        "{report}"
    );
    assert_eq!(
        (
            list(&report, "adopted").len(),
            list(&report, "migrated").len()
        ),
        (0, 0),
        "{report}"
    );
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    let tables: Vec<String> = db.all("SELECT relname::text FROM pg_class WHERE relnamespace = 'ops'::regnamespace AND relkind = 'r' ORDER BY 1", &[]);
    assert_eq!(tables, TABLES);
    // Ordinary tables: members of an extension lose rows, owners and grants.
    let members: i64 = db.one(
        "SELECT count(*) FROM pg_depend WHERE deptype = 'e' AND classid = 'pg_class'::regclass
         AND objid IN (SELECT oid FROM pg_class WHERE relnamespace = 'ops'::regnamespace)",
        &[],
    );
    assert_eq!(members, 0);

    let namespace: Value = db.one(
        "SELECT value FROM ops.odoo_sync_config WHERE key = 'external_id_namespace'",
        &[],
    );
    let before = catalog(&mut db);
    let again: Value = db.one("SELECT etl.setup()", &[]);
    assert_eq!(
        (
            list(&again, "created").len(),
            list(&again, "migrated").len()
        ),
        (0, 0),
        "{again}"
    );
    assert_eq!(catalog(&mut db), before, "a second call changes nothing");
    assert_eq!(
        db.one::<Value>(
            "SELECT value FROM ops.odoo_sync_config WHERE key = 'external_id_namespace'",
            &[]
        ),
        namespace
    );
}

/// Everything that a setup could have changed: columns, defaults, constraints, indexes, triggers, owners, grants, storage.
fn catalog(db: &mut Client) -> Vec<String> {
    db.all(
        "SELECT concat_ws(' ', c.relname, c.relfilenode, c.relowner::regrole, c.relacl::text, c.reloptions::text) FROM pg_class c
           WHERE relnamespace IN ('ops'::regnamespace, 'etl'::regnamespace)
         UNION ALL SELECT concat_ws(' ', attrelid::regclass, attname, atttypid::regtype, attnotnull, pg_get_expr(adbin, adrelid))
           FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
           WHERE attnum > 0 AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'ops'::regnamespace)
         UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated) FROM pg_constraint
           WHERE connamespace = 'ops'::regnamespace
         UNION ALL SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE relnamespace = 'ops'::regnamespace
         ORDER BY 1",
        &[],
    )
}

#[test]
fn two_at_once_make_one() {
    let bench = unprepared();
    let mut first = bench.client();
    let mut hold = first.transaction().expect("a transaction");
    hold.query_one("SELECT etl.setup()", &[]).expect("setup");
    let mut second = bench.client();
    let (pid, waits): (i32, _) = (
        second.one("SELECT pg_backend_pid()", &[]),
        std::thread::spawn(move || second.one::<Value>("SELECT etl.setup()", &[])),
    );
    let mut look = bench.client();
    eventually(PATIENCE, "the second to wait for the first", || {
        look.one("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock')", &[&pid])
    });
    hold.commit().expect("commit");
    let report = waits.join().expect("the second succeeds");
    assert_eq!(
        (
            list(&report, "created").len(),
            list(&report, "adopted").len()
        ),
        (0, 4),
        "{report}"
    );
}

#[test]
fn before_setup_everything_says_what_to_do() {
    let bench = unprepared();
    let mut db = bench.client();
    for call in [
        "etl.enqueue('res.partner', 'create', '{}')",
        "etl.drain_outbox()",
        "etl.drain_outbox(dry_run => true)",
        "etl.explain(1)",
        "etl.replay(1)",
        "etl.replay_failed()",
        "etl.cancel(1)",
        "etl.start_run('sb_to_odoo')",
        "etl.finish_run(1)",
        "etl.test_connection('odoo')",
        "etl.pause()",
        "etl.resume()",
    ] {
        let said = db.refused(&format!("SELECT {call}"));
        assert_eq!(said.code().code(), "55000", "{call}: {}", said.message());
        assert!(
            said.hint().is_some_and(|hint| hint.contains("etl.set")),
            "{call}: {:?}",
            said.hint()
        );
    }
    let said = db.refused("CALL etl.drain()");
    assert_eq!(
        (said.code().code(), said.hint()),
        ("55000", Some("SELECT etl.setup();"))
    );
    assert!(
        db.health("setup").contains("| fail |"),
        "{}",
        db.health("setup")
    );
    assert!(db.health("setup").contains("etl.setup()"));
    assert_eq!(
        db.one::<Value>("SELECT etl.health() -> 'status'", &[]),
        "fail"
    );
}

#[test]
fn set_connection_sets_up() {
    let bench = Bench::ready();
    let mut db = bench.client();
    assert!(db.health("setup").contains("| pass |"));
    assert_eq!(
        db.one::<i64>(
            "SELECT count(*) FROM etl.audit_log WHERE action = 'setup'",
            &[]
        ),
        1
    );
}

#[test]
fn unfit_tables_are_refused_with_a_remedy_and_left_alone() {
    let bench = Bench::builder().preload(&[]).no_extension().start();
    const OUTBOX: &str = "id bigserial PRIMARY KEY, model text, operation text, payload jsonb, idempotency_key text NOT NULL";
    let runs = "id bigserial PRIMARY KEY, direction text, status text, started_at timestamptz";
    let unfit = [
        ("wrong_type", format!("CREATE TABLE ops.odoo_outbox ({})", OUTBOX.replace("jsonb", "text")), "42804", "payload", "ALTER TABLE"),
        ("wrong_time", format!("CREATE TABLE ops.odoo_outbox ({OUTBOX}, next_run_at timestamp)"), "42804", "next_run_at", "ALTER TABLE"),
        ("no_model", format!("CREATE TABLE ops.odoo_outbox ({})", OUTBOX.replace("model text, ", "")), "42703", "model", "ADD COLUMN"),
        ("no_key", "CREATE TABLE ops.odoo_sync_config (name text PRIMARY KEY, value jsonb)".to_owned(), "42703", "key", "ADD COLUMN"),
        ("a_view", format!("CREATE TABLE ops.t ({runs}); CREATE VIEW ops.odoo_sync_runs AS SELECT * FROM ops.t"), "42809", "ordinary table", "Rename"),
        (
            "partitioned",
            "CREATE TABLE ops.odoo_outbox (id bigint, model text, operation text, payload jsonb, idempotency_key text) PARTITION BY RANGE (id)".to_owned(),
            "42809",
            "ordinary table",
            "Rename",
        ),
        (
            "twice",
            format!("CREATE TABLE ops.odoo_outbox ({OUTBOX}); INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key) VALUES ('a', 'create', '{{}}', 'k'), ('b', 'create', '{{}}', 'k')"),
            "23505",
            "idempotency_key",
            "HAVING count(*) > 1",
        ),
    ];
    for (name, tables, sqlstate, words, remedy) in unfit {
        let mut db = another(&bench, name);
        db.run(&format!("CREATE SCHEMA ops; {tables}"));
        let before: Vec<String> = catalog(&mut db);
        let said = db.refused("SELECT etl.setup()");
        assert_eq!(said.code().code(), sqlstate, "{name}: {}", said.message());
        assert!(said.message().contains(words), "{name}: {}", said.message());
        assert!(
            said.hint().is_some_and(|hint| hint.contains(remedy)),
            "{name}: {:?}",
            said.hint()
        );
        assert_eq!(
            catalog(&mut db),
            before,
            "{name}: a refused setup leaves everything as it was"
        );
        let said = db.refused("SELECT etl.enqueue('res.partner', 'create', '{}')");
        assert_eq!(said.code().code(), "55000", "{name}");
    }
}

#[test]
fn rows_that_no_check_allows_are_named() {
    let bench = unprepared();
    let mut db = bench.client();
    db.run("CREATE SCHEMA ops; CREATE TABLE ops.odoo_outbox (id bigserial PRIMARY KEY, model text, operation text, payload jsonb, idempotency_key text UNIQUE, status text);
            INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, status) VALUES ('res.partner', 'create', '{}', 'k', 'waiting')");
    let said = db.refused("SELECT etl.setup()");
    assert_eq!(said.code().code(), "23514", "{}", said.message());
    assert!(
        said.hint().is_some_and(|hint| hint.contains("status")),
        "{} / {:?}",
        said.message(),
        said.hint()
    );
}

#[test]
fn a_busy_table_is_not_waited_for_forever() {
    let bench = unprepared();
    let mut db = bench.client();
    db.run("SELECT etl.setup()");
    let mut writer = bench.client();
    let mut open = writer.transaction().expect("a transaction");
    open.batch_execute("LOCK TABLE ops.odoo_outbox IN ACCESS EXCLUSIVE MODE")
        .expect("the lock");
    db.run("SET statement_timeout = '40s'");
    let begin = Instant::now();
    let said = db.refused("SELECT etl.setup()");
    assert_eq!(said.code().code(), "55P03", "{}", said.message());
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "{:?}",
        begin.elapsed()
    );
    open.rollback().expect("rollback");
    db.run("SELECT etl.setup()");
}
