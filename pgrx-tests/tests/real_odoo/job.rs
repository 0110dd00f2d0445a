//! The main job: every operation arrives.

use pg_etl_tests::prelude::*;

use crate::{bench, name, read, two_lines};

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
