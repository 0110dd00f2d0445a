//! JSON-RPC: `POST /jsonrpc`, positional arguments, and HTTP 200 whatever happens.

use super::call::{Call, run};
use super::json2::ids;
use super::login;
use super::work::method_of;
use crate::exception::{Class, Exception, Outcome};
use crate::orm::model::registry;
use crate::orm::python;
use crate::server::{Answer, Delivery, Request};
use crate::sim::Shared;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

pub(crate) fn answer(shared: &Arc<Shared>, request: &Request, generation: u64) -> Delivery {
    if !matches!(
        request.media_type().as_str(),
        "application/json" | "application/json-rpc"
    ) {
        return Delivery::Whole(Answer::wrong_type("&#39;http&#39;", "/jsonrpc", "jsonrpc"));
    }
    let envelope = match serde_json::from_slice(&request.body) {
        Ok(Json::Object(envelope)) => envelope,
        Ok(_) => return Delivery::Whole(Answer::abort(400, "Invalid JSON-RPC data")),
        Err(_) => return Delivery::Whole(Answer::abort(400, "Invalid JSON data")),
    };
    let id = envelope.get("id").cloned().unwrap_or_default();
    let params = envelope.get("params").cloned().unwrap_or_default();
    let text = |name: &str| params[name].as_str().unwrap_or_default().to_owned();
    let args = params["args"].as_array().cloned().unwrap_or_default();
    match (text("service").as_str(), text("method").as_str()) {
        ("object", method @ ("execute" | "execute_kw")) => {
            match prepare(shared, args, method == "execute_kw", request.body.len()) {
                Ok(call) => run(shared, call, &id, worded, generation),
                Err(error) => Delivery::Whole(envelope_of(Err(error), &id)),
            }
        }
        ("common", method) => {
            super::probe::common(shared, method, &args, &id, request.body.len(), generation)
        }
        (service, method) => {
            let error = match service {
                "" => Exception::type_error(
                    "JSONRPC.jsonrpc() missing 3 required positional arguments: 'service', 'method', and 'args'",
                ),
                "object" => Exception::new(
                    Class::Builtin("NameError"),
                    format!("Method not available {method}"),
                ),
                other => Exception::new(Class::Builtin("KeyError"), other),
            };
            Delivery::Whole(envelope_of(Err(error), &id))
        }
    }
}

/// `execute_kw(db, uid, password, model, method, args, kwargs)`; `execute` takes its arguments one by one.
fn prepare(shared: &Shared, args: Vec<Json>, keywords: bool, bytes: usize) -> Outcome<Call> {
    let [database, uid, password, model, method, rest @ ..] = args.as_slice() else {
        return Err(Exception::value_error(format!(
            "not enough values to unpack (expected at least 5, got {})",
            args.len()
        )));
    };
    if !python::truthy(password) {
        return Err(Exception::new(Class::AccessDenied, "Access Denied"));
    }
    check_database(shared, database)?;
    let uid = uid
        .as_i64()
        .or_else(|| uid.as_str().and_then(python::parse_int))
        .ok_or_else(|| match uid {
            Json::String(text) => Exception::value_error(format!(
                "invalid literal for int() with base 10: {}",
                python::quoted(text)
            )),
            other => Exception::type_error(format!(
                "int() argument must be a string, a bytes-like object or a real number, not '{}'",
                python::type_name(other)
            )),
        })?;
    let account = login::by_uid(shared, uid, password.as_str().unwrap_or_default())?;
    let (mut positional, mut named) = if keywords {
        let positional = match rest.first() {
            Some(Json::Array(list)) => list.clone(),
            None | Some(Json::Null) => vec![],
            Some(other) => {
                let name = python::type_name(other);
                return Err(Exception::type_error(format!(
                    "Value after * must be an iterable, not {name}"
                )));
            }
        };
        (
            positional,
            rest.get(1)
                .and_then(Json::as_object)
                .cloned()
                .unwrap_or_default(),
        )
    } else {
        (rest.to_vec(), Map::new())
    };
    let (model, method) = (python::text(model), python::text(method));
    let context = match named.remove("context") {
        Some(Json::Object(context)) => context,
        _ => Map::new(),
    };
    // Methods of records take their ids first.
    let known = registry()
        .find(&model)
        .and_then(|model| method_of(shared, model, &method));
    let mut own_ids = vec![];
    if known.is_some_and(|method| !method.on_model) {
        if positional.is_empty() {
            return Err(Exception::new(
                Class::Builtin("IndexError"),
                "list index out of range",
            ));
        }
        own_ids = ids(Some(positional.remove(0)))?;
    }
    Ok(Call {
        protocol: "jsonrpc",
        account,
        model,
        method,
        ids: own_ids,
        positional,
        named,
        context,
        bytes,
    })
}

pub(super) fn check_database(shared: &Shared, database: &Json) -> Outcome<()> {
    let name = database.as_str().unwrap_or_default();
    if name == shared.config.database {
        return Ok(());
    }
    Err(Exception::new(
        Class::Named("psycopg2.OperationalError".into()),
        format!(
            "connection to server on socket \"/var/run/postgresql/.s.PGSQL.5432\" failed: FATAL:  database \"{name}\" does \
             not exist\n"
        ),
    ))
}

fn worded(call: &Call, outcome: Outcome<Option<Json>>, id: &Json) -> Answer {
    // Over positional arguments `create` answers one dictionary with one id.
    let single = call.method == "create" && call.positional.first().is_some_and(Json::is_object);
    let outcome = outcome.map(|result| match result {
        Some(Json::Array(ids)) if single => ids.first().cloned(),
        other => other,
    });
    envelope_of(outcome, id)
}

/// The answer around a result or an error. A `None` leaves `result` out.
pub(crate) fn envelope_of(outcome: Outcome<Option<Json>>, id: &Json) -> Answer {
    let mut envelope = json!({"jsonrpc": "2.0", "id": id});
    match outcome {
        Ok(Some(result)) => envelope["result"] = result,
        Ok(None) => {}
        Err(error) => {
            envelope["error"] =
                json!({"code": 0, "message": "Odoo Server Error", "data": error.body()});
        }
    }
    Answer::json(200, &envelope)
}
