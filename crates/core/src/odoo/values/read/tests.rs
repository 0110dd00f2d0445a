use std::sync::Arc;

use serde_json::json;

use super::*;

/// A sale order and its lines, in the form of `fields_get`.
struct Sales;

impl FieldSource for Sales {
    fn fields(&self, model: &str) -> Result<Arc<ModelFields>, Failure> {
        let described = match model {
            "sale.order" => json!({
                "partner_id": {"type": "many2one", "relation": "res.partner"},
                "date_order": {"type": "datetime"},
                "tag_ids": {"type": "many2many", "relation": "crm.tag"},
                "locked": {"type": "boolean"},
                "state": {"type": "selection", "selection": [["draft", "Quotation"]], "readonly": true},
                "amount_total": {"type": "monetary", "readonly": true, "depends": ["order_line"]},
                "order_line": {"type": "one2many", "relation": "sale.order.line", "relation_field": "order_id"},
                "message_ids": {"type": "one2many", "relation": "mail.message", "relation_field": "res_id"},
            }),
            "sale.order.line" => json!({
                "order_id": {"type": "many2one", "relation": "sale.order"},
                "name": {"type": "text"},
                "product_id": {"type": "many2one", "relation": "product.product"},
                "product_uom_qty": {"type": "float"},
                "children_ids": {"type": "one2many", "relation": "sale.order.line"},
            }),
            other => return Err(Failure::new(ErrorClass::UnknownModel, other)),
        };
        Ok(Arc::new(ModelFields::from_json(&described).unwrap()))
    }
}

fn read(payload: Value, purpose: Purpose) -> Result<Values, Failure> {
    let endpoint = Endpoint::parse("https://h", &json!({})).unwrap();
    let naming = Naming {
        namespace: "ns",
        connection: "odoo",
    };
    let reader = Reader {
        endpoint: &endpoint,
        naming,
        source: &Sales,
    };
    read_payload(
        reader,
        "sale.order",
        payload.as_object().unwrap(),
        purpose,
        "ns.order",
    )
}

fn refused(payload: Value, purpose: Purpose) -> String {
    let failure = read(payload.clone(), purpose).expect_err(&payload.to_string());
    assert!(failure.remedy.is_some(), "{payload} has no remedy");
    failure.message
}

#[test]
fn a_whole_order() {
    let values = read(
        json!({
            "partner_id": 7,
            "date_order": "2024-01-31T09:00:00+01:00",
            "tag_ids": [],
            "locked": null,
            "order_line": [{"key": "1", "product_id": 3, "product_uom_qty": 2, "order_id": 99}, {"key": 2, "name": "note"}],
        }),
        Purpose::Create,
    )
    .unwrap();
    assert_eq!(values["partner_id"], Typed::One(Some(Reference::Id(7))));
    assert_eq!(
        values["date_order"],
        Typed::Scalar(json!("2024-01-31 08:00:00"))
    );
    assert_eq!(values["locked"], Typed::Scalar(json!(false)));
    let Typed::Lines(lines) = &values["order_line"] else {
        panic!()
    };
    assert_eq!(
        lines[0].identity,
        Reference::External(line_external_id("ns.order", "order_line", "1"))
    );
    assert_eq!(
        lines[1].identity,
        Reference::External(line_external_id("ns.order", "order_line", "2"))
    );
    assert!(
        !lines[0].values.contains_key("order_id"),
        "the line belongs to the record it stands in"
    );
}

#[test]
fn lines_in_every_form() {
    let forms = [
        json!([{"name": "a"}, {"name": "b"}]),
        json!([[0, 0, {"name": "a"}], [0, false, {"name": "b"}]]),
        json!([[0, "virtual_1", {"name": "a"}], {"key": "k", "name": "b"}]),
    ];
    for form in forms {
        let values = read(json!({"order_line": form}), Purpose::Create).unwrap();
        let Typed::Lines(lines) = &values["order_line"] else {
            panic!()
        };
        assert_eq!(lines.len(), 2);
    }
    for form in [
        json!([[1, 12, {"name": "a"}]]),
        json!([{"id": 12, "name": "a"}]),
    ] {
        let values = read(json!({"order_line": form}), Purpose::Update).unwrap();
        let Typed::Lines(lines) = &values["order_line"] else {
            panic!()
        };
        assert_eq!(lines[0].identity, Reference::Id(12));
        assert!(!lines[0].values.contains_key("id"));
    }
    // An id that is not known says nothing; the key does.
    for unknown in [json!(0), json!(null), json!(false)] {
        let form = json!([{"id": unknown, "key": "k", "name": "a"}]);
        let values = read(json!({"order_line": form}), Purpose::Update).unwrap();
        let Typed::Lines(lines) = &values["order_line"] else {
            panic!()
        };
        assert!(matches!(lines[0].identity, Reference::External(_)));
    }
    assert_eq!(
        read(json!({"order_line": null}), Purpose::Update).unwrap()["order_line"],
        Typed::Lines(vec![])
    );
}

