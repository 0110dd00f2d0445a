//! Capture: what is written to a tracked table reaches Odoo, one row of the outbox per record that changed, and nothing else.

use pg_etl_tests::prelude::*;

const CUSTOMERS: &str = "CREATE TABLE customers (id int PRIMARY KEY, full_name text NOT NULL, email text, city text, note text, boss int);";
const FIELDS: &str = r#"{"name": "full_name", "email": {"column": "email"}, "city": {"sql": "upper(city)"}, "comment": {"value": "ours"},
    "parent_id": {"column": "boss", "ref": "customers"}}"#;

fn tracked() -> (Bench, Client) {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(CUSTOMERS);
    db.run(&format!(
        "SELECT etl.track('customers', 'res.partner', '{FIELDS}')"
    ));
    (bench, db)
}

/// Operation and payload of what was enqueued, oldest first.
fn enqueued(db: &mut Client) -> Vec<(String, Value)> {
    let rows = db
        .query(
            "SELECT operation, payload FROM ops.odoo_outbox ORDER BY id",
            &[],
        )
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn forget(db: &mut Client) {
    db.await_empty(PATIENCE);
    db.run("DELETE FROM ops.odoo_outbox");
}

#[test]
fn what_changes_goes_and_nothing_else() {
    let (bench, mut db) = tracked();
    db.run("INSERT INTO customers VALUES (1, 'Ada', 'ada@x.test', 'london', 'private', NULL), (2, 'Bob', NULL, NULL, NULL, 1)");
    db.await_empty(PATIENCE);
    assert_eq!(db.count("done"), 2);
    let ada = bench.sim().partner("Ada");
    let bob = bench.sim().partner("Bob");
    assert_eq!(ada["city"], "LONDON");
    assert!(
        ada["comment"]
            .as_str()
            .is_some_and(|comment| comment.contains("ours")),
        "{ada:?}"
    );
    assert_eq!(bob["parent_id"], ada["id"]);
    let linked: i64 = db.one("SELECT t.odoo_id FROM customers c JOIN etl.tracked_records('customers') t ON t.key = c.id::text WHERE c.full_name = 'Bob'", &[]);
    assert_eq!(json!(linked), bob["id"]);
    let named: String = db.one(
        "SELECT external_id FROM etl.tracked_records('customers') WHERE odoo_id = $1",
        &[&linked],
    );
    assert!(
        bench
            .sim()
            .external_ids()
            .iter()
            .any(|(name, _, id)| *name == named && *id == linked),
        "{named}"
    );
    forget(&mut db);

    // Every row is known, once what was there before is enqueued: then an update says no more than what changed.
    db.run("SELECT etl.backfill('customers')");
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    forget(&mut db);
    db.run("UPDATE customers SET note = 'still private'");
    db.run("UPDATE customers SET full_name = full_name");
    assert_eq!(enqueued(&mut db), [], "of what is not sent nothing is sent");
    db.run("UPDATE customers SET email = 'new@x.test', note = 'x'");
    assert_eq!(
        enqueued(&mut db),
        [
            ("update".to_owned(), json!({"email": "new@x.test"})),
            ("update".to_owned(), json!({"email": "new@x.test"}))
        ]
    );
    forget(&mut db);
    db.run("UPDATE customers SET city = 'Paris', boss = NULL WHERE id = 2");
    assert_eq!(
        enqueued(&mut db),
        [(
            "update".to_owned(),
            json!({"city": "PARIS", "parent_id": null})
        )]
    );
    forget(&mut db);
    db.run("DELETE FROM customers WHERE id = 2");
    assert_eq!(enqueued(&mut db), [("delete".to_owned(), json!({}))]);
    db.await_empty(PATIENCE);
    assert_eq!(bench.sim().partners("Bob").len(), 0);
    assert_eq!(bench.sim().partner("Ada")["email"], "new@x.test");
}

#[test]
fn one_statement_is_one_insert_and_order_is_kept() {
    let (bench, mut db) = tracked();
    db.run(
        "CREATE TABLE statements (n int); CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.statements VALUES (1); RETURN NULL; END $$;
         CREATE TRIGGER seen AFTER INSERT ON ops.odoo_outbox FOR EACH STATEMENT EXECUTE FUNCTION seen();
         INSERT INTO customers SELECT n, 'C' || n FROM generate_series(1, 500) n",
    );
    let enqueuing = |db: &mut Client, statement: &str| -> i64 {
        db.run(&format!("TRUNCATE statements; {statement}"));
        db.one("SELECT count(*) FROM statements", &[])
    };
    assert_eq!(db.one::<i64>("SELECT count(*) FROM statements", &[]), 1);
    let changed = "BEGIN; UPDATE customers SET full_name = 'D' || id; UPDATE customers SET full_name = 'E' || id WHERE id <= 100; DELETE FROM customers WHERE id > 400; COMMIT";
    assert_eq!(enqueuing(&mut db, changed), 3);
    db.await_empty(PATIENCE);
    let mut names = bench.sim().partner_names("D");
    names.extend(bench.sim().partner_names("E"));
    assert_eq!(
        (
            names.len(),
            bench.sim().partner_names("E").len(),
            bench.sim().partner_names("C").len()
        ),
        (400, 100, 0)
    );
    assert_eq!(db.count("failed"), 0);
}

#[test]
fn rows_that_were_there_before_are_sent_in_chunks_behind_live_changes() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(CUSTOMERS);
    db.run("INSERT INTO customers SELECT n, 'C' || n FROM generate_series(1, 12000) n");
    db.run(r#"SELECT etl.track('customers', 'res.partner', '{"name": "full_name"}')"#);
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM ops.odoo_outbox", &[]),
        0,
        "tracking alone sends nothing"
    );
    db.run(
        "CREATE TABLE chunks (rows int); CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.chunks SELECT count(*) FROM new_rows WHERE priority < 0; RETURN NULL; END $$;
         CREATE TRIGGER seen AFTER INSERT ON ops.odoo_outbox REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION seen(); GRANT ALL ON chunks TO PUBLIC",
    );
    let asked: Value = db.one("SELECT etl.backfill('customers')", &[]);
    assert_eq!(asked["table"], "public.customers");
    // Not backfilled yet: an update carries the whole record, so that it can be the first of it.
    db.run("UPDATE customers SET full_name = 'Live' WHERE id = 11999");
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    assert_eq!(
        db.one::<i64>("SELECT backfilled_rows FROM etl.tracks", &[]),
        12_000
    );
    let chunks: Vec<i32> = db.all("SELECT rows FROM chunks WHERE rows > 0", &[]);
    assert_eq!(chunks, [5_000, 5_000, 2_000]);
    db.await_empty(Duration::from_secs(120));
    assert_eq!(db.count("failed"), 0);
    assert_eq!(bench.sim().partner_names("C").len(), 11_999);
    assert_eq!(bench.sim().partners("Live").len(), 1);
    let known: i64 = db.one("SELECT count(*) FROM etl.tracked_records('customers')", &[]);
    assert_eq!(known, 12_000);
}

