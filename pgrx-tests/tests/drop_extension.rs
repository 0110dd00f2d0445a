//! DROP EXTENSION takes nothing of the user's state, and CREATE EXTENSION goes on with it.

use pg_etl_tests::prelude::*;

const OLD: &str = include_str!("fixtures/old_deployment.sql");

/// An adopted deployment that has delivered `ada`, and then waits with three rows: a change of `ada` and two new partners.
fn deployment() -> (Bench, Client) {
    // A worker that finds nothing set up looks again soon.
    let bench = Bench::builder()
        .setting("etl.poll_interval", "5s")
        .no_connection()
        .start();
    let mut db = bench.client();
    db.run(OLD);
    db.run("CREATE INDEX outbox_by_tenant ON ops.odoo_outbox (tenant)");
    db.run("SELECT etl.setup()");
    bench.connect(&mut db, json!({}));
    let ada = db.enqueue("res.partner", "upsert", json!({"name": "Ada"}), Some("ada"));
    db.await_status(ada, "done");
    db.await_empty(PATIENCE);
    db.run("SELECT etl.pause('odoo', 'before the dump')");
    db.enqueue(
        "res.partner",
        "upsert",
        json!({"name": "Ada Lovelace"}),
        Some("ada"),
    );
    db.enqueue("res.partner", "create", json!({"name": "Bob"}), Some("bob"));
    db.run("INSERT INTO public.odoo_partners (name) VALUES ('Cyd')");
    (bench, db)
}

fn partners(bench: &Bench, name: &str) -> usize {
    bench
        .sim()
        .records("res.partner")
        .iter()
        .filter(|partner| partner["name"] == name)
        .count()
}

#[test]
fn drop_extension_takes_no_row_and_create_goes_on() {
    let (bench, mut db) = deployment();
    let rows = "SELECT o::text FROM ops.odoo_outbox o ORDER BY id";
    let before: Vec<String> = db.all(rows, &[]);
    db.run("DROP EXTENSION pg_etl CASCADE");
    assert_eq!(db.all::<String>(rows, &[]), before);
    assert!(db.one::<bool>("SELECT to_regnamespace('etl') IS NULL", &[]));
    let triggers: Vec<String> = db.all("SELECT tgname::text FROM pg_trigger WHERE tgrelid = 'ops.odoo_outbox'::regclass AND NOT tgisinternal", &[]);
    assert_eq!(
        triggers,
        ["remember"],
        "the user's trigger stays, ours are gone"
    );
    // Old writers never notice.
    db.run("INSERT INTO public.odoo_partners (name) VALUES ('Dan')");
    db.run("CREATE EXTENSION pg_etl");
    let report: Value = db.one("SELECT etl.setup()", &[]);
    assert_eq!(report["queued"], 4, "{report}");
    bench.connect(&mut db, json!({}));
    db.await_empty(PATIENCE);
    // The links were derived anew: the change of Ada found her record.
    for (name, count) in [
        ("Ada Lovelace", 1),
        ("Ada", 0),
        ("Bob", 1),
        ("Cyd", 1),
        ("Dan", 1),
    ] {
        assert_eq!(partners(&bench, name), count, "{name}");
    }
}

#[test]
fn a_create_whose_answer_was_lost_before_the_drop_is_not_doubled() {
    let bench = Bench::ready();
    let mut db = bench.client();
    bench
        .sim()
        .inject(Fault::new(Effect::AnswerLost).on("res.partner", "load"));
    let keyed = db.enqueue("res.partner", "create", json!({"name": "Ada"}), Some("ada"));
    let bare = db.enqueue("res.partner", "create", json!({"name": "Bob"}), None);
    eventually(PATIENCE, "both records to exist in Odoo", || {
        partners(&bench, "Ada") == 1 && partners(&bench, "Bob") == 1
    });
    db.run("DROP EXTENSION pg_etl CASCADE");
    bench.sim().clear_faults();
    db.run("CREATE EXTENSION pg_etl; SELECT etl.setup()");
    bench.connect(&mut db, json!({}));
    let (keyed, bare) = (
        db.await_status(keyed, "done"),
        db.await_status(bare, "done"),
    );
    assert_eq!((partners(&bench, "Ada"), partners(&bench, "Bob")), (1, 1));
    assert_ne!(keyed.record(), bare.record());
}
