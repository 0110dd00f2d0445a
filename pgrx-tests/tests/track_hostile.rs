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
