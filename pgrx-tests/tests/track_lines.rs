//! Lines: rows of a child table that go to Odoo inside their record, in one call with it.

use pg_etl_tests::prelude::*;

const SHOP: &str = "CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE products (id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customers, reference text, note text);
    CREATE TABLE order_lines (order_id int NOT NULL REFERENCES orders ON DELETE CASCADE ON UPDATE CASCADE, position int NOT NULL, product int REFERENCES products,
      quantity numeric NOT NULL, price numeric NOT NULL DEFAULT 1, internal text, line_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
    CREATE INDEX ON order_lines (order_id);
    INSERT INTO customers VALUES (1, 'Buyer');
    INSERT INTO products VALUES (1, 'Chair'), (2, 'Table');";
const ORDERS: &str = r#"{"partner_id": {"column": "customer", "ref": "customers"}, "client_order_ref": "reference", "order_line": {"lines": "order_lines", "column": "order_id",
    "fields": {"product_id": {"column": "product", "ref": "products"}, "product_uom_qty": "quantity", "price_unit": "price", "name": {"sql": "'No. ' || position"}, "sequence": {"value": 5}}}}"#;

/// A shop whose customers and products are in Odoo.
fn shop() -> (Bench, Client) {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(SHOP);
    db.run(&format!(
        r#"SELECT etl.track('customers', 'res.partner', '{{"name": "name"}}'), etl.track('products', 'product.product', '{{"name": "name"}}');
         SELECT etl.track('orders', 'sale.order', {ORDERS});
         SELECT etl.backfill('customers'), etl.backfill('products'), etl.backfill('orders')"#,
        ORDERS = quoted(ORDERS)
    ));
    eventually(PATIENCE, "the backfill", || {
        db.one(
            "SELECT bool_and(backfilled_at IS NOT NULL) FROM etl.tracks",
            &[],
        )
    });
    db.await_empty(PATIENCE);
    assert_eq!(db.count("failed"), 0);
    bench.sim().clear_requests();
    (bench, db)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Name and quantity of every line, by order, as Odoo has them.
fn lines(bench: &Bench) -> Vec<(String, String, f64)> {
    let orders = bench.sim().records("sale.order");
    let mut found: Vec<(String, String, f64)> = bench
        .sim()
        .records("sale.order.line")
        .iter()
        .map(|line| {
            let order = orders.iter().find(|order| order["id"] == line["order_id"]);
            let reference = order.expect("an order")["client_order_ref"].clone();
            (
                reference.as_str().unwrap_or_default().to_owned(),
                line["name"].as_str().unwrap_or_default().to_owned(),
                line["product_uom_qty"].as_f64().unwrap_or_default(),
            )
        })
        .collect();
    found.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    found
}

fn line(order: &str, name: &str, quantity: f64) -> (String, String, f64) {
    (order.to_owned(), name.to_owned(), quantity)
}

#[test]
fn a_new_order_and_its_lines_are_one_call() {
    let (bench, mut db) = shop();
    // As an application writes them: one statement for each.
    db.run(
        "BEGIN; INSERT INTO orders VALUES (1, 1, 'A', 'x');
         INSERT INTO order_lines VALUES (1, 1, 1, 2, 10);
         INSERT INTO order_lines VALUES (1, 2, NULL, 3, 7);
         INSERT INTO order_lines VALUES (1, 3, 2, 4, 5); COMMIT",
    );
    db.settled();
    assert_eq!(
        lines(&bench),
        [
            line("A", "No. 1", 2.0),
            line("A", "No. 2", 3.0),
            line("A", "No. 3", 4.0)
        ]
    );
    assert_eq!(bench.sim().calls("load").len(), 1, "one call for all");
    let of_products = |name: &str| {
        let products = bench.sim().records("product.product");
        let product = products.iter().find(|product| product["name"] == name);
        product.expect(name)["id"].clone()
    };
    let sent = bench.sim().records("sale.order.line");
    let sent: Vec<&Value> = sent.iter().map(|line| &line["product_id"]).collect();
    assert_eq!(
        sent,
        [&of_products("Chair"), &json!(false), &of_products("Table")]
    );
    assert_eq!(
        bench.sim().records("sale.order.line")[0]["sequence"],
        json!(5)
    );

    // Changed, added, taken away, and given to another order; what is not sent is not seen.
    db.run("INSERT INTO orders VALUES (2, 1, 'B', NULL)");
    db.settled();
    db.run("DELETE FROM ops.odoo_outbox; UPDATE order_lines SET internal = 'x'; UPDATE orders SET note = 'y'");
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM ops.odoo_outbox", &[]),
        0
    );
    db.run("UPDATE order_lines SET quantity = 20 WHERE position = 1");
    let payload: Value = db.one(
        "SELECT jsonb_build_object(operation, payload) FROM ops.odoo_outbox",
        &[],
    );
    assert_eq!(
        payload,
        json!({"update": {"order_line": [{"key": "1", "product_uom_qty": 20}]}}),
        "what changed and no more"
    );
    db.run(
        "INSERT INTO order_lines VALUES (1, 4, 1, 6); DELETE FROM order_lines WHERE position = 2;
         UPDATE order_lines SET order_id = 2 WHERE position = 3",
    );
    db.settled();
    assert_eq!(
        lines(&bench),
        [
            line("A", "No. 1", 20.0),
            line("A", "No. 4", 6.0),
            line("B", "No. 3", 4.0)
        ]
    );
    // While an order waits to be made, its lines go with all of it: nothing hangs on what can be joined.
    db.run(
        "SELECT etl.pause(); DELETE FROM ops.odoo_outbox; INSERT INTO orders VALUES (3, 1, 'C'); INSERT INTO order_lines VALUES (3, 1, NULL, 1)",
    );
    let operations: Vec<String> = db.all(
        "SELECT concat_ws(' ', operation, payload ->> 'client_order_ref', payload #>> '{order_line,0,name}') FROM ops.odoo_outbox ORDER BY id",
        &[],
    );
    assert_eq!(operations, ["upsert C", "upsert C No. 1"]);
    db.run("DELETE FROM orders WHERE id = 3; SELECT etl.resume()");
    db.settled();
    // With their order they go.
    db.run("DELETE FROM orders WHERE id = 1");
    db.settled();
    assert_eq!(lines(&bench), [line("B", "No. 3", 4.0)]);
    // A key that changes makes another record, with its lines.
    db.run("UPDATE orders SET id = 9 WHERE id = 2");
    db.settled();
    assert_eq!(lines(&bench), [line("B", "No. 3", 4.0)]);
    assert_eq!(bench.sim().records("sale.order").len(), 1);
}

