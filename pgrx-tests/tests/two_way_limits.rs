//! Both ways at the limits of what is remembered, of what an owner's functions answer, and of how long they take.

use pg_etl_tests::prelude::*;
use pg_etl_tests::two_way::*;
use pg_etl_tests::{PastUs, is_alive};

/// What of the outbox is queued waits, until it is let go.
const HELD: &str =
    "UPDATE ops.odoo_outbox SET next_run_at = now() + interval '1 h' WHERE status = 'queued'";
const LET_GO: &str = "UPDATE ops.odoo_outbox SET next_run_at = now() WHERE status = 'queued'";

fn theirs(bench: &Bench, id: i64, values: Value) {
    let written = bench.colleague().write("res.partner", &[id], &values);
    written.expect("a change of theirs");
}

/// Changes a row here, so that it waits.
fn waits(db: &mut Client, change: &str) {
    db.run(&format!(
        "SELECT etl.pause(); UPDATE customers SET {change} WHERE id = 1; {HELD}; SELECT etl.resume()"
    ));
}

fn last_run(db: &mut Client) -> String {
    db.one("SELECT concat_ws(' ', status, error) FROM ops.odoo_sync_runs WHERE direction = 'odoo_to_sb' ORDER BY id DESC LIMIT 1", &[])
}

#[test]
fn a_value_of_ours_is_known_however_often_its_record_changed_since() {
    let (bench, mut db) = in_step("odoo");
    let ada = odoo_id(&mut db, 1);
    let changes = |db: &mut Client, name: &str| {
        for n in 0..70 {
            db.run(&format!(
                "UPDATE customers SET email = '{name}{n}@x.test' WHERE id = 1"
            ));
        }
    };
    db.run("UPDATE customers SET phone = 'v1' WHERE id = 1");
    changes(&mut db, "a");
    db.await_empty(PATIENCE);
    waits(&mut db, "phone = 'v2'");
    pull(&mut db);
    assert_eq!(conflicts(&mut db), Vec::<Value>::new());
    assert_eq!(row(&mut db, 1)["phone"], "v2", "Odoo changed nothing");
    // And while all of it waits: what somebody changes in Odoo meanwhile is theirs.
    changes(&mut db, "b");
    db.run(HELD);
    pull(&mut db);
    assert_eq!(conflicts(&mut db), Vec::<Value>::new());
    theirs(&bench, ada, json!({"email": "theirs@x.test"}));
    pull(&mut db);
    let email =
        json!({"field": "email", "odoo": "theirs@x.test", "local": "b69@x.test", "winner": "odoo"});
    assert_eq!(conflicts(&mut db), [email]);
    db.run(LET_GO);
    db.await_empty(PATIENCE);
    pull(&mut db);
    db.await_empty(PATIENCE);
    for (side, found) in [
        ("here", row(&mut db, 1)),
        ("there", json!(in_odoo(&bench, ada))),
    ] {
        assert_eq!(
            (&found["phone"], &found["email"]),
            (&json!("v2"), &json!("theirs@x.test")),
            "{side}"
        );
    }
    pull(&mut db);
    let left: Vec<String> = db.all(
        "SELECT concat_ws(' ', sent, forgotten) FROM etl.images WHERE record_key LIKE '%:1'",
        &[],
    );
    assert_eq!(left, ["{} {}"], "nothing of it is left to be known");
    assert_eq!(conflicts(&mut db).len(), 1);
}

/// A mirror may be paused for longer than delivered rows are kept.
#[test]
fn what_is_needed_outlasts_the_retention() {
    let (_bench, mut db) = in_step("odoo");
    db.run("UPDATE customers SET phone = 'v1' WHERE id = 1; UPDATE customers SET phone = 'x' WHERE id = 3");
    db.await_empty(PATIENCE);
    let old = "UPDATE ops.odoo_outbox SET created_at = now() - interval '9 days', finished_at = now() - interval '9 days' WHERE status = 'done'";
    db.run(old);
    let retention = |db: &mut Client| -> Value {
        let report: Value = db.one("SELECT etl.apply_retention()", &[]);
        report["rows"].clone()
    };
    assert_eq!(retention(&mut db), 0);
    assert_eq!(
        db.health_status("retention"),
        "pass",
        "they are kept on purpose"
    );
    waits(&mut db, "phone = 'v2'");
    // Somebody else's hand.
    db.run("DELETE FROM ops.odoo_outbox WHERE payload ->> 'phone' = 'x'");
    pull(&mut db);
    assert_eq!(row(&mut db, 1)["phone"], "v2", "Odoo changed nothing");
    assert_eq!(conflicts(&mut db), Vec::<Value>::new());
    let sent: Vec<String> = db.all(
        "SELECT sent::text FROM etl.images WHERE record_key LIKE '%:3'",
        &[],
    );
    assert_eq!(sent, ["{}"], "what is gone is forgotten");
    assert_eq!(retention(&mut db), 1, "and what is no longer needed goes");
}

