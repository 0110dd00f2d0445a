//! Getting in: versions, databases, keys, and calls that no model ever sees.

use crate::wire::{self, Raw, get, post, post_json, rpc};
use crate::world::{World, every_target, everywhere};
use serde_json::{Value, json};

fn json2(w: &World, path: &str, key: &str, database: &str, content_type: &str, body: &[u8]) -> Raw {
    post(
        &format!("{}/json/2/{path}", w.target.url),
        &[
            ("Content-Type", content_type),
            ("Authorization", &format!("bearer {key}")),
            ("X-Odoo-Database", database),
        ],
        body,
    )
}

/// JSON-2 with good credentials.
fn inside(w: &World, path: &str, body: &[u8]) -> Raw {
    json2(
        w,
        path,
        &w.target.key,
        &w.target.database,
        "application/json",
        body,
    )
}

#[test]
fn the_version_is_told_without_credentials() {
    every_target(|w| {
        let raw = get(&format!("{}/web/version", w.target.url));
        assert_eq!(raw.status, 200);
        let version = raw.json();
        assert_eq!(version["version_info"][0], 19, "{version}");
        assert!(
            version["version"]
                .as_str()
                .is_some_and(|text| text.starts_with("19.")),
            "{version}"
        );
        let common = rpc(&w.target.url, "common", "version", json!([]));
        assert_eq!(common["result"]["server_version_info"][0], 19, "{common}");
        assert_eq!(common["result"]["protocol_version"], 1);
        let health = get(&format!("{}/web/health", w.target.url));
        assert_eq!(
            (health.status, health.json()),
            (200, json!({"status": "pass"}))
        );
    });
}

#[test]
fn a_wrong_key_is_unauthorized() {
    every_target(|w| {
        let raw = json2(
            w,
            "res.partner/search_count",
            "wrong",
            &w.target.database,
            "application/json",
            b"{\"domain\": []}",
        );
        assert_eq!(raw.status, 401);
        assert_eq!(raw.json()["name"], "werkzeug.exceptions.Unauthorized");
        let bare = post_json(
            &format!("{}/json/2/res.partner/search_count", w.target.url),
            &[],
            &json!({"domain": []}),
        );
        assert_eq!(
            (bare.status, bare.json()["name"].clone()),
            (401, json!("werkzeug.exceptions.Unauthorized"))
        );
        let args = json!([
            w.target.database,
            2,
            "wrong",
            "res.partner",
            "search_count",
            [[]],
            {}
        ]);
        let answer = rpc(&w.target.url, "object", "execute_kw", args);
        assert_eq!(
            answer["error"]["data"]["name"], "odoo.exceptions.AccessDenied",
            "{answer}"
        );
        let args = json!([w.target.database, w.target.login, "wrong", {}]);
        assert_eq!(
            rpc(&w.target.url, "common", "authenticate", args)["result"],
            false
        );
    });
}

#[test]
fn a_password_and_a_key_authenticate_over_json_rpc() {
    every_target(|w| {
        for secret in [&w.target.password, &w.target.key] {
            let args = json!([w.target.database, w.target.login, secret, {}]);
            let uid = rpc(&w.target.url, "common", "authenticate", args)["result"].clone();
            assert!(uid.is_i64(), "{uid}");
        }
    });
}

#[test]
fn a_wrong_database_is_a_page_or_an_operational_error() {
    every_target(|w| {
        let raw = json2(
            w,
            "res.partner/search_count",
            &w.target.key,
            "no_such_database",
            "application/json",
            b"{}",
        );
        assert_eq!(raw.status, 404);
        assert!(raw.is_html(), "{}", raw.content_type);
        for (service, method, args) in [
            (
                "common",
                "authenticate",
                json!(["no_such_database", w.target.login, w.target.key, {}]),
            ),
            (
                "object",
                "execute_kw",
                json!([
                    "no_such_database",
                    2,
                    w.target.key,
                    "res.partner",
                    "search",
                    [[]],
                    {}
                ]),
            ),
        ] {
            let answer = rpc(&w.target.url, service, method, args);
            let data = &answer["error"]["data"];
            assert_eq!(data["name"], "psycopg2.OperationalError", "{answer}");
            let message = data["message"].as_str().unwrap_or_default();
            assert!(
                message.contains("database \"no_such_database\" does not exist"),
                "{message}"
            );
        }
    });
}

#[test]
fn a_user_that_is_gone_is_a_missing_record() {
    every_target(|w| {
        let args = json!([
            w.target.database,
            987_654,
            w.target.key,
            "res.partner",
            "search_count",
            [[]],
            {}
        ]);
        let data = rpc(&w.target.url, "object", "execute_kw", args)["error"]["data"].clone();
        assert_eq!(data["name"], "odoo.exceptions.MissingError", "{data}");
        assert!(
            data["message"]
                .as_str()
                .is_some_and(|text| text.contains("res.users(987654,)")),
            "{data}"
        );
    });
}

