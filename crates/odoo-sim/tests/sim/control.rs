//! The control API.

use crate::caller::{exchange, load, partners, request};
use odoo_sim::{Config, Sim};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn control(sim: &Sim, verb: &str, path: &str, body: Value) -> Value {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let answer =
        exchange(sim, &request(sim, verb, &format!("/_sim/{path}"), &body)).expect("an answer");
    assert_eq!(answer.status, 200, "{verb} {path}: {}", answer.json());
    answer.json()
}

#[test]
fn everything_can_be_said_over_http() {
    let sim = Sim::start(Config::default()).expect("a free port");
    control(
        &sim,
        "POST",
        "faults",
        json!({"effect": {"kind": "status", "status": 503}, "method": "load", "times": 1}),
    );
    assert_eq!(
        control(&sim, "GET", "faults", Value::Null)
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert_eq!(load(&sim, "a").expect("an answer").status, 503);
    control(&sim, "DELETE", "faults", Value::Null);
    control(
        &sim,
        "POST",
        "poison",
        json!({"model": "res.partner", "field": "name", "value": "bad"}),
    );
    assert_eq!(load(&sim, "bad").expect("an answer").json()["ids"], false);
    control(&sim, "DELETE", "poison", Value::Null);
    load(&sim, "a").expect("an answer");
    let requests = control(&sim, "GET", "requests", Value::Null);
    assert_eq!(requests[0]["faults"], json!(["status"]));
    assert_eq!(
        (&requests[2]["outcome"], &requests[2]["keys"]),
        (&json!("done"), &json!(["t.a"]))
    );
    control(&sim, "DELETE", "requests", Value::Null);
    assert_eq!(control(&sim, "GET", "totals", Value::Null)["committed"], 1);
    let records = control(&sim, "GET", "records/res.partner", Value::Null);
    assert!(
        records
            .as_array()
            .is_some_and(|rows| rows.iter().any(|row| row["name"] == "a"))
    );
    control(
        &sim,
        "POST",
        "rights",
        json!({"uid": 2, "rights": [{"model": "*", "allow": ["read"]}]}),
    );
    assert!(load(&sim, "b").expect("an answer").json()["messages"][0]["message"].is_string());
    control(
        &sim,
        "POST",
        "keys",
        json!({"uid": 2, "key": "another", "expires_in": 60}),
    );
    control(&sim, "DELETE", "keys/another", Value::Null);
    control(&sim, "POST", "rate", json!({"per_second": null}));
    control(&sim, "DELETE", "accounts/2", Value::Null);
    assert_eq!(load(&sim, "b").expect("an answer").status, 401);
    assert_eq!(partners(&sim, "b"), 0);
}

#[test]
fn down_and_up_again() {
    let sim = Sim::start(Config::default()).expect("a free port");
    control(&sim, "POST", "down", json!({"ms": 300}));
    let refused = || TcpStream::connect(("127.0.0.1", sim.port())).is_err();
    let wait = |wanted: bool| {
        let end = Instant::now() + Duration::from_secs(5);
        while refused() != wanted {
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait(true);
    wait(false);
}

#[test]
fn mistakes_are_explained() {
    let sim = Sim::start(Config::default()).expect("a free port");
    let bad = exchange(
        &sim,
        &request(
            &sim,
            "POST",
            "/_sim/faults",
            "{\"effect\": {\"kind\": \"nonsense\"}}",
        ),
    );
    let bad = bad.expect("an answer");
    assert_eq!(bad.status, 400);
    assert!(
        bad.json()["error"]
            .as_str()
            .is_some_and(|text| text.contains("nonsense"))
    );
    assert_eq!(
        exchange(&sim, &request(&sim, "GET", "/_sim/nothing", ""))
            .expect("an answer")
            .status,
        404
    );
}
