//! Two ways, where a table, a trigger, a name or somebody at work stands in the way.

use pg_etl_tests::PastUs;
use pg_etl_tests::prelude::*;
use pg_etl_tests::two_way::*;

#[test]
fn a_users_trigger_that_makes_more_of_it_is_heard() {
    let (bench, mut db) = in_step("odoo");
    db.run(
        "CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.email := lower(new.email); RETURN new; END $$;
         CREATE TRIGGER tidy BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION tidy()",
    );
    let ada = odoo_id(&mut db, 1);
    write(&bench, ada, json!({"email": "ADA@X.TEST", "phone": "11"}));
    pull(&mut db);
    db.await_empty(PATIENCE);
    assert_eq!(enqueued(&mut db), [json!({"email": "ada@x.test"})]);
    pull(&mut db);
    assert_eq!(row(&mut db, 1)["email"], "ada@x.test");
    // Odoo insists: nobody chases the other's tail.
    write(&bench, ada, json!({"email": "ADA@X.TEST"}));
    pull(&mut db);
    db.await_empty(PATIENCE);
    for _ in 0..3 {
        write(&bench, ada, json!({"email": "ADA@X.TEST"}));
        pull(&mut db);
        db.await_empty(PATIENCE);
    }
    assert!(enqueued(&mut db).len() <= 2, "{:?}", enqueued(&mut db));
    let said: Vec<String> = db.all(
        "SELECT DISTINCT field || ': ' || detail FROM etl.conflicts",
        &[],
    );
    assert_eq!(
        said,
        ["email: each side rewrites what the other one wrote: both are left as they are"]
    );
}

#[test]
fn a_row_that_somebody_writes_to_waits_and_holds_nothing_up() {
    let (bench, mut db) = in_step("odoo");
    let (ada, cy) = (odoo_id(&mut db, 1), odoo_id(&mut db, 3));
    let mut writer = bench.client();
    writer.run("BEGIN; UPDATE customers SET note = 'still typing' WHERE id = 1");
    for id in [ada, cy] {
        write(&bench, id, json!({"phone": "555"}));
    }
    pull(&mut db);
    assert_eq!(row(&mut db, 3)["phone"], "555");
    assert_eq!(row(&mut db, 1)["phone"], "1");
    writer.run("COMMIT");
    pull(&mut db);
    assert_eq!(row(&mut db, 1)["phone"], "555");
    assert_eq!(row(&mut db, 1)["note"], "still typing");
    db.await_empty(PATIENCE);
    assert_eq!(enqueued(&mut db), [json!({"comment": "STILL TYPING"})]);
}

#[test]
fn what_the_table_refuses_is_said_and_holds_nothing_up() {
    let (bench, mut db) = in_step("odoo");
    db.run("ALTER TABLE customers ADD CHECK (phone <> 'none')");
    let (ada, bob, cy) = (
        odoo_id(&mut db, 1),
        odoo_id(&mut db, 2),
        odoo_id(&mut db, 3),
    );
    let long = "x".repeat(41);
    for (id, values) in [
        (ada, json!({"phone": "none"})),
        (bob, json!({"email": long})),
        (cy, json!({"phone": "33"})),
    ] {
        write(&bench, id, values);
    }
    for _ in 0..2 {
        pull(&mut db);
    }
    assert_eq!(row(&mut db, 3)["phone"], "33");
    assert_eq!(row(&mut db, 1)["phone"], "1");
    let said: Vec<String> = db.all(
        "SELECT concat_ws(' ', field, winner, detail) FROM etl.conflicts ORDER BY id",
        &[],
    );
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said.iter()
            .any(|line| line.starts_with("phone the table refused it:")
                && line.contains("check constraint")),
        "{said:?}"
    );
    assert!(
        said.iter()
            .any(|line| line.starts_with("email the table refused it: value too long")),
        "{said:?}"
    );
    // When the table takes it, it comes.
    db.run("ALTER TABLE customers DROP CONSTRAINT customers_phone_check");
    db.one::<Value>("SELECT etl.pull('res.partner', \"full\" => true)", &[]);
    assert_eq!(row(&mut db, 1)["phone"], "none");
    assert_eq!(enqueued(&mut db), Vec::<Value>::new());
}

