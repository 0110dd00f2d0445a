//! Both ways where owners mean harm, where tables refuse, and where a change comes at a bad moment.

use pg_etl_tests::PastUs;
use pg_etl_tests::prelude::*;
use pg_etl_tests::two_way::*;

/// Who ran what, written down by triggers and functions of users.
const CAUGHT: &str = "CREATE TABLE caught (who text, what text); GRANT ALL ON caught TO PUBLIC;";

fn caught(db: &mut Client) -> Vec<String> {
    db.all(
        "SELECT DISTINCT concat_ws(' ', what, who) FROM caught ORDER BY 1",
        &[],
    )
}

fn theirs(bench: &Bench, id: i64, values: Value) {
    let written = bench.colleague().write("res.partner", &[id], &values);
    written.expect("a change of theirs");
}

/// What the owner of a tracked table makes of its functions, its triggers and its settings, it does as itself.
#[test]
fn what_an_owner_does_is_done_with_the_owners_rights() {
    let (bench, mut db) = in_step("odoo");
    let ada = odoo_id(&mut db, 1);
    let id: i32 = db.one("SELECT id FROM etl.tracks", &[]);
    db.run(CAUGHT);
    db.run(
        "CREATE ROLE mallory; GRANT CREATE, USAGE ON SCHEMA public TO mallory; ALTER TABLE customers OWNER TO mallory; CREATE SCHEMA evil AUTHORIZATION mallory; SET ROLE mallory;
         CREATE FUNCTION catch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.caught VALUES (current_user, TG_NAME); RETURN NEW; END $$;
         CREATE TRIGGER before_it BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION catch();
         CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON customers DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION catch();
         CREATE TABLE other (n int); CREATE CONSTRAINT TRIGGER later AFTER INSERT ON other DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION catch();
         CREATE FUNCTION evil.same(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.caught VALUES (current_user, 'operator'); RETURN true; END $$;
         CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same); GRANT USAGE ON SCHEMA evil TO PUBLIC;
         CREATE FUNCTION put_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           PERFORM set_config('search_path', 'evil, pg_catalog', false); SET CONSTRAINTS public.later DEFERRED; INSERT INTO public.other VALUES (1); RETURN NULL; END $$;
         RESET ROLE",
    );
    theirs(&bench, ada, json!({"phone": "7"}));
    pull(&mut db);
    assert_eq!(row(&mut db, 1)["phone"], "7");
    assert_eq!(caught(&mut db), ["before_it mallory", "late mallory"]);

    // What would be done later, as somebody else, is refused, and said.
    db.run("SET ROLE mallory; CREATE TRIGGER put_off AFTER UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION put_off(); RESET ROLE; TRUNCATE caught");
    theirs(&bench, ada, json!({"phone": "8"}));
    pull(&mut db);
    assert_eq!(row(&mut db, 1)["phone"], "7");
    assert_eq!(conflicts(&mut db).len(), 1, "{:?}", conflicts(&mut db));
    assert_eq!(caught(&mut db), Vec::<String>::new());
    db.run("DROP TRIGGER put_off ON customers");

    // A cast of its own, in what its function returns.
    db.run(&format!(
        "SET ROLE mallory; CREATE TYPE public.evil_key AS ENUM ('x'); DROP FUNCTION etl_look_{id}(jsonb);
         CREATE FUNCTION pwn(public.evil_key) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.caught VALUES (current_user, 'cast'); RETURN 'x'; END $$;
         CREATE CAST (public.evil_key AS text) WITH FUNCTION pwn(public.evil_key) AS IMPLICIT;
         CREATE FUNCTION etl_look_{id}(items jsonb) RETURNS TABLE (etl_record_key public.evil_key, etl_local jsonb, etl_typed jsonb) LANGUAGE sql SECURITY DEFINER
           AS $$ SELECT 'x'::public.evil_key, '{{}}'::jsonb, to_jsonb(set_config('search_path', 'evil, pg_catalog', false)) $$; RESET ROLE"
    ));
    theirs(&bench, ada, json!({"phone": "9"}));
    pull(&mut db);
    let others: Vec<String> = caught(&mut db);
    assert!(
        others.iter().all(|line| line.ends_with(" mallory")),
        "{others:?}"
    );
    // With the caller's rights it is not called at all; the mirror goes on, and what was left is taken in when all is well again.
    db.run(&format!(
        "ALTER FUNCTION etl_look_{id}(jsonb) SECURITY INVOKER"
    ));
    theirs(&bench, ada, json!({"phone": "10"}));
    pull(&mut db);
    let run: String = db.one("SELECT status FROM ops.odoo_sync_runs WHERE direction = 'odoo_to_sb' ORDER BY id DESC LIMIT 1", &[]);
    assert_eq!(run, "succeeded");
    assert_eq!(row(&mut db, 1)["phone"], "7");
    db.run(&format!("DROP FUNCTION etl_look_{id}(jsonb); SELECT etl.track('customers', 'res.partner', '{FIELDS}', two_way => 'odoo')"));
    eventually(PATIENCE, "all to be well again", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    db.await_empty(PATIENCE);
    pull(&mut db);
    assert_eq!(row(&mut db, 1)["phone"], "10");
}

/// A deferred trigger on the mirror is not fired by the owner of a tracked table.
#[test]
fn what_a_mirrors_trigger_puts_off_is_not_done_by_others() {
    let (bench, mut db) = in_step("odoo");
    db.run(CAUGHT);
    db.run(
        "CREATE FUNCTION catch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.caught VALUES (current_user, TG_NAME); RETURN NEW; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON odoo_raw.res_partner DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION catch()",
    );
    let ada = odoo_id(&mut db, 1);
    theirs(&bench, ada, json!({"phone": "7"}));
    pull(&mut db);
    assert_eq!(row(&mut db, 1)["phone"], "7");
    assert_eq!(caught(&mut db), ["late etl_worker"]);
}

#[test]
fn an_archived_record_is_not_deleted_for_its_row_left_the_condition() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE customers (id int PRIMARY KEY, name text, is_active bool NOT NULL DEFAULT true);
         INSERT INTO customers VALUES (1, 'Ada'), (2, 'Bob'); SELECT etl.mirror('res.partner');
         SELECT etl.track('customers', 'res.partner', '{"name": "name", "active": "is_active"}', condition => 'is_active', two_way => 'odoo')"#,
    );
    db.await_empty(PATIENCE);
    pull(&mut db);
    let ada = odoo_id(&mut db, 1);
    theirs(&bench, ada, json!({"active": false}));
    pull(&mut db);
    db.await_empty(PATIENCE);
    assert_eq!(row(&mut db, 1)["is_active"], false);
    assert_eq!(in_odoo(&bench, ada)["active"], false, "it is still there");
    // What leaves it here is deleted there, as ever.
    db.run("UPDATE customers SET is_active = false WHERE id = 2");
    db.await_empty(PATIENCE);
    assert_eq!(bench.sim().partners("Bob").len(), 0);
}

