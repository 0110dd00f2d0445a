//! Errands that ask an endpoint one thing: how it is, and what a model consists of. The secret is read in a transaction, the endpoint
//! asked outside of any, on a thread.

use std::sync::Arc;
use std::time::Duration;

use pg_etl_core::channel::{Channel, Options};
use pg_etl_core::mirror::{Variants, columns};
use pg_etl_core::odoo;
use serde_json::{Value, json};

use super::intake::as_json;
use super::session;
use crate::connections::{secret, store as connections};

/// Asks Odoo what a mirror of a model would consist of.
pub fn describe(connection: &str, request: &Value) -> Value {
    let client = match client(connection) {
        Ok(client) => Arc::new(client),
        Err(message) => return json!({"error": message, "class": "misconfigured"}),
    };
    let model = request
        .get("model")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let chosen: Option<Vec<String>> = request
        .get("fields")
        .and_then(|fields| serde_json::from_value(fields.clone()).ok());
    let asked = Arc::clone(&client);
    let fields = on_a_thread(move || {
        let fresh = asked.refreshed_fields(&model);
        fresh.unwrap_or_else(|| asked.fields(&model))
    });
    let kept = session::transaction(|| {
        connections::keep_fields(connection, client.take_new_fields());
    });
    match (fields, kept) {
        (Some(Ok(fields)), Ok(())) => {
            let variants = Variants::read(&request["options"]);
            let (columns, skipped) = as_json(&columns(&fields, chosen.as_deref(), &variants));
            let described = fields.some_to_json(chosen.as_deref().unwrap_or_default());
            json!({"columns": columns, "skipped": skipped, "fields": described})
        }
        (Some(Err(failure)), _) => json!({
            "error": failure.message, "class": failure.class.name(), "remedy": failure.remedy,
        }),
        (None, _) => json!({"error": "the question failed inside pg_etl", "class": "bug"}),
        (_, Err(aborted)) => json!({"error": aborted.message, "class": "bug"}),
    }
}

/// A client of a connection. The secret is read in a transaction.
fn client(connection: &str) -> Result<odoo::Client, String> {
    let prepared = session::transaction(|| {
        let look = connections::look()
            .into_iter()
            .find(|look| look.name == connection && look.channel.is_none());
        let Some(look) = look else {
            return Err("the connection does not exist yet (a background worker sees committed settings only), or is not of kind odoo".to_owned());
        };
        let reference = look.secret.clone().ok_or("the connection has no secret")?;
        Ok((secret::read(&reference)?, look))
    });
    let (secret, look) = prepared.map_err(|aborted| aborted.message)??;
    let endpoint =
        odoo::Endpoint::parse(&look.url, &look.options).map_err(|error| error.message)?;
    odoo::Client::new(endpoint, secret, super::lane::client_settings(None))
        .map_err(|failure| failure.message)
}

/// Asks outside of any transaction, on a thread. `None`: it failed inside.
fn on_a_thread<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let mut pool = super::pool::Pool::start().ok()?;
    pool.submit(move |emit| emit(ask()));
    loop {
        match pool.take().pop() {
            Some(answer) => return answer.ok(),
            None => session::wait(Some(pool.readable()), Duration::from_secs(1), || {}),
        };
    }
}

/// Asks an endpoint how it is.
pub fn test(connection: &str) -> Value {
    let wrong = |class: &str, message: String| json!({"ok": false, "error": {"class": class, "message": message}});
    let broken = || wrong("bug", "the test failed inside pg_etl".to_owned());
    match channel(connection) {
        Ok(None) => {}
        Ok(Some(channel)) => {
            return match on_a_thread(move || channel.probe()) {
                None => broken(),
                Some(Err(failure)) => wrong(failure.class.name(), failure.message),
                Some(Ok(())) => {
                    json!({"ok": true, "note": "something answers there; SELECT etl.test_alert(…) sends a message"})
                }
            };
        }
        Err(message) => return wrong("misconfigured", message),
    }
    match client(connection) {
        Ok(client) => {
            on_a_thread(move || odoo::test_connection(&client, &[])).unwrap_or_else(broken)
        }
        Err(message) => wrong("misconfigured", message),
    }
}

/// A channel, ready to be used. `None`: the connection is none.
fn channel(connection: &str) -> Result<Option<Channel>, String> {
    let prepared = session::transaction(|| {
        let mut looks = connections::look().into_iter();
        let look = looks.find(|look| look.name == connection && look.channel.is_some())?;
        let secret = look.secret.as_deref().map(secret::read).transpose();
        Some(secret.map(|secret| (look, secret)))
    });
    let Some(prepared) = prepared.map_err(|aborted| aborted.message)? else {
        return Ok(None);
    };
    let (look, secret) = prepared?;
    let Some(kind) = look.channel else {
        return Ok(None);
    };
    let options = Options::parse(kind, &look.url, &look.options).map_err(|error| error.message)?;
    let channel = Channel::new(options, secret).map_err(|failure| failure.message)?;
    Ok(Some(channel))
}
