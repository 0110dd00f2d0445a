//! Two ways: what people change in Odoo comes back into a tracked table, and nothing goes round in circles.

use pg_etl_tests::PastUs;
use pg_etl_tests::prelude::*;
use serde_json::Map;

const CUSTOMERS: &str = "CREATE TABLE customers (id int PRIMARY KEY, full_name text NOT NULL, email varchar(40), phone text, note text, boss int)";
const FIELDS: &str = r#"{"name": "full_name", "email": "email", "phone": {"column": "phone"}, "comment": {"sql": "upper(note)"},
    "parent_id": {"column": "boss", "ref": "customers"}}"#;

/// Three customers that both sides have, and nothing on its way.
fn in_step(wins: &str) -> (Bench, Client) {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(&format!(
        "{CUSTOMERS}; INSERT INTO customers VALUES (1, 'Ada', 'ada@x.test', '1', 'first', NULL), (2, 'Bob', NULL, NULL, NULL, 1), (3, 'Cy', 'cy@x.test', '3', NULL, NULL);
         SELECT etl.mirror('res.partner')"
    ));
    let said: Value = db.one(
        &format!("SELECT etl.track('customers', 'res.partner', '{FIELDS}', two_way => '{wins}')"),
        &[],
    );
    assert_eq!(
        said["both_ways"],
        json!(["email", "name", "parent_id", "phone"])
    );
    assert_eq!(said["one_way"], json!(["comment"]));
    // By itself: what is there already goes too.
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    db.await_empty(PATIENCE);
    assert_eq!(db.count("done"), 3);
    pull(&mut db);
    db.run("DELETE FROM ops.odoo_outbox");
    (bench, db)
}

fn pull(db: &mut Client) {
    db.one::<Value>("SELECT etl.pull('res.partner')", &[]);
}

/// As somebody in Odoo would change it.
fn write(bench: &Bench, id: i64, values: Value) {
    bench
        .sim()
        .call("res.partner", "write", json!({"ids": [id], "vals": values}));
}

fn in_odoo(bench: &Bench, id: i64) -> Map<String, Value> {
    let mut found = bench.sim().records("res.partner");
    found.retain(|record| record["id"] == json!(id));
    found.remove(0)
}

fn odoo_id(db: &mut Client, key: i32) -> i64 {
    db.one(
        "SELECT odoo_id FROM etl.tracked_records('customers') WHERE key = $1::int::text",
        &[&key],
    )
}

fn row(db: &mut Client, key: i32) -> Value {
    db.one(
        "SELECT to_jsonb(c) FROM customers c WHERE id = $1::int",
        &[&key],
    )
}

fn enqueued(db: &mut Client) -> Vec<Value> {
    db.all("SELECT payload FROM ops.odoo_outbox ORDER BY id", &[])
}

fn conflicts(db: &mut Client) -> Vec<Value> {
    db.all(
        "SELECT jsonb_build_object('field', field, 'odoo', odoo_value, 'local', local_value, 'winner', winner) FROM etl.conflicts ORDER BY id",
        &[],
    )
}

#[test]
fn what_odoo_changes_comes_back_and_is_not_sent_again() {
    let (bench, mut db) = in_step("odoo");
    let (ada, bob) = (odoo_id(&mut db, 1), odoo_id(&mut db, 2));
    write(&bench, ada, json!({"name": "Ada L.", "phone": false}));
    write(
        &bench,
        bob,
        json!({"parent_id": false, "comment": "theirs"}),
    );
    pull(&mut db);
    assert_eq!(
        row(&mut db, 1),
        json!({"id": 1, "full_name": "Ada L.", "email": "ada@x.test", "phone": null, "note": "first", "boss": null})
    );
    assert_eq!(row(&mut db, 2)["boss"], Value::Null);
    assert_eq!(
        row(&mut db, 2)["note"],
        Value::Null,
        "an expression goes one way"
    );
    assert_eq!(enqueued(&mut db), Vec::<Value>::new(), "echoes");
    // A reference, by the other row's key.
    let cy = odoo_id(&mut db, 3);
    write(&bench, bob, json!({"parent_id": cy}));
    pull(&mut db);
    assert_eq!(row(&mut db, 2)["boss"], 3);
    assert_eq!(enqueued(&mut db), Vec::<Value>::new(), "echoes");
    assert_eq!(conflicts(&mut db), Vec::<Value>::new());
    // And there and back: what is sent is no change of Odoo's.
    db.run("UPDATE customers SET full_name = 'Ada B.' WHERE id = 1");
    db.await_empty(PATIENCE);
    for _ in 0..2 {
        pull(&mut db);
    }
    assert_eq!(bench.sim().partner("Ada B.")["id"], json!(ada));
    assert_eq!(row(&mut db, 1)["full_name"], "Ada B.");
    assert_eq!(enqueued(&mut db), [json!({"name": "Ada B."})]);
    assert_eq!(conflicts(&mut db), Vec::<Value>::new());
}

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
}

