//! Finding things: searches, external ids, descriptions of fields.

use crate::world::{create_once, everywhere};
use serde_json::{Value, json};

#[test]
fn archived_records_hide_from_searches() {
    everywhere(|w| {
        let awake = w.create("res.partner", json!({"name": w.unique("p"), "ref": "a"}));
        let asleep = w.create(
            "res.partner",
            json!({"name": w.unique("p"), "active": false}),
        );
        let search = |context: Value| {
            w.ok(w.call("res.partner", "search", json!({"domain": [["name", "=", w.unique("p")]], "order": "id", "context": context})))
        };
        assert_eq!(search(json!({})), json!([awake]), "{}", w.place());
        assert_eq!(
            search(json!({"active_test": false})),
            json!([awake, asleep]),
            "{}",
            w.place()
        );
        let by_flag = json!({"domain": [["id", "in", [awake, asleep]], ["active", "=", false]]});
        assert_eq!(
            w.ok(w.call("res.partner", "search", by_flag)),
            json!([asleep])
        );
        // Reading by id does not care.
        let read = w.call_on(
            "res.partner",
            json!([asleep]),
            "read",
            json!({"fields": ["active"]}),
        );
        assert_eq!(w.ok(read), json!([{"id": asleep, "active": false}]));
    });
}

#[test]
fn external_ids_are_found_without_rights_on_their_table() {
    everywhere(|w| {
        let external = w.external("a");
        let (module, name) = external.split_once('.').expect("a dot");
        let ids = w.load_once(
            "res.partner",
            json!(["id", "name"]),
            json!([[external, "x"]]),
        );
        let find = |context: Value| {
            let arguments = json!({"module": module, "xml_id": name, "context": context});
            w.call("ir.model.data", "check_object_reference", arguments)
        };
        assert_eq!(
            w.ok(find(json!({}))),
            json!(["res.partner", ids[0]]),
            "{}",
            w.place()
        );
        w.ok(w.call_on(
            "res.partner",
            json!(ids),
            "write",
            json!({"vals": {"active": false}}),
        ));
        assert_eq!(
            w.ok(find(json!({}))),
            json!(["res.partner", false]),
            "{}: archived",
            w.place()
        );
        assert_eq!(
            w.ok(find(json!({"active_test": false}))),
            json!(["res.partner", ids[0]]),
            "{}",
            w.place()
        );
        w.ok(w.call_on("res.partner", json!(ids), "unlink", json!({})));
        let raised = w.raises(find(json!({})), "builtins.ValueError", 500);
        assert_eq!(
            raised.message,
            format!("External ID not found in the system: {external}")
        );
    });
}

/// Each process of Odoo remembers external ids, and a refused `load` leaves a memory of records that never came to be.
#[test]
fn after_a_refused_load_lookups_may_be_stale_but_loads_are_not() {
    everywhere(|w| {
        let external = w.external("good");
        let (module, name) = external.split_once('.').expect("a dot");
        let fields = json!(["id", "name"]);
        let refused = json!([[external, "good"], [w.external("bad"), ""]]);
        let answer = w.ok(w.load("res.partner", fields.clone(), refused, create_once()));
        assert_eq!(answer["ids"], false);
        let id = w.load_once("res.partner", fields.clone(), json!([[external, "good"]]))[0];
        let ask = || {
            let arguments =
                json!({"module": module, "xml_id": name, "context": {"active_test": false}});
            w.ok(w.call("ir.model.data", "check_object_reference", arguments))[1].clone()
        };
        let answers: Vec<Value> = (0..40).map(|_| ask()).collect();
        // `false` here does not mean that there is no record; an id is right, and some process knows it.
        assert!(
            answers
                .iter()
                .all(|answer| *answer == id || *answer == false),
            "{}: {answers:?}",
            w.place()
        );
        assert!(
            answers.iter().any(|answer| *answer == id),
            "{}: {answers:?}",
            w.place()
        );
        // A load asks the table itself.
        assert_eq!(
            w.load_once("res.partner", fields.clone(), json!([[external, "good"]])),
            [id],
            "{}",
            w.place()
        );
        let child = json!([[w.external("child"), "child", external]]);
        let child = w.load_once("res.partner", json!(["id", "name", "parent_id/id"]), child);
        assert_eq!(
            w.value("res.partner", child[0], "parent_id")[0],
            id,
            "{}",
            w.place()
        );
        // Deleting any record that has an external id makes every process forget, and then all are right.
        w.ok(w.call_on("res.partner", json!(child), "unlink", json!({})));
        assert!((0..20).all(|_| ask() == id), "{}", w.place());
    });
}