/// While a changed mapping is sent, what both sides agreed on before is still taken in.
#[test]
fn a_changed_mapping_loses_no_edit_of_odoos() {
    let (bench, mut db) = in_step("odoo");
    let ada = odoo_id(&mut db, 1);
    let mut writer = bench.client();
    writer.run("BEGIN; SELECT FROM customers WHERE id = 3 FOR UPDATE");
    db.run(&format!(
        "SELECT etl.track('customers', 'res.partner', '{}', two_way => 'odoo')",
        FIELDS.replacen('{', r#"{"ref": {"value": "R"}, "#, 1)
    ));
    eventually(PATIENCE, "the backfill to be held up", || {
        db.one("SELECT backfill_error IS NOT NULL FROM etl.tracks", &[])
    });
    theirs(&bench, ada, json!({"phone": "theirs"}));
    db.run("UPDATE customers SET phone = 'ours' WHERE id = 1");
    pull(&mut db);
    writer.run("COMMIT");
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    db.await_empty(PATIENCE);
    pull(&mut db);
    db.await_empty(PATIENCE);
    let said = conflicts(&mut db);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0]["winner"], "odoo");
    assert_eq!(
        (&row(&mut db, 1)["phone"], &in_odoo(&bench, ada)["phone"]),
        (&json!("theirs"), &json!("theirs"))
    );
    assert_eq!(in_odoo(&bench, ada)["ref"], "R");
}

