//! Capture where tables are not simple, and where somebody means harm.

use pg_etl_tests::PastUs;
use pg_etl_tests::prelude::*;

const CUSTOMERS: &str =
    "CREATE TABLE customers (id int PRIMARY KEY, name text, ref text, city text);";
const MAP: &str = r#"{"name": "name", "ref": "ref", "city": "city"}"#;

fn tracked() -> (Bench, Client) {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(CUSTOMERS);
    db.run(&format!(
        "SELECT etl.track('customers', 'res.partner', '{MAP}')"
    ));
    (bench, db)
}

/// What a trigger of the user's changes again in the same statement is what Odoo has in the end.
#[test]
fn a_trigger_that_changes_the_row_again_is_not_undone() {
    let (bench, mut db) = tracked();
    db.run(
        "CREATE FUNCTION number() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE customers SET ref = 'C' || id WHERE id = NEW.id; RETURN NULL; END $$;
         CREATE TRIGGER number AFTER INSERT ON customers FOR EACH ROW EXECUTE FUNCTION number();
         INSERT INTO customers VALUES (1, 'Ada'), (2, 'Bob')",
    );
    db.await_empty(PATIENCE);
    assert_eq!(db.count("failed"), 0);
    assert_eq!(
        (
            &bench.sim().partner("Ada")["ref"],
            &bench.sim().partner("Bob")["ref"]
        ),
        (&json!("C1"), &json!("C2"))
    );
}

#[test]
fn partitions_come_and_go() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE people (country text, n int, name text, PRIMARY KEY (country, n)) PARTITION BY LIST (country);
         CREATE TABLE people_be PARTITION OF people FOR VALUES IN ('be');
         SELECT etl.track('people', 'res.partner', '{"name": "name"}', on_truncate => 'delete');
         CREATE TABLE people_fr PARTITION OF people FOR VALUES IN ('fr');
         CREATE TABLE people_nl (country text, n int, name text, PRIMARY KEY (country, n));
         INSERT INTO people_nl VALUES ('nl', 1, 'Before');
         ALTER TABLE people ATTACH PARTITION people_nl FOR VALUES IN ('nl');
         INSERT INTO people_fr VALUES ('fr', 1, 'Fay'); INSERT INTO people VALUES ('be', 1, 'Bea')"#,
    );
    db.await_empty(PATIENCE);
    bench.sim().partner("Fay");
    bench.sim().partner("Bea");
    // What an attached partition brought is what a backfill is for; until then updates carry whole records.
    db.run("UPDATE people SET name = 'Later' WHERE country = 'nl'");
    db.await_empty(PATIENCE);
    bench.sim().partner("Later");
    db.run("TRUNCATE people_be");
    db.await_empty(PATIENCE);
    assert_eq!(
        (
            bench.sim().partners("Bea").len(),
            bench.sim().partners("Fay").len()
        ),
        (0, 1),
        "of the truncated partition alone"
    );
    db.run("ALTER TABLE people DETACH PARTITION people_fr; ALTER TABLE people_fr RENAME TO old_fr; INSERT INTO old_fr VALUES ('fr', 2, 'Nobody')");
    db.run("TRUNCATE people");
    db.await_empty(PATIENCE);
    assert_eq!(db.count("failed"), 0);
    let tab: String = db.one("SELECT tab FROM etl.tracks", &[]);
    assert_eq!(
        tab, "public.people",
        "a partition that left took nothing with it"
    );
    for gone in ["Nobody", "Later"] {
        assert_eq!(bench.sim().partners(gone).len(), 0, "{gone}");
    }
}

/// Names of triggers prove nothing.
#[test]
fn nobody_takes_over_a_track_with_a_trigger_of_its_name() {
    let (bench, mut db) = tracked();
    db.run("CREATE ROLE mallory LOGIN; SET ROLE mallory");
    db.run(
        "CREATE TEMP TABLE x (id int, name text, ref text, city text);
         CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         CREATE TRIGGER etl_capture_1_insert AFTER INSERT ON x FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.f();
         ALTER TABLE x ADD COLUMN z int; RESET ROLE",
    );
    let kept: bool = db.one(
        "SELECT tab = 'public.customers' AND NOT has_table_privilege('mallory', 'etl.track_1', 'INSERT') FROM etl.tracks",
        &[],
    );
    assert!(kept);
    db.run("INSERT INTO customers VALUES (1, 'Ada')");
    db.await_empty(PATIENCE);
    bench.sim().partner("Ada");
}