#[test]
fn lines_that_were_there_before_go_with_the_backfill() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(SHOP);
    db.run("INSERT INTO orders SELECT n, 1, 'R' || n FROM generate_series(1, 50) n;
            INSERT INTO order_lines SELECT n, m, NULL, m FROM generate_series(1, 50) n, generate_series(1, 4) m");
    db.run(&format!(
        r#"SELECT etl.track('customers', 'res.partner', '{{"name": "name"}}'), etl.track('products', 'product.product', '{{"name": "name"}}');
         SELECT etl.track('orders', 'sale.order', {}); SELECT etl.backfill('customers')"#,
        quoted(ORDERS)
    ));
    // Before the backfill a line goes with all of its order, which may be new to Odoo.
    db.run("UPDATE order_lines SET quantity = 40 WHERE order_id = 7 AND position = 4");
    db.settled();
    let all: Vec<(String, String, f64)> = [1.0, 2.0, 3.0, 40.0]
        .iter()
        .zip(1..)
        .map(|(quantity, position)| line("R7", &format!("No. {position}"), *quantity))
        .collect();
    assert_eq!(lines(&bench), all, "and with its other lines");
    db.run("SELECT etl.backfill('orders')");
    eventually(PATIENCE, "the backfill", || {
        db.one(
            "SELECT backfilled_at IS NOT NULL FROM etl.tracks WHERE tab LIKE '%orders'",
            &[],
        )
    });
    db.settled();
    assert_eq!(lines(&bench).len(), 200);
    assert_eq!(
        lines(&bench)
            .iter()
            .filter(|(order, ..)| order == "R7")
            .count(),
        4
    );
}

