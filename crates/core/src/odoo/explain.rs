//! The requests a batch would send, for a person to read; sends nothing.
//!
//! The delivery itself runs, through a recorder in place of the client, so that what is shown is what would be sent. Where
//! the next request depends on an answer that nobody can guess, it ends with a note.

use std::cell::Cell;
use std::cell::RefCell;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::call::Call;
use super::client::Client;
use super::deliver::gateway::Gateway;
use super::deliver::{DeliverContext, deliver_through};
use super::endpoint::Endpoint;
use super::fields::ModelFields;
use super::values::FieldSource;
use crate::failure::{ErrorClass, Failure};
use crate::http::Request;
use crate::outbox::{Batch, Operation, Outcome};
use crate::secret::{MASK, Secret};

/// What [`super::deliver`] would send for `batch`, secrets masked, as
/// `{"protocol", "requests": [{"method", "url", "headers", "body"}], "refused": [{"row", "class", "message", "remedy"}], "notes": [text]}`.
///
/// Uses the field descriptions that `client` already has. Without them the request that asks for them is shown too, the
/// values are shown nearly as they came, and a note says so.
#[must_use]
pub fn explain(client: &Client, batch: &Batch, cx: &DeliverContext<'_>) -> Value {
    let recorder = Recorder {
        client,
        batch,
        requests: RefCell::default(),
        notes: RefCell::default(),
    };
    let stop = || false;
    let outcomes = deliver_through(
        &recorder,
        batch,
        &DeliverContext {
            should_stop: &stop,
            divided: &Cell::default(),
            ..*cx
        },
    );
    let refused: Vec<Value> = outcomes
        .into_iter()
        .filter_map(|(row, outcome)| match outcome {
            Outcome::Failed(failure) if !is_recorded(&failure) => Some(json!({
                "row": row,
                "class": failure.class.name(),
                "message": failure.message,
                "remedy": failure.remedy,
            })),
            Outcome::Failed(_) | Outcome::Delivered { .. } => None,
        })
        .collect();
    let protocol = client.known_protocol();
    if protocol.is_none() {
        recorder
            .note("The protocol is not known yet: /web/version is asked first. Shown is JSON-2.");
    }
    json!({
        "protocol": protocol.map_or("json2", super::ProtocolKind::name),
        "requests": recorder.requests.into_inner(),
        "refused": refused,
        "notes": recorder.notes.into_inner(),
    })
}

/// Answers like an Odoo in which nothing has happened yet.
struct Recorder<'a> {
    client: &'a Client,
    batch: &'a Batch,
    requests: RefCell<Vec<Value>>,
    notes: RefCell<Vec<String>>,
}

/// How a recorded request ends the delivery.
const RECORDED: &str = "recorded, not sent";

fn is_recorded(failure: &Failure) -> bool {
    failure.class == ErrorClass::Unreachable && failure.message == RECORDED
}

impl Recorder<'_> {
    fn note(&self, text: &str) {
        let mut notes = self.notes.borrow_mut();
        if !notes.iter().any(|note| note == text) {
            notes.push(text.to_owned());
        }
    }

    fn record(&self, call: &Call) -> Result<(), Failure> {
        let request = self
            .client
            .protocol_to_show()?
            .request(&self.client.placed(call))?;
        self.requests
            .borrow_mut()
            .push(shown(&request, self.client.secret()));
        Ok(())
    }

    fn end(&self, note: &str) -> Failure {
        self.note(note);
        Failure::new(ErrorClass::Unreachable, RECORDED)
    }
}

impl FieldSource for Recorder<'_> {
    fn fields(&self, model: &str) -> Result<Arc<ModelFields>, Failure> {
        if let Some(fields) = self.client.known_fields(model) {
            return Ok(fields);
        }
        self.record(&ModelFields::request(model))?;
        self.note(&format!("The fields of {model} are not known yet and are asked for first; values are shown nearly as they came."));
        let payloads = self.batch.rows.iter().map(|row| &row.payload);
        Ok(Arc::new(guessed(payloads).unwrap_or_default()))
    }
}

impl Gateway for Recorder<'_> {
    fn endpoint(&self) -> &Endpoint {
        self.client.endpoint()
    }

    fn run(&self, call: &Call) -> Result<Value, Failure> {
        self.record(call)?;
        match call.method.as_str() {
            // Is it there, and may it be changed? Yes, all of it. Is there anything newer, or has it happened already? No.
            "search" if self.batch.operation != Operation::Call => Ok(call
                .args
                .get("domain")
                .and_then(|domain| domain.get(0)?.get(2).cloned())
                .unwrap_or(json!([]))),
            "search" => Ok(json!([])),
            "check_object_reference" => {
                Err(self
                    .end("What follows depends on the record that this external id stands for."))
            }
            "search_read" => {
                Err(self.end("What follows depends on the records that these keys stand for."))
            }
            "load" if self.batch.operation == Operation::Upsert => Err(self.end(
                "Records that were there before are then changed by web_save_multi or write.",
            )),
            _ => Err(Failure::new(ErrorClass::Unreachable, RECORDED)),
        }
    }

    fn refreshed_fields(&self, _: &str) -> Option<Result<Arc<ModelFields>, Failure>> {
        None
    }

    fn has_web_save_multi(&self) -> Option<bool> {
        self.client.known_web_save_multi()
    }

    fn learn_web_save_multi(&self, _: bool) {}

    fn known_uid(&self) -> Option<i64> {
        None
    }

    fn learn_uid(&self, _: i64) {}
}

