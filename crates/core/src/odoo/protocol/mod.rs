//! The two ways to put a call on the wire, behind one trait.

mod json2;
mod jsonrpc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::call::Call;
use super::guard::{is_method_name, is_model_name};
use crate::failure::{ErrorClass, Failure};
use crate::http::{Request, Response};

pub use json2::Json2;
pub use jsonrpc::JsonRpc;

/// A protocol, as it is remembered and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProtocolKind {
    /// `POST /json/2/<model>/<method>`, Odoo 19 and later.
    Json2,
    /// `POST /jsonrpc`, deprecated by Odoo 19.
    JsonRpc,
}

impl ProtocolKind {
    /// `json2` or `jsonrpc`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json2 => "json2",
            Self::JsonRpc => "jsonrpc",
        }
    }

    /// The protocol of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Json2, Self::JsonRpc]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    /// What `auto` means for a server of this major version.
    #[must_use]
    pub fn for_major_version(major: i64) -> Self {
        if major >= 19 {
            Self::Json2
        } else {
            Self::JsonRpc
        }
    }
}

/// Turns calls into requests and answers into values. Pure: neither method does I/O.
pub trait Protocol: Send + Sync {
    fn kind(&self) -> ProtocolKind;
    /// The request for `call`, or why this protocol cannot carry it.
    fn request(&self, call: &Call) -> Result<Request, Failure>;
    /// What `response` to `call` means.
    fn judge(&self, call: &Call, response: &Response) -> Result<Value, Failure>;
    /// The JSON text of the result, where a success is nothing else.
    fn bare_result<'a>(&self, response: &'a Response) -> Option<&'a [u8]>;
}

/// Names that a row's arguments may not take. JSON-2 merges the body over the path, so an argument named `model` or
/// `method` would call something else than what was checked; the other two are not arguments in either protocol.
pub const RESERVED_ARGUMENTS: [&str; 4] = ["model", "method", "ids", "context"];

/// The last guard before a call is written down, whoever made it.
fn check_arguments(call: &Call) -> Result<(), Failure> {
    if !is_model_name(&call.model) || !is_method_name(&call.method) {
        return Err(Failure::new(
            ErrorClass::Bug,
            format!("{:?}.{:?} cannot be called", call.model, call.method),
        ));
    }
    if let Some(name) = RESERVED_ARGUMENTS
        .into_iter()
        .find(|name| call.args.contains_key(*name))
    {
        return Err(Failure::new(
            ErrorClass::Invalid,
            format!("an argument may not be named {name:?}"),
        )
        .with_remedy(
            "Ids belong in \"ids\" of the payload; the context is an option of the connection.",
        ));
    }
    // `write` and `unlink` on [0] or [false] answer true and do nothing; no ids at all would run on nothing, too. Only
    // `has_access` has a meaning without records: it then speaks of the model.
    let pointless = |ids: &Vec<i64>| {
        (ids.is_empty() && call.method != "has_access") || ids.iter().any(|id| *id <= 0)
    };
    if call.ids.as_ref().is_some_and(pointless) {
        return Err(Failure::new(
            ErrorClass::Bug,
            format!("{}.{} without a record", call.model, call.method),
        ));
    }
    Ok(())
}

