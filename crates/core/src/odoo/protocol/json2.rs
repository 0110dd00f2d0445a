//! JSON-2: one URL per method, named arguments, the key as a bearer token.
//!
//! Source: `addons/rpc/controllers/json2.py` of Odoo 19.

use serde_json::{Map, Value};

use super::{Protocol, ProtocolKind, call_context, check_arguments};
use crate::failure::{ErrorClass, Failure};
use crate::http::{Method, Request, Response};
use crate::odoo::call::Call;
use crate::odoo::judge;
use crate::secret::Secret;

/// JSON-2 towards one server, as one user.
#[derive(Debug, Clone)]
pub struct Json2 {
    base: String,
    database: Option<String>,
    key: Secret,
}

impl Json2 {
    /// `base` is the server's URL without a trailing slash; `database` may be left out where the server has only one.
    #[must_use]
    pub fn new(base: &str, database: Option<&str>, key: Secret) -> Self {
        Self {
            base: base.to_owned(),
            database: database.map(str::to_owned),
            key,
        }
    }
}

impl Protocol for Json2 {
    fn kind(&self) -> ProtocolKind {
        ProtocolKind::Json2
    }

    fn request(&self, call: &Call) -> Result<Request, Failure> {
        check_arguments(call)?;
        if !call.positional.is_empty() {
            return Err(Failure::new(ErrorClass::Invalid, "JSON-2 has no positional arguments")
                .with_remedy("Give the arguments by name in kwargs, or set the connection's protocol to jsonrpc."));
        }
        if !is_token(self.key.expose()) {
            return Err(Failure::new(ErrorClass::Misconfigured, "the connection's secret is not an API key")
                .with_remedy("An API key is one line of printable ASCII; check what the secret reference points to."));
        }
        // An empty object would be read as "no body", and the method would run with its defaults.
        let mut body: Map<String, Value> = call.args.clone();
        body.insert("context".to_owned(), Value::Object(call_context(call)));
        if let Some(ids) = &call.ids {
            body.insert("ids".to_owned(), Value::from(ids.clone()));
        }
        let mut headers = vec![
            ("Content-Type", "application/json".to_owned()),
            ("Authorization", format!("bearer {}", self.key.expose())),
        ];
        if let Some(database) = &self.database {
            headers.push(("X-Odoo-Database", database.clone()));
        }
        Ok(Request {
            method: Method::Post,
            url: format!("{}/json/2/{}/{}", self.base, call.model, call.method),
            headers,
            body: Value::Object(body).to_string().into_bytes(),
            fresh: call.by_row,
        })
    }

    fn judge(&self, call: &Call, response: &Response) -> Result<Value, Failure> {
        judge::json2(call, response)
    }

    fn bare_result<'a>(&self, response: &'a Response) -> Option<&'a [u8]> {
        // What is no list or object is for `judge` to name.
        let is_json = matches!(response.body.trim_ascii_start().first(), Some(b'[' | b'{'));
        (response.status == 200 && is_json).then_some(response.body.as_slice())
    }
}

/// Whether a text can be a bearer token: visible ASCII, at least one character.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}
