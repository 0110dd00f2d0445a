//! Lines where two sessions change one record's at a time, and where users' own triggers take part.

use pg_etl_tests::prelude::*;

const SHOP: &str = r#"CREATE TABLE orders (id int PRIMARY KEY, reference text, total numeric, confirmed bool NOT NULL DEFAULT true);
    CREATE TABLE order_lines (id int PRIMARY KEY, order_id int REFERENCES orders ON DELETE CASCADE, text text, quantity numeric DEFAULT 1);
    CREATE INDEX ON order_lines (order_id);
    INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, record_key) VALUES ('res.partner', 'upsert', '{"name": "Buyer"}', 'buyer', 'buyer')"#;

/// A shop that is in step; `more` are arguments of `etl.track()`.
fn shop(more: &str) -> (Bench, Client) {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(SHOP);
    db.run(&format!(
        r#"SELECT etl.track('orders', 'sale.order', '{{"partner_id": {{"value": {{"key": "buyer"}}}}, "client_order_ref": "reference", "origin": {{"sql": "total % 100000"}},
             "order_line": {{"lines": "order_lines", "column": "order_id", "fields": {{"name": "text", "product_uom_qty": "quantity"}}}}}}'{more});
           SELECT etl.backfill('orders')"#
    ));
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    db.settled();
    bench.sim().clear_requests();
    (bench, db)
}

/// Text and quantity of every line in Odoo.
fn lines(bench: &Bench) -> Vec<String> {
    let mut found: Vec<String> = bench
        .sim()
        .records("sale.order.line")
        .iter()
        .map(|line| {
            format!(
                "{} {}",
                line["name"].as_str().unwrap_or_default(),
                line["product_uom_qty"]
            )
        })
        .collect();
    found.sort();
    found
}

fn order(bench: &Bench) -> serde_json::Map<String, Value> {
    bench.sim().records("sale.order").remove(0)
}

/// Runs `second` while `first` is not committed yet.
fn at_the_same_time(bench: &Bench, first: &str, second: &str) {
    let (mut one, mut other) = (bench.client(), bench.client());
    one.run(&format!("BEGIN; {first}"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || other.run(second));
        let mut db = bench.client();
        eventually(PATIENCE, "the second to wait for the first", || {
            waiting.is_finished() || db.one("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND state = 'active')", &[])
        });
        one.run("COMMIT");
        waiting.join().expect("the second");
    });
}

#[test]
fn what_is_changed_in_between_joins_the_one_call() {
    let (bench, mut db) = shop("");
    // A total that a trigger keeps, a line that is written twice, one that is not to be after all.
    db.run(
        "CREATE FUNCTION sum_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           UPDATE orders o SET total = (SELECT sum(quantity) FROM order_lines l WHERE l.order_id = o.id) WHERE id = coalesce(new.order_id, old.order_id); RETURN NULL; END $$;
         CREATE TRIGGER sum_up AFTER INSERT OR UPDATE OR DELETE ON order_lines FOR EACH ROW EXECUTE FUNCTION sum_up();
         BEGIN; INSERT INTO orders VALUES (1, 'A'); INSERT INTO order_lines VALUES (1, 1, 'a', 1); INSERT INTO order_lines VALUES (2, 1, 'b', 2);
         INSERT INTO order_lines VALUES (3, 1, 'c', 3); UPDATE order_lines SET quantity = 5 WHERE id = 2; DELETE FROM order_lines WHERE id = 3; COMMIT",
    );
    db.settled();
    assert_eq!(lines(&bench), ["a 1.0", "b 5.0"]);
    assert_eq!(order(&bench)["origin"], "6");
    assert_eq!(bench.sim().calls("load").len(), 1, "one call for all");
}

#[test]
fn lines_that_a_trigger_of_the_record_makes_wait_for_it() {
    let (bench, mut db) = shop(", condition => $$reference LIKE 'A%'$$");
    db.run(
        "CREATE FUNCTION usual() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO order_lines VALUES (new.id * 10, new.id, 'usual'); RETURN NULL; END $$;
         CREATE TRIGGER usual AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION usual();
         INSERT INTO orders VALUES (1, 'A'), (2, 'B')",
    );
    db.settled();
    assert_eq!(lines(&bench), ["usual 1.0"]);
    // Its record comes into the condition, and brings its lines.
    db.run("UPDATE orders SET reference = 'A2' WHERE id = 2");
    db.settled();
    assert_eq!(lines(&bench), ["usual 1.0", "usual 1.0"]);
}