#[test]
fn what_is_asked_for_must_be_possible() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(CUSTOMERS);
    let track = |mapping: &str, wins: &str| {
        format!("SELECT etl.track('customers', 'res.partner', '{mapping}', two_way => '{wins}')")
    };
    let error = db.refused(&track(FIELDS, "odoo"));
    assert_eq!(error.code().code(), "55000");
    assert_eq!(
        error.hint(),
        Some("SELECT etl.mirror('res.partner'); first.")
    );
    db.run("SELECT etl.mirror('res.partner')");
    let error = db.refused(&track(FIELDS, "both"));
    assert_eq!(error.code().code(), "22023");
    let error = db.refused(&track(r#"{"name": {"sql": "full_name"}}"#, "odoo"));
    assert_eq!(error.code().code(), "0A000");
    db.run(&track(FIELDS, "odoo"));
    let error = db.refused("SELECT etl.unmirror('res.partner')");
    assert_eq!(error.code().code(), "55006");
    assert_eq!(error.detail(), Some("public.customers"));
    // One way again, by the same call.
    db.run(&format!(
        "SELECT etl.track('customers', 'res.partner', '{FIELDS}'); SELECT etl.unmirror('res.partner')"
    ));
}

#[test]
fn untracking_leaves_nothing_and_tracking_again_goes_on() {
    let (bench, mut db) = in_step("odoo");
    let left = |db: &mut Client| -> i64 {
        db.one(
            "SELECT (SELECT count(*) FROM pg_proc WHERE proname ~ '^(etl_|track_)[a-z]*_[0-9]|^track_[0-9]') + (SELECT count(*) FROM etl.images)
                    + (SELECT count(*) FROM etl.applying) + (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'etl_capture%')",
            &[],
        )
    };
    assert!(left(&mut db) > 0);
    db.run("SELECT etl.untrack('customers')");
    assert_eq!(left(&mut db), 0);
    // What changes meanwhile on this side is sent by the backfill, and wins where nobody knows better.
    db.run("UPDATE customers SET phone = 'meanwhile' WHERE id = 1");
    db.run(&format!(
        "SELECT etl.track('customers', 'res.partner', '{FIELDS}', two_way => 'local')"
    ));
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    db.await_empty(PATIENCE);
    pull(&mut db);
    let ada = odoo_id(&mut db, 1);
    assert_eq!(in_odoo(&bench, ada)["phone"], "meanwhile");
    write(&bench, ada, json!({"phone": "later"}));
    pull(&mut db);
    assert_eq!(row(&mut db, 1)["phone"], "later");
    // Names are followed.
    db.run(
        "ALTER TABLE customers RENAME COLUMN phone TO tel; ALTER TABLE customers RENAME TO clients",
    );
    write(&bench, ada, json!({"phone": "last"}));
    pull(&mut db);
    assert_eq!(
        db.one::<String>("SELECT tel FROM clients WHERE id = 1", &[]),
        "last"
    );
    db.run("DROP TABLE clients");
    assert_eq!(left(&mut db), 0);
}

#[test]
fn a_mirror_of_the_old_shape_and_columns_of_every_name_go_both_ways() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"SET timezone = 'Europe/Berlin';
           CREATE TABLE public.odoo_partners (odoo_id bigint PRIMARY KEY, raw jsonb);
           SELECT etl.mirror('res.partner', 'public.odoo_partners');
           CREATE TABLE "Odd names" (sent char(2) PRIMARY KEY, ids text NOT NULL DEFERRABLE, echo text, stamp text, items timestamp, local bool DEFAULT true, k text, UNIQUE (echo) DEFERRABLE INITIALLY DEFERRED);"#
            .replace(" NOT NULL DEFERRABLE", " NOT NULL")
            .as_str(),
    );
    db.run(
        r#"SELECT etl.track('"Odd names"', 'res.partner', '{"name": "ids", "phone": "echo", "city": "stamp", "street": {"column": "k"}, "zip": "sent"}', two_way => 'newest', condition => 'local');
           INSERT INTO "Odd names" VALUES ('a', 'Ada', '1', 'x', now(), true, 'y'), ('b', 'Bob', '2', 'x', now(), true, 'y')"#,
    );
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    db.await_empty(PATIENCE);
    assert_eq!(db.count("failed"), 0);
    let ada = bench.sim().partner("Ada")["id"].as_i64().expect("an id");
    let bob = bench.sim().partner("Bob")["id"].as_i64().expect("an id");
    write(&bench, ada, json!({"city": "Paris", "street": false}));
    // Refused when the transaction ends: by itself, and said.
    write(&bench, bob, json!({"phone": "1", "city": "Rome"}));
    for _ in 0..2 {
        pull(&mut db);
    }
    let rows: Vec<String> = db.all(
        r#"SELECT concat_ws(' ', sent, ids, echo, stamp, coalesce(k, '-')) FROM "Odd names" ORDER BY 1"#,
        &[],
    );
    assert_eq!(rows, ["a  Ada 1 Paris -", "b  Bob 2 Rome y"]);
    let said: Vec<String> = db.all("SELECT field || ': ' || detail FROM etl.conflicts", &[]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("phone: the table refused it: duplicate key"),
        "{said:?}"
    );
    let run: String = db.one(
        "SELECT status FROM ops.odoo_sync_runs WHERE direction = 'odoo_to_sb' ORDER BY id DESC LIMIT 1",
        &[],
    );
    assert_eq!(run, "succeeded");
}

