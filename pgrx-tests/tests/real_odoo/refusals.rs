//! What Odoo refuses becomes a dead letter with Odoo's own words.

use pg_etl_tests::prelude::*;

use crate::{bench, name, read};

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
