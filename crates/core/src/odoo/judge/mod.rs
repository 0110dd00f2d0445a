//! What an answer means: the one place where a class is chosen for what Odoo said.
//!
//! Pure. [`json2`] and [`jsonrpc`] unwrap their envelope; [`status`] judges what is not from Odoo's own code (proxies,
//! the HTTP layer); [`fault`] judges an exception by its name; [`load`] reads the answer of `load`, whose failures come
//! with status 200; [`remedy`] adds the words. The verdict table of the design is the specification, and
//! `tests/fixtures/` holds what a real Odoo answered for each of its rows.

mod fault;
pub mod load;
mod remedy;
mod status;

use serde_json::{Map, Value};

use super::call::Call;
use crate::failure::{ErrorClass, Failure};
use crate::http::json::{self, Unreadable};
use crate::http::{Response, TransportError};
pub use fault::Fault;
pub(crate) use fault::names_record;

/// What no answer at all means.
#[must_use]
pub fn transport(error: &TransportError) -> Failure {
    let (class, message) = match error {
        TransportError::Unbuildable(why) => (ErrorClass::Misconfigured, why.clone()),
        TransportError::NotSent(why) => (ErrorClass::Unreachable, format!("not sent: {why}")),
        TransportError::Lost(why) => (
            ErrorClass::Unknown,
            format!("sent, and no answer came: {why}"),
        ),
        TransportError::TooLarge(why) => (
            ErrorClass::Unknown,
            format!("sent, and the answer was not read: {why}"),
        ),
    };
    remedy::add(Failure::new(class, message), None)
}

/// What a JSON-2 answer to `call` means.
pub fn json2(call: &Call, response: &Response) -> Result<Value, Failure> {
    let judged = match response.status {
        200 => return success(call, response),
        _ => match exception(response) {
            Some(exception) => {
                fault::judge(call, &Fault::from_json(&exception, response.status), None)
            }
            None => status::judge(response),
        },
    };
    Err(finished(judged, call, response))
}

/// What a JSON-RPC answer to `call` means; `uid` is the user we called as, where it is known.
pub fn jsonrpc(call: &Call, response: &Response, uid: Option<i64>) -> Result<Value, Failure> {
    if response.status != 200 {
        let judged = match exception(response) {
            Some(exception) => {
                fault::judge(call, &Fault::from_json(&exception, response.status), uid)
            }
            None => status::judge(response),
        };
        return Err(finished(judged, call, response));
    }
    let mut envelope = match success(call, response)? {
        Value::Object(envelope) if envelope.get("jsonrpc").is_some() => envelope,
        _ => {
            return Err(finished(
                unreadable("the answer is no JSON-RPC envelope"),
                call,
                response,
            ));
        }
    };
    let judged = match envelope.remove("error") {
        // A method that returns None leaves `result` out.
        None | Some(Value::Null) => return Ok(envelope.remove("result").unwrap_or(Value::Null)),
        Some(Value::Object(error)) => match error.get("data") {
            Some(Value::Object(data)) => fault::judge(call, &Fault::from_json(data, 200), uid),
            // The JSON-RPC dispatcher itself: a session that expired, a route that is not there.
            _ => fault::judge(call, &Fault::from_json(&error, 200), uid),
        },
        Some(_) => unreadable("the answer's error is no object"),
    };
    Err(finished(judged, call, response))
}

/// A body that ought to be JSON because the status is 200.
fn success(call: &Call, response: &Response) -> Result<Value, Failure> {
    let read = json::parse(&response.body).map_err(|why| match why {
        Unreadable::NotJson if response.content_type == "text/html" => {
            "the answer is a web page".to_owned()
        }
        why => format!("the answer is unusable: {why}"),
    });
    read.map_err(|why| finished(unreadable(&why), call, response))
}

fn unreadable(why: &str) -> Failure {
    Failure::new(ErrorClass::Unknown, format!("HTTP 200, and {why}"))
}

/// The body of a failed answer, where it is an exception that Odoo wrote down.
fn exception(response: &Response) -> Option<Map<String, Value>> {
    // Odoo's tracebacks are kilobytes; megabytes are not from Odoo.
    if response.body.len() > 4 * 1024 * 1024 {
        return None;
    }
    match json::parse(&response.body).ok()? {
        Value::Object(body) if body.get("name").is_some_and(Value::is_string) => Some(body),
        _ => None,
    }
}

fn finished(mut failure: Failure, call: &Call, response: &Response) -> Failure {
    if matches!(
        failure.class,
        ErrorClass::Throttled | ErrorClass::Conflict | ErrorClass::Unknown | ErrorClass::Server
    ) {
        failure.retry_after = response.retry_after;
    }
    remedy::add(failure, Some(call))
}