#[test]
fn what_is_refused_names_its_field() {
    let table = [
        (json!({"partnr_id": 7}), "partnr_id"),
        (json!({"amount_total": 7}), "amount_total"),
        (json!({"partner_id": "Azure"}), "partner_id"),
        (json!({"partner_id": 0}), "partner_id"),
        (json!({"date_order": "tomorrow"}), "date_order"),
        (json!({"tag_ids": [[4, 7]]}), "tag_ids"),
        (json!({"state": "gone"}), "state"),
        (json!({"order_line": {"name": "a"}}), "order_line"),
        (json!({"order_line": [7]}), "order_line"),
        (json!({"order_line": [[2, 7]]}), "order_line"),
        (json!({"order_line": [[6, 0, [7]]]}), "order_line"),
        (json!({"order_line": [{"key": "1"}]}), "order_line[0]"),
        (
            json!({"order_line": [{"key": "", "name": "a"}]}),
            "order_line[0]",
        ),
        (
            json!({"order_line": [{"key": "1", "name": "a"}, {"key": 1, "name": "b"}]}),
            "order_line[1]",
        ),
        (json!({"order_line": [{"nam": "a"}]}), "sale.order.line"),
        (json!({"order_line": [{"name": "a\u{0}"}]}), "name"),
        (
            json!({"order_line": [{"children_ids": []}]}),
            "children_ids",
        ),
        (
            json!({"order_line": [[1, 12, {"name": "a"}]]}),
            "order_line[0]",
        ),
    ];
    for (payload, name) in table {
        let message = refused(payload.clone(), Purpose::Create);
        assert!(message.contains(name), "{payload}: {message}");
    }
    // Positions say nothing of lines that exist.
    for purpose in [Purpose::Update, Purpose::Upsert] {
        for line in [json!({"name": "a"}), json!([0, 0, {"name": "a"}])] {
            assert!(refused(json!({"order_line": [line]}), purpose).contains("\"key\""));
        }
        let both = json!({"order_line": [{"id": 12, "key": "k", "name": "a"}]});
        assert!(refused(both, purpose).contains("both"));
        for id in [json!(-1), json!("12"), json!(7.5), json!(9_999_999_999_i64)] {
            let line = json!({"id": id, "key": "k", "name": "a"});
            assert!(refused(json!({"order_line": [line]}), purpose).contains("order_line"));
        }
    }
    let known = json!({"order_line": [{"id": 12, "name": "a"}]});
    assert!(refused(known, Purpose::Create).contains("yet to be made"));
    assert!(refused(json!({"state": "draft"}), Purpose::Update).contains("state"));
}

#[test]
fn lines_of_a_denied_model_are_refused() {
    let failure = read(json!({"message_ids": [{"body": "x"}]}), Purpose::Create).unwrap_err();
    assert_eq!(failure.class, ErrorClass::Forbidden);
}

#[test]
fn a_payload_does_not_stand_in_the_message() {
    let long = "s3cret".repeat(20);
    assert!(!refused(json!({"partner_id": long}), Purpose::Create).contains("s3cret"));
}

#[test]
fn a_line_is_deleted_by_its_key_or_its_id() {
    let lines = |lines: Value| read(json!({"order_line": lines}), Purpose::Update);
    let Ok(values) = lines(json!([{"key": "1", "_delete": true}, {"id": 7, "_delete": true}]))
    else {
        panic!("refused");
    };
    let Some(Typed::Lines(found)) = values.get("order_line") else {
        panic!("no lines: {values:?}");
    };
    assert!(
        found
            .iter()
            .all(|line| line.removed && line.values.is_empty())
    );
    assert_eq!(found[1].identity, Reference::Id(7));
    for odd in [
        json!([{"key": "1", "_delete": false}]),
        json!([{"key": "1", "_delete": true, "name": "x"}]),
        json!([{"key": "1", "_delete": "yes"}]),
    ] {
        let message = refused(json!({"order_line": odd}), Purpose::Update);
        assert!(message.contains("order_line[0]"), "{message}");
    }
    refused(json!({"order_line": [{"_delete": true}]}), Purpose::Update);
}
