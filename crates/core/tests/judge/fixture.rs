//! What a real Odoo 19 answered, and the verdict on it.

use pg_etl_core::failure::Failure;
use pg_etl_core::http::Response;
use pg_etl_core::odoo::{Call, judge};
use serde_json::Value;

#[derive(Clone, Copy, PartialEq)]
pub enum Wire {
    Json2,
    JsonRpc,
}

pub fn fixture(wire: Wire, case: &str) -> Response {
    let text = match wire {
        Wire::Json2 => include_str!("../fixtures/json2.json"),
        Wire::JsonRpc => include_str!("../fixtures/jsonrpc.json"),
    };
    let all: Value = serde_json::from_str(text).unwrap();
    let answer = &all[case];
    assert!(answer.is_object(), "no fixture {case}");
    let body = match answer.get("json") {
        Some(json) => json.to_string(),
        None => answer["text"].as_str().unwrap().to_owned(),
    };
    Response {
        status: u16::try_from(answer["status"].as_u64().unwrap()).unwrap(),
        content_type: answer["content_type"].as_str().unwrap().to_owned(),
        retry_after: None,
        date: None,
        body: body.into_bytes(),
    }
}

/// As the fixtures were taken: by user 2, except where the case says otherwise.
pub fn judged(wire: Wire, case: &str, call: &Call, uid: i64) -> Result<Value, Failure> {
    match wire {
        Wire::Json2 => judge::json2(call, &fixture(wire, case)),
        Wire::JsonRpc => judge::jsonrpc(call, &fixture(wire, case), Some(uid)),
    }
}

pub fn write(ids: &[i64]) -> Call {
    Call::new("res.partner", "write").on(ids)
}
