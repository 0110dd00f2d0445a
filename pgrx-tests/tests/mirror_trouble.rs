//! Mirrors when something goes wrong: nothing is lost, what cannot be done is said, and the rest goes on.

use odoo_sim::{Effect, Fault};
use pg_etl_tests::PastUs;
use pg_etl_tests::prelude::*;

fn create(bench: &Bench, values: &Value) -> i64 {
    let made = bench
        .sim()
        .call("res.partner", "create", json!({"vals_list": [values]}));
    made[0].as_i64().expect("an id")
}

fn partners(bench: &Bench, prefix: &str, count: usize) -> Vec<i64> {
    let values: Vec<Value> = (0..count)
        .map(|n| json!({"name": format!("{prefix} {n}")}))
        .collect();
    let made = bench
        .sim()
        .call("res.partner", "create", json!({"vals_list": values}));
    made.as_array()
        .expect("ids")
        .iter()
        .map(|id| id.as_i64().expect("an id"))
        .collect()
}

fn write(bench: &Bench, id: i64, values: Value) {
    bench
        .sim()
        .call("res.partner", "write", json!({"ids": [id], "vals": values}));
}

/// Without the resident worker: nothing is pulled that a test did not ask for.
fn quiet() -> (Bench, Client) {
    let bench = Bench::builder().preload(&[]).start();
    let db = bench.client();
    (bench, db)
}

fn pull(db: &mut Client) -> Value {
    let answer: Value = db.one("SELECT etl.pull('res.partner')", &[]);
    answer["mirrors"][0].clone()
}

/// The mirror beside what Odoo has, by id and name.
#[track_caller]
fn same(bench: &Bench, db: &mut Client) {
    let mut theirs: Vec<String> = bench
        .sim()
        .records("res.partner")
        .iter()
        .map(|partner| {
            format!(
                "{} {}",
                partner["id"],
                partner["name"].as_str().unwrap_or_default()
            )
        })
        .collect();
    theirs.sort();
    let mut ours: Vec<String> = db.all(
        "SELECT concat_ws(' ', id, name) FROM odoo_raw.res_partner WHERE _etl_deleted_at IS NULL",
        &[],
    );
    ours.sort();
    assert_eq!(ours, theirs);
}

