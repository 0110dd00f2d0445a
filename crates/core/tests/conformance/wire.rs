//! Plain HTTP, below any client that might hide what an Odoo really says.

use serde_json::{Value, json};
use std::time::Duration;

/// What came back.
#[derive(Debug)]
pub struct Raw {
    pub status: u16,
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Raw {
    /// The body as JSON, null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn is_html(&self) -> bool {
        self.content_type.starts_with("text/html")
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(120)))
        .build()
        .into()
}

fn raw(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Raw {
    let mut response = response.expect("an answer");
    let content_type = response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let status = response.status().as_u16();
    let body = response
        .body_mut()
        .with_config()
        .limit(256 << 20)
        .read_to_vec()
        .expect("a whole body");
    Raw {
        status,
        content_type,
        body,
    }
}

/// `GET` without any header of ours.
pub fn get(url: &str) -> Raw {
    raw(agent().get(url).call())
}

/// `POST` with exactly these headers.
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Raw {
    let mut request = agent().post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    raw(request.send(body))
}

/// `POST` of JSON.
pub fn post_json(url: &str, headers: &[(&str, &str)], body: &Value) -> Raw {
    let mut all = vec![("Content-Type", "application/json")];
    all.extend_from_slice(headers);
    post(url, &all, body.to_string().as_bytes())
}

/// A JSON-RPC request of a service's method.
pub fn rpc(base: &str, service: &str, method: &str, args: Value) -> Value {
    let params = json!({"service": service, "method": method, "args": args});
    let raw = post_json(
        &format!("{base}/jsonrpc"),
        &[],
        &json!({"jsonrpc": "2.0", "method": "call", "id": 1, "params": params}),
    );
    assert_eq!(raw.status, 200, "JSON-RPC answers 200 whatever happens");
    raw.json()
}
