//! `create`, `write`, `unlink`, `web_save_multi`: what they accept, and how they refuse.

use crate::world::{World, everywhere};
use serde_json::{Value, json};

const GONE: i64 = 1_987_654_321;

fn write(w: &World, ids: Value, vals: Value) -> Result<Value, crate::world::Raised> {
    w.call_on("res.partner", ids, "write", json!({"vals": vals}))
}

fn create(w: &World, vals: Value) -> Result<Value, crate::world::Raised> {
    w.call("res.partner", "create", json!({"vals_list": [vals]}))
}

#[test]
fn values_come_back_as_written() {
    everywhere(|w| {
        let id = w.create(
            "res.partner",
            json!({"name": "A", "email": "a@example.com", "color": 3, "is_company": true}),
        );
        let read = json!({"fields": ["name", "email", "color", "is_company", "ref", "country_id", "category_id"]});
        let row = w.ok(w.call_on("res.partner", json!([id]), "read", read));
        let wanted = json!([{"id": id, "name": "A", "email": "a@example.com", "color": 3, "is_company": true, "ref": false,
            "country_id": false, "category_id": []}]);
        assert_eq!(row, wanted, "{}", w.place());
        assert_eq!(
            w.ok(write(
                w,
                json!([id]),
                json!({"ref": "R", "id": 5, "create_date": "2001-01-01 00:00:00"})
            )),
            true
        );
        assert_eq!(w.value("res.partner", id, "ref"), "R");
        assert_eq!(
            w.ok(w.call_on("res.partner", json!([id]), "unlink", json!({}))),
            true
        );
        assert_eq!(
            w.ok(w.call_on(
                "res.partner",
                json!([id]),
                "read",
                json!({"fields": ["name"]})
            )),
            json!([])
        );
    });
}

#[test]
fn missing_records_are_named() {
    everywhere(|w| {
        let raised = w.raises(
            write(w, json!([GONE]), json!({"name": "x"})),
            "odoo.exceptions.MissingError",
            404,
        );
        assert!(
            raised.message.contains(&format!("res.partner({GONE},)")),
            "{}",
            raised.message
        );
        let unlink = w.call_on("res.partner", json!([GONE]), "unlink", json!({}));
        w.raises(unlink, "odoo.exceptions.MissingError", 404);
        let confirm = w.call_on("sale.order", json!([GONE]), "action_confirm", json!({}));
        w.raises(confirm, "odoo.exceptions.MissingError", 404);
    });
}

#[test]
fn one_missing_record_keeps_the_others() {
    everywhere(|w| {
        let id = w.partner("stays");
        let both = json!([id, GONE]);
        w.raises(
            w.call_on("res.partner", both.clone(), "unlink", json!({})),
            "odoo.exceptions.MissingError",
            404,
        );
        w.raises(
            write(w, both, json!({"name": "changed"})),
            "odoo.exceptions.MissingError",
            404,
        );
        assert_eq!(w.value("res.partner", id, "name"), "stays", "{}", w.place());
    });
}

#[test]
fn falsy_ids_do_nothing_and_say_yes() {
    everywhere(|w| {
        for ids in [json!([0]), json!([false]), json!([])] {
            assert_eq!(
                w.ok(write(w, ids.clone(), json!({"name": "x"}))),
                true,
                "{} {ids}",
                w.place()
            );
            assert_eq!(
                w.ok(w.call_on("res.partner", ids.clone(), "unlink", json!({}))),
                true,
                "{} {ids}",
                w.place()
            );
        }
    });
}

#[test]
fn unknown_fields_are_errors_of_python() {
    everywhere(|w| {
        let raised = w.raises(
            create(w, json!({"name": "x", "nonsense": 1})),
            "builtins.ValueError",
            500,
        );
        assert_eq!(raised.message, "Invalid field 'nonsense' in 'res.partner'");
        let id = w.partner("x");
        let raised = w.raises(
            write(w, json!([id]), json!({"nonsense": 1})),
            "builtins.KeyError",
            500,
        );
        assert_eq!(raised.message, "nonsense");
        let country = w.create(
            "res.country",
            json!({"name": w.unique("Land"), "code": code(w)}),
        );
        let raised = w.call_on(
            "res.country",
            json!([country]),
            "write",
            json!({"vals": {"nonsense": 1}}),
        );
        assert_eq!(
            w.raises(raised, "builtins.ValueError", 500).message,
            "Invalid field 'nonsense' in 'res.country'"
        );
    });
}

