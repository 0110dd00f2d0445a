//! `etl.setup()` over the state of an older deployment: rows, columns, owners, grants and triggers stay, and what waited is
//! delivered.

use pg_etl_tests::OLD_DEPLOYMENT;
use pg_etl_tests::prelude::*;

fn old_deployment() -> Bench {
    let bench = Bench::builder().no_connection().start();
    bench.client().run(OLD_DEPLOYMENT);
    bench
}

fn node(db: &mut Client) -> u32 {
    db.one(
        "SELECT relfilenode FROM pg_class WHERE oid = 'ops.odoo_outbox'::regclass",
        &[],
    )
}

#[test]
fn an_old_deployment_goes_on() {
    let bench = old_deployment();
    let mut db = bench.client();
    let before = node(&mut db);
    let report: Value = db.one("SELECT etl.setup()", &[]);
    assert_eq!(
        report["adopted"],
        json!([
            "ops.odoo_sync_runs",
            "ops.odoo_outbox",
            "ops.odoo_sync_config"
        ]),
        "{report}"
    );
    assert_eq!(
        report["created"],
        json!(["ops.odoo_sync_checkpoints"]),
        "{report}"
    );
    assert_eq!(node(&mut db), before, "the table is not rewritten");

    // Owner, rows, columns and things of others are what they were.
    let owners: Vec<String> = db.all(
        "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'ops'::regnamespace AND relkind IN ('r', 'S') AND relname LIKE 'odoo%'",
        &[],
    );
    assert_eq!(owners, ["erp_owner"], "also of what was created");
    assert_eq!(
        db.all::<String>("SELECT tenant FROM ops.odoo_outbox ORDER BY id", &[]),
        ["east", "west", "west", "west"]
    );
    assert_eq!(
        db.one::<String>("SELECT note FROM ops.recent_deploys", &[]),
        "not ours"
    );
    assert_eq!(db.one::<i32>("SELECT ops.answer()", &[]), 42);
    let rights: bool = db.one(
        "SELECT has_table_privilege('app_writer', 'ops.odoo_outbox', 'INSERT') AND NOT has_table_privilege('app_writer', 'ops.odoo_outbox', 'SELECT')
            AND has_table_privilege('analyst', 'ops.odoo_outbox', 'SELECT')",
        &[],
    );
    assert!(rights);
    assert!(
        !db.one::<bool>(
            "SELECT relrowsecurity FROM pg_class WHERE oid = 'ops.odoo_outbox'::regclass",
            &[]
        ),
        "old writers know no policy"
    );
    assert_eq!(
        db.one::<Value>(
            "SELECT value FROM ops.odoo_sync_config WHERE key = 'sb_to_odoo:res.partner'",
            &[]
        ),
        json!({"max_batch": 50})
    );

    // What waited is delivered; so is what was cut off; what had ended stays.
    bench.connect(&mut db, json!({}));
    db.await_empty(PATIENCE);
    let names: Vec<String> = bench
        .sim()
        .records("res.partner")
        .iter()
        .map(|partner| partner["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    for delivered in ["Old queued", "Old processing"] {
        assert_eq!(
            names.iter().filter(|name| *name == delivered).count(),
            1,
            "{delivered} in {names:?}"
        );
    }
    assert!(
        !names
            .iter()
            .any(|name| name == "Old done" || name == "Old failed"),
        "{names:?}"
    );
    let ends: Vec<String> = db.all("SELECT status FROM ops.odoo_outbox ORDER BY id", &[]);
    assert_eq!(ends, ["done", "done", "done", "failed"]);
    assert_eq!(
        db.one::<i32>(
            "SELECT attempts FROM ops.odoo_outbox WHERE idempotency_key = 'old-4'",
            &[]
        ),
        5
    );

    // The user's own trigger went on firing.
    let seen: Vec<String> = db.all("SELECT status FROM ops.outbox_history WHERE id = (SELECT min(id) FROM ops.odoo_outbox) ORDER BY at", &[]);
    assert_eq!(seen, ["queued", "processing", "done"]);
}

#[test]
fn the_old_trigger_and_its_user_know_nothing_and_deliver() {
    let bench = old_deployment();
    let mut db = bench.client();
    bench.connect(&mut db, json!({}));
    assert!(!db.one::<bool>(
        "SELECT has_schema_privilege('app_writer', 'etl', 'USAGE')",
        &[]
    ));
    let dsn = bench.cluster.dsn_as("app_writer", pg_etl_tests::DATABASE);
    let mut app = Client::connect(&dsn, postgres::NoTls).expect("the old user connects");
    app.run("INSERT INTO public.odoo_partners (name, email) VALUES ('Ada', 'ada@example.com'), ('Bob', NULL)");
    app.run("INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key) VALUES ('res.partner', 'create', '{\"name\": \"Cyd\"}', 'app-1')");
    db.await_empty(PATIENCE);
    assert_eq!(db.all::<String>("SELECT last_error FROM ops.odoo_outbox WHERE idempotency_key NOT LIKE 'old-%' AND status <> 'done'", &[]), [""; 0]);
    let partners = bench.sim().records("res.partner");
    for name in ["Ada", "Bob", "Cyd"] {
        assert!(
            partners.iter().any(|partner| partner["name"] == name),
            "{name}"
        );
    }
    let said = app.refused("SELECT count(*) FROM ops.odoo_outbox");
    assert_eq!(said.code().code(), "42501", "the old user gained nothing");
}

#[test]
fn missing_columns_are_added_without_a_rewrite() {
    let bench = Bench::builder().preload(&[]).no_connection().start();
    let mut db = bench.client();
    db.run(
        "CREATE SCHEMA ops;
         CREATE TABLE ops.odoo_outbox (id bigserial PRIMARY KEY, model text NOT NULL, operation text NOT NULL, payload jsonb NOT NULL, idempotency_key text NOT NULL UNIQUE, extra int DEFAULT 7);
         INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
           SELECT 'res.partner', 'create', jsonb_build_object('name', 'n' || n), 'k' || n FROM generate_series(1, 100000) n",
    );
    let before = node(&mut db);
    let begin = Instant::now();
    let report: Value = db.one("SELECT etl.setup()", &[]);
    println!("measured: adoption of 100,000 rows: {:?}", begin.elapsed());
    assert_eq!(node(&mut db), before, "no rewrite: {report}");
    assert_eq!(report["queued"], 100_000);
    let well: i64 = db.one(
        "SELECT count(*) FROM ops.odoo_outbox WHERE status = 'queued' AND attempts = 0 AND crashes = 0 AND priority = 0 AND connection = 'odoo'
           AND next_run_at <= now() AND created_at <= now() AND claim IS NULL AND extra = 7",
        &[],
    );
    assert_eq!(well, 100_000);
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM etl.queue WHERE fresh", &[]),
        100_000
    );
}