#[test]
fn nobody_gets_rights_by_a_name_or_a_setting() {
    let (bench, mut db) = in_step("odoo");
    db.run(
        "CREATE ROLE mallory LOGIN; CREATE ROLE helper; GRANT CREATE, USAGE ON SCHEMA public TO mallory; GRANT etl_operator TO mallory;
         CREATE TABLE trusting (id int PRIMARY KEY, name text); SELECT etl.track('trusting', 'res.partner', '{\"name\": \"name\"}')",
    );
    let id: i32 = db.one("SELECT max(id) FROM etl.tracks", &[]);
    let owner = |db: &mut Client| -> String {
        db.one(
            &format!("SELECT pg_get_userbyid(proowner)::text FROM pg_proc WHERE proname = 'etl_look_{id}'"),
            &[],
        )
    };
    db.run(&format!(
        "SET ROLE mallory; CREATE FUNCTION public.etl_look_{id}(items jsonb) RETURNS TABLE (etl_record_key text, etl_local jsonb, etl_typed jsonb) LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN END $$;
         GRANT EXECUTE ON FUNCTION public.etl_look_{id}(jsonb) TO helper; RESET ROLE"
    ));
    db.run("ALTER TABLE trusting ADD COLUMN more int; CREATE SCHEMA theirs; ALTER SCHEMA theirs RENAME TO others");
    assert_eq!(owner(&mut db), "mallory", "what is hers stays hers");
    // What is written over hers is nobody else's to call.
    db.run(
        "SELECT etl.track('trusting', 'res.partner', '{\"name\": \"name\"}', two_way => 'odoo')",
    );
    assert_ne!(owner(&mut db), "mallory");
    let callers: Vec<String> = db.all(
        &format!("SELECT r.rolname::text FROM pg_proc p, aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee WHERE p.proname = 'etl_look_{id}' AND r.rolname IN ('mallory', 'helper')"),
        &[],
    );
    assert_eq!(callers, Vec::<String>::new());
    // A function that the owner replaced by one without the owner's rights is not called with the worker's.
    db.run(&format!(
        "ALTER FUNCTION public.etl_look_{id}(jsonb) SECURITY INVOKER"
    ));
    let called: Option<Value> = db.one("SELECT etl._as_owner($1, 'look', '[]')", &[&id]);
    assert_eq!(called, None);
    // The flag of a merge names no table: a view of hers is not read with anybody's rights.
    db.run(
        "SET ROLE mallory; CREATE TABLE public.caught (who text); GRANT ALL ON public.caught TO PUBLIC;
         CREATE FUNCTION public.catch() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.caught VALUES (current_user); RETURN 1; END $$;
         CREATE VIEW public.bait AS SELECT public.catch() AS id; GRANT SELECT ON public.bait TO PUBLIC;
         SET pg_etl.merging = 'on'; SELECT etl.enqueue('res.partner', 'update', '{\"odoo_id\": 1, \"name\": \"x\"}'); RESET pg_etl.merging; RESET ROLE",
    );
    assert_eq!(db.one::<i64>("SELECT count(*) FROM caught", &[]), 0);
    drop(bench);
}