#[test]
fn a_list_of_records_follows_a_table_of_pairs() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE tags (id int PRIMARY KEY, name text);
         CREATE TABLE customers (id int PRIMARY KEY, name text);
         CREATE TABLE customer_tags (customer int REFERENCES customers ON DELETE CASCADE, tag int REFERENCES tags, added date, PRIMARY KEY (customer, tag));
         SELECT etl.track('tags', 'res.partner.category', '{"name": "name"}');
         SELECT etl.track('customers', 'res.partner', '{"name": "name", "category_id": {"lines": "customer_tags", "column": "customer", "each": {"column": "tag", "ref": "tags"}}}');
         SELECT etl.backfill('tags'), etl.backfill('customers')"#,
    );
    eventually(PATIENCE, "the backfill", || {
        db.one(
            "SELECT bool_and(backfilled_at IS NOT NULL) FROM etl.tracks",
            &[],
        )
    });
    let tags = |name: &str| -> Vec<Value> {
        let partner = bench.sim().partner(name);
        let names = bench.sim().records("res.partner.category");
        let ids = partner["category_id"].as_array().expect("a list").clone();
        let mut found: Vec<Value> = ids
            .iter()
            .map(|id| {
                let tag = names.iter().find(|tag| &tag["id"] == id);
                tag.expect("a tag")["name"].clone()
            })
            .collect();
        found.sort_by_key(Value::to_string);
        found
    };
    db.run(
        "BEGIN; INSERT INTO tags VALUES (1, 'gold'), (2, 'late'), (3, 'new'); INSERT INTO customers VALUES (1, 'Ada'), (2, 'Bob');
         INSERT INTO customer_tags VALUES (1, 1), (1, 2), (2, 3); COMMIT",
    );
    db.settled();
    assert_eq!(
        (tags("Ada"), tags("Bob")),
        (vec![json!("gold"), json!("late")], vec![json!("new")])
    );
    db.run("DELETE FROM ops.odoo_outbox; UPDATE customer_tags SET added = now()");
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM ops.odoo_outbox", &[]),
        0,
        "the list is as it was"
    );
    db.run("DELETE FROM customer_tags WHERE tag = 1; UPDATE customer_tags SET customer = 1 WHERE tag = 3");
    db.settled();
    assert_eq!(tags("Ada"), [json!("late"), json!("new")]);
    assert_eq!(tags("Bob"), Vec::<Value>::new());
}

#[test]
fn names_of_lines_are_followed_and_what_is_sent_stays() {
    let (bench, mut db) = shop();
    db.run(
        r#"CREATE SCHEMA store; ALTER TABLE order_lines SET SCHEMA store; ALTER TABLE store.order_lines RENAME TO items;
         ALTER TABLE store.items RENAME quantity TO "How many"; ALTER TABLE store.items RENAME order_id TO of_order; ALTER TABLE store.items RENAME line_id TO no;
         ALTER TABLE products RENAME TO goods; ALTER TABLE orders RENAME TO sales;
         INSERT INTO sales VALUES (1, 1, 'A'); INSERT INTO store.items VALUES (1, 1, 1, 2)"#,
    );
    db.settled();
    assert_eq!(lines(&bench), [line("A", "No. 1", 2.0)]);
    for (statement, state) in [
        ("ALTER TABLE store.items RENAME position TO place", "2BP01"),
        ("ALTER TABLE store.items DROP COLUMN product", "2BP01"),
        (
            "ALTER TABLE store.items DROP CONSTRAINT order_lines_pkey",
            "42830",
        ),
        ("DROP TABLE store.items", "2BP01"),
        ("TRUNCATE store.items", "0A000"),
        (
            "CREATE ROLE lines_thief; ALTER TABLE store.items OWNER TO lines_thief",
            "2BP01",
        ),
    ] {
        let error = db.refused(statement);
        assert_eq!(error.code().code(), state, "{statement}: {error:?}");
        assert!(error.hint().is_some(), "{statement}: {error:?}");
    }
    db.run("ALTER TABLE store.items DROP COLUMN internal; UPDATE store.items SET \"How many\" = 3");
    db.settled();
    assert_eq!(lines(&bench), [line("A", "No. 1", 3.0)]);
    // Lines that are mapped no more are left alone, and their table is free.
    db.run(r#"SELECT etl.track('sales', 'sale.order', '{"partner_id": {"column": "customer", "ref": "customers"}, "client_order_ref": "reference"}'); DROP TABLE store.items"#);
    assert_eq!(
        db.one::<i64>(
            "SELECT count(*) FROM pg_proc WHERE proname LIKE 'etl\\_lines\\_%'",
            &[]
        ),
        0
    );
    db.run("INSERT INTO sales VALUES (2, 1, 'B'); DROP TABLE sales");
    assert_eq!(
        db.one::<i64>(
            "SELECT count(*) FROM etl.tracks WHERE tab LIKE '%sales'",
            &[]
        ),
        0
    );
}

#[test]
fn lines_in_partitions_and_both_tables_in_one_drop() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        r#"CREATE TABLE orders (id int PRIMARY KEY, reference text);
         CREATE TABLE parts (order_id int, year int, n int, text text, PRIMARY KEY (year, n)) PARTITION BY LIST (year);
         CREATE INDEX ON parts (order_id);
         CREATE TABLE parts_25 PARTITION OF parts FOR VALUES IN (2025);
         INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, record_key) VALUES ('res.partner', 'upsert', '{"name": "Buyer"}', 'buyer', 'buyer');
         SELECT etl.track('orders', 'sale.order', '{"partner_id": {"sql": "jsonb_build_object(''key'', ''buyer'')"}, "client_order_ref": "reference",
           "order_line": {"lines": "parts", "column": "order_id", "fields": {"name": "text", "display_type": {"value": "line_note"}}}}', on_truncate => 'delete');
         CREATE TABLE parts_26 PARTITION OF parts FOR VALUES IN (2026);
         INSERT INTO orders VALUES (1, 'A'); INSERT INTO parts_25 VALUES (1, 2025, 1, 'old'); INSERT INTO parts_26 VALUES (1, 2026, 1, 'new'); INSERT INTO parts VALUES (1, 2026, 2, 'more')"#,
    );
    db.settled();
    assert_eq!(
        lines(&bench),
        [
            line("A", "more", 1.0),
            line("A", "new", 1.0),
            line("A", "old", 1.0)
        ]
    );
    assert_eq!(db.refused("TRUNCATE parts_25").code().code(), "0A000");
    // Both at once may go: nothing is left that would look for the other.
    db.run("TRUNCATE parts, orders");
    db.settled();
    assert_eq!(lines(&bench), []);
    db.run("DROP TABLE parts, orders");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM etl.tracks", &[]), 0);
}