#[test]
fn two_sessions_that_change_lines_of_one_record_see_each_other() {
    let (bench, mut db) = shop(", condition => 'confirmed'");
    db.run("INSERT INTO orders (id, reference, confirmed) VALUES (1, 'A', false)");
    at_the_same_time(
        &bench,
        "UPDATE orders SET confirmed = true",
        "INSERT INTO order_lines VALUES (1, 1, 'late')",
    );
    db.settled();
    assert_eq!(lines(&bench), ["late 1.0"]);
    // Neither goes with values of the record that another one is changing.
    db.run("SELECT etl.pause(); UPDATE orders SET total = 1");
    at_the_same_time(
        &bench,
        "UPDATE orders SET reference = 'new'",
        "INSERT INTO order_lines VALUES (2, 1, 'more')",
    );
    db.run("SELECT etl.resume()");
    db.settled();
    assert_eq!(order(&bench)["client_order_ref"], "new");
    assert_eq!(lines(&bench), ["late 1.0", "more 1.0"]);
    // A backfill sends what is there when nobody is writing to it any more.
    let mut writer = bench.client();
    writer.run("BEGIN; UPDATE order_lines SET quantity = 9 WHERE id = 1; DELETE FROM order_lines WHERE id = 2");
    db.run("SELECT etl.backfill('orders')");
    eventually(PATIENCE, "the backfill to wait", || {
        db.one("SELECT backfill_error IS NOT NULL OR EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock') FROM etl.tracks", &[])
    });
    writer.run("COMMIT");
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    db.settled();
    assert_eq!(lines(&bench), ["late 9.0"]);
}

#[test]
fn two_sessions_that_add_to_a_list_lose_neither() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE customers (id int PRIMARY KEY, name text); CREATE TABLE customer_tags (customer int REFERENCES customers, tag text, PRIMARY KEY (customer, tag));
         INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, record_key) SELECT 'res.partner.category', 'upsert', jsonb_build_object('name', t), t, t FROM unnest(ARRAY['a', 'b']) t;
         SELECT etl.track('customers', 'res.partner', '{"name": "name", "category_id": {"lines": "customer_tags", "column": "customer", "each": {"column": "tag", "by": "name"}}}');
         SELECT etl.backfill('customers'); INSERT INTO customers VALUES (1, 'Ada')"#,
    );
    db.settled();
    at_the_same_time(
        &bench,
        "INSERT INTO customer_tags VALUES (1, 'a')",
        "INSERT INTO customer_tags VALUES (1, 'b')",
    );
    db.settled();
    let tags = bench.sim().partner("Ada")["category_id"].clone();
    assert_eq!(tags.as_array().map(Vec::len), Some(2));
}

/// One bad line: nothing was made, and when it is corrected all is.
#[test]
fn a_record_that_was_refused_for_one_line_goes_with_all_of_them() {
    for mend in [
        "UPDATE order_lines SET quantity = '2' WHERE id = 2",
        "DELETE FROM order_lines WHERE id = 2; INSERT INTO order_lines VALUES (4, 1, 'b', '2')",
    ] {
        let bench = Bench::ready();
        let mut db = bench.client();
        db.run(&SHOP.replace("quantity numeric DEFAULT 1", "quantity text DEFAULT '1'"));
        db.run(
            r#"INSERT INTO orders VALUES (1, 'A'); INSERT INTO order_lines VALUES (1, 1, 'a', '1'), (2, 1, 'b', 'many'), (3, 1, 'c', '3');
               SELECT etl.track('orders', 'sale.order', '{"partner_id": {"value": {"key": "buyer"}}, "client_order_ref": "reference",
                 "order_line": {"lines": "order_lines", "column": "order_id", "fields": {"name": "text", "product_uom_qty": "quantity"}}}'); SELECT etl.backfill('orders')"#,
        );
        eventually(PATIENCE, "the backfill", || {
            db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
        });
        db.await_empty(PATIENCE);
        assert_eq!(db.count("failed"), 1);
        assert_eq!(bench.sim().records("sale.order").len(), 0);
        db.run(mend);
        db.await_empty(PATIENCE);
        assert_eq!(db.count("failed"), 1, "{mend}: and no other");
        assert_eq!(lines(&bench), ["a 1.0", "b 2.0", "c 3.0"], "{mend}");
        assert_eq!(order(&bench)["client_order_ref"], "A", "{mend}");
    }
}

/// The order itself was made without its lines, for they were refused with the bad one.
#[test]
fn what_was_refused_after_its_record_was_made_goes_with_all_of_it() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(&SHOP.replace("quantity numeric DEFAULT 1", "quantity text DEFAULT '1'"));
    db.run(
        r#"SELECT etl.track('orders', 'sale.order', '{"partner_id": {"value": {"key": "buyer"}}, "client_order_ref": "reference",
             "order_line": {"lines": "order_lines", "column": "order_id", "fields": {"name": "text", "product_uom_qty": "quantity"}}}'); SELECT etl.backfill('orders')"#,
    );
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    db.run("BEGIN; INSERT INTO orders VALUES (1, 'A'); INSERT INTO order_lines VALUES (1, 1, 'a', '1'), (2, 1, 'b', 'many'), (3, 1, 'c', '3'); COMMIT");
    db.await_empty(PATIENCE);
    assert_eq!(db.count("failed"), 1);
    db.run("UPDATE order_lines SET quantity = '2' WHERE id = 2");
    db.await_empty(PATIENCE);
    assert_eq!(db.count("failed"), 1, "and no other");
    assert_eq!(lines(&bench), ["a 1.0", "b 2.0", "c 3.0"]);
}