/// A country code that no country has; codes are two characters.
fn code(w: &World) -> String {
    let taken = w.ok(w.call(
        "res.country",
        "search_read",
        json!({"domain": [], "fields": ["code"]}),
    ));
    let taken: Vec<&str> = taken
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| row["code"].as_str())
        .collect();
    let mut free = (0..100)
        .map(|number| format!("{number:02}"))
        .filter(|code| !taken.contains(&code.as_str()));
    // Tests of both protocols run at the same time and must not pick the same one.
    let skip = w.external("").bytes().map(usize::from).sum::<usize>() % 50;
    free.nth(skip).expect("a free code")
}

#[test]
fn wrong_values_are_errors_of_python() {
    everywhere(|w| {
        for (vals, name, status) in [
            (
                json!({"name": "x", "color": "7.0"}),
                "builtins.ValueError",
                500,
            ),
            (
                json!({"name": "x", "color": [1]}),
                "builtins.TypeError",
                500,
            ),
            (
                json!({"name": "x", "color": 1_u64 << 40}),
                "psycopg2.errors.NumericValueOutOfRange",
                500,
            ),
            (
                json!({"name": "x", "partner_latitude": "much"}),
                "builtins.ValueError",
                500,
            ),
            (
                json!({"name": "x", "type": "nonsense"}),
                "builtins.ValueError",
                500,
            ),
            (
                json!({"name": "x", "category_id": "nonsense"}),
                "builtins.ValueError",
                500,
            ),
            (
                json!({"name": "x", "child_ids": 5}),
                "builtins.ValueError",
                500,
            ),
            (
                json!({"name": "x", "child_ids": [{"name": "y"}]}),
                "builtins.TypeError",
                500,
            ),
            (
                json!({"name": "x", "country_id": "nonsense"}),
                "psycopg2.errors.InvalidTextRepresentation",
                500,
            ),
            (
                json!({"name": "x", "country_id": [1]}),
                "psycopg2.errors.DatatypeMismatch",
                500,
            ),
            (json!({"name": "NUL \u{0}"}), "builtins.ValueError", 500),
            (
                json!({"email": "no name"}),
                "odoo.exceptions.ValidationError",
                422,
            ),
            (
                json!({"name": "x", "image_1920": "no base64!"}),
                "odoo.exceptions.UserError",
                422,
            ),
        ] {
            let raised = create(w, vals.clone());
            assert!(raised.is_err(), "{}: {vals}", w.place());
            w.raises(raised, name, status);
        }
    });
}

#[test]
fn a_reference_to_nothing_talks_of_deleting() {
    everywhere(|w| {
        let raised = create(w, json!({"name": "x", "industry_id": GONE}));
        let raised = w.raises(raised, "odoo.exceptions.ValidationError", 422);
        let wanted = "The operation cannot be completed: Another model is using the record you are trying to delete.";
        assert!(raised.message.starts_with(wanted), "{}", raised.message);
        assert!(
            raised.message.contains("'Industry' (industry_id)"),
            "{}",
            raised.message
        );
        // Where a computation follows the reference first, it is a missing record of the other model.
        let raised = w.raises(
            create(w, json!({"name": "x", "parent_id": GONE})),
            "odoo.exceptions.MissingError",
            404,
        );
        assert!(raised.message.contains(&format!("res.partner({GONE},)")));
    });
}

#[test]
fn write_takes_what_is_no_id_for_no_record() {
    everywhere(|w| {
        let id = w.create("res.partner", json!({"name": "x"}));
        for nonsense in [json!("nonsense"), json!([1])] {
            assert_eq!(
                w.ok(write(w, json!([id]), json!({"country_id": nonsense}))),
                true,
                "{}",
                w.place()
            );
            assert_eq!(w.value("res.partner", id, "country_id"), false);
        }
    });
}

#[test]
fn required_values_and_records_in_use() {
    everywhere(|w| {
        let raised = w.call("res.partner.category", "create", json!({"vals_list": [{}]}));
        let raised = w.raises(raised, "odoo.exceptions.ValidationError", 422);
        assert!(
            raised
                .message
                .contains("Missing required value for the field 'Name' (name)."),
            "{}",
            raised.message
        );
        let raised = w.raises(
            create(w, json!({"email": "x"})),
            "odoo.exceptions.ValidationError",
            422,
        );
        assert_eq!(
            raised.message,
            "The operation cannot be completed: Contacts require a name"
        );
        let country = w.create(
            "res.country",
            json!({"name": w.unique("Used"), "code": code(w)}),
        );
        let partner = w.create("res.partner", json!({"name": "x", "country_id": country}));
        let unlink = w.call_on("res.country", json!([country]), "unlink", json!({}));
        let raised = w.raises(unlink, "odoo.exceptions.ValidationError", 422);
        assert!(
            raised.message.contains("'Contact' (res.partner)"),
            "{}",
            raised.message
        );
        w.ok(w.call_on("res.partner", json!([partner]), "unlink", json!({})));
    });
}