#[test]
fn mappings_of_lines_that_cannot_be_are_refused_with_a_remedy() {
    let (_bench, mut db) = shop();
    db.run(
        "CREATE TABLE pairs (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE bare (order_id int, name text)",
    );
    let attempt = |db: &mut Client, table: &str, mapping: &str| {
        db.refused(&format!(
            "SELECT etl.track('{table}', 'sale.order', {})",
            quoted(&format!(
                r#"{{"client_order_ref": "reference", {mapping}}}"#
            ))
        ))
    };
    for (mapping, state, says) in [
        (r#""order_line": "note""#, "0A000", "a list of lines"),
        (
            r#""order_line": {"lines": "order_lines", "column": "order_id"}"#,
            "22023",
            "not understood",
        ),
        (
            r#""order_line": {"lines": "order_lines", "column": "order_id", "each": "product"}"#,
            "22023",
            "not understood",
        ),
        (
            r#""order_line": {"lines": "order_lines", "column": "order_id", "fields": {}}"#,
            "22023",
            "not understood",
        ),
        (
            r#""order_line": {"lines": "nowhere", "column": "order_id", "fields": {"name": "x"}}"#,
            "42809",
            "nowhere is not a table of lines",
        ),
        (
            r#""order_line": {"lines": "orders", "column": "id", "fields": {"name": "note"}}"#,
            "42809",
            "orders is not a table of lines",
        ),
        (
            r#""order_line": {"lines": "order_lines", "column": "odrer_id", "fields": {"name": "internal"}}"#,
            "42703",
            "odrer_id",
        ),
        (
            r#""order_line": {"lines": "order_lines", "column": "order_id", "fields": {"nmae": "internal"}}"#,
            "42703",
            "sale.order.line has no field nmae",
        ),
        (
            r#""order_line": {"lines": "order_lines", "column": "order_id", "fields": {"create_date": "price"}}"#,
            "428C9",
            "cannot be written",
        ),
        (
            r#""order_line": {"lines": "order_lines", "column": "order_id", "fields": {"name": "nothing"}}"#,
            "42703",
            "no column \"nothing\"",
        ),
        (
            r#""order_line": {"lines": "order_lines", "column": "order_id", "fields": {"name": {"sql": "reference"}}}"#,
            "42703",
            "reference",
        ),
        (
            r#""order_line": {"lines": "bare", "column": "order_id", "fields": {"name": "name"}}"#,
            "42830",
            "no primary key",
        ),
        (
            r#""partner_id": {"lines": "order_lines", "column": "order_id", "fields": {"name": "internal"}}"#,
            "22023",
            "has no lines",
        ),
    ] {
        let error = attempt(&mut db, "orders", mapping);
        assert_eq!(error.code().code(), state, "{mapping}: {error:?}");
        assert!(error.message().contains(says), "{mapping}: {error:?}");
        assert!(
            error.hint().is_some() || state == "42703",
            "{mapping}: {error:?}"
        );
    }
    // What was tracked before is tracked as before.
    let sent: Value = db.one(
        "SELECT fields -> 'order_line' -> 'lines' FROM etl.tracks WHERE model = 'sale.order'",
        &[],
    );
    assert_eq!(sent, json!("public.order_lines"));
    // The same rows as lines and as records of their own would be there twice.
    let error =
        db.refused(r#"SELECT etl.track('order_lines', 'sale.order.line', '{"name": "internal"}')"#);
    assert_eq!(error.code().code(), "55006", "{error:?}");
}
