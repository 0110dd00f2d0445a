//! The main job against a real Odoo 19, over JSON-2 and JSON-RPC. Needs `PG_ETL_ODOO=1`; without it every test here fails.

use pg_etl_tests::prelude::*;
use pg_etl_tests::{Slot, real_odoo};
use xtask::odoo::Odoo;

/// The Odoo that all tests here share, and a bench of one's own in front of it.
fn bench(protocol: &str) -> (&'static Odoo, Bench) {
    let odoo = real_odoo();
    (
        odoo,
        Bench::builder()
            .endpoint(Endpoint::from(odoo.access()))
            .option("protocol", json!(protocol))
            .start(),
    )
}

/// Records of a model that match, read as the administrator, archived ones too.
#[track_caller]
fn read(odoo: &Odoo, model: &str, domain: Value, fields: &[&str]) -> Vec<Value> {
    let arguments = json!({"domain": domain, "fields": fields, "order": "id", "context": {"active_test": false}});
    let found = odoo
        .call(model, "search_read", &arguments)
        .expect("search_read");
    found.as_array().expect("a list").clone()
}

/// A name that no other test of this program uses.
fn name(protocol: &str, what: &str) -> String {
    format!("{what} over {protocol}")
}

/// A buyer and a product in Odoo, made through the outbox.
fn buyer_and_product(db: &mut Client, protocol: &str, what: &str) -> (String, i64) {
    let buyer = format!("partner:{what}:{protocol}");
    let partner = db.enqueue(
        "res.partner",
        "create",
        json!({"name": name(protocol, what)}),
        Some(&buyer),
    );
    let product = db.enqueue(
        "product.product",
        "create",
        json!({"name": name(protocol, what), "list_price": 5}),
        Some(&format!("product:{what}:{protocol}")),
    );
    db.await_status(partner, "done");
    (buyer, db.await_status(product, "done").record())
}

fn two_lines(buyer: &str, product: i64) -> Value {
    json!({"partner_id": {"key": buyer}, "client_order_ref": buyer, "order_line": [
        {"key": "1", "product_id": product, "product_uom_qty": 2, "price_unit": 10},
        {"key": "2", "product_id": product, "product_uom_qty": 3, "price_unit": 7},
    ]})
}

fn the_main_job(protocol: &str) {
    let (odoo, bench) = bench(protocol);
    let mut db = bench.client();
    let (one, two, three) = (
        name(protocol, "Created"),
        name(protocol, "Upserted"),
        name(protocol, "Deleted"),
    );
    let created = db.enqueue(
        "res.partner",
        "create",
        json!({"name": one, "is_company": true}),
        Some("job:one"),
    );
    db.enqueue(
        "res.partner",
        "update",
        json!({"phone": "+354 555 0101"}),
        Some("job:one"),
    );
    db.enqueue(
        "res.partner",
        "upsert",
        json!({"name": two}),
        Some("job:two"),
    );
    db.enqueue(
        "res.partner",
        "upsert",
        json!({"name": two, "city": "Kopavogur"}),
        Some("job:two"),
    );
    let deleted = db.enqueue(
        "res.partner",
        "create",
        json!({"name": three}),
        Some("job:three"),
    );
    let deleted = db.await_status(deleted, "done").record();
    assert_eq!(
        read(
            odoo,
            "res.partner",
            json!([["id", "=", deleted]]),
            &["name"]
        )
        .len(),
        1
    );
    db.enqueue("res.partner", "delete", json!({}), Some("job:three"));
    let product = db.enqueue(
        "product.product",
        "create",
        json!({"name": one, "list_price": 5}),
        Some("job:product"),
    );
    let product = db.await_status(product, "done").record();
    let order = db.enqueue(
        "sale.order",
        "create",
        two_lines("job:one", product),
        Some("job:order"),
    );
    let confirm = json!({"method": "action_confirm", "unless": [["state", "=", "sale"]]});
    db.enqueue("sale.order", "call", confirm, Some("job:order"));
    db.await_empty(PATIENCE * 2);
    assert_eq!(
        db.count("failed"),
        0,
        "{:?}",
        db.all::<String>("SELECT last_error FROM etl.dead_letters", &[])
    );

    let found = read(
        odoo,
        "res.partner",
        json!([["name", "=", one]]),
        &["phone", "is_company"],
    );
    assert_eq!(
        found,
        [json!({"id": db.row(created).record(), "phone": "+354 555 0101", "is_company": true})]
    );
    let found = read(odoo, "res.partner", json!([["name", "=", two]]), &["city"]);
    assert_eq!((found.len(), &found[0]["city"]), (1, &json!("Kopavogur")));
    assert!(
        read(
            odoo,
            "res.partner",
            json!([["id", "=", deleted]]),
            &["name"]
        )
        .is_empty()
    );
    let order = db.row(order).record();
    let found = read(
        odoo,
        "sale.order",
        json!([["id", "=", order]]),
        &["state", "amount_untaxed", "order_line", "partner_id"],
    );
    assert_eq!(
        (
            &found[0]["state"],
            &found[0]["amount_untaxed"],
            &found[0]["partner_id"][0]
        ),
        (
            &json!("sale"),
            &json!(41.0),
            &json!(db.row(created).record())
        )
    );
    assert_eq!(found[0]["order_line"].as_array().map(Vec::len), Some(2));
}

