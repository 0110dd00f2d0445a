//! JSON-RPC: one URL, positional arguments, login and key in the body.
//!
//! Sources: `odoo/service/model.py` and `addons/rpc/controllers/jsonrpc.py` of Odoo 19.

use serde_json::{Map, Value, json};

use super::{Protocol, ProtocolKind, call_context, check_arguments};
use crate::failure::{ErrorClass, Failure};
use crate::http::{Method, Request, Response};
use crate::odoo::call::Call;
use crate::odoo::judge;
use crate::secret::Secret;

/// JSON-RPC towards one database, as one user.
#[derive(Debug, Clone)]
pub struct JsonRpc {
    base: String,
    database: String,
    login: String,
    key: Secret,
    /// From [`JsonRpc::authenticated`]; `None` only where a request is shown and not sent.
    uid: Option<i64>,
}

impl JsonRpc {
    /// Not yet authenticated.
    #[must_use]
    pub fn new(base: &str, database: &str, login: &str, key: Secret) -> Self {
        Self {
            base: base.to_owned(),
            database: database.to_owned(),
            login: login.to_owned(),
            key,
            uid: None,
        }
    }

    /// The request that asks for the uid.
    #[must_use]
    pub fn authentication(&self) -> Request {
        self.post(
            "common",
            "authenticate",
            json!([self.database, self.login, self.key.expose(), {}]),
        )
    }

    /// The same, with the uid that the answer to [`JsonRpc::authentication`] holds.
    pub fn authenticated(mut self, response: &Response) -> Result<Self, Failure> {
        let call = Call::new("common", "authenticate");
        match judge::jsonrpc(&call, response, None)? {
            Value::Number(uid) if uid.as_i64().is_some_and(|uid| uid > 0) => {
                self.uid = uid.as_i64();
                Ok(self)
            }
            // Odoo answers `false` to a wrong login or key.
            _ => Err(Failure::new(
                ErrorClass::Misconfigured,
                format!("Odoo refuses the login {:?} in the database {:?}", self.login, self.database),
            )
            .with_remedy("Check the login, the database and the key or password behind the secret reference.")),
        }
    }

    /// The user Odoo knows us as.
    #[must_use]
    pub fn uid(&self) -> Option<i64> {
        self.uid
    }

    fn post(&self, service: &str, method: &str, args: Value) -> Request {
        let body = json!({
            "jsonrpc": "2.0",
            "method": "call",
            "id": 1,
            "params": {"service": service, "method": method, "args": args},
        });
        Request {
            method: Method::Post,
            url: format!("{}/jsonrpc", self.base),
            headers: vec![("Content-Type", "application/json".to_owned())],
            body: body.to_string().into_bytes(),
            fresh: false,
        }
    }
}

impl Protocol for JsonRpc {
    fn kind(&self) -> ProtocolKind {
        ProtocolKind::JsonRpc
    }

    fn request(&self, call: &Call) -> Result<Request, Failure> {
        check_arguments(call)?;
        let mut kwargs: Map<String, Value> = call.args.clone();
        let mut args: Vec<Value> = Vec::new();
        if let Some(ids) = &call.ids {
            args.push(Value::from(ids.clone()));
        }
        // Odoo looks at the first positional argument of `create` to know whether to answer with one id or many.
        if call.method == "create" {
            args.extend(kwargs.remove("vals_list"));
        }
        args.extend(call.positional.iter().cloned());
        kwargs.insert("context".to_owned(), Value::Object(call_context(call)));
        let uid = self.uid.map_or_else(
            || Value::from(format!("uid of {}", self.login)),
            Value::from,
        );
        let execute = json!([
            self.database,
            uid,
            self.key.expose(),
            call.model,
            call.method,
            args,
            kwargs
        ]);
        Ok(Request {
            fresh: call.by_row,
            ..self.post("object", "execute_kw", execute)
        })
    }

    fn judge(&self, call: &Call, response: &Response) -> Result<Value, Failure> {
        judge::jsonrpc(call, response, self.uid)
    }

    fn bare_result<'a>(&self, _: &'a Response) -> Option<&'a [u8]> {
        None
    }
}