#[test]
fn the_mapping_of_a_table_is_its_owners() {
    let (_bench, mut db) = tracked();
    db.run("CREATE ROLE boss LOGIN; GRANT etl_admin TO boss; SET SESSION AUTHORIZATION boss");
    for (stolen, code) in [
        (format!("SELECT etl.track('customers', 'res.partner', '{MAP}')"), "42501"),
        ("SELECT etl._register_track(jsonb_populate_record(t, '{\"fields\": {\"name\": {\"sql\": \"version()\"}}}')) FROM etl.tracks t".to_owned(), "42501"),
        ("SELECT etl._create_mirror('x', '[{\"name\": \"id\", \"type\": \"public.evil\"}]')".to_owned(), "22023"),
        ("UPDATE etl.tracks SET fields = '{}'".to_owned(), "42501"),
    ] {
        let error = db.refused(&stolen);
        assert_eq!(error.code().code(), code, "{stolen}: {error:?}");
        assert!(!error.message().contains("for function"), "it came too early: {error:?}");
    }
    db.run("RESET SESSION AUTHORIZATION; SET ROLE etl_worker");
    assert_eq!(
        db.refused("UPDATE etl.tracks SET fields = '{}'")
            .code()
            .code(),
        "42501"
    );
}

/// Keys are the same whoever writes: else one row becomes two records.
#[test]
fn keys_do_not_depend_on_the_writers_settings() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE visits (at timestamptz PRIMARY KEY, name text);
           SELECT etl.track('visits', 'res.partner', '{"name": "name"}');
           SET timezone = 'Europe/Brussels'; INSERT INTO visits VALUES ('2026-07-01 12:00:00+00', 'Ada');
           SET timezone = 'UTC'; SET datestyle = 'German'; UPDATE visits SET name = 'Ada Lovelace'"#,
    );
    db.await_empty(PATIENCE);
    assert_eq!(
        (
            bench.sim().partners("Ada").len(),
            bench.sim().partners("Ada Lovelace").len()
        ),
        (0, 1)
    );
    let keys: i64 = db.one(
        "SELECT count(DISTINCT record_key) FROM ops.odoo_outbox",
        &[],
    );
    assert_eq!(keys, 1);
}

/// Numbers of columns differ after a restore; names do not.
#[test]
fn a_restored_table_is_not_taken_for_a_renamed_one() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(&format!(
        "CREATE TABLE customers (id int PRIMARY KEY, gone int, name text, ref text, city text); ALTER TABLE customers DROP COLUMN gone;
         SELECT etl.track('customers', 'res.partner', '{MAP}');
         UPDATE etl.tracks SET column_numbers = '{{\"id\": 1, \"name\": 4, \"ref\": 5, \"city\": 3}}'"
    ));
    db.run("ALTER TABLE customers ADD COLUMN note text; INSERT INTO customers VALUES (1, 'Ada', 'A1', 'London')");
    db.await_empty(PATIENCE);
    let ada = bench.sim().partner("Ada");
    assert_eq!(
        (&ada["ref"], &ada["city"]),
        (&json!("A1"), &json!("London"))
    );
}

#[test]
fn an_archived_record_comes_back_with_its_row() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(CUSTOMERS);
    db.run(&format!(
        "SELECT etl.track('customers', 'res.partner', '{MAP}', on_delete => 'archive')"
    ));
    db.run("INSERT INTO customers VALUES (1, 'Ada'); DELETE FROM customers");
    db.await_empty(PATIENCE);
    assert_eq!(bench.sim().partner("Ada")["active"], json!(false));
    db.run("INSERT INTO customers VALUES (1, 'Ada')");
    db.await_empty(PATIENCE);
    assert_eq!(bench.sim().partner("Ada")["active"], json!(true));
}