#[test]
fn narrow_and_unvalidated_checks_give_way() {
    let bench = old_deployment();
    let mut db = bench.client();
    db.run("ALTER TABLE ops.odoo_outbox ADD CONSTRAINT short_model CHECK (length(model) < 100) NOT VALID");
    db.run("ALTER TABLE ops.odoo_outbox ADD CONSTRAINT attempts_sane CHECK (attempts < 1000)");
    bench.connect(&mut db, json!({}));
    db.await_empty(PATIENCE);
    let id: i64 = db.one(
        "SELECT etl.enqueue('res.partner', 'call', '{\"method\": \"nothing\", \"ids\": [1]}')",
        &[],
    );
    db.await_status(id, "failed");
    db.run(&format!("SELECT etl.cancel({id}, 'a test')"));
    assert_eq!(db.row(id).status, "cancelled");
    let refused = db.refused(&format!(
        "UPDATE ops.odoo_outbox SET status = 'lost' WHERE id = {id}"
    ));
    assert_eq!(refused.code().code(), "23514");
    let left: Vec<String> = db.all("SELECT conname::text FROM pg_constraint WHERE conrelid = 'ops.odoo_outbox'::regclass AND conname IN ('short_model', 'attempts_sane') ORDER BY 1", &[]);
    assert_eq!(
        left,
        ["attempts_sane", "short_model"],
        "the user's own checks stay"
    );
}

#[test]
fn setup_again_mends_what_was_taken_away() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run("SELECT etl.pause()");
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    db.run("DROP TRIGGER etl_outbox_updated ON ops.odoo_outbox; DROP TRIGGER etl_outbox_inserted ON ops.odoo_outbox");
    db.run("INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key) VALUES ('res.partner', 'create', '{\"name\": \"Bob\"}', 'unseen')");
    assert!(db.health("setup").contains("| fail |"));
    let report: Value = db.one("SELECT etl.setup()", &[]);
    assert_eq!(report["queued"], 2, "{report}");
    db.run("SELECT etl.resume()");
    db.await_empty(PATIENCE);
    assert_eq!(db.row(id).status, "done");
    assert_eq!(db.count("done"), 2);
}
