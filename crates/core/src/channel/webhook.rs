//! A webhook of anybody's: the message as JSON, signed where the connection has a secret.

use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;

use super::Channel;
use crate::alerts::Message;
use crate::failure::{ErrorClass, Failure};
use crate::http::Method;

pub(super) fn say(channel: &Channel, message: &Message) -> Result<(), Failure> {
    let body = json!({"version": 1, "database": message.database, "at": message.at, "status": message.status().name(), "headline": message.headline(), "alerts": message.alerts});
    let body = body.to_string();
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        // Whoever gets it twice, for its answer was lost, knows it by this.
        ("idempotency-key", message.id.clone()),
    ];
    if channel.secret.is_some() {
        let at = now();
        headers.push((
            "x-pg-etl-signature",
            format!("t={at},v1={}", signature(channel.secret(), at, &body)?),
        ));
    }
    let response = channel.exchange(
        Method::Post,
        channel.options.url.as_str(),
        headers,
        body.into_bytes(),
    )?;
    channel.judge(&response)
}

/// HMAC-SHA256 over `<seconds since 1970>.<body>`, in hexadecimal.
pub(super) fn signature(key: &str, at: u64, body: &str) -> Result<String, Failure> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|error| {
        Failure::new(
            ErrorClass::Misconfigured,
            format!("the secret cannot sign: {error}"),
        )
    })?;
    mac.update(format!("{at}.{body}").as_bytes());
    Ok(mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
