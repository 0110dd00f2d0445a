//! Values of every kind, by every way a row can take, read back from Odoo.

use serde_json::{Map, Value, json};

use pg_etl_core::odoo::Client;
use pg_etl_core::outbox::{Operation, Row};

use crate::target::*;

/// How the values come into the record.
#[derive(Debug, Clone, Copy)]
enum Way {
    Create,
    /// The record is not there.
    Upsert,
    /// The record is there, and has nothing of it.
    UpsertOver,
    Update,
}

/// A PNG of one pixel.
const IMAGE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const WAYS: [Way; 4] = [Way::Create, Way::Upsert, Way::UpsertOver, Way::Update];

/// Brings `values` into a record that starts with `least`, where it must be there first.
fn bring(
    t: &Target,
    client: &Client,
    model: &str,
    way: Way,
    least: &Value,
    values: &Value,
) -> (Row, i64) {
    let key = format!("{model} {way:?}");
    if matches!(way, Way::UpsertOver | Way::Update) {
        let first = t.row(model, Operation::Create, &key, least.clone());
        id(&t.deliver(client, vec![first])[0]);
    }
    let operation = match way {
        Way::Create => Operation::Create,
        Way::Upsert | Way::UpsertOver => Operation::Upsert,
        Way::Update => Operation::Update,
    };
    let row = t.row(model, operation, &key, values.clone());
    let made = id(&t.deliver(client, vec![row.clone()])[0]);
    // Sent twice it is the same.
    let again = id(&t.deliver(client, vec![row.clone()])[0]);
    assert_eq!(made, again);
    (row, made)
}

fn made(t: &Target, client: &Client, model: &str, key: &str, values: Value) -> i64 {
    id(&t.deliver(client, vec![t.row(model, Operation::Create, key, values)])[0])
}

/// Compares what was read with what is expected of it, field by field.
fn check(read: &Value, expected: &Value, what: &str) {
    for (field, value) in expected.as_object().unwrap() {
        // Many2ones are read as a pair of id and name.
        let read = match &read[field] {
            Value::Array(pair) if pair.len() == 2 && pair[1].is_string() => &pair[0],
            read => read,
        };
        assert_eq!(read, value, "{what}: {field}");
    }
}

fn names(expected: &Value) -> Vec<&str> {
    let fields = expected.as_object().unwrap();
    fields.keys().map(String::as_str).collect()
}

/// A record of `model` by every way, and then emptied by an update and an upsert.
fn travels(
    t: &Target,
    client: &Client,
    model: &str,
    least: Value,
    sent: Value,
    expected: Value,
    nothing: (Value, Value),
) {
    for way in WAYS {
        let (row, made) = bring(t, client, model, way, &least, &sent);
        let read = &t.read(client, model, &[made], &names(&expected))[0];
        check(read, &expected, &format!("{model} {way:?}"));
        let operation = match way {
            Way::Create | Way::Update => Operation::Update,
            Way::Upsert | Way::UpsertOver => Operation::Upsert,
        };
        let empty = Row {
            operation,
            payload: nothing.0.as_object().unwrap().clone(),
            ..row
        };
        assert_eq!(id(&t.deliver(client, vec![empty])[0]), made);
        let read = &t.read(client, model, &[made], &names(&nothing.1))[0];
        check(read, &nothing.1, &format!("{model} {way:?}, emptied"));
    }
}

fn reference(client: &Client, module: &str, name: &str) -> i64 {
    let args = json!({"module": module, "xml_id": name});
    let args = args.as_object().unwrap().clone();
    client
        .call(
            "ir.model.data",
            "check_object_reference",
            None,
            args,
            &Map::new(),
        )
        .unwrap()[1]
        .as_i64()
        .unwrap()
}