/// Fields as the payloads themselves suggest them: everything may be written, and stays as it is.
fn guessed<'p>(payloads: impl Iterator<Item = &'p Map<String, Value>>) -> Option<ModelFields> {
    let mut fields = Map::new();
    for (name, value) in payloads.flatten() {
        let kind = match value {
            Value::Bool(_) => "boolean",
            Value::Number(_) => "float",
            Value::String(_) | Value::Null => "char",
            Value::Array(_) | Value::Object(_) => "json",
        };
        fields
            .entry(name.clone())
            .or_insert_with(|| json!({"type": kind}));
    }
    ModelFields::from_json(&Value::Object(fields))
}

/// A request as a person reads it. The secret is masked where it stands alone, and in every text once more.
fn shown(request: &Request, secret: &Secret) -> Value {
    let headers: Map<String, Value> = request
        .headers
        .iter()
        .map(|(name, value)| {
            let value = if *name == "Authorization" {
                format!("bearer {MASK}")
            } else {
                secret.mask_in(value)
            };
            ((*name).to_owned(), Value::from(value))
        })
        .collect();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    json!({
        "method": request.method.name(),
        "url": secret.mask_in(&request.url),
        "headers": headers,
        "body": masked(body, secret),
    })
}

fn masked(value: Value, secret: &Secret) -> Value {
    match value {
        Value::String(text) => Value::String(secret.mask_in(&text)),
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| masked(item, secret)).collect())
        }
        Value::Object(object) => Value::Object(
            object
                .into_iter()
                .map(|(key, value)| (key, masked(value, secret)))
                .collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::odoo::ClientSettings;
    use crate::outbox::Row;

    const KEY: &str = "c4n4ry";

    fn client(options: Value) -> Client {
        let endpoint = Endpoint::parse("https://odoo.example.com", &options).unwrap();
        let client = Client::new(endpoint, Secret::new(KEY), ClientSettings::default()).unwrap();
        assert!(client.preload_fields(
            "res.partner",
            &json!({"name": {"type": "char"}, "country_id": {"type": "many2one", "relation": "res.country"}}),
        ));
        client
    }

    fn explained(
        options: Value,
        operation: Operation,
        payload: Value,
        odoo_id: Option<i64>,
    ) -> Value {
        let row = Row {
            id: 1,
            model: "res.partner".to_owned(),
            operation,
            payload: payload.as_object().unwrap().clone(),
            odoo_id,
            external_id: "ns.res_partner_1".to_owned(),
            has_record_key: true,
            changes: None,
            circle: None,
            seen: None,
        };
        let batch = Batch {
            model: row.model.clone(),
            operation,
            context: Map::new(),
            rows: vec![row],
            joined: std::collections::BTreeMap::new(),
            known: std::collections::BTreeMap::new(),
        };
        let stop = || false;
        let explained = explain(
            &client(options),
            &batch,
            &DeliverContext {
                namespace: "ns",
                connection: "odoo",
                policy: &crate::odoo::ModelPolicy::NONE,
                should_stop: &stop,
                divided: &Cell::default(),
            },
        );
        assert!(!explained.to_string().contains(KEY), "the secret is shown");
        explained
    }

    fn urls(explained: &Value) -> Vec<&str> {
        explained["requests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|request| request["url"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn each_operation_shows_its_requests() {
        let json2 =
            || json!({"protocol": "json2", "allow_methods": ["res.partner.action_archive"]});
        let url = |method: &str| format!("https://odoo.example.com/json/2/res.partner/{method}");
        let create = explained(
            json2(),
            Operation::Create,
            json!({"name": "A", "country_id": 3}),
            None,
        );
        assert_eq!(urls(&create), [url("load")]);
        assert_eq!(
            create["requests"][0]["body"]["data"],
            json!([["ns.res_partner_1", "3", "A"]])
        );
        assert_eq!(
            create["requests"][0]["headers"]["Authorization"],
            "bearer ********"
        );
        assert_eq!(create["refused"], json!([]));
        let upsert = explained(json2(), Operation::Upsert, json!({"name": "A"}), None);
        assert_eq!(urls(&upsert), [url("search"), url("load")]);
        let update = explained(json2(), Operation::Update, json!({"name": "A"}), Some(7));
        assert_eq!(urls(&update), [url("write")]);
        let update = explained(json2(), Operation::Update, json!({"name": "A"}), None);
        assert_eq!(
            urls(&update),
            ["https://odoo.example.com/json/2/ir.model.data/check_object_reference"]
        );
        let delete = explained(json2(), Operation::Delete, json!({}), Some(7));
        assert_eq!(urls(&delete), [url("search"), url("unlink")]);
        let call = json!({"method": "action_archive", "unless": [["active", "=", false]]});
        let call = explained(json2(), Operation::Call, call, Some(7));
        assert_eq!(urls(&call), [url("search"), url("action_archive")]);
    }

    #[test]
    fn jsonrpc_hides_the_key_in_its_body() {
        let options = json!({"protocol": "jsonrpc", "database": "prod", "login": "sync"});
        let create = explained(options, Operation::Create, json!({"name": "A"}), None);
        assert_eq!(create["requests"][0]["body"]["params"]["args"][2], MASK);
        assert_eq!(create["protocol"], "jsonrpc");
    }

    #[test]
    fn a_row_that_would_be_refused_says_why() {
        let create = explained(json!({}), Operation::Create, json!({"nam": "A"}), None);
        assert_eq!(create["requests"], json!([]));
        assert_eq!(create["refused"][0]["class"], "invalid");
        assert!(
            create["refused"][0]["remedy"]
                .as_str()
                .unwrap()
                .contains("name")
        );
    }
}
