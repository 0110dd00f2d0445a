//! Capture where rights, names, keys and policies of tracked tables are not what one would like.

use pg_etl_tests::prelude::*;

/// A table of somebody who is no superuser.
const OWNED: &str = "CREATE ROLE owner; CREATE ROLE clerk; GRANT USAGE ON SCHEMA public TO owner, clerk;
    CREATE TABLE customers (id int PRIMARY KEY, code text UNIQUE NOT NULL, name varchar, city varchar); ALTER TABLE customers OWNER TO owner;
    GRANT SELECT, INSERT, UPDATE, DELETE ON customers TO clerk;";
const TRACK: &str = r#"SELECT etl.track('customers', 'res.partner', '{"name": "name", "city": {"sql": "initcap(city)"}}')"#;

fn owned() -> (Bench, Client) {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(OWNED);
    db.run(TRACK);
    (bench, db)
}

fn backfilled(db: &mut Client) {
    db.run("SELECT etl.backfill('customers')");
    eventually(PATIENCE, "the backfill", || {
        db.one(
            "SELECT backfilled_at IS NOT NULL FROM etl.tracks WHERE tab LIKE '%customers'",
            &[],
        )
    });
    db.await_empty(PATIENCE);
}

/// A row that a policy hides from the triggers would be deleted in Odoo.
#[test]
fn policies_that_bind_the_owner_are_refused() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(OWNED);
    db.run("ALTER TABLE customers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY");
    let told = |error: postgres::error::DbError| {
        assert_eq!(error.code().code(), "55000", "{error:?}");
        assert!(
            error.hint().is_some_and(|hint| hint.contains("BYPASSRLS")),
            "{error:?}"
        );
    };
    told(db.refused(TRACK));
    db.run("ALTER TABLE customers NO FORCE ROW LEVEL SECURITY; CREATE POLICY clerk ON customers TO clerk USING (true)");
    db.run(TRACK);
    told(db.refused("ALTER TABLE customers FORCE ROW LEVEL SECURITY"));
    backfilled(&mut db);
    // Where they bind others, they hide nothing from us.
    db.run("SET ROLE clerk; INSERT INTO customers VALUES (1, 'A', 'Ada', 'bern'); UPDATE customers SET city = 'basel'; RESET ROLE");
    db.await_empty(PATIENCE);
    assert_eq!(bench.sim().partner("Ada")["city"], "Basel");
    db.run("ALTER ROLE owner BYPASSRLS; ALTER TABLE customers FORCE ROW LEVEL SECURITY; SET ROLE clerk; UPDATE customers SET city = 'chur'; RESET ROLE");
    db.await_empty(PATIENCE);
    assert_eq!(bench.sim().partner("Ada")["city"], "Chur");
    // Nor may lines be hidden.
    db.run("CREATE TABLE tags (customer int, tag text, PRIMARY KEY (customer, tag)); ALTER TABLE tags OWNER TO owner; ALTER ROLE owner NOBYPASSRLS; ALTER TABLE customers NO FORCE ROW LEVEL SECURITY");
    db.run("ALTER TABLE tags ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY");
    let lines = r#"SELECT etl.track('customers', 'res.partner', '{"name": "name", "category_id": {"lines": "tags", "column": "customer", "each": {"column": "tag", "by": "name"}}}')"#;
    told(db.refused(lines));
    db.run("ALTER TABLE tags NO FORCE ROW LEVEL SECURITY");
    db.run(lines);
    told(db.refused("ALTER TABLE tags FORCE ROW LEVEL SECURITY"));
}

/// Other record keys would be other records.
#[test]
fn a_key_is_kept_once_records_are_known_by_it() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(OWNED);
    db.run("CREATE TABLE wide (a int, b int, name text, PRIMARY KEY (a) INCLUDE (b))");
    let by = |key: &str| {
        format!(
            r#"SELECT etl.track('customers', 'res.partner', '{{"name": "name"}}', key => ARRAY['{key}'])"#
        )
    };
    // Nobody knows any yet.
    db.run(&by("id"));
    db.run(&by("code"));
    db.run("SELECT etl.pause(); INSERT INTO customers VALUES (1, 'A', 'Ada')");
    for at in ["is on its way", "is in Odoo"] {
        let error = db.refused(&by("id"));
        assert_eq!(error.code().code(), "55006", "{at}: {error:?}");
        assert!(
            error.hint().is_some_and(|hint| hint.contains("untrack")),
            "{at}: {error:?}"
        );
        db.run("SELECT etl.resume()");
        db.await_empty(PATIENCE);
    }
    db.run(&by("code"));
    backfilled(&mut db);
    assert_eq!(bench.sim().partners("Ada").len(), 1);
    // What an index only carries along is no part of the key.
    db.run(r#"SELECT etl.track('wide', 'res.partner', '{"name": "name"}')"#);
    let key: Vec<String> = db.one(
        "SELECT key_columns FROM etl.tracks WHERE tab LIKE '%wide'",
        &[],
    );
    assert_eq!(key, ["a"]);
}

