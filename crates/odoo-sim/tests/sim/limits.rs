//! Bad input ends a request, never the simulator.

use crate::caller::{call, exchange, request};
use odoo_sim::{Config, Sim};
use serde_json::json;

#[test]
fn nonsense_on_the_wire() {
    let sim = Sim::start(Config {
        max_body: 1 << 20,
        ..Config::default()
    })
    .expect("a free port");
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100 << 10));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(200));
    for bytes in [
        &b"\x00\x01\x02\r\n\r\n"[..],
        b"GET\r\n\r\n",
        long.as_bytes(),
        many.as_bytes(),
    ] {
        if let Ok(answer) = exchange(&sim, bytes) {
            assert_eq!(answer.status, 400);
        }
    }
    let negative = b"POST /jsonrpc HTTP/1.1\r\nContent-Length: -5\r\n\r\n";
    assert_eq!(exchange(&sim, negative).expect("an answer").status, 400);
    let answer = exchange(
        &sim,
        &request(
            &sim,
            "POST",
            "/json/2/res.partner/search",
            &"x".repeat((1 << 20) + 1),
        ),
    );
    assert_eq!(answer.expect("an answer").status, 413);
    assert_eq!(
        exchange(&sim, &request(&sim, "GET", "/nowhere", ""))
            .expect("an answer")
            .status,
        404
    );
    assert_eq!(
        call(&sim, "res.partner", "search_count", json!({"domain": []}))
            .expect("an answer")
            .status,
        200
    );
}

#[test]
fn nonsense_in_the_arguments() {
    let sim = Sim::start(Config::default()).expect("a free port");
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep = exchange(
        &sim,
        &request(&sim, "POST", "/json/2/res.partner/search", &deep),
    )
    .expect("an answer");
    assert_eq!(deep.status, 400);
    let odd = [
        json!(null),
        json!(true),
        json!(1e300),
        json!(-1),
        json!("x"),
        json!([]),
        json!([[]]),
        json!({}),
        json!([{"a": 1}]),
    ];
    let methods = [
        ("create", "vals_list"),
        ("write", "vals"),
        ("read", "fields"),
        ("search", "domain"),
        ("search", "order"),
        ("search", "limit"),
        ("search_read", "fields"),
        ("load", "fields"),
        ("load", "data"),
        ("web_save_multi", "vals_list"),
        ("web_save", "specification"),
        ("name_search", "name"),
        ("fields_get", "attributes"),
        ("has_access", "operation"),
        ("get_metadata", "ids"),
        ("search", "context"),
    ];
    for (method, argument) in methods {
        for value in &odd {
            let mut arguments = json!({"ids": [1], "domain": [], "fields": ["id"], "data": [["a.b"]], "vals_list": [{}]});
            arguments[argument] = value.clone();
            for drop_ids in [false, true] {
                let mut arguments = arguments.clone();
                if drop_ids {
                    arguments.as_object_mut().expect("an object").remove("ids");
                }
                call(&sim, "res.partner", method, arguments)
                    .unwrap_or_else(|e| panic!("{method} {argument}={value}: {e}"));
            }
        }
    }
    for field in [
        "name",
        "color",
        "country_id",
        "category_id",
        "child_ids",
        "image_1920",
        "is_company",
        "type",
        "barcode",
    ] {
        for value in &odd {
            for column in [
                field.to_owned(),
                format!("{field}/id"),
                format!("{field}/.id"),
                format!("{field}/name"),
            ] {
                let arguments =
                    json!({"fields": ["id", column], "data": [["a.b", value], ["", value]]});
                call(&sim, "res.partner", "load", arguments)
                    .unwrap_or_else(|e| panic!("{column}={value}: {e}"));
            }
            let vals = json!({"vals_list": [{"name": "x", field: value}]});
            call(&sim, "res.partner", "create", vals)
                .unwrap_or_else(|e| panic!("{field}={value}: {e}"));
        }
    }
    assert_eq!(
        call(&sim, "res.partner", "search_count", json!({"domain": []}))
            .expect("an answer")
            .status,
        200
    );
}
