//! How long the keys of the connection's user last. Odoo does not tell which of them is ours.

use jiff::civil::DateTime;
use serde_json::{Value, json};

use super::call::Call;
use super::client::Client;
use crate::failure::Failure;
use crate::http;

/// How Odoo writes a time: naive UTC, whole seconds.
const FORMAT: &str = "%Y-%m-%d %H:%M:%S";
/// Most keys that are looked at.
const MOST: u32 = 100;

/// When the keys of our user end, the first one first; those that never end are not among them. Naive UTC, as Odoo writes it.
pub fn key_ends(client: &Client) -> Result<Vec<String>, Failure> {
    let _answers = http::until_end();
    let uid = client.own_uid()?;
    let call = Call::new("res.users.apikeys", "search_read")
        .with(
            "domain",
            json!([["user_id", "=", uid], ["expiration_date", "!=", false]]),
        )
        .with("fields", json!(["expiration_date"]))
        .with("order", "expiration_date")
        .with("limit", MOST);
    let found = client.run(&call)?;
    let ends = found.as_array().into_iter().flatten();
    let ends = ends.filter_map(|key| key.get("expiration_date").and_then(Value::as_str));
    Ok(ends
        .filter(|end| DateTime::strptime(FORMAT, end).is_ok())
        .map(str::to_owned)
        .collect())
}
