//! A user with few rights.

use crate::wire::rpc;
use crate::world::{World, create_once, every_target, everywhere};
use serde_json::json;

/// An internal user who may look at contacts but not change them.
fn reader(w: &World) -> World {
    let group = w.ok(w.call(
        "ir.model.data",
        "check_object_reference",
        json!({"module": "base", "xml_id": "group_user"}),
    ))[1]
        .clone();
    let (login, password) = (w.external("reader"), "a password of some length");
    let vals = json!({"name": "Reader", "login": login, "password": password, "group_ids": [[6, 0, [group]]]});
    let arguments = json!({"vals_list": [vals], "context": {"no_reset_password": true}});
    let user = w.ok(w.call("res.users", "create", arguments))[0]
        .as_i64()
        .expect("an id");
    let args = json!([w.target.database, login, password, {}]);
    assert_eq!(
        rpc(&w.target.url, "common", "authenticate", args)["result"],
        user,
        "{}",
        w.place()
    );
    w.as_user(user, password)
}

/// Users cannot always be deleted; an archived one is out of the way.
fn dismiss(w: &World, reader: &World) {
    let domain = json!([["login", "=", w.external("reader")]]);
    let found = w.ok(w.call("res.users", "search", json!({"domain": domain})));
    w.ok(w.call_on(
        "res.users",
        found,
        "write",
        json!({"vals": {"active": false}}),
    ));
    let refused = reader.call("res.partner", "search_count", json!({"domain": []}));
    reader.raises(refused, "odoo.exceptions.AccessDenied", 200);
}

#[test]
fn forbidden_operations_are_access_errors() {
    every_target(|w| {
        let reader = reader(w);
        let own =
            reader.ok(reader.call("res.partner", "search", json!({"domain": [], "limit": 1})))[0]
                .clone();
        for outcome in [
            reader.call(
                "res.partner",
                "create",
                json!({"vals_list": [{"name": "x"}]}),
            ),
            reader.call_on(
                "res.partner",
                json!([own]),
                "write",
                json!({"vals": {"name": "x"}}),
            ),
            reader.call_on("res.partner", json!([own]), "unlink", json!({})),
        ] {
            let raised = reader.raises(outcome, "odoo.exceptions.AccessError", 200);
            assert!(
                raised.message.contains("'Contact' (res.partner)"),
                "{}: {raised:?}",
                w.place()
            );
            assert!(
                raised.message.starts_with("You are not allowed to "),
                "{}: {raised:?}",
                w.place()
            );
        }
        dismiss(w, &reader);
    });
}

#[test]
fn inside_load_it_is_only_a_text() {
    every_target(|w| {
        let reader = reader(w);
        let answer = reader.ok(reader.load(
            "res.partner",
            json!(["id", "name"]),
            json!([[w.external("a"), "x"]]),
            create_once(),
        ));
        assert_eq!(answer["ids"], false, "{}: {answer}", w.place());
        let text = answer["messages"][0]["message"]
            .as_str()
            .unwrap_or_default();
        assert!(
            text.starts_with("You are not allowed to create 'Contact' (res.partner) records."),
            "{}: {text}",
            w.place()
        );
        // Hence the question in so many words.
        let may = |operation: &str| {
            reader.ok(reader.call_on(
                "res.partner",
                json!([]),
                "has_access",
                json!({"operation": operation}),
            ))
        };
        assert_eq!(
            (may("read"), may("create")),
            (json!(true), json!(false)),
            "{}",
            w.place()
        );
        dismiss(w, &reader);
    });
}

#[test]
fn the_administrator_may_everything() {
    everywhere(|w| {
        for operation in ["read", "write", "create", "unlink"] {
            let may = w.call_on(
                "res.partner",
                json!([]),
                "has_access",
                json!({"operation": operation}),
            );
            assert_eq!(w.ok(may), true, "{}: {operation}", w.place());
        }
        w.raises(
            w.call_on(
                "res.partner",
                json!([]),
                "has_access",
                json!({"operation": "x"}),
            ),
            "builtins.AssertionError",
            500,
        );
    });
}
