//! Two ways: what people change in Odoo comes back into a tracked table, and nothing goes round in circles.

use pg_etl_tests::PastUs;
use pg_etl_tests::prelude::*;
use pg_etl_tests::two_way::*;

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