#[test]
fn a_circle_of_partners_is_refused() {
    everywhere(|w| {
        let top = w.partner("top");
        let below = w.create("res.partner", json!({"name": "below", "parent_id": top}));
        let raised = w.raises(
            write(w, json!([top]), json!({"parent_id": below})),
            "odoo.exceptions.ValidationError",
            422,
        );
        assert!(
            raised.message.contains("recursive") || raised.message.contains("Recursion"),
            "{}",
            raised.message
        );
        w.ok(w.call_on("res.partner", json!([below]), "unlink", json!({})));
    });
}

#[test]
fn web_save_multi_saves_all_or_none() {
    everywhere(|w| {
        let (one, two) = (w.partner("one"), w.partner("two"));
        let save = |ids: Value, vals: Value| {
            w.call_on(
                "res.partner",
                ids,
                "web_save_multi",
                json!({"vals_list": vals, "specification": {}}),
            )
        };
        let saved = w.ok(save(
            json!([one, two]),
            json!([{"ref": "1", "id": 77}, {"ref": "2"}]),
        ));
        assert_eq!(saved, json!([{"id": one}, {"id": two}]), "{}", w.place());
        assert_eq!(
            (
                w.value("res.partner", one, "ref"),
                w.value("res.partner", two, "ref")
            ),
            (json!("1"), json!("2"))
        );
        // Duplicates apply in order.
        w.ok(save(
            json!([one, one]),
            json!([{"ref": "first"}, {"ref": "second"}]),
        ));
        assert_eq!(w.value("res.partner", one, "ref"), "second");
        w.raises(
            save(json!([one, two]), json!([{"ref": "x"}])),
            "builtins.ValueError",
            500,
        );
        let raised = save(
            json!([one, GONE]),
            json!([{"ref": "lost"}, {"ref": "lost"}]),
        );
        let raised = w.raises(raised, "odoo.exceptions.MissingError", 404);
        assert!(raised.message.contains(&format!("res.partner({GONE},)")));
        assert_eq!(
            w.value("res.partner", one, "ref"),
            "second",
            "{}: rolled back",
            w.place()
        );
    });
}

#[test]
fn an_import_context_names_new_records() {
    everywhere(|w| {
        let external = w.external("native");
        let (module, _) = external.split_once('.').expect("a dot");
        let arguments = json!({"vals_list": [{"id": external, "name": "x"}], "context": {"_import_current_module": module}});
        let first = w.ok(w.call("res.partner", "create", arguments.clone()))[0].clone();
        let metadata = w.ok(w.call_on("res.partner", json!([first]), "get_metadata", json!({})));
        assert_eq!(metadata[0]["xmlid"], json!(external), "{}", w.place());
        // Atomic, but not idempotent: the name moves on to a second record.
        let second = w.ok(w.call("res.partner", "create", arguments))[0].clone();
        assert_ne!(first, second);
        w.ok(w.call_on("res.partner", json!([first]), "unlink", json!({})));
    });
}

#[test]
fn a_read_leaves_out_what_is_gone() {
    everywhere(|w| {
        let id = w.partner("there");
        let read = |fields: Value| {
            let read = w.call_on(
                "res.partner",
                json!([id, GONE]),
                "read",
                json!({"fields": fields}),
            );
            w.ok(read).as_array().map(Vec::len)
        };
        assert_eq!(read(json!(["display_name"])), Some(1), "{}", w.place());
    });
}

#[test]
fn a_load_by_database_ids_changes_records_and_makes_none() {
    everywhere(|w| {
        let ids = [w.partner("one"), w.partner("two")];
        let fields = json!([".id", "ref", "country_id/.id", "is_company"]);
        let country =
            w.ok(w.call("res.country", "search", json!({"domain": [], "limit": 1})))[0].clone();
        let data = |ids: [i64; 2]| {
            let row = |id: i64| json!([id.to_string(), format!("R{id}"), country.to_string(), "1"]);
            json!(ids.map(row))
        };
        let answer = w.ok(w.load(
            "res.partner",
            fields.clone(),
            data(ids),
            json!({"tz": "UTC"}),
        ));
        assert_eq!(answer["ids"], json!(ids), "{}: {answer}", w.place());
        for id in ids {
            assert_eq!(w.value("res.partner", id, "ref"), format!("R{id}"));
            assert_eq!(w.value("res.partner", id, "is_company"), true);
        }
        // One that is gone refuses all.
        let refused = w.ok(w.load(
            "res.partner",
            fields,
            data([ids[0], GONE]),
            json!({"tz": "UTC"}),
        ));
        assert_eq!(refused["ids"], false, "{}: {refused}", w.place());
    });
}