#[test]
fn metadata_names_records_back() {
    everywhere(|w| {
        let external = w.external("a");
        let ids = w.load_once(
            "res.partner",
            json!(["id", "name"]),
            json!([[external, "x"]]),
        );
        let entry =
            w.ok(w.call_on("res.partner", json!(ids), "get_metadata", json!({})))[0].clone();
        assert_eq!(entry["xmlid"], json!(external), "{}", w.place());
        assert_eq!(entry["noupdate"], true);
        assert_eq!(
            entry["xmlids"],
            json!([{"xmlid": external, "noupdate": true}])
        );
        assert!(
            entry["create_uid"].is_array() && entry["write_date"].is_string(),
            "{entry}"
        );
        let bare = w.partner("bare");
        let entry =
            w.ok(w.call_on("res.partner", json!([bare]), "get_metadata", json!({})))[0].clone();
        assert_eq!(
            (entry["xmlid"].clone(), entry["xmlids"].clone()),
            (json!(false), json!([]))
        );
    });
}

#[test]
fn pages_keep_their_order() {
    everywhere(|w| {
        let name = w.unique("page");
        let ids: Vec<i64> = (0..5)
            .map(|n| w.create("res.partner", json!({"name": name, "color": 10 - n})))
            .collect();
        let page = |domain: Value, order: &str, limit: usize| {
            let arguments =
                json!({"domain": domain, "fields": ["color"], "order": order, "limit": limit});
            let rows = w.ok(w.call("res.partner", "search_read", arguments));
            rows.as_array()
                .into_iter()
                .flatten()
                .filter_map(|row| row["id"].as_i64())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            page(json!([["name", "=", name]]), "id", 2),
            ids[..2],
            "{}",
            w.place()
        );
        assert_eq!(
            page(json!([["name", "=", name], ["id", ">", ids[1]]]), "id", 2),
            ids[2..4]
        );
        assert_eq!(
            page(json!([["name", "=", name]]), "color, id", 2),
            [ids[4], ids[3]]
        );
        assert_eq!(page(json!([["name", "=", name]]), "id desc", 1), [ids[4]]);
        let count =
            json!({"domain": ["|", ["id", "=", ids[0]], ["id", "in", [ids[1], 1_987_654_321]]]});
        assert_eq!(w.ok(w.call("res.partner", "search_count", count)), 2);
    });
}

#[test]
fn write_dates_come_in_whole_seconds_and_domains_ignore_the_rest() {
    everywhere(|w| {
        let id = w.partner("dated");
        let date = w.value("res.partner", id, "write_date");
        let date = date.as_str().expect("a date");
        assert_eq!(date.len(), 19, "{}: {date}", w.place());
        let found = |operator: &str, value: &str| {
            let domain = json!([["id", "=", id], ["write_date", operator, value]]);
            w.ok(w.call("res.partner", "search_count", json!({"domain": domain}))) == 1
        };
        assert!(
            found("=", date) && found(">=", date) && found("<=", date) && !found(">", date),
            "{}",
            w.place()
        );
        assert!(found(">=", "2001-01-01") && found(">", "2001-01-01T00:00:00"));
        for zoned in ["2024-01-01 00:00:00Z", "2024-01-01T00:00:00+02:00"] {
            let domain = json!([["write_date", ">", zoned]]);
            w.raises(
                w.call("res.partner", "search", json!({"domain": domain})),
                "builtins.ValueError",
                500,
            );
        }
    });
}