/// Records of one second, more than a page takes: a keyset over `write_date` would lose some.
#[test]
fn equal_times_at_the_border_of_a_page_lose_nothing() {
    let (bench, mut db) = quiet();
    partners(&bench, "Same second", 25);
    db.run(r#"SELECT etl.mirror('res.partner', options => '{"page_size": 3}')"#);
    let first = pull(&mut db);
    assert_eq!(
        (&first["status"], &first["read"]),
        (
            &json!("succeeded"),
            &json!(bench.sim().records("res.partner").len())
        ),
        "{first}"
    );
    same(&bench, &mut db);
    partners(&bench, "Later", 10);
    let second = pull(&mut db);
    assert_eq!(
        (&second["mode"], &second["inserted"]),
        (&json!("changes"), &json!(10)),
        "{second}"
    );
    same(&bench, &mut db);
}

/// After an outage all ids are compared first; what changed meanwhile is still read after it.
#[test]
fn changes_made_during_a_long_outage_are_not_lost() {
    let (bench, mut db) = quiet();
    let ids = partners(&bench, "Before", 5);
    db.run(r#"SELECT etl.mirror('res.partner', options => '{"overlap_seconds": 1}')"#);
    pull(&mut db);
    write(&bench, ids[0], json!({"name": "Changed meanwhile"}));
    bench.sim().unlink("res.partner", ids[1]);
    // As after an hour without a pull.
    db.run(
        "UPDATE etl.pulls SET reconciled_at = reconciled_at - interval '2 hours', finished_at = finished_at - interval '2 hours';
         UPDATE ops.odoo_sync_checkpoints SET cursor = jsonb_set(cursor, '{floor}', to_jsonb(to_char((cursor ->> 'floor')::timestamp - interval '1 min', 'YYYY-MM-DD HH24:MI:SS')))",
    );
    let last = pull(&mut db);
    assert_eq!(
        (&last["mode"], &last["status"]),
        (&json!("changes"), &json!("succeeded")),
        "{last}"
    );
    same(&bench, &mut db);
    let modes: Vec<String> = db.all(
        "SELECT meta ->> 'mode' FROM ops.odoo_sync_runs WHERE direction = 'odoo_to_sb' ORDER BY id",
        &[],
    );
    assert_eq!(modes, ["full", "reconcile", "changes"]);
    let deleted: i64 = db.one(
        "SELECT count(*) FROM odoo_raw.res_partner WHERE _etl_deleted_at IS NOT NULL AND id = $1",
        &[&ids[1]],
    );
    assert_eq!(deleted, 1);
}

/// A worker dies with pages on the wire: the next one goes on with the same run, and its checkpoint is of the run's beginning.
#[test]
fn a_run_is_gone_on_with_after_a_crash() {
    let bench = Bench::ready();
    let mut db = bench.client();
    partners(&bench, "Partner", 60);
    // The third page and all after it get no answer.
    bench.sim().inject(Fault {
        nth: 3,
        ..Fault::new(Effect::Hang).on("res.partner", "search_read")
    });
    db.run(r#"SELECT etl.mirror('res.partner', options => '{"page_size": 10}')"#);
    eventually(PATIENCE, "two pages to be merged", || {
        db.one("SELECT coalesce(max(done_to), 0) > 0 FROM etl.pulls", &[])
    });
    let (run, began): (i64, std::time::SystemTime) = {
        let row = db
            .query_one("SELECT run_id, started_at FROM etl.pulls", &[])
            .unwrap();
        (row.get(0), row.get(1))
    };
    bench.sim().clear_faults();
    let mut db = bench.kill_worker();
    eventually(PATIENCE, "the run to end", || {
        db.one("SELECT last_run IS NOT NULL FROM etl.pulls", &[])
    });
    let ended: Value = db.one("SELECT to_jsonb(p) FROM etl.pulls p", &[]);
    assert_eq!(
        (&ended["last_run"], &ended["failures"]),
        (&json!(run), &json!(0)),
        "{ended}"
    );
    same(&bench, &mut db);
    let floor_is_before: bool = db.one(
        "SELECT (cursor ->> 'floor')::timestamp AT TIME ZONE 'UTC' <= $1::timestamptz - interval '15 min' FROM ops.odoo_sync_checkpoints",
        &[&began],
    );
    assert!(floor_is_before);
}

#[test]
fn a_locked_mirror_is_waited_for_and_stops_no_other() {
    let bench = Bench::ready();
    let mut db = bench.client();
    partners(&bench, "Partner", 5);
    db.run("SELECT etl.mirror('res.partner'); SELECT etl.mirror('res.country')");
    eventually(PATIENCE, "both mirrors", || {
        db.one(
            "SELECT count(*) = 2 FROM etl.sync_lag WHERE state = 'ok'",
            &[],
        )
    });
    let mut other = bench.client();
    other.run("BEGIN; LOCK TABLE odoo_raw.res_partner");
    create(&bench, &json!({"name": "Waits"}));
    db.run("SELECT etl.request_pull('res.partner')");
    eventually(PATIENCE, "the lock to be noticed", || {
        db.one(
            "SELECT failures > 0 FROM etl.pulls WHERE model = 'res.partner'",
            &[],
        )
    });
    let said: String = db.one(
        "SELECT last_error FROM etl.sync_lag WHERE model = 'res.partner'",
        &[],
    );
    assert!(said.contains("lock timeout"), "{said}");
    let country: Value = db.one("SELECT etl.pull('res.country')", &[]);
    assert_eq!(country["mirrors"][0]["status"], "succeeded", "{country}");
    other.run("COMMIT");
    eventually(PATIENCE, "it to be tried again", || {
        db.one(
            "SELECT EXISTS (SELECT FROM odoo_raw.res_partner WHERE name = 'Waits')",
            &[],
        )
    });
}

#[test]
fn what_left_the_domain_is_hidden_and_not_deleted() {
    let (bench, mut db) = quiet();
    let inside = create(&bench, &json!({"name": "Inside", "city": "Bern"}));
    let moves = create(&bench, &json!({"name": "Moves", "city": "Bern"}));
    let dies = create(&bench, &json!({"name": "Dies", "city": "Bern"}));
    create(&bench, &json!({"name": "Outside", "city": "Basel"}));
    db.run(r#"SELECT etl.mirror('res.partner', domain => '[["city", "=", "Bern"]]')"#);
    assert_eq!(pull(&mut db)["inserted"], json!(3));
    write(&bench, moves, json!({"city": "Genf"}));
    bench.sim().unlink("res.partner", dies);
    db.run("SELECT etl.request_pull('res.partner', mode => 'reconcile')");
    let found = pull(&mut db);
    assert_eq!(found["status"], "succeeded", "{found}");
    let state = |db: &mut Client, id: i64| -> String {
        db.one(
            "SELECT concat_ws(' ', CASE WHEN _etl_deleted_at IS NOT NULL THEN 'deleted' END, CASE WHEN _etl_hidden_at IS NOT NULL THEN 'hidden' END) FROM odoo_raw.res_partner WHERE id = $1",
            &[&id],
        )
    };
    assert_eq!(
        [
            state(&mut db, inside),
            state(&mut db, moves),
            state(&mut db, dies)
        ],
        ["", "hidden", "deleted"]
    );
    write(&bench, moves, json!({"city": "Bern"}));
    pull(&mut db);
    assert_eq!(state(&mut db, moves), "", "it came back");
}

#[test]
fn drift_is_mended_where_that_is_safe_and_said_where_it_is_not() {
    let (bench, mut db) = quiet();
    create(
        &bench,
        &json!({"name": "Ada", "city": "London", "phone": "1"}),
    );
    db.run("SELECT etl.mirror('res.partner')");
    pull(&mut db);
    db.run(
        "ALTER TABLE odoo_raw.res_partner DROP COLUMN city; ALTER TABLE odoo_raw.res_partner ALTER COLUMN phone TYPE date USING NULL;
         ALTER TABLE odoo_raw.res_partner ADD COLUMN old_field text; UPDATE etl.pulls SET fields = fields || 'old_field'::text",
    );
    db.run("SELECT etl.pull('res.partner', true)");
    let full: Value = db.one("SELECT etl.pull('res.partner')", &[]);
    assert_eq!(full["mirrors"][0]["status"], "succeeded", "{full}");
    let city: String = db.one(
        "SELECT city FROM odoo_raw.res_partner WHERE name = 'Ada'",
        &[],
    );
    assert_eq!(city, "London", "the column came back with its values");
    let drift: Vec<String> = db.all("SELECT concat_ws(' ', field, what, remedy IS NOT NULL) FROM etl.schema_drift ORDER BY field", &[]);
    assert_eq!(
        drift,
        ["city added f", "old_field removed t", "phone retyped t"]
    );
    let remedy: String = db.one(
        "SELECT remedy FROM etl.schema_drift WHERE field = 'phone'",
        &[],
    );
    db.run(&remedy);
    pull(&mut db);
    let phone: String = db.one(
        "SELECT phone FROM odoo_raw.res_partner WHERE name = 'Ada'",
        &[],
    );
    assert_eq!(phone, "1", "what the report says mends it");
}

#[test]
fn a_rolled_back_mirror_stays_as_it_is_until_somebody_asks() {
    let (bench, mut db) = quiet();
    let ada = create(&bench, &json!({"name": "Ada"}));
    db.run("CREATE TABLE public.odoo_partners (odoo_id bigint PRIMARY KEY, name text, raw jsonb, note text); SELECT etl.mirror('res.partner', 'public.odoo_partners')");
    pull(&mut db);
    write(&bench, ada, json!({"name": "Ruined"}));
    let bad = pull(&mut db)["run"].as_i64().unwrap();
    // The user's own column, written after the run, is none of its doing.
    db.run("UPDATE public.odoo_partners SET note = 'mine'");
    let back: Value = db.one("SELECT etl.rollback_run($1)", &[&bad]);
    assert_eq!(back["restored"], json!(1), "{back}");
    let row: Vec<String> = db.all("SELECT concat_ws(' ', name, raw ->> 'name', note) FROM public.odoo_partners WHERE odoo_id = $1", &[&ada]);
    assert_eq!(row, ["Ada Ada mine"]);
    let compared: Value = db.one("SELECT etl.verify('res.partner')", &[]);
    assert!(compared["clean"].is_boolean(), "{compared}");
    let state: String = db.one("SELECT state FROM etl.sync_lag", &[]);
    assert_eq!(state, "paused", "looking is not asking");
    assert_eq!(
        db.refused(&format!("SELECT etl.rollback_run({bad})"))
            .code()
            .code(),
        "P0002"
    );
}

#[test]
fn what_cannot_be_mirrored_is_refused_with_a_remedy() {
    let (_bench, mut db) = quiet();
    db.run(
        "CREATE TABLE public.narrow (id bigint PRIMARY KEY, name date); CREATE TABLE public.keyless (name text); CREATE VIEW public.seen AS SELECT 1 AS id;
         CREATE ROLE boss LOGIN; GRANT etl_admin TO boss; CREATE TABLE public.fine (id bigint PRIMARY KEY)",
    );
    for (call, code) in [
        ("etl.mirror('ipai.subscription')", "42704"),
        ("etl.mirror('res.partner', 'public.narrow')", "42804"),
        ("etl.mirror('res.partner', 'public.keyless')", "42703"),
        ("etl.mirror('res.partner', 'public.seen')", "42809"),
        ("etl.mirror('res.partner', 'public.no_such_table')", "42P01"),
        ("etl.mirror('res.partner', 'ops.odoo_outbox')", "3F000"),
        (
            "etl.mirror('res.partner', options => '{\"evry\": 1}')",
            "22023",
        ),
        ("etl.mirror('res.partner', domain => '{}')", "22023"),
        ("etl.pull('res.partner')", "42704"),
        ("etl.verify('res.partner')", "42704"),
        ("etl.rollback_run(99)", "P0002"),
        ("etl.unmirror('res.partner')", "42704"),
        ("etl.request_pull('res.partner')", "42704"),
    ] {
        let error = db.refused(&format!("SELECT {call}"));
        assert_eq!(error.code().code(), code, "{call}: {error:?}");
        assert!(error.hint().is_some(), "{call}: {error:?}");
    }
    db.run("SET SESSION AUTHORIZATION boss");
    let error = db.refused("SELECT etl.mirror('res.partner', 'public.fine')");
    assert_eq!(error.code().code(), "42501", "{error:?}");
    assert!(error.message().contains("fine"), "{error:?}");
}

#[test]
fn the_usual_models_by_one_call() {
    let (_bench, mut db) = quiet();
    let rows = db
        .query(
            "SELECT model, status, detail FROM etl.mirror_defaults()",
            &[],
        )
        .unwrap();
    let status = |model: &str| -> String {
        let row = rows
            .iter()
            .find(|row| row.get::<_, String>(0) == model)
            .expect("the model is named");
        row.get(1)
    };
    assert_eq!(rows.len(), 17);
    assert_eq!(
        [
            status("res.partner"),
            status("sale.order"),
            status("ipai.subscription")
        ],
        ["mirrored", "mirrored", "not mirrored"]
    );
}