/// One table whose rows cannot be sent stops no other.
#[test]
fn a_backfill_that_fails_says_so_and_stops_no_other() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(CUSTOMERS);
    db.run(
        r#"CREATE TABLE broken (id int PRIMARY KEY, n int); INSERT INTO broken VALUES (1, 0);
           SELECT etl.track('broken', 'res.partner', '{"name": {"sql": "(100 / n)::text"}}'); SELECT etl.backfill('broken')"#,
    );
    db.run("INSERT INTO customers SELECT n, 'C' || n FROM generate_series(1, 10) n");
    db.run(&format!(
        "SELECT etl.track('customers', 'res.partner', '{MAP}'); SELECT etl.backfill('customers')"
    ));
    eventually(PATIENCE, "the other backfill", || {
        db.one(
            "SELECT backfilled_at IS NOT NULL FROM etl.tracks WHERE tab = 'public.customers'",
            &[],
        )
    });
    let why: String = db.one(
        "SELECT backfill_error FROM etl.tracks WHERE tab = 'public.broken'",
        &[],
    );
    assert!(why.contains("division by zero"), "{why}");
}

#[test]
fn a_new_table_of_an_old_name_has_keys_of_its_own() {
    let (bench, mut db) = tracked();
    db.run(
        "INSERT INTO customers VALUES (1, 'Old'); ALTER TABLE customers RENAME TO customers_old",
    );
    db.run(CUSTOMERS);
    db.run(&format!("SELECT etl.track('customers', 'res.partner', '{MAP}'); INSERT INTO customers VALUES (1, 'New')"));
    db.await_empty(PATIENCE);
    bench.sim().partner("Old");
    bench.sim().partner("New");
}

/// Without the extension the table is an ordinary one again, and with it it can be tracked again under the same keys.
#[test]
fn drop_extension_leaves_the_table_as_it_was() {
    let (bench, mut db) = tracked();
    db.run("INSERT INTO customers VALUES (1, 'Ada')");
    db.await_empty(PATIENCE);
    db.run("DROP EXTENSION pg_etl CASCADE; INSERT INTO customers VALUES (2, 'Bob'); UPDATE customers SET city = 'Bern'; ALTER TABLE customers ADD COLUMN note text");
    let left: i64 = db.one(
        "SELECT count(*) FROM pg_trigger WHERE tgname ~ '^etl_'",
        &[],
    );
    assert_eq!(left, 0);
    db.run("CREATE EXTENSION pg_etl; SELECT etl.setup()");
    bench.connect(&mut db, json!({}));
    db.run(&format!(
        "SELECT etl.track('customers', 'res.partner', '{MAP}'); SELECT etl.backfill('customers')"
    ));
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    db.await_empty(PATIENCE);
    assert_eq!(bench.sim().partner("Ada")["city"], "Bern");
    bench.sim().partner("Bob");
}

/// What Odoo would not have is sent whole when somebody has corrected it.
#[test]
fn a_row_that_was_refused_goes_whole_when_it_is_corrected() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE customers (id int PRIMARY KEY, name text, ref text, color text);
           SELECT etl.track('customers', 'res.partner', '{"name": "name", "ref": "ref", "color": "color"}'); SELECT etl.backfill('customers')"#,
    );
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    db.run("INSERT INTO customers VALUES (1, 'Ada', 'A1', 'blue'), (2, 'Bob', 'B1', '1')");
    db.await_empty(PATIENCE);
    assert_eq!(db.count("failed"), 1);
    db.run("DELETE FROM ops.odoo_outbox WHERE status = 'done'; UPDATE customers SET color = '3'");
    db.await_empty(PATIENCE);
    assert_eq!(db.count("failed"), 1, "and no other");
    let ada = bench.sim().partner("Ada");
    assert_eq!((&ada["ref"], &ada["color"]), (&json!("A1"), &json!(3)));
    let sent: Vec<String> = db.all(
        "SELECT operation || ' ' || payload FROM ops.odoo_outbox WHERE status = 'done' ORDER BY record_key",
        &[],
    );
    assert_eq!(
        sent,
        [
            r#"upsert {"ref": "A1", "name": "Ada", "color": "3"}"#,
            r#"update {"color": "3"}"#
        ],
        "of what Odoo has no more than what changed"
    );
}