#[test]
fn what_a_column_holds_otherwise_goes_one_way() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        "CREATE TABLE things (id int PRIMARY KEY, name text, price numeric); CREATE TABLE visits (id int PRIMARY KEY, title text, land text, tags jsonb, seen timestamptz, day timestamp);
         SELECT etl.mirror('product.template'), etl.mirror('sale.order'), etl.mirror('res.partner')",
    );
    let both_ways = |db: &mut Client, call: &str| -> Value {
        let said: Value = db.one(call, &[]);
        said["both_ways"].clone()
    };
    let call = |context: &str| {
        format!(
            r#"SELECT etl.track('things', 'product.template', '{{"name": "name", "list_price": "price"}}', two_way => 'odoo'{context})"#
        )
    };
    // The mirror reads one language, and another one's value is none of its.
    assert_eq!(
        both_ways(&mut db, &call(r#", context => '{"lang": "de_DE"}'"#)),
        json!(["list_price"])
    );
    assert_eq!(both_ways(&mut db, &call("")), json!(["list_price", "name"]));
    db.run(r#"SELECT etl.mirror('product.template', options => '{"context": {"lang": "de_DE"}}')"#);
    assert_eq!(
        both_ways(&mut db, &call(r#", context => '{"lang": "de_DE"}'"#)),
        json!(["list_price", "name"])
    );
    assert_eq!(
        both_ways(
            &mut db,
            r#"SELECT etl.track('visits', 'res.partner', '{"name": "title", "country_id": "land", "category_id": "tags"}', two_way => 'odoo')"#
        ),
        json!(["name"])
    );
    // A time is what it is to the second, and its column keeps what it has beyond that.
    db.run("INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, record_key) VALUES ('res.partner', 'upsert', '{\"name\": \"Buyer\"}', 'buyer', 'buyer')");
    assert_eq!(
        both_ways(
            &mut db,
            r#"SELECT etl.track('visits', 'sale.order', '{"partner_id": {"value": {"key": "buyer"}}, "client_order_ref": "title", "commitment_date": "seen", "validity_date": "day"}', two_way => 'odoo')"#
        ),
        json!(["client_order_ref", "commitment_date"])
    );
    db.run("SELECT etl.untrack('visits', 'res.partner'); INSERT INTO visits (id, title, seen) VALUES (1, 'A', '2026-02-03 04:05:06.789+00')");
    db.await_empty(PATIENCE);
    for _ in 0..2 {
        db.one::<Value>("SELECT etl.pull('sale.order', true)", &[]);
    }
    let seen: String = db.one(
        "SELECT to_char(seen AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') FROM visits",
        &[],
    );
    assert_eq!(seen, "2026-02-03 04:05:06.789");
    assert_eq!(conflicts(&mut db), Vec::<Value>::new());
}

/// Rows that are made of Odoo's records, where the table is locked, and after they were deleted here.
#[test]
fn records_of_odoo_are_neither_dropped_nor_made_twice() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE people (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, title text);
         SELECT etl.mirror('res.partner', domain => '[["email", "like", "x.test"]]');
         SELECT etl.track('people', 'res.partner', '{"name": "title"}', two_way => 'local', on_odoo_create => 'insert', on_odoo_delete => 'delete')"#,
    );
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL AND NOT EXISTS (SELECT FROM etl.pulls WHERE run_id IS NOT NULL OR asked_at IS NOT NULL) FROM etl.tracks", &[])
    });
    let titles =
        |db: &mut Client| -> Vec<String> { db.all("SELECT title FROM people ORDER BY title", &[]) };
    let mut holder = bench.client();
    holder.run("BEGIN; LOCK TABLE people IN SHARE MODE");
    let made: Vec<i64> = ["Ann", "Ben", "Cid"]
        .iter()
        .map(|name| {
            let values = json!({"name": name, "email": format!("{name}@x.test")});
            bench
                .colleague()
                .create("res.partner", &values)
                .expect("a record of theirs")
        })
        .collect();
    pull(&mut db);
    assert_eq!(titles(&mut db), Vec::<String>::new());
    holder.run("COMMIT");
    pull(&mut db);
    assert_eq!(titles(&mut db), ["Ann", "Ben", "Cid"]);
    assert_eq!(db.one::<i64>("SELECT count(*) FROM etl.held_back", &[]), 0);

    // Deleted here; what was read of it before Odoo knew makes no new row of it.
    db.run("DELETE FROM people WHERE title = 'Ann'");
    db.await_empty(PATIENCE);
    db.run(&format!(
        "INSERT INTO etl.held_back SELECT id, {}, now() FROM etl.tracks",
        made[0]
    ));
    pull(&mut db);
    assert_eq!(titles(&mut db), ["Ben", "Cid"]);

    // Deleted there while somebody changes the row: kept, said once, and not deleted by the next look.
    let mut writer = bench.client();
    writer.run("BEGIN; UPDATE people SET title = 'Benjamin' WHERE title = 'Ben'; UPDATE ops.odoo_outbox SET next_run_at = now() + interval '1 h' WHERE status = 'queued'");
    bench
        .sim()
        .call("res.partner", "unlink", json!({"ids": [made[1]]}));
    db.run("SELECT etl.request_pull('res.partner', mode => 'reconcile')");
    eventually(PATIENCE, "the row to be left for later", || {
        db.one("SELECT EXISTS (SELECT FROM etl.held_back)", &[])
    });
    db.run("UPDATE ops.odoo_sync_config SET value = value || '{\"every_seconds\": 100000, \"reconcile_seconds\": 100000}' WHERE key LIKE 'odoo_to_sb%'");
    writer.run("COMMIT");
    pull(&mut db);
    db.run("UPDATE ops.odoo_outbox SET next_run_at = now() WHERE status = 'queued'");
    db.await_empty(PATIENCE);
    for _ in 0..2 {
        pull(&mut db);
    }
    assert_eq!(titles(&mut db), ["Benjamin", "Cid"]);
    assert_eq!(conflicts(&mut db).len(), 1, "{:?}", conflicts(&mut db));
}