#[test]
fn unknown_models_and_methods() {
    everywhere(|w| {
        let model = w.call("no.such.model", "search_count", json!({"domain": []}));
        let method = w.call_on("res.partner", json!([]), "no_such_method", json!({}));
        if w.is_json2() {
            w.raises(model, "werkzeug.exceptions.NotFound", 404);
            w.raises(method, "werkzeug.exceptions.NotFound", 404);
        } else {
            let raised = w.raises(model, "odoo.exceptions.UserError", 200);
            assert_eq!(raised.message, "Object no.such.model doesn't exist");
            w.raises(method, "builtins.AttributeError", 200);
        }
        w.raises(
            w.call_on("res.partner", json!([1]), "_write", json!({"vals": {}})),
            "odoo.exceptions.AccessError",
            403,
        );
    });
}

#[test]
fn arguments_that_do_not_fit() {
    everywhere(|w| {
        let (name, status) = if w.is_json2() {
            ("werkzeug.exceptions.UnprocessableEntity", 422)
        } else {
            ("builtins.TypeError", 200)
        };
        w.raises(
            w.call(
                "res.partner",
                "search_count",
                json!({"domain": [], "nonsense": 1}),
            ),
            name,
            status,
        );
        w.raises(
            w.call("res.partner", "search_count", json!({})),
            name,
            status,
        );
        if w.is_json2() {
            let with_ids = w.call_on(
                "res.partner",
                json!([1]),
                "search_count",
                json!({"domain": []}),
            );
            w.raises(with_ids, name, 422);
        }
    });
}

#[test]
fn bodies_that_are_no_calls() {
    every_target(|w| {
        let malformed = inside(w, "res.partner/search_count", b"{\"domain\": ");
        assert_eq!(
            (malformed.status, malformed.json()["name"].clone()),
            (400, json!("werkzeug.exceptions.BadRequest"))
        );
        let text = json2(
            w,
            "res.partner/search_count",
            &w.target.key,
            &w.target.database,
            "text/plain",
            b"{}",
        );
        assert_eq!(text.status, 415);
        assert!(text.is_html());
        // Nothing and lists run the method with its defaults: never send either.
        assert_eq!(inside(w, "res.lang/search_read", b"").status, 200);
        assert_eq!(inside(w, "res.lang/search_read", b"[1]").status, 200);
        assert_eq!(inside(w, "res.partner", b"{}").status, 404);
        let url = format!("{}/jsonrpc", w.target.url);
        for body in [&b"{\"params\": "[..], b"[1]", b""] {
            let raw = post(&url, &[("Content-Type", "application/json")], body);
            assert_eq!(raw.status, 400, "{}", String::from_utf8_lossy(body));
            assert!(raw.is_html());
        }
        assert_eq!(
            post(&url, &[("Content-Type", "text/plain")], b"{}").status,
            415
        );
    });
}

#[test]
fn bodies_beyond_128_mib_are_refused() {
    every_target(|w| {
        let body = vec![b' '; (128 << 20) + 1];
        let raw = inside(w, "res.partner/search_count", &body);
        assert_eq!(raw.status, 413);
        assert_eq!(
            raw.json()["name"],
            "werkzeug.exceptions.RequestEntityTooLarge"
        );
        let raw = post(
            &format!("{}/jsonrpc", w.target.url),
            &[("Content-Type", "application/json")],
            &body,
        );
        assert_eq!(raw.status, 200);
        assert_eq!(
            raw.json()["error"]["data"]["name"],
            "werkzeug.exceptions.RequestEntityTooLarge"
        );
    });
}

#[test]
fn twenty_megabytes_pass() {
    everywhere(|w| {
        let domain = json!([["name", "=", "x".repeat(20 << 20)]]);
        assert_eq!(
            w.ok(w.call("res.partner", "search_count", json!({"domain": domain}))),
            0
        );
    });
}

#[test]
fn a_foreign_company_and_an_unknown_language() {
    everywhere(|w| {
        let read = |model: &str, context: Value| {
            w.call(
                model,
                "search_read",
                json!({"domain": [], "fields": ["name"], "limit": 1, "context": context}),
            )
        };
        let raised = read("res.partner", json!({"allowed_company_ids": [987_654]}));
        let raised = w.raises(raised, "odoo.exceptions.AccessError", 403);
        assert_eq!(
            raised.message,
            "Access to unauthorized or invalid companies."
        );
        let raised = w.raises(
            read("res.country", json!({"lang": "xx_XX"})),
            "odoo.exceptions.UserError",
            422,
        );
        assert_eq!(raised.message, "Invalid language code: xx_XX");
    });
}

#[test]
fn nothing_comes_back_as_no_result() {
    // Over JSON-RPC a `None` leaves `result` out altogether.
    every_target(|w| {
        let (uid, key) = (2, &w.target.key);
        let args = json!([
            w.target.database,
            uid,
            key,
            "res.partner",
            "check_access_rights",
            ["read"],
            {}
        ]);
        let answer = wire::rpc(&w.target.url, "object", "execute_kw", args);
        assert!(
            answer.get("result").is_none() && answer.get("error").is_none(),
            "{answer}"
        );
        let raw = inside(
            w,
            "res.partner/check_access_rights",
            b"{\"operation\": \"read\"}",
        );
        assert_eq!((raw.status, raw.body.as_slice()), (200, &b"null"[..]));
    });
}