/// Both sides change the same field while nothing goes between them; then a pull comes first.
fn both_change(wins: &str, odoo_last: bool) -> (Bench, Client, i64) {
    let (bench, mut db) = in_step(wins);
    let ada = odoo_id(&mut db, 1);
    db.run("SELECT etl.pause()");
    let theirs = |value: &str| {
        write(&bench, ada, json!({"phone": value, "email": "new@x.test"}));
    };
    if !odoo_last {
        theirs("from Odoo");
        // Odoo's write_date has whole seconds.
        std::thread::sleep(Duration::from_millis(1100));
    }
    db.run("UPDATE customers SET phone = 'from here' WHERE id = 1");
    if odoo_last {
        std::thread::sleep(Duration::from_millis(1100));
        theirs("from Odoo");
    }
    // The row is not due: so the pull is first.
    db.run("UPDATE ops.odoo_outbox SET next_run_at = now() + interval '1 h' WHERE status = 'queued'; SELECT etl.resume()");
    pull(&mut db);
    assert_eq!(
        row(&mut db, 1)["email"],
        "new@x.test",
        "what only one side changed is no conflict"
    );
    db.run("UPDATE ops.odoo_outbox SET next_run_at = now() WHERE status = 'queued'");
    db.await_empty(PATIENCE);
    pull(&mut db);
    (bench, db, ada)
}

#[test]
fn both_sides_changed_a_field() {
    for (wins, odoo_last, winner) in [
        ("odoo", false, "odoo"),
        ("odoo", true, "odoo"),
        ("local", true, "local"),
        ("newest", true, "odoo"),
        ("newest", false, "local"),
    ] {
        let (bench, mut db, ada) = both_change(wins, odoo_last);
        let won = if winner == "odoo" {
            "from Odoo"
        } else {
            "from here"
        };
        let case = format!("{wins}, Odoo last: {odoo_last}");
        assert_eq!(row(&mut db, 1)["phone"], won, "{case}");
        assert_eq!(in_odoo(&bench, ada)["phone"], won, "{case}");
        assert_eq!(
            conflicts(&mut db),
            [
                json!({"field": "phone", "odoo": "from Odoo", "local": "from here", "winner": winner})
            ],
            "{case}"
        );
        // It is over, and stays so.
        let before = enqueued(&mut db);
        pull(&mut db);
        assert_eq!(enqueued(&mut db), before, "{case}");
        assert_eq!(conflicts(&mut db).len(), 1, "{case}");
    }
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
fn an_old_trigger_on_a_mirror_does_not_loop() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        "CREATE TABLE public.odoo_partners (odoo_id bigint PRIMARY KEY, name text, email text, phone text, write_date timestamptz, raw jsonb, synced_at timestamptz);
         CREATE FUNCTION to_outbox() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key) VALUES ('res.partner', 'upsert',
             jsonb_build_object('odoo_id', new.odoo_id, 'name', new.name, 'email', new.email, 'phone', coalesce(new.phone, '')), gen_random_uuid()::text);
           RETURN new; END $$;
         CREATE TRIGGER to_outbox AFTER INSERT OR UPDATE ON public.odoo_partners FOR EACH ROW EXECUTE FUNCTION to_outbox()",
    );
    let made = bench.sim().call(
        "res.partner",
        "create",
        json!({"vals_list": [{"name": "Ada", "email": "ada@x.test"}]}),
    );
    let ada = made[0].as_i64().expect("an id");
    db.run("SELECT etl.mirror('res.partner', 'public.odoo_partners')");
    pull(&mut db);
    let waiting = |db: &mut Client| -> i64 {
        db.one(
            "SELECT count(*) FROM ops.odoo_outbox WHERE status <> 'cancelled'",
            &[],
        )
    };
    write(&bench, ada, json!({"phone": "7"}));
    let first: Value = db.one("SELECT etl.pull('res.partner')", &[]);
    let run = first["mirrors"][0]["run"].as_i64().expect("a run");
    assert_eq!(waiting(&mut db), 0, "what was pulled is not sent");
    assert!(db.count("cancelled") >= 2);
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM etl.queue", &[]),
        0,
        "nor does it wait"
    );
    // Somebody's own change goes, once, and comes back without a further round.
    db.run("UPDATE public.odoo_partners SET email = 'new@x.test' WHERE name = 'Ada'");
    db.await_empty(PATIENCE);
    for _ in 0..3 {
        pull(&mut db);
    }
    assert_eq!(in_odoo(&bench, ada)["email"], "new@x.test");
    assert_eq!(waiting(&mut db), 1);
    // Nor is what a rollback puts back sent to Odoo.
    db.one::<Value>("SELECT etl.rollback_run($1)", &[&run]);
    assert_eq!(waiting(&mut db), 1);
    assert_eq!(in_odoo(&bench, ada)["phone"], "7");
}