#[test]
fn a_mapping_that_cannot_work_is_refused_with_a_remedy() {
    let bench = Bench::builder().preload(&[]).start();
    let mut db = bench.client();
    db.run(CUSTOMERS);
    db.run("CREATE TABLE no_key (a int); CREATE TABLE loose (a int UNIQUE); CREATE VIEW seen AS SELECT 1 AS id");
    for (table, fields, code, word) in [
        (
            "customers",
            r#"{"no_such_field": "city"}"#,
            "42703",
            "no_such_field",
        ),
        (
            "customers",
            r#"{"display_name": "full_name"}"#,
            "428C9",
            "display_name",
        ),
        (
            "customers",
            r#"{"name": "no_such_column"}"#,
            "42703",
            "no_such_column",
        ),
        (
            "customers",
            r#"{"name": {"sql": "no_such_function(city)"}}"#,
            "42883",
            "no_such_function",
        ),
        (
            "customers",
            r#"{"name": {"colum": "city"}}"#,
            "22023",
            "colum",
        ),
        (
            "customers",
            r#"{"child_ids": "city"}"#,
            "0A000",
            "child_ids",
        ),
        (
            "customers",
            r#"{"parent_id": {"column": "boss", "ref": "no_key"}}"#,
            "42704",
            "no_key",
        ),
        ("customers", "{}", "22023", "fields"),
        ("no_key", r#"{"name": "a"}"#, "42830", "primary key"),
        ("seen", r#"{"name": "id"}"#, "42809", "seen"),
    ] {
        let error = db.refused(&format!(
            "SELECT etl.track('{table}', 'res.partner', '{fields}')"
        ));
        assert_eq!(error.code().code(), code, "{table} {fields}: {error:?}");
        assert!(
            error.message().contains(word) && error.hint().is_some() || code == "42883",
            "{table} {fields}: {error:?}"
        );
    }
    let error = db
        .refused(r#"SELECT etl.track('loose', 'res.partner', '{"name": "a"}', key => ARRAY['a'])"#);
    assert_eq!(error.code().code(), "23502", "{error:?}");
    let error = db.refused(
        r#"SELECT etl.track('customers', 'res.partner', '{"name": "full_name"}', key => ARRAY['full_name'])"#,
    );
    assert_eq!(error.code().code(), "42830", "it is not unique: {error:?}");
    assert!(error.hint().is_some(), "{error:?}");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM etl.tracks", &[]), 0);
}

#[test]
fn truncate_is_refused_or_deletes_as_was_chosen() {
    let (bench, mut db) = tracked();
    db.run("INSERT INTO customers VALUES (1, 'Ada'), (2, 'Bob')");
    db.await_empty(PATIENCE);
    let error = db.refused("TRUNCATE customers");
    assert_eq!(error.code().code(), "0A000");
    assert!(error.hint().is_some());
    db.run(&format!("SELECT etl.track('customers', 'res.partner', '{FIELDS}', on_truncate => 'delete'); TRUNCATE customers"));
    db.await_empty(PATIENCE);
    assert_eq!(
        (
            bench.sim().partners("Ada").len(),
            bench.sim().partners("Bob").len()
        ),
        (0, 0)
    );
}

#[test]
fn a_table_that_is_altered_is_followed_and_one_that_is_dropped_is_forgotten() {
    let (bench, mut db) = tracked();
    db.run("ALTER TABLE customers RENAME COLUMN full_name TO called; ALTER TABLE customers RENAME TO people; ALTER TABLE people DROP COLUMN note");
    db.run("INSERT INTO people (id, called) VALUES (1, 'Ada')");
    let error = db.refused("ALTER TABLE people DROP COLUMN email");
    assert_eq!(error.code().code(), "2BP01", "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("untrack")));
    let error = db.refused("ALTER TABLE people RENAME COLUMN city TO town");
    assert_eq!(
        error.code().code(),
        "2BP01",
        "an expression names it: {error:?}"
    );
    db.await_empty(PATIENCE);
    bench.sim().partner("Ada");
    db.run("DROP TABLE people");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM etl.tracks", &[]), 0);
    let left: i64 = db.one(
        "SELECT count(*) FROM pg_proc WHERE proname ~ '^etl_(capture|backfill)'",
        &[],
    );
    assert_eq!(left, 0);
}

#[test]
fn partitions_keys_of_two_columns_and_archiving() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE people (country text, n int, name text, PRIMARY KEY (country, n)) PARTITION BY LIST (country);
         CREATE TABLE people_be PARTITION OF people FOR VALUES IN ('be'); CREATE TABLE people_fr PARTITION OF people FOR VALUES IN ('fr');
         SELECT etl.track('people', 'res.partner', '{"name": "name"}', on_delete => 'archive', condition => 'name <> ''secret''');
         INSERT INTO people VALUES ('be', 1, 'Ada'), ('fr', 1, 'Bob'), ('fr', 2, 'secret');
         INSERT INTO people_be VALUES ('be', 2, 'Cyd')"#,
    );
    db.await_empty(PATIENCE);
    assert_eq!(db.count("done"), 3);
    db.run("UPDATE people SET country = 'fr', n = 9 WHERE name = 'Ada'; UPDATE people SET name = 'secret' WHERE name = 'Cyd'");
    db.await_empty(PATIENCE);
    let archived: Vec<Value> = ["Ada", "Cyd"]
        .iter()
        .flat_map(|name| bench.sim().partners(name))
        .map(|partner| partner["active"].clone())
        .collect();
    assert_eq!(
        archived,
        [json!(false), json!(true), json!(false)],
        "moved: its old key is archived and its new one made"
    );
    bench.sim().partner("Bob");
}

#[test]
fn untracking_stops_it_and_leaves_nothing() {
    let (bench, mut db) = tracked();
    db.run("INSERT INTO customers VALUES (1, 'Ada'); SELECT etl.untrack('customers'); INSERT INTO customers VALUES (2, 'Bob')");
    db.await_empty(PATIENCE);
    bench.sim().partner("Ada");
    assert_eq!(bench.sim().partners("Bob").len(), 0);
    let left: i64 = db.one(
        "SELECT (SELECT count(*) FROM pg_proc WHERE proname ~ '^(etl_capture|etl_backfill|track_[0-9])') + (SELECT count(*) FROM pg_class WHERE relname ~ '^track_[0-9]')
           + (SELECT count(*) FROM pg_trigger WHERE tgname ~ '^etl_capture')",
        &[],
    );
    assert_eq!(left, 0);
    assert_eq!(
        db.refused("SELECT etl.untrack('customers')").code().code(),
        "42704"
    );
}

#[test]
fn whoever_may_write_the_table_needs_no_right_on_anything_of_ours() {
    let (bench, mut db) = tracked();
    db.run("CREATE ROLE clerk LOGIN; GRANT INSERT, UPDATE ON customers TO clerk; CREATE ROLE owner LOGIN; ALTER TABLE customers OWNER TO owner");
    db.run("SET ROLE clerk; INSERT INTO customers VALUES (1, 'Ada'); RESET ROLE");
    db.await_empty(PATIENCE);
    bench.sim().partner("Ada");
    // The owner can send rows of this table, and nothing else.
    db.run("SET ROLE owner");
    for stolen in [
        "INSERT INTO etl.track_1 (model, operation, payload, idempotency_key, record_key, connection, priority) VALUES ('res.users', 'delete', '{}', 'x', 'public.customers:1', 'odoo', 0)",
        "INSERT INTO etl.track_1 (model, operation, payload, idempotency_key, record_key, connection, priority) VALUES ('res.partner', 'delete', '{}', 'x', 'other:1', 'odoo', 0)",
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key) VALUES ('res.partner', 'delete', '{}', 'x')",
        "SELECT etl._delete_track(1)",
    ] {
        let error = db.refused(stolen);
        assert!(
            ["44000", "42501"].contains(&error.code().code()),
            "{stolen}: {error:?}"
        );
    }
}

#[test]
fn a_natural_key_names_a_record_and_a_context_goes_with_every_row() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        "CREATE TABLE shops (id int PRIMARY KEY, title text, country text);
         SELECT etl.track('shops', 'res.partner', '{\"name\": \"title\", \"country_id\": {\"column\": \"country\", \"by\": \"code\"}}', context => '{\"lang\": \"en_US\", \"allowed_company_ids\": [1]}');
         SELECT etl.backfill('shops')",
    );
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    db.run(
        "INSERT INTO shops VALUES (1, 'Gent', 'BE'), (2, 'Nowhere', NULL), (3, 'Atlantis', 'ZZ')",
    );
    eventually(PATIENCE, "two shops", || db.count("done") == 2);
    let countries = bench.sim().records("res.country");
    let id_of = |code: &str| {
        let found = countries.iter().find(|country| country["code"] == code);
        found.expect("a country")["id"].clone()
    };
    assert_eq!(bench.sim().partner("Gent")["country_id"], id_of("BE"));
    assert_eq!(
        bench.sim().partner("Nowhere")["country_id"],
        Value::Bool(false)
    );
    let why: String = db.one(
        "SELECT last_error FROM ops.odoo_outbox WHERE status = 'queued' AND error_class = 'dependency'",
        &[],
    );
    assert!(why.contains("whose code is \"ZZ\""), "{why}");
    db.run("UPDATE shops SET country = 'NL' WHERE id = 3; UPDATE shops SET country = 'NL' WHERE id = 1");
    let context = json!({"lang": "en_US", "allowed_company_ids": [1]});
    let last: Value = db.one(
        "SELECT payload FROM ops.odoo_outbox ORDER BY id DESC LIMIT 1",
        &[],
    );
    assert_eq!(
        last,
        json!({"country_id": {"by": {"code": "NL"}}, "_context": context})
    );
    eventually(PATIENCE, "the new country", || {
        bench.sim().partner("Gent")["country_id"] == id_of("NL")
    });
    let shown: Value = db.one(
        "SELECT etl.explain((SELECT max(id) FROM ops.odoo_outbox))",
        &[],
    );
    assert!(shown.to_string().contains("allowed_company_ids"), "{shown}");
    let error = db.refused("SELECT etl.track('shops', 'res.partner', '{\"name\": {\"column\": \"title\", \"by\": \"code\"}}')");
    assert_eq!(error.code().code(), "22023");
}