/// What a type takes for equal is not equal in Odoo; and its operators may be in any schema.
#[test]
fn a_change_of_case_is_a_change() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE SCHEMA extensions; CREATE EXTENSION citext SCHEMA extensions;
           CREATE COLLATION no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
           CREATE TABLE people (code extensions.citext PRIMARY KEY, name extensions.citext, city text COLLATE no_case, price numeric);
           CREATE TABLE places (code text COLLATE no_case PRIMARY KEY, name text);
           INSERT INTO people SELECT CASE n % 2 WHEN 0 THEN 'old ' ELSE 'OLD ' END || n, 'Old ' || n FROM generate_series(1, 6000) n;
           SELECT etl.track('people', 'res.partner', '{"name": "name", "city": "city", "ref": {"sql": "price::text"}}'),
             etl.track('places', 'res.partner', '{"name": "name"}'); SELECT etl.backfill('people'), etl.backfill('places')"#,
    );
    eventually(PATIENCE, "the backfill", || {
        db.one(
            "SELECT bool_and(backfilled_at IS NOT NULL) FROM etl.tracks",
            &[],
        )
    });
    assert_eq!(
        db.one::<i64>(
            "SELECT count(DISTINCT record_key) FROM ops.odoo_outbox",
            &[]
        ),
        6000,
        "in one order, chunk by chunk"
    );
    db.run("DELETE FROM people; DELETE FROM ops.odoo_outbox; INSERT INTO people VALUES ('A', 'ada', 'bern'); INSERT INTO places VALUES ('x', 'There')");
    db.await_empty(PATIENCE);
    db.run("UPDATE people SET name = 'Ada'; UPDATE people SET city = 'Bern'");
    db.await_empty(PATIENCE);
    assert_eq!(bench.sim().partner("Ada")["city"], "Bern");
    // Their keys are other keys then.
    db.run("UPDATE people SET code = 'a'; UPDATE places SET code = 'X'");
    db.await_empty(PATIENCE);
    assert_eq!(db.count("failed"), 0);
    let keys: Vec<String> = db.all(
        "SELECT right(record_key, 1) FROM etl.links WHERE record_key NOT ILIKE '%old %' ORDER BY record_key",
        &[],
    );
    assert_eq!(keys, ["a", "X"]);
    assert_eq!(bench.sim().partners("There").len(), 1);
    // A row is found by its index, whatever schema the operator is in.
    db.run("SET enable_seqscan = off");
    let plan: Vec<String> = db.all(
        "EXPLAIN SELECT FROM people etl_now WHERE etl_now.code OPERATOR(extensions.=) 'a'::extensions.citext",
        &[],
    );
    assert!(plan.join(" ").contains("people_pkey"), "{plan:?}");
}

#[test]
fn a_deleted_row_that_a_trigger_puts_back_stays() {
    let (bench, mut db) = tracked();
    db.run(
        "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF OLD.city IS NULL THEN INSERT INTO customers VALUES (OLD.id, OLD.name, 'back', 'Bern'); END IF; RETURN NULL; END $$;
         CREATE TRIGGER again AFTER DELETE ON customers FOR EACH ROW EXECUTE FUNCTION again();
         INSERT INTO customers VALUES (1, 'Ada', NULL, NULL), (2, 'Bob', NULL, 'Basel'); DELETE FROM customers",
    );
    db.await_empty(PATIENCE);
    assert_eq!(bench.sim().partner("Ada")["ref"], "back");
    assert_eq!(bench.sim().partners("Bob").len(), 0);
    let deletes: i64 = db.one(
        "SELECT count(*) FROM ops.odoo_outbox WHERE operation = 'delete'",
        &[],
    );
    assert_eq!(deletes, 1);
}