#[test]
fn the_main_job_over_json2() {
    the_main_job("json2");
}

#[test]
fn the_main_job_over_jsonrpc() {
    the_main_job("jsonrpc");
}

/// Odoo's own words reach the operator, without a traceback; the mended row is delivered by a replay.
fn a_validation_error_is_a_dead_letter(protocol: &str) {
    let (odoo, bench) = bench(protocol);
    let mut db = bench.client();
    let label = name(protocol, "Mended");
    // Odoo checks a barcode's uniqueness in Python and raises its ValidationError.
    let barcode = format!("bar-{protocol}");
    let first = db.enqueue(
        "res.partner",
        "create",
        json!({"name": name(protocol, "First"), "barcode": barcode}),
        Some("first"),
    );
    db.await_status(first, "done");
    let invalid = db.enqueue(
        "res.partner",
        "create",
        json!({"name": label, "barcode": barcode}),
        Some("mended"),
    );
    let nameless = db.enqueue(
        "res.partner",
        "create",
        json!({"email": format!("{protocol}@example.com")}),
        Some("nameless"),
    );
    let good = db.enqueue(
        "res.partner",
        "create",
        json!({"name": name(protocol, "Innocent")}),
        Some("innocent"),
    );
    let dead = db.await_status(invalid, "failed");
    println!("{}", dead.error());
    assert_eq!(dead.class(), "invalid");
    assert!(
        dead.error()
            .contains("Another partner already has this barcode")
            && !dead.error().contains("Traceback"),
        "{}",
        dead.error()
    );
    let dead = db.await_status(nameless, "failed");
    println!("{}", dead.error());
    assert!(
        dead.error().to_lowercase().contains("name") && !dead.error().contains("Traceback"),
        "{}",
        dead.error()
    );
    assert_eq!(
        db.await_status(good, "done").attempts,
        1,
        "a neighbour pays for nobody"
    );

    db.execute(
        "UPDATE ops.odoo_outbox SET payload = payload || '{\"barcode\": null}' WHERE id = $1",
        &[&invalid],
    )
    .unwrap();
    db.execute(
        "UPDATE ops.odoo_outbox SET payload = payload || $2 WHERE id = $1",
        &[&nameless, &json!({"name": name(protocol, "Named")})],
    )
    .unwrap();
    assert_eq!(
        db.one::<i64>("SELECT etl.replay_failed(error_class => 'invalid')", &[]),
        2
    );
    db.await_status(invalid, "done");
    db.await_status(nameless, "done");
    assert_eq!(
        read(
            odoo,
            "res.partner",
            json!([["name", "=", label]]),
            &["name"]
        )
        .len(),
        1
    );
}

#[test]
fn a_validation_error_is_a_dead_letter_over_json2() {
    a_validation_error_is_a_dead_letter("json2");
}

#[test]
fn a_validation_error_is_a_dead_letter_over_jsonrpc() {
    a_validation_error_is_a_dead_letter("jsonrpc");
}