/// A line that somebody adds while an older change waits stands by itself: the older one may be refused.
#[test]
fn what_another_transaction_enqueued_is_not_relied_upon() {
    let (bench, mut db) = shop("");
    db.run("SELECT etl.pause(); INSERT INTO orders VALUES (1, 'A'); INSERT INTO order_lines VALUES (1, 1, 'a'), (2, 1, 'b')");
    db.run("INSERT INTO order_lines VALUES (3, 1, 'c')");
    db.run("DELETE FROM order_lines WHERE id = 1");
    let last: Value = db.one(
        "SELECT payload -> 'order_line' FROM ops.odoo_outbox ORDER BY id DESC LIMIT 1",
        &[],
    );
    let keys: Vec<String> = last
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| format!("{} {}", line["key"], line["_delete"]))
        .collect();
    assert_eq!(keys, [r#""2" null"#, r#""3" null"#, r#""1" true"#]);
    db.run("SELECT etl.resume()");
    db.settled();
    assert_eq!(lines(&bench), ["b 1.0", "c 1.0"]);
}

#[test]
fn a_deleted_line_that_a_trigger_puts_back_stays() {
    let (bench, mut db) = shop("");
    db.run("INSERT INTO orders VALUES (1, 'A'); INSERT INTO order_lines VALUES (1, 1, 'a'), (2, 1, 'b')");
    db.settled();
    db.run(
        "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF OLD.id = 1 THEN INSERT INTO order_lines VALUES (1, OLD.order_id, 'back'); END IF; RETURN NULL; END $$;
         CREATE TRIGGER again AFTER DELETE ON order_lines FOR EACH ROW EXECUTE FUNCTION again(); DELETE FROM order_lines",
    );
    db.settled();
    assert_eq!(lines(&bench), ["back 1.0"]);
}

/// Many lines push nothing of the record's own changes out of sight.
#[test]
fn lines_of_a_two_way_record_are_no_changes_of_its_fields() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(SHOP);
    db.run(
        r#"INSERT INTO orders VALUES (1, 'v0'); SELECT etl.mirror('sale.order');
         SELECT etl.track('orders', 'sale.order', '{"partner_id": {"value": {"key": "buyer"}}, "client_order_ref": "reference",
             "order_line": {"lines": "order_lines", "column": "order_id", "fields": {"name": "text"}}}', two_way => 'odoo')"#,
    );
    eventually(PATIENCE, "the backfill", || {
        db.one("SELECT backfilled_at IS NOT NULL FROM etl.tracks", &[])
    });
    db.settled();
    let pull = |db: &mut Client| -> Value { db.one("SELECT etl.pull('sale.order')", &[]) };
    pull(&mut db);
    db.run("UPDATE orders SET reference = 'v1'");
    db.settled();
    for line in 1..=70 {
        db.run(&format!("INSERT INTO order_lines VALUES ({line}, 1, 'l')"));
    }
    db.settled();
    db.run("SELECT etl.pause(); UPDATE orders SET reference = 'v2'; UPDATE ops.odoo_outbox SET next_run_at = now() + interval '1 h' WHERE status = 'queued'; SELECT etl.resume()");
    pull(&mut db);
    let reference: String = db.one("SELECT reference FROM orders", &[]);
    assert_eq!(reference, "v2");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM etl.conflicts", &[]), 0);
    assert_eq!(lines(&bench).len(), 70);
}

/// Nobody puts triggers on a table that is not the owner's.
#[test]
fn a_table_of_somebody_else_is_no_table_of_lines() {
    let (_bench, mut db) = shop("");
    db.run("CREATE ROLE hr; CREATE SCHEMA hr AUTHORIZATION hr; UPDATE etl.tracks SET fields = jsonb_set(fields, '{order_line,lines}', '\"hr.pay\"')");
    db.run("SET ROLE hr; CREATE TABLE hr.pay (id int PRIMARY KEY, order_id int, text text, quantity numeric); RESET ROLE; ALTER TABLE orders ADD COLUMN more int");
    let triggers: i64 = db.one(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'hr.pay'::regclass",
        &[],
    );
    assert_eq!(triggers, 0);
    let error = db.refused(
        "SELECT etl._register_track(jsonb_populate_record(t, jsonb_build_object('fields', jsonb_set(t.fields, '{order_line,lines}', '\"hr.nothing\"')))) FROM etl.tracks t",
    );
    assert_eq!(error.code().code(), "42P01");
}