/// Whatever writes, one insert into the outbox for each statement and kind of change.
#[test]
fn every_way_to_write_is_captured() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE customers (id int PRIMARY KEY, name text, ref text GENERATED ALWAYS AS ('R' || id) STORED);
           SELECT etl.track('customers', 'res.partner', '{"name": "name", "ref": "ref"}'); SELECT etl.backfill('customers')"#,
    );
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    db.run(
        "CREATE TABLE inserts (n int); CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.inserts VALUES (1); RETURN NULL; END $$;
         CREATE TRIGGER seen AFTER INSERT ON ops.odoo_outbox FOR EACH STATEMENT EXECUTE FUNCTION seen()",
    );
    let mut after = |statement: &str, inserts: i64, names: &[&str]| {
        db.run(&format!("TRUNCATE inserts; {statement}"));
        // An upsert of many is an INSERT and an UPDATE, and each fires its triggers, with rows or without.
        let seen: i64 = db.one("SELECT count(*) FROM inserts", &[]);
        assert_eq!(seen, inserts, "{statement}");
        db.await_empty(PATIENCE);
        assert_eq!(db.count("failed"), 0, "{statement}");
        let mut found: Vec<String> = bench
            .sim()
            .records("res.partner")
            .iter()
            .filter(|partner| partner["ref"].as_str().is_some_and(|r| r.starts_with('R')))
            .map(|partner| partner["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        found.sort();
        assert_eq!(found, names, "{statement}");
    };
    after(
        "INSERT INTO customers VALUES (1, 'Ada'), (2, 'Bob')",
        1,
        &["Ada", "Bob"],
    );
    after(
        "INSERT INTO customers VALUES (2, 'Bobby'), (3, 'Cy') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        2,
        &["Ada", "Bobby", "Cy"],
    );
    after(
        "COPY customers (id, name) FROM PROGRAM 'printf \"4\\tDan\\n5\\tEve\\n\"'",
        1,
        &["Ada", "Bobby", "Cy", "Dan", "Eve"],
    );
    after(
        "UPDATE customers SET name = name || '!' WHERE id > 3",
        1,
        &["Ada", "Bobby", "Cy", "Dan!", "Eve!"],
    );
    after(
        "DELETE FROM customers WHERE id > 3",
        1,
        &["Ada", "Bobby", "Cy"],
    );
    after(
        "MERGE INTO customers c USING (VALUES (1, NULL), (2, 'Robert'), (6, 'Fay')) v (id, name) ON c.id = v.id
           WHEN MATCHED AND v.name IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET name = v.name WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.name)",
        3,
        &["Cy", "Fay", "Robert"],
    );
}

/// A translated field, written in one language.
#[test]
fn a_context_says_which_language_is_written() {
    let installed = odoo_sim::Config {
        languages: vec!["en_US".into(), "de_DE".into()],
        ..odoo_sim::Config::default()
    };
    let bench = Bench::builder().preload(&["pg_etl"]).sim(installed).start();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE tags (id int PRIMARY KEY, name text);
           SELECT etl.track('tags', 'res.partner.category', '{"name": "name"}', context => '{"lang": "de_DE"}'); INSERT INTO tags VALUES (1, 'Gold')"#,
    );
    db.await_empty(PATIENCE);
    db.run("UPDATE tags SET name = 'Vergoldet'");
    db.await_empty(PATIENCE);
    assert_eq!(db.count("failed"), 0);
    let id: i64 = db.one("SELECT odoo_id FROM etl.tracked_records('tags')", &[]);
    let name = |lang: &str| {
        let read = bench.sim().call(
            "res.partner.category",
            "read",
            json!({"ids": [id], "fields": ["name"], "context": {"lang": lang}}),
        );
        read[0]["name"].clone()
    };
    // One that is made has its first name in all of them, as in Odoo.
    assert_eq!(
        (name("de_DE"), name("en_US")),
        (json!("Vergoldet"), json!("Gold"))
    );
}