/// The context that is sent: English where nothing else is asked for, because messages are read by people and by
/// [`super::judge`], and UTC because our times are.
fn call_context(call: &Call) -> Map<String, Value> {
    let mut context = call.context.clone();
    for (key, value) in [("lang", "en_US"), ("tz", "UTC")] {
        context.entry(key).or_insert_with(|| Value::from(value));
    }
    context
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::Secret;

    fn body(request: &Request) -> Value {
        serde_json::from_slice(&request.body).unwrap()
    }

    fn json2() -> Json2 {
        Json2::new("https://h", Some("prod"), Secret::new("k3y"))
    }

    #[test]
    fn json2_puts_everything_in_one_object() {
        let call = Call::new("res.partner", "write")
            .on(&[7])
            .with("vals", json!({"name": "A"}));
        let request = json2().request(&call).unwrap();
        assert_eq!(request.url, "https://h/json/2/res.partner/write");
        assert!(
            request
                .headers
                .contains(&("Authorization", "bearer k3y".to_owned()))
        );
        assert!(
            request
                .headers
                .contains(&("X-Odoo-Database", "prod".to_owned()))
        );
        let context = json!({"lang": "en_US", "tz": "UTC"});
        assert_eq!(
            body(&request),
            json!({"ids": [7], "vals": {"name": "A"}, "context": context})
        );
    }

    #[test]
    fn jsonrpc_puts_ids_and_the_create_list_in_position() {
        let rpc = JsonRpc::new("https://h", "prod", "sync", Secret::new("k3y"));
        let context = json!({"lang": "de_DE", "tz": "UTC"});
        let given = json!({"lang": "de_DE"});
        let call = Call::new("res.partner", "write")
            .on(&[7])
            .with("vals", json!({"name": "A"}));
        let call = call.in_context(given.as_object().unwrap());
        let request = rpc.request(&call).unwrap();
        assert_eq!(request.url, "https://h/jsonrpc");
        let args = &body(&request)["params"]["args"];
        assert_eq!(
            *args,
            json!(["prod", "uid of sync", "k3y", "res.partner", "write", [[7]], {"vals": {"name": "A"}, "context": context}])
        );
        let create = Call::new("res.partner", "create").with("vals_list", json!([{"name": "A"}]));
        assert_eq!(
            body(&rpc.request(&create).unwrap())["params"]["args"][5],
            json!([[{"name": "A"}]])
        );
    }

    #[test]
    fn an_argument_cannot_redirect_the_call() {
        let rpc = JsonRpc::new("https://h", "prod", "sync", Secret::new("k3y"));
        for name in RESERVED_ARGUMENTS {
            let call = Call::new("sale.order", "action_confirm")
                .on(&[1])
                .with(name, json!("res.users"));
            assert_eq!(
                json2().request(&call).unwrap_err().class,
                ErrorClass::Invalid,
                "{name}"
            );
            assert_eq!(
                rpc.request(&call).unwrap_err().class,
                ErrorClass::Invalid,
                "{name}"
            );
        }
        for (model, method) in [
            ("a/../b", "read"),
            ("res.partner", "../x"),
            ("res.partner", "_read"),
            ("", "read"),
        ] {
            assert_eq!(
                json2()
                    .request(&Call::new(model, method))
                    .unwrap_err()
                    .class,
                ErrorClass::Bug
            );
        }
    }

    #[test]
    fn no_call_goes_out_on_no_record() {
        for ids in [&[][..], &[0], &[-1], &[1, 0]] {
            let call = Call::new("res.partner", "unlink").on(ids);
            assert_eq!(json2().request(&call).unwrap_err().class, ErrorClass::Bug);
        }
    }

    #[test]
    fn a_key_that_no_header_takes_is_a_matter_of_configuration() {
        for key in ["", "a\nb", "a b", "schlüssel"] {
            let protocol = Json2::new("https://h", None, Secret::new(key));
            let failure = protocol
                .request(&Call::new("res.users", "context_get"))
                .unwrap_err();
            assert_eq!(failure.class, ErrorClass::Misconfigured);
        }
    }

    #[test]
    fn positions_travel_over_jsonrpc_only() {
        let mut call = Call::new("sale.order", "message_post").on(&[1]);
        call.positional = vec![json!("hello")];
        assert_eq!(
            json2().request(&call).unwrap_err().class,
            ErrorClass::Invalid
        );
        let rpc = JsonRpc::new("https://h", "prod", "sync", Secret::new("k3y"));
        assert_eq!(
            body(&rpc.request(&call).unwrap())["params"]["args"][5],
            json!([[1], "hello"])
        );
    }
}