#[test]
fn bad_searches_are_errors() {
    everywhere(|w| {
        let search = |arguments: Value| w.call("res.partner", "search", arguments);
        let raised = w.raises(
            search(json!({"domain": [["nonsense", "=", 1]]})),
            "builtins.ValueError",
            500,
        );
        assert_eq!(
            raised.message,
            "Invalid field res.partner.nonsense in condition ('nonsense', '=', 1)"
        );
        w.raises(
            search(json!({"domain": [["name", "about", "x"]]})),
            "builtins.ValueError",
            500,
        );
        w.raises(search(json!({"domain": [1]})), "builtins.ValueError", 500);
        w.raises(
            search(json!({"domain": [], "order": "nonsense"})),
            "builtins.ValueError",
            500,
        );
        w.raises(
            search(json!({"domain": [], "order": "id;"})),
            "odoo.exceptions.UserError",
            422,
        );
        let read = w.call(
            "res.partner",
            "search_read",
            json!({"domain": [], "fields": ["nonsense"], "limit": 1}),
        );
        assert_eq!(
            w.raises(read, "builtins.ValueError", 500).message,
            "Invalid field 'nonsense' on 'res.partner'"
        );
    });
}

#[test]
fn fields_describe_themselves() {
    everywhere(|w| {
        let attributes = json!([
            "type",
            "required",
            "readonly",
            "store",
            "relation",
            "relation_field",
            "translate",
            "company_dependent"
        ]);
        let get =
            |model: &str| w.ok(w.call(model, "fields_get", json!({"attributes": attributes})));
        let partner = get("res.partner");
        for (field, wanted) in [
            (
                "name",
                json!({"type": "char", "required": false, "readonly": false, "store": true, "translate": false}),
            ),
            (
                "complete_name",
                json!({"type": "char", "readonly": true, "store": true}),
            ),
            (
                "display_name",
                json!({"type": "char", "readonly": true, "store": false}),
            ),
            (
                "country_id",
                json!({"type": "many2one", "relation": "res.country"}),
            ),
            (
                "child_ids",
                json!({"type": "one2many", "relation": "res.partner", "relation_field": "parent_id", "store": true}),
            ),
            (
                "category_id",
                json!({"type": "many2many", "relation": "res.partner.category", "store": true}),
            ),
            ("comment", json!({"type": "html"})),
            ("image_1920", json!({"type": "binary", "store": true})),
            ("write_date", json!({"type": "datetime", "readonly": true})),
            (
                "company_type",
                json!({"type": "selection", "readonly": false, "store": false}),
            ),
            ("barcode", json!({"company_dependent": true})),
        ] {
            for (attribute, value) in wanted.as_object().into_iter().flatten() {
                assert_eq!(
                    &partner[field][attribute],
                    value,
                    "{}: {field}.{attribute}",
                    w.place()
                );
            }
        }
        let order = get("sale.order");
        assert_eq!(order["partner_id"]["required"], true, "{}", w.place());
        assert_eq!(order["amount_total"]["readonly"], true);
        assert_eq!(order["order_line"]["relation_field"], "order_id");
        let product = get("product.product");
        assert_eq!(
            (
                product["name"]["store"].clone(),
                product["name"]["translate"].clone()
            ),
            (json!(false), json!(true))
        );
        let one = w.ok(w.call(
            "res.partner",
            "fields_get",
            json!({"allfields": ["type"], "attributes": ["selection"]}),
        ));
        assert_eq!(
            one["type"]["selection"][0],
            json!(["contact", "Contact"]),
            "{}",
            w.place()
        );
        assert_eq!(one.as_object().map(serde_json::Map::len), Some(1));
    });
}

#[test]
fn many2ones_read_with_or_without_names() {
    everywhere(|w| {
        let parent = w.partner("Parent");
        let child = w.create("res.partner", json!({"name": "Child", "parent_id": parent}));
        assert_eq!(
            w.value("res.partner", child, "parent_id"),
            json!([parent, "Parent"]),
            "{}",
            w.place()
        );
        assert_eq!(
            w.value("res.partner", child, "display_name"),
            "Parent, Child"
        );
        let bare = w.call_on(
            "res.partner",
            json!([child]),
            "read",
            json!({"fields": ["parent_id"], "load": null}),
        );
        assert_eq!(w.ok(bare)[0]["parent_id"], parent, "{}", w.place());
        w.ok(w.call_on("res.partner", json!([child]), "unlink", json!({})));
    });
}