/// Between Odoo's commit and our settle the worker dies: one record, one order, two lines.
fn a_kill_before_the_settle_doubles_nothing(protocol: &str) {
    let (odoo, bench) = bench(protocol);
    let (mut db, mut holder) = (bench.client(), bench.client());
    let (buyer, product) = buyer_and_product(&mut db, protocol, "Killed");
    // Settling writes links; while this is locked the worker waits with Odoo's answer in its hands.
    let mut lock = holder.transaction().unwrap();
    lock.batch_execute("LOCK TABLE etl.links IN SHARE MODE")
        .unwrap();
    let partner = name(protocol, "Once");
    let create = db.enqueue(
        "res.partner",
        "create",
        json!({"name": partner}),
        Some("once"),
    );
    let order = db.enqueue(
        "sale.order",
        "create",
        two_lines(&buyer, product),
        Some("order"),
    );
    let records = || {
        let partners = read(
            odoo,
            "res.partner",
            json!([["name", "=", partner]]),
            &["name"],
        );
        let orders = read(
            odoo,
            "sale.order",
            json!([["client_order_ref", "=", buyer]]),
            &["order_line"],
        );
        (partners, orders)
    };
    eventually(
        PATIENCE * 2,
        "Odoo to hold both",
        || matches!(records(), (partners, orders) if partners.len() == 1 && orders.len() == 1),
    );
    assert_eq!(
        (
            db.row(create).status.as_str(),
            db.row(order).status.as_str()
        ),
        ("processing", "processing")
    );
    kill9(bench.worker());
    eventually(PATIENCE, "the server to notice", || {
        bench.cluster.log().contains("was terminated by signal 9")
    });
    let mut db = bench.reconnect();
    drop(lock);
    assert_eq!(db.await_status(create, "done").crashes, 1);
    assert_eq!(db.await_status(order, "done").crashes, 1);
    let (partners, orders) = records();
    assert_eq!((partners.len(), orders.len()), (1, 1));
    assert_eq!(
        orders[0]["order_line"].as_array().map(Vec::len),
        Some(2),
        "{orders:?}"
    );
    assert_eq!(db.row(create).odoo_id, partners[0]["id"].as_i64());
}

#[test]
fn a_kill_before_the_settle_doubles_nothing_over_json2() {
    a_kill_before_the_settle_doubles_nothing("json2");
}

#[test]
fn a_kill_before_the_settle_doubles_nothing_over_jsonrpc() {
    a_kill_before_the_settle_doubles_nothing("jsonrpc");
}

/// Odoo is stopped for a minute (`PG_ETL_OUTAGE_SECONDS` says otherwise): no attempt is burnt, and nobody has to do anything.
#[test]
fn an_outage_of_a_minute_costs_nothing() {
    let odoo = real_odoo();
    // Others use the same Odoo.
    let alone = Bench::builder().alone();
    let bench = alone.endpoint(Endpoint::from(odoo.access())).start();
    let mut db = bench.client();
    let before = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Before the outage"}),
        None,
    );
    db.await_status(before, "done");
    let minute = std::env::var("PG_ETL_OUTAGE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(60);
    odoo.stop().expect("Odoo stops");
    let begin = Instant::now();
    let ids: Vec<i64> = (0..5)
        .map(|n| {
            db.enqueue(
                "res.partner",
                "create",
                json!({"name": format!("Outage {n}")}),
                None,
            )
        })
        .collect();
    eventually(PATIENCE, "the circuit to open", || {
        db.health("circuit odoo").contains("open")
    });
    eventually(
        Duration::from_secs(minute + 30),
        "the outage to pass",
        || {
            let rows: Vec<OutboxRow> = ids.iter().map(|id| db.row(*id)).collect();
            assert!(
                rows.iter()
                    .all(|row| row.attempts == 0 || row.status == "processing"),
                "an attempt was burnt: {rows:?}"
            );
            begin.elapsed() >= Duration::from_secs(minute)
        },
    );
    let report = db.health("%odoo");
    assert!(
        report.contains("open") && report.contains("fail"),
        "{report}"
    );
    odoo.start_again().expect("Odoo starts");
    let back = Instant::now();
    eventually(Duration::from_secs(120), "all rows to be delivered", || {
        db.count("done") == 6
    });
    println!(
        "measured: delivered {:.1?} after Odoo answered again",
        back.elapsed()
    );
    assert_eq!(
        db.all::<i32>("SELECT DISTINCT attempts FROM ops.odoo_outbox", &[]),
        [1]
    );
    assert_eq!(
        read(
            odoo,
            "res.partner",
            json!([["name", "like", "Outage "]]),
            &["name"]
        )
        .len(),
        5
    );
}

#[test]
fn this_program_says_so_when_odoo_takes_no_part() {
    let _slot = Slot::shared();
    assert!(!real_odoo().access().url.is_empty());
}
