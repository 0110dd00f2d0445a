//! Odoo is away, or the worker dies between its commit and our settle.

use pg_etl_tests::prelude::*;
use pg_etl_tests::real_odoo;

use crate::{bench, name, read, two_lines};

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
    let mut db = bench.kill_worker();
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
