//! `call`: an allow-listed method, sent at most once unless its success can be checked.
//!
//! The payload is `{"method", "ids", "args", "kwargs", "unless"}`. `unless` is a domain that says that it has happened
//! already: it is asked before sending and again when no answer came.

use serde_json::{Map, Value, json};

use super::Delivery;
use super::delete::ids_of;
use crate::failure::{ErrorClass, Failure};
use crate::odoo::guard::check_method;
use crate::odoo::protocol::RESERVED_ARGUMENTS;
use crate::outbox::Row;

const KEYS: [&str; 5] = ["method", "ids", "args", "kwargs", "unless"];

/// A payload that was checked.
struct Asked {
    method: String,
    /// `None`: taken from the row.
    ids: Option<Vec<i64>>,
    args: Vec<Value>,
    kwargs: Map<String, Value>,
    unless: Option<Vec<Value>>,
}

impl Delivery<'_> {
    pub(super) fn call_methods(&mut self) {
        for row in &self.batch.rows {
            let outcome = self.call_method(row);
            match outcome {
                Ok(id) => self.deliver_row(row, id),
                Err(failure) => self.fail(row, failure),
            }
        }
    }

    fn call_method(&mut self, row: &Row) -> Result<Option<i64>, Failure> {
        let asked = asked(&row.payload)?;
        check_method(self.gateway.endpoint(), &row.model, &asked.method)?;
        let ids = match &asked.ids {
            Some(ids) => ids.clone(),
            None if row.odoo_id.is_none() && !row.has_record_key => Vec::new(),
            None => match self.target(row)? {
                Some(id) => vec![id],
                None => {
                    return Err(Failure::new(
                        ErrorClass::Dependency,
                        format!(
                            "Odoo has no {} with the external id {} yet",
                            row.model, row.external_id
                        ),
                    )
                    .with_remedy("It waits for the row that makes the record."));
                }
            },
        };
        let about = if let [id] = ids.as_slice() {
            Some(*id)
        } else {
            None
        };
        let open = match &asked.unless {
            Some(unless) => match self.still_open(&row.model, &ids, unless)? {
                Some(open) => open,
                None => return Ok(about),
            },
            None => ids,
        };
        let mut call = self.new_call(&row.model, &asked.method);
        call.by_row = true;
        call.args = asked.kwargs;
        call.positional = asked.args;
        if !open.is_empty() {
            call = call.on(&open);
        }
        match self.send(&call) {
            Ok(_) => Ok(about),
            Err(failure) if failure.class == ErrorClass::Unknown => self
                .happened_after_all(row, &open, asked.unless.as_deref(), failure)
                .map(|()| about),
            Err(failure) => Err(failure),
        }
    }

    /// The ids on which it has not happened yet; `None` where it has happened on all, or, without ids, at all.
    fn still_open(
        &mut self,
        model: &str,
        ids: &[i64],
        unless: &[Value],
    ) -> Result<Option<Vec<i64>>, Failure> {
        let mut domain = unless.to_vec();
        if !ids.is_empty() {
            // An explicit "&" would bind to the wrong terms of a domain in Polish notation; terms side by side are all
            // required, wherever they stand.
            domain.insert(0, json!(["id", "in", ids]));
        }
        let mut call = self
            .new_call(model, "search")
            .with("domain", Value::Array(domain));
        if ids.is_empty() {
            call = call.with("limit", 1);
        }
        call.context.insert("active_test".to_owned(), json!(false));
        // The row brought the domain: one that never ends must not count as an endpoint that cannot be reached.
        let answer = self.send(&call).map_err(|failure| match failure.class {
            ErrorClass::Unknown => Failure::new(
                ErrorClass::Server,
                format!("the \"unless\" of the call: {}", failure.message),
            ),
            _ => failure,
        });
        let found = match answer? {
            Value::Array(found) => found.iter().filter_map(Value::as_i64).collect::<Vec<_>>(),
            _ => {
                return Err(Failure::new(
                    ErrorClass::Server,
                    format!("search of {model} answered no list"),
                ));
            }
        };
        if ids.is_empty() {
            return Ok(found.is_empty().then(Vec::new));
        }
        let open: Vec<i64> = ids
            .iter()
            .copied()
            .filter(|id| !found.contains(id))
            .collect();
        Ok((!open.is_empty()).then_some(open))
    }

    /// After a call without an answer: success where `unless` says so now, else the failure. Odoo may still be at it, so
    /// that "no" is not an answer either.
    fn happened_after_all(
        &mut self,
        row: &Row,
        ids: &[i64],
        unless: Option<&[Value]>,
        failure: Failure,
    ) -> Result<(), Failure> {
        let Some(unless) = unless else {
            return Err(failure);
        };
        // This one question is the exception to sending nothing after an unknown outcome.
        let halted = self.halted.take();
        let open = self.still_open(&row.model, ids, unless);
        self.halted = self.halted.take().or(halted);
        match open {
            Ok(None) => {
                self.halted = None;
                Ok(())
            }
            Ok(Some(_)) | Err(_) => Err(failure),
        }
    }
}

fn asked(payload: &Map<String, Value>) -> Result<Asked, Failure> {
    const EXAMPLE: &str = "For example {\"method\": \"action_confirm\", \"ids\": [7], \"unless\": [[\"state\", \"=\", \"sale\"]]}.";
    let refuse = |why: String| Failure::new(ErrorClass::Invalid, why).with_remedy(EXAMPLE);
    if let Some(key) = payload.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(refuse(format!(
            "a call has no {key:?}; it has {}",
            KEYS.join(", ")
        )));
    }
    let method = match payload.get("method") {
        Some(Value::String(method)) => method.clone(),
        _ => return Err(refuse("a call needs \"method\", as text".to_owned())),
    };
    let ids = match payload.get("ids") {
        None | Some(Value::Null) => None,
        Some(ids) => Some(
            ids_of(ids)
                .ok_or_else(|| refuse("\"ids\" must be a list of Odoo ids above 0".to_owned()))?,
        ),
    };
    let list = |key: &str| match payload.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items.clone())),
        Some(_) => Err(refuse(format!("{key:?} must be a list"))),
    };
    let kwargs = match payload.get("kwargs") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(kwargs)) => kwargs.clone(),
        Some(_) => return Err(refuse("\"kwargs\" must be an object".to_owned())),
    };
    if let Some(name) = RESERVED_ARGUMENTS
        .into_iter()
        .find(|name| kwargs.contains_key(*name))
    {
        return Err(refuse(format!("an argument may not be named {name:?}")));
    }
    let unless = list("unless")?;
    if unless.as_ref().is_some_and(Vec::is_empty) {
        return Err(refuse(
            "\"unless\" is empty: it would hold for every record".to_owned(),
        ));
    }
    Ok(Asked {
        method,
        ids,
        args: list("args")?.unwrap_or_default(),
        kwargs,
        unless,
    })
}