#[test]
fn what_the_mirror_does_not_get_any_more_is_sent_after_a_while() {
    let (bench, mut db) = in_step("odoo");
    let ada = odoo_id(&mut db, 1);
    db.run("SELECT etl.mirror('res.partner', domain => '[[\"ref\", \"=\", false]]')");
    std::thread::sleep(Duration::from_millis(2_100));
    pull(&mut db);
    // Out of the domain: no pull brings it, and it was changed since the last one that did.
    bench
        .colleague()
        .write("res.partner", &[ada], &json!({"ref": "out"}))
        .expect("a change of theirs");
    db.run("UPDATE customers SET phone = 'ours' WHERE id = 1");
    let overtaken = || bench.sim().calls("search_read").len();
    eventually(PATIENCE, "the row to go all the same", || {
        in_odoo(&bench, ada)["phone"] == "ours"
    });
    db.await_empty(PATIENCE);
    let attempts: i32 = db.one("SELECT max(attempts) FROM ops.odoo_outbox", &[]);
    assert_eq!(attempts, 6, "asked {} times", overtaken());
}

#[test]
fn partitions_and_keys_of_two_columns_go_both_ways() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE parts (id int, region text, title text NOT NULL, tel text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
           CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a');
           INSERT INTO parts VALUES (1, 'a', 'Ada', '1'); SELECT etl.mirror('res.partner');
           SELECT etl.track('parts', 'res.partner', '{"name": "title", "phone": "tel"}', two_way => 'odoo', on_odoo_delete => 'delete')"#,
    );
    let is_backfilled = "SELECT backfilled_at IS NOT NULL FROM etl.tracks";
    eventually(PATIENCE, "the backfill", || db.one(is_backfilled, &[]));
    // A new partition is empty: nothing that comes from Odoo waits for it.
    db.run("CREATE TABLE parts_b PARTITION OF parts FOR VALUES IN ('b'); INSERT INTO parts VALUES (1, 'b', 'Bob', '2')");
    assert!(db.one::<bool>(is_backfilled, &[]));
    db.await_empty(PATIENCE);
    pull(&mut db);
    db.run("DELETE FROM ops.odoo_outbox");
    let id = |name: &str| bench.sim().partner(name)["id"].as_i64().expect("an id");
    let (ada, bob) = (id("Ada"), id("Bob"));
    write(&bench, ada, json!({"phone": "11"}));
    write(&bench, bob, json!({"phone": "22"}));
    pull(&mut db);
    let rows = |db: &mut Client| -> Vec<String> {
        db.all(
            "SELECT concat_ws(' ', region, title, tel) FROM parts ORDER BY 1",
            &[],
        )
    };
    assert_eq!(rows(&mut db), ["a Ada 11", "b Bob 22"]);
    bench.sim().unlink("res.partner", bob);
    db.run("SELECT etl.request_pull('res.partner', mode => 'reconcile')");
    pull(&mut db);
    assert_eq!(rows(&mut db), ["a Ada 11"]);
    assert_eq!(enqueued(&mut db), Vec::<Value>::new(), "no echoes");
}