/// A reference that has no row here keeps its record unsettled; the other fields are decided as ever.
#[test]
fn what_was_agreed_on_is_known_although_a_reference_waits() {
    let (bench, mut db) = in_step("odoo");
    let bob = odoo_id(&mut db, 2);
    let stranger = bench
        .colleague()
        .create("res.partner", &json!({"name": "Stranger"}))
        .expect("a record");
    theirs(&bench, bob, json!({"parent_id": stranger}));
    pull(&mut db);
    db.run("UPDATE customers SET phone = 'A' WHERE id = 2");
    db.await_empty(PATIENCE);
    theirs(&bench, bob, json!({"phone": "B"}));
    pull(&mut db);
    assert_eq!(row(&mut db, 2)["phone"], "B");
    db.run("SELECT etl.pause(); UPDATE customers SET phone = 'C' WHERE id = 2; UPDATE ops.odoo_outbox SET next_run_at = now() + interval '1 h' WHERE status = 'queued'; SELECT etl.resume()");
    for _ in 0..2 {
        pull(&mut db);
    }
    assert_eq!(row(&mut db, 2)["phone"], "C", "Odoo changed nothing");
    assert_eq!(conflicts(&mut db), Vec::<Value>::new());
    assert_eq!(
        row(&mut db, 2)["boss"],
        1,
        "what it refers to is no row here"
    );
}