#[test]
fn records_that_odoo_makes_and_deletes_come_and_go() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let theirs = |values: Value| {
        let colleague = bench.colleague();
        colleague
            .create("res.partner", &values)
            .expect("a record of theirs")
    };
    db.run(
        "CREATE TABLE people (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, title text NOT NULL, mail text UNIQUE, note text, since timestamptz DEFAULT now());
         INSERT INTO people (title, mail) VALUES ('Ada', 'ada@x.test');
         SELECT etl.mirror('res.partner', domain => '[[\"ref\", \"=\", false], [\"email\", \"like\", \"x.test\"]]')",
    );
    let before = theirs(json!({"name": "Before", "email": "before@x.test"}));
    db.run(
        r#"SELECT etl.track('people', 'res.partner', '{"name": "title", "email": "mail", "comment": {"sql": "upper(note)"}}',
             two_way => 'newest', on_odoo_create => 'insert', on_odoo_delete => 'delete')"#,
    );
    let titles =
        |db: &mut Client| -> Vec<String> { db.all("SELECT title FROM people ORDER BY title", &[]) };
    eventually(PATIENCE, "what was in Odoo before", || {
        titles(&mut db) == ["Ada", "Before"]
    });
    db.await_empty(PATIENCE);
    let bob = theirs(json!({"name": "Bob", "email": "bob@x.test", "comment": "theirs"}));
    // One that the table refuses holds up nobody.
    theirs(json!({"name": "Twin", "email": "bob@x.test"}));
    db.run("INSERT INTO people (title, mail) VALUES ('Cy', 'cy@x.test')");
    pull(&mut db);
    db.await_empty(PATIENCE);
    for _ in 0..2 {
        pull(&mut db);
    }
    assert_eq!(titles(&mut db), ["Ada", "Before", "Bob", "Cy"]);
    let refused: Vec<String> = db.all("SELECT detail FROM etl.conflicts", &[]);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(
        refused[0].contains("refused a new row: duplicate key"),
        "{refused:?}"
    );
    let sent: Vec<String> = db.all(
        "SELECT payload ->> 'name' FROM ops.odoo_outbox ORDER BY id",
        &[],
    );
    assert_eq!(sent, ["Ada", "Cy"], "and nothing that came from Odoo");
    assert_eq!(
        bench.sim().partners("Bob").len() + bench.sim().partners("Cy").len(),
        2
    );
    // It is one record now, both ways.
    db.run("UPDATE people SET title = 'Bobby' WHERE title = 'Bob'");
    db.await_empty(PATIENCE);
    assert_eq!(in_odoo(&bench, bob)["name"], "Bobby");
    assert!(
        in_odoo(&bench, bob)["comment"]
            .to_string()
            .contains("theirs"),
        "what goes one way is not emptied"
    );
    bench
        .colleague()
        .write("res.partner", &[bob], &json!({"name": "Robert"}))
        .expect("a change of theirs");
    pull(&mut db);
    assert_eq!(titles(&mut db), ["Ada", "Before", "Cy", "Robert"]);

    // Deleted there, deleted here; but not while somebody writes to it, and not what was changed meanwhile.
    let cy = bench.sim().partner("Cy")["id"].as_i64().expect("an id");
    let ada = bench.sim().partner("Ada")["id"].as_i64().expect("an id");
    let mut writer = bench.client();
    writer.run("BEGIN; UPDATE people SET since = now() WHERE title = 'Before'");
    for id in [before, bob, cy] {
        bench.sim().unlink("res.partner", id);
    }
    db.run("SELECT etl.pause(); UPDATE people SET title = 'Cyrus' WHERE title = 'Cy'; UPDATE ops.odoo_outbox SET next_run_at = now() + interval '1 h' WHERE status = 'queued'; SELECT etl.resume()");
    db.run("SELECT etl.request_pull('res.partner', mode => 'reconcile')");
    pull(&mut db);
    // The table takes the twin now.
    assert_eq!(titles(&mut db), ["Ada", "Before", "Cyrus", "Twin"]);
    writer.run("COMMIT");
    pull(&mut db);
    assert_eq!(titles(&mut db), ["Ada", "Cyrus", "Twin"]);
    let kept: Vec<String> = db.all(
        "SELECT winner FROM etl.conflicts WHERE detail LIKE 'deleted in Odoo%'",
        &[],
    );
    assert_eq!(kept, ["local"]);
    assert_eq!(
        db.one::<i64>(
            "SELECT count(*) FROM ops.odoo_outbox WHERE operation = 'delete'",
            &[]
        ),
        0,
        "no echo of a delete"
    );
    // And from here.
    db.run("DELETE FROM people WHERE title = 'Ada'");
    eventually(PATIENCE, "the delete", || {
        bench
            .sim()
            .records("res.partner")
            .iter()
            .all(|record| record["id"] != json!(ada))
    });
}