/// A guard on the table that refuses every statement, also one that deletes nothing.
#[test]
fn nothing_to_delete_is_nothing_to_refuse() {
    let (bench, mut db) = in_step("odoo");
    db.run(&format!(
        "SELECT etl.track('customers', 'res.partner', '{FIELDS}', two_way => 'odoo', on_odoo_delete => 'delete');
         CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'nobody deletes customers'; END $$;
         CREATE TRIGGER guard BEFORE DELETE ON customers FOR EACH STATEMENT EXECUTE FUNCTION guard()"
    ));
    let stranger = bench
        .colleague()
        .create("res.partner", &json!({"name": "Stranger"}));
    let stranger = stranger.expect("a record");
    pull(&mut db);
    let reconcile = |db: &mut Client| {
        db.run("SELECT etl.request_pull('res.partner', mode => 'reconcile')");
        pull(db);
        pull(db);
    };
    for id in [stranger, odoo_id(&mut db, 2)] {
        bench.sim().unlink("res.partner", id);
        reconcile(&mut db);
        assert_eq!(last_run(&mut db), "succeeded");
        let marked: bool = db.one(
            "SELECT _etl_deleted_at IS NOT NULL FROM odoo_raw.res_partner WHERE id = $1",
            &[&id],
        );
        assert!(marked);
    }
    let said: Vec<String> = db.all("SELECT detail FROM etl.conflicts", &[]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("nobody deletes customers"), "{said:?}");
}

/// A function of an owner's that sleeps takes the worker from nobody else.
#[test]
fn what_never_returns_is_left_alone() {
    let (bench, mut db) = in_step("odoo");
    let ada = odoo_id(&mut db, 1);
    db.run(
        "CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1e6); RETURN new; END $$;
         CREATE TRIGGER doze BEFORE UPDATE OF phone ON customers FOR EACH ROW EXECUTE FUNCTION doze()",
    );
    theirs(&bench, ada, json!({"phone": "7"}));
    db.run("SELECT etl.request_pull('res.partner')");
    let dozing = |db: &mut Client| -> Vec<i32> {
        db.all("SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'pg_etl%' AND wait_event = 'PgSleep'", &[])
    };
    // SIGTERM ends it at once, not when its time is over.
    eventually(PATIENCE, "the worker to be asleep", || {
        !dozing(&mut db).is_empty()
    });
    let worker = dozing(&mut db)[0];
    db.run(&format!("SELECT pg_terminate_backend({worker})"));
    eventually(Duration::from_secs(5), "the worker to end", || {
        !is_alive(worker)
    });
    // The next one goes on with the run, waits for a while, and then for nobody.
    eventually(PATIENCE, "the next one to be asleep", || {
        !dozing(&mut db).is_empty()
    });
    let worker = dozing(&mut db)[0];
    eventually(PATIENCE * 2, "it to be left alone", || {
        db.one("SELECT EXISTS (SELECT FROM etl.held_back) AND NOT EXISTS (SELECT FROM etl.pulls WHERE run_id IS NOT NULL)", &[])
    });
    assert_eq!(last_run(&mut db), "succeeded");
    assert!(bench.cluster.log().contains("did not return within 30 s"));
    assert_eq!(row(&mut db, 1)["phone"], "1");
    // The others' rows and tables are served, by the same worker.
    db.run("INSERT INTO customers VALUES (4, 'Dee'); SELECT etl.request_pull('res.partner')");
    db.await_empty(PATIENCE);
    eventually(PATIENCE, "the pull", || {
        db.one("SELECT NOT EXISTS (SELECT FROM etl.pulls WHERE asked_at IS NOT NULL OR run_id IS NOT NULL)", &[])
    });
    assert_eq!(bench.worker(), worker);
    // Nothing of it is lost.
    db.run("DROP TRIGGER doze ON customers");
    pull(&mut db);
    assert_eq!(conflicts(&mut db), Vec::<Value>::new());
    drop(db);
    // Another worker knows of no delay.
    let mut db = bench.client();
    db.run(&format!("SELECT pg_terminate_backend({worker})"));
    eventually(PATIENCE, "the value", || {
        pull(&mut db);
        row(&mut db, 1)["phone"] == "7"
    });
}

