//! What a pull's run is seen to do, what it leaves alone, and what can be put back of it.

use odoo_sim::{Effect, Fault};
use pg_etl_tests::PastUs;
use pg_etl_tests::prelude::*;
use pg_etl_tests::two_way;

fn partners(bench: &Bench, count: usize) -> Vec<i64> {
    let values: Vec<Value> = (0..count)
        .map(|n| json!({"name": format!("Partner {n}")}))
        .collect();
    let made = bench
        .sim()
        .call("res.partner", "create", json!({"vals_list": values}));
    let ids = made.as_array().expect("ids").iter();
    ids.map(|id| id.as_i64().expect("an id")).collect()
}

fn rename(bench: &Bench, id: i64, name: &str) {
    let arguments = json!({"ids": [id], "vals": {"name": name}});
    bench.sim().call("res.partner", "write", arguments);
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

#[track_caller]
fn run_of(pulled: &Value) -> i64 {
    assert_eq!(pulled["status"], "succeeded", "{pulled}");
    pulled["run"].as_i64().expect("a run")
}

fn name_of(db: &mut Client, id: i64) -> String {
    db.one(
        "SELECT name FROM odoo_raw.res_partner WHERE id = $1",
        &[&id],
    )
}

/// An answer that looks whole and is not: said, nothing moves, and all is there afterwards.
#[test]
fn half_a_page_is_no_page() {
    let (bench, mut db) = quiet();
    let ids = partners(&bench, 30);
    let pages = |effect| Fault::new(effect).on("res.partner", "search_read");
    let floors = |db: &mut Client| -> Vec<String> {
        db.all("SELECT cursor::text FROM ops.odoo_sync_checkpoints", &[])
    };
    db.run(r#"SELECT etl.mirror('res.partner', options => '{"page_size": 10}')"#);
    bench.sim().inject(pages(Effect::Short { records: 0 }));
    let first = pull(&mut db);
    assert_eq!(first["status"], "failed", "{first}");
    let said: Vec<String> = db.all(
        "SELECT concat_ws(' — ', last_error, remedy) FROM etl.sync_lag",
        &[],
    );
    assert!(
        said[0].contains("pages lack records") && said[0].contains("nothing is lost"),
        "{said:?}"
    );
    assert_eq!(floors(&mut db), Vec::<String>::new());
    bench.sim().clear_faults();
    // What is half and no less is asked for again until it is whole.
    bench.sim().inject(pages(Effect::Short { records: 5 }));
    run_of(&pull(&mut db));
    bench.sim().clear_faults();
    let count: i64 = db.one("SELECT count(*) FROM odoo_raw.res_partner", &[]);
    assert_eq!(count as usize, bench.sim().records("res.partner").len());

    // Of what changed, and by a body that is cut off.
    let before = floors(&mut db);
    for (effect, name) in [
        (Effect::Short { records: 0 }, "Short"),
        (Effect::Truncated { bytes: 60 }, "Cut"),
    ] {
        rename(&bench, ids[0], name);
        bench.sim().inject(pages(effect).committed());
        let pulled = pull(&mut db);
        assert_eq!(pulled["status"], "failed", "{name}: {pulled}");
        assert_eq!(floors(&mut db), before);
        bench.sim().clear_faults();
        // Answers that are cut off open the circuit for a while.
        eventually(PATIENCE, "a pull that succeeds", || {
            pull(&mut db)["status"] == "succeeded"
        });
        assert_eq!(name_of(&mut db, ids[0]), name);
        assert_ne!(floors(&mut db), before);
        db.run(&format!(
            "UPDATE ops.odoo_sync_checkpoints SET cursor = '{}'",
            before[0]
        ));
    }
    // Once is asked again within the run.
    rename(&bench, ids[1], "Once");
    bench
        .sim()
        .inject(pages(Effect::Short { records: 0 }).times(1));
    run_of(&pull(&mut db));
    assert_eq!(name_of(&mut db, ids[1]), "Once");
}

#[test]
fn the_worker_pulls_when_it_is_time_and_nobody_asks() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let ids = partners(&bench, 3);
    db.run(r#"SELECT etl.mirror('res.partner', options => '{"every_seconds": 1, "reconcile_seconds": 2}')"#);
    eventually(PATIENCE, "the first pull", || {
        db.one("SELECT finished_at IS NOT NULL FROM etl.pulls", &[])
    });
    rename(&bench, ids[0], "Changed unasked");
    eventually(PATIENCE, "the change", || {
        name_of(&mut db, ids[0]) == "Changed unasked"
    });
    bench.sim().unlink("res.partner", ids[1]);
    eventually(PATIENCE, "the deletion", || {
        db.one(
            "SELECT _etl_deleted_at IS NOT NULL FROM odoo_raw.res_partner WHERE id = $1",
            &[&ids[1]],
        )
    });
    let asked: bool = db.one("SELECT asked_at IS NOT NULL FROM etl.pulls", &[]);
    assert!(!asked);
    let modes: Vec<String> = db.all(
        "SELECT DISTINCT meta ->> 'mode' FROM ops.odoo_sync_runs WHERE direction = 'odoo_to_sb' ORDER BY 1",
        &[],
    );
    assert_eq!(modes, ["changes", "full", "reconcile"]);
}

#[test]
fn a_rollback_says_what_it_could_not_undo() {
    let (bench, mut db) = quiet();
    let ids = partners(&bench, 2);
    db.run("SELECT etl.mirror('res.partner')");
    run_of(&pull(&mut db));
    rename(&bench, ids[0], "First");
    rename(&bench, ids[1], "First too");
    let older = run_of(&pull(&mut db));
    rename(&bench, ids[0], "Second");
    let newer = run_of(&pull(&mut db));
    let back: Value = db.one("SELECT etl.rollback_run($1)", &[&older]);
    assert_eq!(
        (&back["not_undone"], &back["restored"], &back["removed"]),
        (&json!([ids[0]]), &json!(1), &json!(0)),
        "{back}"
    );
    assert_eq!(back["taken_in"], json!({}), "{back}");
    assert_eq!(name_of(&mut db, ids[0]), "Second");
    assert_eq!(name_of(&mut db, ids[1]), "Partner 1");
    // What the later run did can be undone for itself: to what the older one had made of it.
    let back: Value = db.one("SELECT etl.rollback_run($1)", &[&newer]);
    assert_eq!(back["not_undone"], json!([]), "{back}");
    assert_eq!(name_of(&mut db, ids[0]), "First");
}

/// What came into people's own tables is theirs: it stays, and that is said.
#[test]
fn a_rollback_says_what_was_taken_into_tables() {
    let (bench, mut db) = two_way::in_step("odoo");
    let ada = two_way::odoo_id(&mut db, 1);
    two_way::write(&bench, ada, json!({"phone": "7"}));
    let run = run_of(&pull(&mut db));
    let back: Value = db.one("SELECT etl.rollback_run($1)", &[&run]);
    assert_eq!(back["taken_in"], json!({"public.customers": 1}), "{back}");
    assert_eq!(back["restored"], 1, "{back}");
    assert_eq!(two_way::row(&mut db, 1)["phone"], "7");
    let phone: Option<String> = db.one(
        "SELECT phone FROM odoo_raw.res_partner WHERE id = $1",
        &[&ada],
    );
    assert_eq!(phone.as_deref(), Some("1"));
}

#[test]
fn a_run_that_waits_for_an_answer_is_seen_to() {
    let bench = Bench::builder().option("timeout", json!(3)).start();
    let mut db = bench.client();
    partners(&bench, 60);
    // The third page and all after it get no answer.
    let hang = Fault::new(Effect::Hang).on("res.partner", "search_read");
    bench.sim().inject(hang.nth(3));
    db.run(r#"SELECT etl.mirror('res.partner', options => '{"page_size": 10}')"#);
    eventually(PATIENCE, "two pages to be merged", || {
        db.one("SELECT count(*) > 10 FROM odoo_raw.res_partner", &[])
    });
    let merged: i64 = db.one("SELECT count(*) FROM odoo_raw.res_partner", &[]);
    eventually(PATIENCE, "the worker to say what it does", || {
        let doing: Vec<String> = db.all(
            "SELECT query FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'pg_etl: pulling%'",
            &[],
        );
        doing
            == [format!(
                "pg_etl: pulling res.partner (full, {merged} rows read)"
            )]
    });
    let told: Value = db.one("SELECT to_jsonb(l) FROM etl.sync_lag l", &[]);
    assert_eq!(
        (&told["state"], &told["running_mode"], &told["running_rows"]),
        (&json!("pulling"), &json!("full"), &json!(merged)),
        "{told}"
    );
    bench.sim().clear_faults();
    eventually(PATIENCE, "the run to end", || {
        db.one("SELECT last_run IS NOT NULL FROM etl.pulls", &[])
    });
    let meta: Value = db.one(
        "SELECT meta FROM ops.odoo_sync_runs WHERE direction = 'odoo_to_sb' ORDER BY id LIMIT 1",
        &[],
    );
    let all = bench.sim().records("res.partner").len();
    for (count, expected) in [
        ("read", all),
        ("inserted", all),
        ("updated", 0),
        ("unchanged", 0),
        ("deleted", 0),
        ("hidden", 0),
    ] {
        assert_eq!(meta[count], json!(expected), "{count}: {meta}");
    }
    let left: Vec<Option<i64>> = db.all("SELECT running_rows FROM etl.sync_lag", &[]);
    assert_eq!(left, [None]);
}

#[test]
fn what_is_as_it_was_is_not_written_again() {
    let (bench, mut db) = quiet();
    let ids = partners(&bench, 20);
    db.run("SELECT etl.mirror('res.partner')");
    run_of(&pull(&mut db));
    let versions = |db: &mut Client| -> Vec<String> {
        db.all(
            "SELECT concat_ws(' ', id, xmin, ctid) FROM odoo_raw.res_partner ORDER BY id",
            &[],
        )
    };
    let before = versions(&mut db);
    rename(&bench, ids[7], "Changed");
    let full: Value = db.one("SELECT etl.pull('res.partner', true)", &[]);
    let read = full["mirrors"][0]["read"].as_u64().expect("a count") as usize;
    assert_eq!(read, before.len(), "{full}");
    let after = versions(&mut db);
    let moved: Vec<&String> = after.iter().filter(|row| !before.contains(row)).collect();
    assert_eq!(moved.len(), 1, "{moved:?}");
    assert!(moved[0].starts_with(&format!("{} ", ids[7])), "{moved:?}");
}

#[test]
fn what_a_run_changed_is_kept_as_long_as_is_configured() {
    let (bench, mut db) = quiet();
    let ids = partners(&bench, 1);
    db.run("SELECT etl.mirror('res.partner')");
    run_of(&pull(&mut db));
    let changed = |db: &mut Client, name: &str| -> i64 {
        rename(&bench, ids[0], name);
        let run = run_of(&pull(db));
        db.run("UPDATE etl.before_images SET at = now() - interval '8 days'");
        // Whatever pull ends next clears up.
        run_of(&pull(db));
        run
    };
    let run = changed(&mut db, "A");
    let refused = db.refused(&format!("SELECT etl.rollback_run({run})"));
    assert_eq!(refused.code().code(), "P0002");
    assert!(
        refused
            .hint()
            .is_some_and(|hint| hint.contains("older than 7 days")),
        "{refused:?}"
    );
    db.run(r#"INSERT INTO ops.odoo_sync_config (key, value) VALUES ('retention', '{"images_days": 9}')"#);
    let run = changed(&mut db, "B");
    let back: Value = db.one("SELECT etl.rollback_run($1)", &[&run]);
    assert_eq!(back["restored"], 1, "{back}");
    assert_eq!(name_of(&mut db, ids[0]), "A");
    let refused = db.refused(&format!("SELECT etl.rollback_run({run})"));
    assert!(
        refused
            .hint()
            .is_some_and(|hint| hint.contains("older than 9 days")),
        "{refused:?}"
    );
}