#[test]
fn what_somebody_changed_in_odoo_is_pulled_before_anything_is_sent() {
    let (bench, mut db) = in_step("odoo");
    let ada = odoo_id(&mut db, 1);
    std::thread::sleep(Duration::from_millis(2_100));
    pull(&mut db);
    bench
        .colleague()
        .write("res.partner", &[ada], &json!({"phone": "theirs"}))
        .expect("a change of theirs");
    // Nobody pulled it, and it goes out at once.
    db.run("UPDATE customers SET phone = 'ours', email = 'ours@x.test' WHERE id = 1");
    db.await_empty(PATIENCE);
    eventually(PATIENCE, "both sides to agree", || {
        row(&mut db, 1)["phone"] == "theirs" && in_odoo(&bench, ada)["phone"] == "theirs"
    });
    assert_eq!(in_odoo(&bench, ada)["email"], "ours@x.test");
    assert_eq!(
        conflicts(&mut db),
        [json!({"field": "phone", "odoo": "theirs", "local": "ours", "winner": "odoo"})]
    );
    // What we wrote ourselves is no change of theirs: one question, one write.
    bench.sim().clear_requests();
    db.run("UPDATE customers SET phone = 'again' WHERE id = 1");
    db.await_empty(PATIENCE);
    assert_eq!(bench.sim().changes().len(), 1);
    assert_eq!(bench.sim().calls("search_read").len(), 1);
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
    assert_eq!(
        db.refused(&format!(
            "SELECT etl._sound(t, 'public.etl_look_{id}') FROM etl.tracks t WHERE id = {id}"
        ))
        .code()
        .code(),
        "55000"
    );
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