/// An owner makes of its functions what it likes: what they answer then is a failure of its own table.
#[test]
fn an_odd_answer_is_the_failure_of_its_own_table() {
    let (bench, mut db) = in_step("odoo");
    let ada = odoo_id(&mut db, 1);
    let id: i32 = db.one("SELECT id FROM etl.tracks", &[]);
    for (number, (returns, answer)) in [
        ("SETOF text", "'nonsense'::text"),
        ("SETOF jsonb", r#"'{"etl_record_key": 7}'::jsonb"#),
        (
            "TABLE (etl_record_key text, etl_local jsonb, etl_typed jsonb)",
            "i ->> 'k', '{}'::jsonb, '5'::jsonb FROM jsonb_array_elements($1) i",
        ),
    ]
    .iter()
    .enumerate()
    {
        db.run(&format!(
            "DROP FUNCTION etl_look_{id}(jsonb); CREATE FUNCTION etl_look_{id}(items jsonb) RETURNS {returns} LANGUAGE sql SECURITY DEFINER AS $$ SELECT {answer} $$"
        ));
        theirs(&bench, ada, json!({"phone": format!("{number}")}));
        pull(&mut db);
        assert_eq!(last_run(&mut db), "succeeded", "{returns}");
        let mirrored: String = db.one(
            "SELECT phone FROM odoo_raw.res_partner WHERE id = $1",
            &[&ada],
        );
        assert_eq!(mirrored, number.to_string(), "{returns}");
        assert_eq!(row(&mut db, 1)["phone"], "1", "{returns}");
    }
    // A backfill too: it says so, and the next table's goes on.
    db.run(&format!(
        "CREATE OR REPLACE FUNCTION etl_backfill_{id}(asked jsonb) RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS $$ SELECT '{{}}'::jsonb $$;
         SELECT etl.backfill('customers'); CREATE TABLE others (id int PRIMARY KEY, title text); INSERT INTO others VALUES (1, 'Zed');
         SELECT etl.track('others', 'res.partner', '{{\"name\": \"title\"}}'); SELECT etl.backfill('others')"
    ));
    eventually(PATIENCE, "the other table's backfill", || {
        db.one(
            "SELECT backfilled_at IS NOT NULL FROM etl.tracks WHERE tab = 'public.others'",
            &[],
        )
    });
    let said: String = db.one(
        "SELECT backfill_error FROM etl.tracks WHERE tab = 'public.customers'",
        &[],
    );
    assert!(said.contains("answers something else"), "{said}");
    db.run(&format!("DROP FUNCTION etl_look_{id}(jsonb); SELECT etl.track('customers', 'res.partner', '{FIELDS}', two_way => 'odoo')"));
    eventually(PATIENCE, "all to be well again", || {
        pull(&mut db);
        row(&mut db, 1)["phone"] == "2"
    });
}

/// The key of another table's row is no answer of a function that makes one: its link would lead to another record.
#[test]
fn nobody_makes_rows_of_other_tables() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE people (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, title text); CREATE TABLE others (id int PRIMARY KEY, title text);
         INSERT INTO others VALUES (1, 'Zed'); SELECT etl.mirror('res.partner', domain => '[["email", "like", "x.test"]]');
         SELECT etl.track('others', 'res.partner', '{"name": "title"}'); SELECT etl.backfill('others');
         SELECT etl.track('people', 'res.partner', '{"name": "title"}', two_way => 'odoo', on_odoo_create => 'insert')"#,
    );
    eventually(PATIENCE, "the backfills", || {
        db.one("SELECT bool_and(backfilled_at IS NOT NULL) AND NOT EXISTS (SELECT FROM etl.pulls WHERE run_id IS NOT NULL OR asked_at IS NOT NULL) FROM etl.tracks", &[])
    });
    db.await_empty(PATIENCE);
    let link = |db: &mut Client| -> Vec<String> {
        db.all(
            "SELECT concat_ws(' ', record_key, odoo_id) FROM etl.links ORDER BY 1",
            &[],
        )
    };
    let before = link(&mut db);
    let id: i32 = db.one("SELECT id FROM etl.tracks WHERE tab = 'public.people'", &[]);
    let key = before[0].split(' ').next().expect("a key");
    db.run(&format!(
        "CREATE OR REPLACE FUNCTION etl_make_{id}(item jsonb) RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT '{key}' $$"
    ));
    let made = bench.colleague().create(
        "res.partner",
        &json!({"name": "Ann", "email": "ann@x.test"}),
    );
    made.expect("a record of theirs");
    pull(&mut db);
    assert_eq!(last_run(&mut db), "succeeded");
    assert_eq!(link(&mut db), before);
    let said: Vec<String> = db.all("SELECT detail FROM etl.conflicts", &[]);
    assert!(
        said.len() == 1 && said[0].contains("names no row of it"),
        "{said:?}"
    );
}