#[test]
fn partners() {
    each(|t| {
        let client = t.client();
        let parent = made(
            t,
            &client,
            "res.partner",
            "parent",
            json!({"name": "Parent", "is_company": true}),
        );
        let tags: Vec<i64> = (0..2)
            .map(|n| {
                let values = json!({"name": format!("Tag {n} of {}", t.namespace)});
                made(
                    t,
                    &client,
                    "res.partner.category",
                    &format!("tag{n}"),
                    values,
                )
            })
            .collect();
        let belgium = reference(&client, "base", "be");
        let sent = json!({
            "name": "Ünïcode, \"quoted\"\nline 😀", "is_company": false, "employee": true, "color": 7,
            "partner_latitude": 50.25, "partner_longitude": -4, "type": "invoice", "ref": "0012", "zip": 1000,
            "parent_id": {"key": "parent"}, "country_id": "base.be", "category_id": [tags[0], {"key": "tag1"}],
            "image_1920": IMAGE,
            "active": true,
        });
        let expected = json!({
            "name": "Ünïcode, \"quoted\"\nline 😀", "is_company": false, "employee": true, "color": 7,
            "partner_latitude": 50.25, "partner_longitude": -4.0, "type": "invoice", "ref": "0012", "zip": "1000",
            "parent_id": parent, "country_id": belgium, "category_id": tags, "active": true, "image_1920": IMAGE,
        });
        let nothing = (
            json!({
                "employee": null, "color": 0, "partner_latitude": null, "ref": null, "zip": false, "parent_id": null,
                "country_id": null, "category_id": [], "image_1920": null, "active": false,
            }),
            json!({
                "employee": false, "color": 0, "partner_latitude": 0.0, "ref": false, "zip": false, "parent_id": false,
                "country_id": false, "category_id": [], "image_1920": false, "active": false, "is_company": false,
            }),
        );
        let least = json!({"name": "Least"});
        travels(t, &client, "res.partner", least, sent, expected, nothing);
    });
}

#[test]
fn products() {
    each(|t| {
        let client = t.client();
        let category = made(
            t,
            &client,
            "product.category",
            "cat",
            json!({"name": "Category"}),
        );
        travels(
            t,
            &client,
            "product.template",
            json!({"name": "Least"}),
            json!({
                "name": "Chair", "list_price": 12.5, "type": "service", "sale_ok": false, "sequence": 3,
                "description_sale": "two\nlines", "description": "<p>rich</p>", "categ_id": {"key": "cat"},
            }),
            json!({
                "name": "Chair", "list_price": 12.5, "type": "service", "sale_ok": false, "sequence": 3,
                "description_sale": "two\nlines", "description": "<p>rich</p>", "categ_id": category,
            }),
            (
                json!({"list_price": 0, "sale_ok": true, "description_sale": null, "description": null}),
                json!({"list_price": 0.0, "sale_ok": true, "description_sale": false, "description": false}),
            ),
        );
    });
}

#[test]
fn orders_with_times_and_lines() {
    each(|t| {
        let client = t.client();
        let partner = made(t, &client, "res.partner", "buyer", json!({"name": "Buyer"}));
        let product = json!({"name": "Thing", "type": "service", "list_price": 3});
        let product = made(t, &client, "product.product", "thing", product);
        let sent = json!({
            "partner_id": partner, "client_order_ref": "R", "validity_date": "2024-03-31",
            "date_order": "2024-02-29T23:30:00+02:00", "commitment_date": "2024-03-01T08:00:00.5Z",
            "order_line": [
                {"key": "1", "product_id": {"key": "thing"}, "name": "first", "product_uom_qty": 2.5, "price_unit": 10.1},
                {"key": 2, "product_id": product, "name": "second", "product_uom_qty": 1, "price_unit": 0.05},
                {"key": "note", "display_type": "line_note", "name": "a note", "product_id": null},
            ],
        });
        let expected = json!({
            "partner_id": partner, "client_order_ref": "R", "validity_date": "2024-03-31",
            "date_order": "2024-02-29 21:30:00", "commitment_date": "2024-03-01 08:00:00",
        });
        let lines = |order: i64| {
            let ids =
                t.read(&client, "sale.order", &[order], &["order_line"])[0]["order_line"].clone();
            let ids: Vec<i64> = serde_json::from_value(ids).unwrap();
            let fields = [
                "name",
                "product_id",
                "product_uom_qty",
                "price_unit",
                "display_type",
            ];
            let mut lines = t.read(&client, "sale.order.line", &ids, &fields);
            lines.sort_by_key(|line| line["name"].to_string());
            lines
        };
        for way in WAYS {
            let least = json!({"partner_id": partner});
            let (row, order) = bring(t, &client, "sale.order", way, &least, &sent);
            let read = &t.read(&client, "sale.order", &[order], &names(&expected))[0];
            check(read, &expected, &format!("{way:?}"));
            let read = lines(order);
            assert_eq!(read.len(), 3, "{way:?}: {read:?}");
            check(
                &read[0],
                &json!({"name": "a note", "display_type": "line_note", "product_id": false}),
                "note",
            );
            check(
                &read[1],
                &json!({"name": "first", "product_id": product, "product_uom_qty": 2.5, "price_unit": 10.1}),
                "first",
            );
            check(
                &read[2],
                &json!({"name": "second", "product_id": product, "product_uom_qty": 1.0, "price_unit": 0.05}),
                "second",
            );
            // A line that is named changes, one that is new comes, the others stay.
            let change = json!({
                "commitment_date": null, "validity_date": null, "client_order_ref": null,
                "order_line": [{"key": 2, "price_unit": 7}, {"key": "4", "product_id": {"key": "thing"}, "name": "third"}],
            });
            let change = Row {
                operation: match way {
                    Way::Upsert | Way::UpsertOver => Operation::Upsert,
                    Way::Create | Way::Update => Operation::Update,
                },
                payload: change.as_object().unwrap().clone(),
                ..row
            };
            // An upsert of an order needs what a new one would.
            let mut change = change;
            if change.operation == Operation::Upsert {
                change.payload.insert("partner_id".into(), json!(partner));
            }
            assert_eq!(id(&t.deliver(&client, vec![change])[0]), order);
            let nothing = json!({"commitment_date": false, "validity_date": false, "client_order_ref": false});
            check(
                &t.read(&client, "sale.order", &[order], &names(&nothing))[0],
                &nothing,
                "emptied",
            );
            let read = lines(order);
            assert_eq!(read.len(), 4, "{way:?}: {read:?}");
            assert_eq!(read[2]["price_unit"], 7.0);
            assert_eq!(read[2]["product_uom_qty"], 1.0);
            assert_eq!(read[3]["name"], "third");
        }
    });
}

