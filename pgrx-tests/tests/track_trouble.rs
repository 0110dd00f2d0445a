//! Capture where tables are not simple, and where somebody means harm.

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