/// A row that a user's trigger adds beside the one that was made of Odoo's record is new to Odoo.
#[test]
fn what_a_trigger_adds_beside_it_is_sent() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE people (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, title text);
         CREATE FUNCTION office() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF new.title NOT LIKE '%office' THEN INSERT INTO public.people (title) VALUES (new.title || '''s office'); END IF; RETURN NULL; END $$;
         CREATE TRIGGER office AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION office();
         SELECT etl.mirror('res.partner', domain => '[["ref", "=", "two ways"]]');
         SELECT etl.track('people', 'res.partner', '{"name": "title", "ref": {"value": "two ways"}}', two_way => 'odoo', on_odoo_create => 'insert')"#,
    );
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL AND NOT EXISTS (SELECT FROM etl.pulls WHERE run_id IS NOT NULL OR asked_at IS NOT NULL) FROM etl.tracks", &[])
    });
    let made = bench
        .colleague()
        .create("res.partner", &json!({"name": "Ann", "ref": "two ways"}));
    made.expect("a record of theirs");
    pull(&mut db);
    db.await_empty(PATIENCE);
    for _ in 0..2 {
        pull(&mut db);
    }
    let titles: Vec<String> = db.all("SELECT title FROM people ORDER BY id", &[]);
    assert_eq!(titles, ["Ann", "Ann's office"]);
    let sent: Vec<String> = db.all("SELECT payload ->> 'name' FROM ops.odoo_outbox", &[]);
    assert_eq!(sent, ["Ann's office"], "and nothing that came from Odoo");
    assert_eq!(bench.sim().partners("Ann's office").len(), 1);
}

/// While somebody has the row, what was pulled is not taken in: a row that is overtaken again and again must not go blindly.
#[test]
fn what_could_not_be_taken_in_is_not_overwritten_in_odoo() {
    let (bench, mut db) = in_step("odoo");
    let ada = odoo_id(&mut db, 1);
    waits(&mut db, "phone = 'ours'");
    let mut holder = bench.client();
    holder.run("BEGIN; SELECT FROM customers WHERE id = 1 FOR UPDATE");
    theirs(&bench, ada, json!({"phone": "theirs"}));
    pull(&mut db);
    db.run("UPDATE ops.odoo_outbox SET attempts = 6, error_class = 'overtaken', next_run_at = now() WHERE status = 'queued'");
    pull(&mut db);
    eventually(PATIENCE, "the row to be held up again", || {
        assert_eq!(in_odoo(&bench, ada)["phone"], "theirs");
        db.one(
            "SELECT attempts >= 7 AND status = 'queued' FROM ops.odoo_outbox ORDER BY id LIMIT 1",
            &[],
        )
    });
    holder.run("COMMIT");
    pull(&mut db);
    eventually(PATIENCE, "both sides to agree", || {
        row(&mut db, 1)["phone"] == "theirs" && in_odoo(&bench, ada)["phone"] == "theirs"
    });
    db.await_empty(PATIENCE);
    assert_eq!(in_odoo(&bench, ada)["phone"], "theirs");
    assert_eq!(conflicts(&mut db).len(), 1);
}