#[test]
fn a_key_that_is_in_use_cannot_be_altered_away() {
    let (bench, mut db) = owned();
    let refused = |db: &mut Client, statement: &str| {
        let error = db.refused(statement);
        assert_eq!(error.code().code(), "2BP01", "{statement}: {error:?}");
        assert!(
            error.hint().is_some_and(|hint| hint.contains("untrack")),
            "{statement}: {error:?}"
        );
    };
    refused(
        &mut db,
        "ALTER TABLE customers DROP CONSTRAINT customers_pkey",
    );
    db.run("ALTER TABLE customers DROP CONSTRAINT customers_pkey, ADD PRIMARY KEY (id); CREATE TABLE shops (code text UNIQUE NOT NULL, name text)");
    db.run(r#"SELECT etl.track('shops', 'res.partner', '{"name": "name"}', key => ARRAY['code'])"#);
    refused(&mut db, "ALTER TABLE shops ALTER COLUMN code DROP NOT NULL");
    refused(&mut db, "ALTER TABLE shops DROP CONSTRAINT shops_code_key");
    // A key of another type is followed.
    db.run("ALTER TABLE customers ALTER COLUMN id TYPE text; INSERT INTO customers VALUES ('x', 'A', 'Ada')");
    backfilled(&mut db);
    db.run("UPDATE customers SET name = 'Ada L.'");
    db.await_empty(PATIENCE);
    bench.sim().partner("Ada L.");
    // What changes nothing for us locks nothing of ours.
    db.run(
        "BEGIN; ALTER TABLE customers ADD COLUMN more int, ALTER COLUMN city SET DEFAULT 'Bern'",
    );
    let locks: i64 = db.one(
        "SELECT count(*) FROM pg_locks WHERE relation = 'etl.track_1'::regclass AND mode = 'AccessExclusiveLock'",
        &[],
    );
    assert_eq!(locks, 0);
    db.run("COMMIT");
}

/// Whoever may put functions and operators into the table's schema does nothing with the owner's rights.
#[test]
fn functions_of_others_in_the_tables_schema_are_not_called() {
    let (bench, mut db) = owned();
    backfilled(&mut db);
    db.run(
        "CREATE TABLE caught (who text); GRANT ALL ON caught TO PUBLIC; CREATE ROLE mallory; GRANT CREATE, USAGE ON SCHEMA public TO mallory; SET ROLE mallory;
         CREATE FUNCTION initcap(varchar) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.caught VALUES (current_user); RETURN 'pwned'; END $$;
         CREATE FUNCTION same(varchar, varchar) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.caught VALUES (current_user); RETURN false; END $$;
         CREATE OPERATOR = (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = same); RESET ROLE",
    );
    db.run("SET ROLE clerk; INSERT INTO customers VALUES (1, 'A', 'Ada', 'bern'); UPDATE customers SET city = 'basel'; RESET ROLE");
    db.await_empty(PATIENCE);
    assert_eq!(bench.sim().partner("Ada")["city"], "Basel");
    assert_eq!(db.all::<String>("SELECT who FROM caught", &[]), [""; 0]);
    // Its own are called where it names them.
    db.run("CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql AS 'SELECT upper($1)'");
    let shouted = |name: &str| {
        format!(
            r#"SELECT etl.track('customers', 'res.partner', '{{"name": "name", "city": {{"sql": "{name}(city)"}}}}')"#
        )
    };
    assert_eq!(db.refused(&shouted("shout")).code().code(), "42883");
    db.run(&shouted("public.shout"));
    db.run("UPDATE customers SET city = 'chur'");
    db.await_empty(PATIENCE);
    assert_eq!(bench.sim().partner("Ada")["city"], "CHUR");
}

#[test]
fn a_table_that_is_reassigned_is_written_to_by_its_new_owner() {
    let (bench, mut db) = owned();
    db.run("CREATE ROLE heir; GRANT USAGE ON SCHEMA public TO heir; REASSIGN OWNED BY owner TO heir; DROP OWNED BY owner; DROP ROLE owner");
    db.run("SET ROLE clerk; INSERT INTO customers VALUES (1, 'A', 'Ada', 'bern'); RESET ROLE");
    db.await_empty(PATIENCE);
    bench.sim().partner("Ada");
    // Without a word to us: as soon as the worker looks.
    db.run("CREATE ROLE third; GRANT USAGE ON SCHEMA public TO third; REASSIGN OWNED BY heir TO third; SELECT etl.pause()");
    let mut clerk = bench.client();
    clerk.run("SET ROLE clerk");
    eventually(PATIENCE, "the new owner's rights", || {
        db.enqueue("res.partner", "create", json!({"name": "Wake up"}), None);
        clerk
            .batch_execute("UPDATE customers SET name = 'Ada L.'")
            .is_ok()
    });
    // Nobody keeps what came with a table that is somebody else's.
    db.run("ALTER TABLE customers OWNER TO clerk");
    let left: Vec<String> = db.all(
        "SELECT r.rolname::text FROM pg_roles r WHERE NOT r.rolsuper AND r.rolname !~ '^pg_' AND r.rolname <> 'etl_worker' AND has_any_column_privilege(r.rolname, 'etl.track_1', 'INSERT')",
        &[],
    );
    assert_eq!(left, ["clerk"]);
}

/// Their names are the user's, and none of ours.
#[test]
fn columns_may_have_any_name() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE "rows" (after int PRIMARY KEY, locked text, rows text, stamp text, ids text, echo text, waiting text, parents text, sent text, last text, n text, o text, c text, k text, chunk text);
           CREATE TABLE "lines" (id int PRIMARY KEY, parents int, waiting text, be_whole text, stamp text, n text, x text); CREATE INDEX ON "lines" (parents);
           INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, record_key) VALUES ('res.partner', 'upsert', '{"name": "Buyer"}', 'buyer', 'buyer');
           INSERT INTO "rows" (after, stamp) VALUES (1, 'first'); INSERT INTO "lines" VALUES (1, 1, 'one')"#,
    );
    let sql = "concat_ws('-', after, locked, rows, stamp, ids, echo, waiting, parents, sent, last, n, o, c, k, chunk)";
    let order = format!(
        r#"SELECT etl.track('rows', 'sale.order', '{{"partner_id": {{"value": {{"key": "buyer"}}}}, "client_order_ref": {{"sql": "{sql}"}}, "origin": "echo",
             "order_line": {{"lines": "lines", "column": "parents", "fields": {{"name": {{"sql": "concat_ws('-', waiting, be_whole, stamp, n, x)"}}}}}}}}', condition => 'waiting IS NULL AND rows IS NULL')"#
    )
    .replace("'-'", "''-''");
    db.run(&order);
    db.run(&format!(
        r#"SELECT etl.mirror('res.partner', domain => '[["email", "=", "rows@x.test"]]');
           SELECT etl.track('rows', 'res.partner', '{{"name": {{"sql": "{}"}}, "ref": "echo", "email": {{"value": "rows@x.test"}}}}', two_way => 'local'); SELECT etl.backfill('rows')"#,
        sql.replace('\'', "''")
    ));
    eventually(PATIENCE, "the backfill", || {
        db.one(
            "SELECT bool_and(backfilled_at IS NOT NULL) FROM etl.tracks",
            &[],
        )
    });
    db.run(r#"UPDATE "rows" SET stamp = 'second', echo = 'e'; UPDATE "lines" SET stamp = 'two'; INSERT INTO "lines" VALUES (2, 1, 'three'); DELETE FROM "lines" WHERE id = 2;
        INSERT INTO "rows" (after) VALUES (2); DELETE FROM "rows" WHERE after = 2"#);
    db.settled();
    let order = bench.sim().records("sale.order").remove(0);
    assert_eq!(order["client_order_ref"], "1-second-e");
    assert_eq!(order["origin"], "e");
    assert_eq!(bench.sim().partner("1-second-e")["ref"], "e");
    let lines = bench.sim().records("sale.order.line");
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["name"], "one-two");
}

#[test]
fn what_is_written_without_triggers_is_known_to_be_missing() {
    let (bench, mut db) = owned();
    db.run("INSERT INTO customers VALUES (1, 'A', 'Ada', 'bern')");
    backfilled(&mut db);
    assert_eq!(db.health("backfill%"), "");
    db.run("ALTER TABLE customers DISABLE TRIGGER ALL; UPDATE customers SET name = 'Ada L.'");
    let said = db.health("backfill%");
    assert!(
        said.contains("disabled") && said.contains("etl.backfill"),
        "{said}"
    );
    // It is not sent as if all were well again.
    db.run("SELECT etl.backfill('customers')");
    eventually(PATIENCE, "the backfill to say why it waits", || {
        db.one("SELECT backfill_not_before IS NOT NULL AND backfill_error LIKE '%disabled%' AND backfilled_at IS NULL FROM etl.tracks", &[])
    });
    db.run("ALTER TABLE customers ENABLE TRIGGER ALL");
    backfilled(&mut db);
    bench.sim().partner("Ada L.");
    assert_eq!(db.health("backfill%"), "");
}