/// Makes French one of Odoo's languages, without loading its own texts.
fn speak_french(t: &Target, client: &Client) {
    if t.sim.is_some() {
        return;
    }
    let call = |method: &str, ids: Option<&[i64]>, args: Value| {
        let args = args.as_object().unwrap().clone();
        let all = json!({"active_test": false}).as_object().unwrap().clone();
        client.call("res.lang", method, ids, args, &all).unwrap()
    };
    let french = call("search", None, json!({"domain": [["code", "=", "fr_FR"]]}));
    let french = french[0].as_i64().unwrap();
    call("write", Some(&[french]), json!({"vals": {"active": true}}));
}

#[test]
fn texts_in_several_languages() {
    each(|t| {
        let client = t.client();
        speak_french(t, &client);
        let (english, french) = (json!({"lang": "en_US"}), json!({"lang": "fr_FR"}));
        for way in WAYS {
            let key = format!("p {way:?}");
            let row = |operation, name: &str| {
                t.row("product.template", operation, &key, json!({"name": name}))
            };
            let first = t.deliver_in(&client, vec![row(Operation::Create, "Chair")], &english);
            let made = id(&first[0]);
            let both = || {
                [&english, &french].map(|context| {
                    let read = t.read_in(&client, "product.template", &[made], &["name"], context);
                    read[0]["name"].as_str().unwrap().to_owned()
                })
            };
            let operation = match way {
                Way::Create | Way::Update => Operation::Update,
                Way::Upsert | Way::UpsertOver => Operation::Upsert,
            };
            assert_eq!(both(), ["Chair", "Chair"]);
            t.deliver_in(&client, vec![row(operation, "Chaise")], &french);
            assert_eq!(both(), ["Chair", "Chaise"], "{way:?}");
            t.deliver_in(&client, vec![row(operation, "Seat")], &english);
            assert_eq!(both(), ["Seat", "Chaise"], "{way:?}");
        }
    });
}

#[test]
fn values_of_each_company() {
    each(|t| {
        let client = t.client();
        let second = second_company(&client);
        let companies = [
            json!({"allowed_company_ids": [1, second]}),
            json!({"allowed_company_ids": [second, 1]}),
        ];
        for operation in [Operation::Upsert, Operation::Update] {
            let row = |operation, barcode: Value| {
                let values = json!({"name": "Of two", "barcode": barcode});
                t.row(
                    "res.partner",
                    operation,
                    &format!("c {operation:?}"),
                    values,
                )
            };
            // No other partner of a company may have it.
            let value = |n: u8| json!(format!("{n} {operation:?} {}", t.namespace));
            // The key of the record is the same, whichever operation comes.
            let row = |way, barcode| Row {
                external_id: row(operation, json!(null)).external_id,
                ..row(way, barcode)
            };
            let first = vec![row(Operation::Create, value(1))];
            let made = id(&t.deliver_in(&client, first, &companies[0])[0]);
            let both = || {
                companies.each_ref().map(|context| {
                    let read = t.read_in(&client, "res.partner", &[made], &["barcode"], context);
                    read[0]["barcode"].clone()
                })
            };
            assert_eq!(both(), [value(1), json!(false)]);
            let outcome = t.deliver_in(&client, vec![row(operation, value(2))], &companies[1]);
            assert_eq!(id(&outcome[0]), made);
            assert_eq!(both(), [value(1), value(2)], "{operation:?}");
            t.deliver_in(&client, vec![row(operation, json!(null))], &companies[0]);
            assert_eq!(both(), [json!(false), value(2)], "{operation:?}");
        }
    });
}
