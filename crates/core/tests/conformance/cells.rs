//! What a cell of `load` may hold, type by type, and what the field holds afterwards.

use crate::world::{World, create_once, everywhere};
use serde_json::{Value, json};

/// What became of one cell.
#[derive(Debug)]
enum Fate {
    /// The field reads like this afterwards.
    Reads(Value),
    /// A message that says so.
    Refused(&'static str),
    /// Python fails and takes the whole call with it.
    Raised(&'static str),
}

use Fate::{Raised, Reads, Refused};

#[track_caller]
fn check(w: &World, column: &str, cases: Vec<(Value, Fate)>) {
    let field = column.split('/').next().unwrap_or_default();
    for (number, (cell, fate)) in cases.into_iter().enumerate() {
        let place = format!("{}: {column} = {cell}", w.place());
        let external = w.external(&format!("{}_{number}", column.replace(['/', '.'], "_")));
        let outcome = w.load(
            "res.partner",
            json!(["id", "name", column]),
            json!([[external, "x", cell]]),
            create_once(),
        );
        match fate {
            Reads(value) => {
                let answer = w.ok(outcome);
                let id = answer["ids"][0]
                    .as_i64()
                    .unwrap_or_else(|| panic!("{place}: {answer}"));
                let read = w.value("res.partner", id, field);
                // A many2one reads as id and name.
                let read = if value.is_i64() && read.is_array() {
                    read[0].clone()
                } else {
                    read
                };
                assert_eq!(read, value, "{place}");
            }
            Refused(text) => {
                let answer = w.ok(outcome);
                assert_eq!(answer["ids"], false, "{place}: {answer}");
                let message = &answer["messages"][0];
                assert_eq!(message["field"], field, "{place}: {answer}");
                assert_eq!(message["type"], "error", "{place}");
                assert!(
                    message["message"]
                        .as_str()
                        .is_some_and(|found| found.contains(text)),
                    "{place}: {message}"
                );
            }
            Raised(name) => {
                w.raises(outcome, name, 500);
            }
        }
    }
}

#[test]
fn booleans_are_text() {
    everywhere(|w| {
        check(
            w,
            "is_company",
            vec![
                (json!("1"), Reads(json!(true))),
                (json!("0"), Reads(json!(false))),
                (json!("True"), Reads(json!(true))),
                (json!("no"), Reads(json!(false))),
                (json!(false), Reads(json!(false))),
                (json!(""), Reads(json!(false))),
                (json!(true), Raised("builtins.AttributeError")),
                (json!(1), Raised("builtins.AttributeError")),
                (
                    json!("maybe"),
                    Refused("Unknown value 'maybe' for boolean field 'Is a Company'"),
                ),
            ],
        );
    });
}

#[test]
fn integers_truncate_numbers_but_refuse_decimal_text() {
    everywhere(|w| {
        check(
            w,
            "color",
            vec![
                (json!(7), Reads(json!(7))),
                (json!("7"), Reads(json!(7))),
                (json!(7.5), Reads(json!(7))),
                (json!(null), Reads(json!(0))),
                (
                    json!("7.0"),
                    Refused("'7.0' does not seem to be an integer for field 'Color Index'"),
                ),
                (json!([7]), Raised("builtins.TypeError")),
            ],
        );
    });
}

#[test]
fn floats() {
    everywhere(|w| {
        check(
            w,
            "partner_latitude",
            vec![
                (json!(1.25), Reads(json!(1.25))),
                (json!("1.25"), Reads(json!(1.25))),
                (json!("1e2"), Reads(json!(100.0))),
                (json!(1.234_567_89), Reads(json!(1.234_567_9))),
                (json!(""), Reads(json!(0.0))),
                (
                    json!("1,5"),
                    Refused("'1,5' does not seem to be a number for field 'Geo Latitude'"),
                ),
            ],
        );
    });
}

#[test]
fn text_takes_what_it_gets() {
    everywhere(|w| {
        check(
            w,
            "ref",
            vec![
                (json!("R"), Reads(json!("R"))),
                (json!("ünï ☃"), Reads(json!("ünï ☃"))),
                (json!(5), Reads(json!("5"))),
                (json!(true), Reads(json!("True"))),
                (json!(""), Reads(json!(false))),
                (json!(null), Reads(json!(false))),
            ],
        );
        check(
            w,
            "comment",
            vec![
                (json!("<p>hi</p>"), Reads(json!("<p>hi</p>"))),
                (json!(""), Reads(json!(false))),
            ],
        );
    });
}

#[test]
fn selections_by_value_or_label() {
    everywhere(|w| {
        check(
            w,
            "type",
            vec![
                (json!("invoice"), Reads(json!("invoice"))),
                (json!("Invoice"), Reads(json!("invoice"))),
                (json!("OTHER"), Reads(json!("other"))),
                (
                    json!("nonsense"),
                    Refused("Value 'nonsense' not found in selection field 'Address Type'"),
                ),
                (json!(5), Raised("builtins.AttributeError")),
            ],
        );
    });
}

#[test]
fn images_are_base64() {
    const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    everywhere(|w| {
        let fields = json!(["id", "name", "image_1920"]);
        let ids = w.load_once(
            "res.partner",
            fields.clone(),
            json!([[w.external("i"), "x", PIXEL]]),
        );
        assert!(
            w.value("res.partner", ids[0], "image_1920").is_string(),
            "{}",
            w.place()
        );
        for (cell, text) in [
            ("zz!", "Image is not encoded in base64."),
            (
                "no base64!",
                "This file could not be decoded as an image file.",
            ),
        ] {
            let row = json!([[w.external("j"), "x", cell]]);
            let answer = w.ok(w.load("res.partner", fields.clone(), row, create_once()));
            assert_eq!(answer["messages"][0]["message"], text, "{}", w.place());
        }
    });
}

#[test]
fn many2ones_by_id_by_external_id_and_by_name() {
    everywhere(|w| {
        let belgium = w.ok(w.call(
            "res.country",
            "search",
            json!({"domain": [["code", "=", "BE"]]}),
        ))[0]
            .clone();
        let gone = "No matching record found for";
        check(
            w,
            "country_id/.id",
            vec![
                (belgium.clone(), Reads(belgium.clone())),
                (json!(belgium.to_string()), Reads(belgium.clone())),
                (json!(""), Reads(json!(false))),
                (
                    json!("1987654321"),
                    Refused(
                        "No matching record found for database id '1987654321' in field 'Country'",
                    ),
                ),
                (
                    json!("nonsense"),
                    Refused("Invalid database id 'nonsense' for the field 'Country'"),
                ),
            ],
        );
        check(
            w,
            "country_id/id",
            vec![
                (json!("base.be"), Reads(belgium.clone())),
                (json!(""), Reads(json!(false))),
                (
                    json!("base.nowhere"),
                    Refused(
                        "No matching record found for external id 'base.nowhere' in field 'Country'",
                    ),
                ),
                (
                    json!("base.main_company"),
                    Refused("expected model 'res.country', found 'res.company'"),
                ),
                (json!(5), Raised("builtins.AttributeError")),
            ],
        );
        check(
            w,
            "country_id",
            vec![
                (json!("Belgium"), Reads(belgium)),
                (json!("Atlantis"), Refused(gone)),
            ],
        );
    });
}

#[test]
fn many2manys_are_text_with_commas() {
    everywhere(|w| {
        let tag = |name: &str| w.create("res.partner.category", json!({"name": w.unique(name)}));
        let (one, two) = (tag("one"), tag("two"));
        check(
            w,
            "category_id/.id",
            vec![
                (json!(format!("{one},{two}")), Reads(json!([one, two]))),
                (json!(one.to_string()), Reads(json!([one]))),
                (json!(""), Reads(json!([]))),
                (json!(one), Raised("builtins.AttributeError")),
            ],
        );
        // A second load replaces, unless the context says to add.
        let fields = json!(["id", "name", "category_id/.id"]);
        let load = |name: &str, cell: i64, context: Value| {
            let data = json!([[w.external(name), "x", cell.to_string()]]);
            w.ok(w.load("res.partner", fields.clone(), data, context))["ids"][0]
                .as_i64()
                .expect("an id")
        };
        load("replaced", one, json!({}));
        let id = load("replaced", two, json!({}));
        assert_eq!(
            w.value("res.partner", id, "category_id"),
            json!([two]),
            "{}",
            w.place()
        );
        let id = load("replaced", one, json!({"update_many2many": true}));
        let mut both = w
            .value("res.partner", id, "category_id")
            .as_array()
            .cloned()
            .unwrap_or_default();
        both.sort_by_key(Value::as_i64);
        assert_eq!(both, [json!(one), json!(two)], "{}", w.place());
    });
}

#[test]
fn times_are_naive_and_in_the_context_zone() {
    everywhere(|w| {
        let fields = json!(["id", "partner_id/.id", "date_order"]);
        let customer = w.partner("customer");
        let load = |name: &str, cell: &str, zone: &str| {
            let data = json!([[w.external(name), customer.to_string(), cell]]);
            let context = json!({"mode": "update", "noupdate": true, "tz": zone});
            w.ok(w.load("sale.order", fields.clone(), data, context))
        };
        for (name, cell, zone, wanted) in [
            ("utc", "2024-07-01 12:00:00", "UTC", "2024-07-01 12:00:00"),
            (
                "brussels",
                "2024-07-01 12:00:00",
                "Europe/Brussels",
                "2024-07-01 10:00:00",
            ),
            ("day", "2024-07-01", "UTC", "2024-07-01 00:00:00"),
        ] {
            let answer = load(name, cell, zone);
            let id = answer["ids"][0]
                .as_i64()
                .unwrap_or_else(|| panic!("{}: {answer}", w.place()));
            assert_eq!(
                w.value("sale.order", id, "date_order"),
                wanted,
                "{}",
                w.place()
            );
        }
        for refused in [
            "2024-07-01T12:00:00",
            "2024-07-01 12:00:00Z",
            "2024-07-01 12:00:00+02:00",
            "2024-07-01 12:00:00.5",
        ] {
            let answer = load("refused", refused, "UTC");
            assert_eq!(answer["ids"], false, "{}: {refused}", w.place());
            let text = answer["messages"][0]["message"]
                .as_str()
                .unwrap_or_default();
            assert!(
                text.contains("does not seem to be a valid datetime"),
                "{}: {text}",
                w.place()
            );
        }
        // `write` refuses them too, with an exception.
        let order = w.create("sale.order", json!({"partner_id": customer}));
        let vals = json!({"vals": {"date_order": "2024-07-01T12:00:00"}});
        w.raises(
            w.call_on("sale.order", json!([order]), "write", vals),
            "builtins.ValueError",
            500,
        );
        let vals = json!({"vals": {"validity_date": "2024-07-01"}});
        w.ok(w.call_on("sale.order", json!([order]), "write", vals));
        assert_eq!(w.value("sale.order", order, "validity_date"), "2024-07-01");
    });
}

#[test]
fn blank_cells_clear() {
    everywhere(|w| {
        let fields = json!(["id", "name", "ref", "country_id/id"]);
        let load = |row: Value| {
            w.ok(w.load(
                "res.partner",
                fields.clone(),
                json!([row]),
                json!({"lang": "en_US"}),
            ))
        };
        let id = load(json!([w.external("a"), "A", "R", "base.be"]))["ids"][0]
            .as_i64()
            .expect("an id");
        load(json!([w.external("a"), "A", null, ""]));
        assert_eq!(w.value("res.partner", id, "ref"), false, "{}", w.place());
        assert_eq!(w.value("res.partner", id, "country_id"), false);
    });
}