/// One refuses, one is kept by a trigger, one has a value that its column cannot hold: each is said, and the rest goes on.
#[test]
fn each_of_a_page_has_its_own_fate() {
    let (bench, mut db) = in_step("odoo");
    let ids: Vec<i64> = (1..=3).map(|key| odoo_id(&mut db, key)).collect();
    db.run(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         ALTER TABLE customers ADD CHECK (phone <> 'bad');
         CREATE TRIGGER keep BEFORE UPDATE ON customers FOR EACH ROW WHEN (new.id = 1) EXECUTE FUNCTION keep()",
    );
    theirs(&bench, ids[0], json!({"phone": "kept"}));
    theirs(&bench, ids[1], json!({"phone": "bad", "name": "Bobby"}));
    // Longer than the column.
    theirs(
        &bench,
        ids[2],
        json!({"phone": "30", "email": format!("{}@x.test", "c".repeat(60))}),
    );
    pull(&mut db);
    let rows: Vec<String> = db.all(
        "SELECT concat_ws(' ', full_name, phone, email) FROM customers ORDER BY id",
        &[],
    );
    assert_eq!(rows, ["Ada 1 ada@x.test", "Bobby", "Cy 30 cy@x.test"]);
    let said: Vec<String> = db.all(
        "SELECT field || ': ' || left(detail, 45) FROM etl.conflicts ORDER BY record_key DESC, field",
        &[],
    );
    assert_eq!(
        said,
        [
            "email: the table refused it: value too long for type",
            "phone: the table refused it: new row for relation \"c",
            "phone: the table refused it: a trigger or a policy k"
        ]
    );
    // A value of another type altogether, in one field.
    db.run("DROP TRIGGER keep ON customers; ALTER TABLE customers ADD COLUMN number int");
    db.run(&format!(
        "SELECT etl.track('customers', 'res.partner', '{}', two_way => 'odoo')",
        FIELDS.replacen('{', r#"{"ref": "number", "#, 1)
    ));
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    db.await_empty(PATIENCE);
    pull(&mut db);
    theirs(&bench, ids[2], json!({"ref": "no number", "phone": "31"}));
    pull(&mut db);
    let row = row(&mut db, 3);
    assert_eq!(
        (&row["phone"], &row["number"]),
        (&json!("31"), &Value::Null)
    );
}

/// Two keys of one record: the row says which of them it means.
#[test]
fn of_two_rows_with_one_record_the_named_one_stays() {
    let (bench, mut db) = in_step("odoo");
    let (bob, cy) = (odoo_id(&mut db, 2), odoo_id(&mut db, 3));
    db.run("UPDATE customers SET boss = 3 WHERE id = 2");
    db.await_empty(PATIENCE);
    pull(&mut db);
    // As after a merge: the link of row 1 leads to the record of row 3.
    db.run(&format!(
        "UPDATE etl.links SET odoo_id = {cy} WHERE record_key LIKE '%:1'"
    ));
    theirs(&bench, bob, json!({"phone": "7"}));
    pull(&mut db);
    assert_eq!(
        (&row(&mut db, 2)["phone"], &row(&mut db, 2)["boss"]),
        (&json!("7"), &json!(3))
    );
}

/// What Odoo was sent is what both sides had, also where the table refused what came back.
#[test]
fn what_was_sent_is_known_although_the_table_refuses_what_follows() {
    let (bench, mut db) = in_step("odoo");
    let ada = odoo_id(&mut db, 1);
    db.run("ALTER TABLE customers ADD CHECK (phone <> 'bad'); UPDATE customers SET phone = 'X' WHERE id = 1");
    db.await_empty(PATIENCE);
    theirs(&bench, ada, json!({"phone": "bad"}));
    pull(&mut db);
    assert_eq!(row(&mut db, 1)["phone"], "X");
    // As it was before.
    theirs(&bench, ada, json!({"phone": "1"}));
    pull(&mut db);
    assert_eq!(row(&mut db, 1)["phone"], "1");
}