/// An invoice's type, an order's state: Odoo takes them with a new record, and never again.
#[test]
fn what_is_given_only_once_goes_with_new_records() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE customers (id int PRIMARY KEY, name text);
         CREATE TABLE orders (id int PRIMARY KEY, customer int, state text, reference text);
         SELECT etl.track('customers', 'res.partner', '{"name": "name"}');
         SELECT etl.track('orders', 'sale.order', '{"partner_id": {"column": "customer", "ref": "customers"}, "state": "state", "client_order_ref": "reference"}');
         SELECT etl.backfill('orders');
         INSERT INTO customers VALUES (1, 'Ada')"#,
    );
    eventually(PATIENCE, "the backfill", || {
        db.one(
            "SELECT backfilled_at IS NOT NULL FROM etl.tracks WHERE model = 'sale.order'",
            &[],
        )
    });
    db.run("INSERT INTO orders VALUES (1, 1, 'sent', 'A')");
    forget(&mut db);
    assert_eq!(bench.sim().records("sale.order")[0]["state"], "sent");
    db.run("UPDATE orders SET state = 'cancel'");
    assert_eq!(enqueued(&mut db), []);
    db.run("UPDATE orders SET state = 'draft', reference = 'B'");
    assert_eq!(
        enqueued(&mut db),
        [("update".to_owned(), json!({"client_order_ref": "B"}))]
    );
    db.await_empty(PATIENCE);
    assert_eq!(db.count("failed"), 0);
    let order = &bench.sim().records("sale.order")[0];
    assert_eq!(
        (&order["state"], &order["client_order_ref"]),
        (&json!("sent"), &json!("B"))
    );
    let error = db.refused(
        r#"SELECT etl.track('orders', 'sale.order', '{"create_date": {"sql": "now()"}}')"#,
    );
    assert_eq!(error.code().code(), "428C9");
}
