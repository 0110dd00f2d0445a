//! What `load` says when rows are wrong: shapes, innocent rows, and where it stops collecting.

use crate::world::{World, create_once, everywhere};
use serde_json::{Value, json};

#[track_caller]
fn refused(w: &World, fields: Value, data: Value) -> Vec<Value> {
    let answer = w.ok(w.load("res.partner", fields, data, create_once()));
    assert_eq!(answer["ids"], false, "{}: {answer}", w.place());
    assert_eq!(answer["nextrow"], 0);
    answer["messages"].as_array().cloned().unwrap_or_default()
}

#[test]
fn one_bad_row_refuses_all() {
    everywhere(|w| {
        let data = json!([[w.external("good"), "good"], [w.external("bad"), ""]]);
        let messages = refused(w, json!(["id", "name"]), data);
        let wanted = json!({"rows": {"from": 1, "to": 1}, "record": 1, "type": "error", "message": "Contacts require a name"});
        assert_eq!(messages, [wanted], "{}", w.place());
        let known = json!({"domain": [["module", "=", w.external("").trim_end_matches('.')]]});
        assert_eq!(
            w.ok(w.call("ir.model.data", "search_count", known)),
            0,
            "{}: nothing was created",
            w.place()
        );
    });
}

#[test]
fn a_bad_cell_names_its_field() {
    everywhere(|w| {
        let messages = refused(
            w,
            json!(["id", "name", "color"]),
            json!([[w.external("a"), "x", "much"]]),
        );
        let wanted = json!({"rows": {"from": 0, "to": 0}, "record": 0, "type": "error", "field": "color",
            "field_name": "Color Index", "message": "'much' does not seem to be an integer for field 'Color Index'"});
        assert_eq!(messages, [wanted], "{}", w.place());
    });
}

#[test]
fn children_of_good_rows_are_blamed_with_them() {
    everywhere(|w| {
        let fields = json!(["id", "name", "parent_id/id"]);
        let good = w.external("good");
        let data = json!([
            [good, "good", ""],
            [w.external("bad"), "", ""],
            [w.external("child"), "child", good]
        ]);
        let messages = refused(w, fields, data);
        let records: Vec<&Value> = messages.iter().map(|message| &message["record"]).collect();
        assert_eq!(records, [1, 2], "{}: {messages:?}", w.place());
        let text =
            format!("No matching record found for external id '{good}' in field 'Related Company'");
        assert_eq!(messages[1]["message"], json!(text), "{}", w.place());
        assert_eq!(messages[1]["field"], "parent_id");
    });
}

#[test]
fn references_go_backwards_only() {
    everywhere(|w| {
        let fields = json!(["id", "name", "parent_id/id"]);
        let (one, two) = (w.external("one"), w.external("two"));
        let messages = refused(
            w,
            fields.clone(),
            json!([[one, "one", two], [two, "two", ""]]),
        );
        assert!(
            messages[0]["message"]
                .as_str()
                .is_some_and(|text| text.starts_with("No matching record found for external id"))
        );
        let messages = refused(w, fields.clone(), json!([[one, "one", one]]));
        assert!(
            messages[0]["message"]
                .as_str()
                .is_some_and(|text| text.starts_with("No matching record found for external id"))
        );
        let ids = w.load_once(
            "res.partner",
            fields,
            json!([[two, "two", ""], [one, "one", two]]),
        );
        assert_eq!(
            w.value("res.partner", ids[1], "parent_id")[0],
            ids[0],
            "{}",
            w.place()
        );
    });
}

#[test]
fn it_stops_after_ten_errors() {
    everywhere(|w| {
        let rows: Vec<Value> = (0..30)
            .map(|n| json!([w.external(&format!("r{n}")), "", "x"]))
            .collect();
        let messages = refused(w, json!(["id", "name", "email"]), json!(rows));
        assert_eq!(messages.len(), 11, "{}", w.place());
        assert_eq!(messages[10]["type"], "warning");
        assert!(messages[10].get("record").is_none(), "{}", w.place());
    });
}

#[test]
fn unknown_columns_and_short_rows_raise() {
    everywhere(|w| {
        let load =
            |fields: Value, row: Value| w.load("res.partner", fields, json!([row]), create_once());
        for column in ["nonsense", "country_id/nonsense", "child_ids/nonsense"] {
            let raised = w.raises(
                load(json!(["id", column]), json!([w.external("a"), "x"])),
                "builtins.ValueError",
                500,
            );
            assert_eq!(
                raised.message,
                "Invalid field name 'nonsense'",
                "{}",
                w.place()
            );
        }
        let short = load(
            json!(["id", "name", "country_id/id"]),
            json!([w.external("a"), "x"]),
        );
        w.raises(short, "builtins.IndexError", 500);
        w.raises(
            load(json!(["id", "name"]), json!([5, "x"])),
            "builtins.TypeError",
            500,
        );
    });
}

#[test]
fn an_external_id_of_another_model_is_refused() {
    everywhere(|w| {
        let messages = refused(w, json!(["id", "name"]), json!([["base.be", "x"]]));
        let text = messages[0]["message"].as_str().unwrap_or_default();
        assert!(
            text.contains("found record of different model res.country"),
            "{}: {text}",
            w.place()
        );
    });
}

#[test]
fn nul_and_unknown_database_ids() {
    everywhere(|w| {
        let messages = refused(
            w,
            json!(["id", "name"]),
            json!([[w.external("a"), "NUL \u{0}"]]),
        );
        let text = messages[0]["message"].as_str().unwrap_or_default();
        assert!(
            text.starts_with("Unknown error during import: <class 'ValueError'>"),
            "{}: {text}",
            w.place()
        );
        let messages = refused(w, json!([".id", "name"]), json!([["1987654321", "x"]]));
        assert_eq!(
            messages[0]["message"],
            "Unknown database identifier '1987654321'",
            "{}",
            w.place()
        );
        assert_eq!(messages[0]["field"], ".id");
    });
}

#[test]
fn an_archived_record_is_unknown_by_id_unless_the_context_says_otherwise() {
    everywhere(|w| {
        let id = w.create("res.partner", json!({"name": "sleeping", "active": false}));
        let load = |context: Value| {
            w.ok(w.load(
                "res.partner",
                json!([".id", "name"]),
                json!([[id.to_string(), "woken"]]),
                context,
            ))
        };
        assert_eq!(
            load(json!({"mode": "update"}))["ids"],
            false,
            "{}",
            w.place()
        );
        assert_eq!(
            load(json!({"mode": "update", "active_test": false}))["ids"],
            json!([id]),
            "{}",
            w.place()
        );
        assert_eq!(w.value("res.partner", id, "name"), "woken");
    });
}

#[test]
fn unique_values_name_their_field() {
    everywhere(|w| {
        let fields = json!(["id", "name", "code"]);
        let answer = w.ok(w.load(
            "res.country",
            fields,
            json!([[w.external("c"), w.unique("Twin"), "BE"]]),
            create_once(),
        ));
        let message = &answer["messages"][0];
        assert_eq!(
            message["message"],
            "The code of the country must be unique!",
            "{}: {answer}",
            w.place()
        );
        assert_eq!(message["field"], "code");
    });
}
