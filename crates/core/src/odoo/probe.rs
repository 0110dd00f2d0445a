//! Does the endpoint answer, and does it let us in?

use std::time::Instant;

use serde_json::{Map, Value, json};

use super::call::Call;
use super::client::Client;
use super::endpoint::ProtocolChoice;
use crate::failure::{ErrorClass, Failure};
use crate::http;

/// The rights a sync needs, in Odoo's names.
const RIGHTS: [&str; 4] = ["read", "create", "write", "unlink"];

/// The cheapest call that shows that the endpoint answers and that the credentials work.
///
/// The first step needs no credentials and costs Odoo next to nothing: a dead server is not asked for more.
pub fn probe(client: &Client) -> Result<(), Failure> {
    let _answers = http::until_end();
    version(client)?;
    client.run(&whoami()).map(drop)
}

/// A proxy may let only the protocol's own path through; with a fixed protocol the version is not needed.
fn version(client: &Client) -> Result<(), Failure> {
    match client.version() {
        Err(failure)
            if failure.class == ErrorClass::Misconfigured
                && client.endpoint().protocol != ProtocolChoice::Auto =>
        {
            Ok(())
        }
        answer => answer.map(drop),
    }
}

/// Reaches, authenticates, and names the rights that are missing on `models` (`res.partner` where none is given):
/// `{"ok", "version", "protocol", "database", "login", "uid", "latency_ms", "missing_rights": [text],
/// "error": null | {"class", "message", "remedy"}}`. Changes nothing in Odoo.
#[must_use]
pub fn test_connection(client: &Client, models: &[&str]) -> Value {
    let mut report = Map::new();
    let _answers = http::until_end();
    let endpoint = client.endpoint();
    report.insert("database".to_owned(), json!(endpoint.database));
    report.insert("login".to_owned(), json!(endpoint.login));
    let tested = test(client, models, &mut report);
    report.insert("ok".to_owned(), json!(tested.is_ok()));
    report.insert("version".to_owned(), json!(client.known_version()));
    report.insert(
        "protocol".to_owned(),
        json!(client.known_protocol().map(super::ProtocolKind::name)),
    );
    report.entry("uid").or_insert(json!(client.known_uid()));
    report.entry("latency_ms").or_insert(Value::Null);
    report.entry("missing_rights").or_insert(json!([]));
    let error = tested.err().map(|failure| {
        json!({"class": failure.class.name(), "message": failure.message, "remedy": failure.remedy})
    });
    report.insert("error".to_owned(), json!(error));
    Value::Object(report)
}

fn test(client: &Client, models: &[&str], report: &mut Map<String, Value>) -> Result<(), Failure> {
    version(client)?;
    let started = Instant::now();
    let context = client.run(&whoami())?;
    let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    report.insert("latency_ms".to_owned(), json!(elapsed));
    if let Some(uid) = context.get("uid").and_then(Value::as_i64) {
        report.insert("uid".to_owned(), json!(uid));
    }
    let mut missing = Vec::new();
    let models = if models.is_empty() {
        &["res.partner"]
    } else {
        models
    };
    for model in models {
        missing.extend(missing_rights(client, model)?);
    }
    report.insert("missing_rights".to_owned(), json!(missing));
    Ok(())
}

/// The current user's own context: every user may ask for it.
pub(super) fn whoami() -> Call {
    Call::new("res.users", "context_get")
}

/// Who we are, as that context says.
pub(super) fn uid_of(context: &Value) -> Result<i64, Failure> {
    let uid = context.get("uid").and_then(Value::as_i64);
    uid.ok_or_else(|| Failure::new(ErrorClass::Server, "Odoo does not say which user we are"))
}

fn missing_rights(client: &Client, model: &str) -> Result<Vec<String>, Failure> {
    let mut missing = Vec::new();
    for right in RIGHTS {
        match has_right(client, model, right) {
            Ok(true) => {}
            Ok(false) => missing.push(format!("{right} on {model}")),
            Err(failure) if failure.class == ErrorClass::UnknownModel => {
                return Ok(vec![format!("{model}: no such model in this Odoo")]);
            }
            Err(failure) if failure.class == ErrorClass::Forbidden => {
                missing.push(format!("{right} on {model}"))
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(missing)
}

/// `has_access` on no record asks about the model. Before Odoo 18 its name was `check_access_rights`.
fn has_right(client: &Client, model: &str, right: &str) -> Result<bool, Failure> {
    let call = Call {
        ids: Some(Vec::new()),
        ..Call::new(model, "has_access").with("operation", right)
    };
    let answer = match client.run(&call) {
        Err(failure)
            if failure.class == ErrorClass::UnknownModel
                && failure.message.contains("has_access") =>
        {
            let older = Call::new(model, "check_access_rights")
                .with("operation", right)
                .with("raise_exception", false);
            client.run(&older)
        }
        answer => answer,
    };
    answer.map(|answer| answer == json!(true))
}
