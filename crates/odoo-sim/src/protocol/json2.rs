//! JSON-2: `POST /json/2/<model>/<method>` with a bearer key and one flat object of named arguments.

use super::call::{Call, run};
use crate::exception::{Class, Exception, Outcome};
use crate::orm::python;
use crate::server::{Answer, Delivery, Request};
use crate::sim::Shared;
use serde_json::{Map, Value as Json};
use std::sync::Arc;

pub(crate) fn answer(shared: &Arc<Shared>, request: &Request, generation: u64) -> Delivery {
    match prepare(shared, request) {
        Ok(call) => run(shared, call, &Json::Null, worded, generation),
        Err(answer) => Delivery::Whole(answer),
    }
}

fn prepare(shared: &Shared, request: &Request) -> Result<Call, Answer> {
    // With one database the header may be missing; a wrong name is a page, long before anyone speaks JSON.
    if request
        .header("x-odoo-database")
        .is_some_and(|name| name != shared.config.database)
    {
        return Err(Answer::abort(
            404,
            "<!DOCTYPE html>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n<p>No database is selected and the requested \
             URL was not found in the server-wide controllers.</p>\n<p>Please verify the hostname, <a \
             href=/web/login>login</a> and try again.</p>\n\n<!-- Alternatively, use the X-Odoo-Database header. -->\n",
        ));
    }
    if !request.body.is_empty() && request.media_type() != "application/json" {
        return Err(Answer::wrong_type("&#39;http&#39;", &request.path, "json2")
            .with("Accept", "application/json"));
    }
    let path = request.path.trim_start_matches("/json/2").trim_matches('/');
    let (model, method) = match path.split('/').collect::<Vec<_>>().as_slice() {
        [model, method] if request.verb == "POST" && !model.is_empty() => {
            ((*model).to_owned(), (*method).to_owned())
        }
        _ => {
            return Err(refused(
                Class::NotFound,
                "Did you mean POST /json/2/<model>/<method>?",
            ));
        }
    };
    let account = authenticate(shared, request)?;
    let mut named = body(request)?;
    let context = match named.remove("context") {
        None | Some(Json::Null) => Map::new(),
        Some(Json::Object(context)) => context,
        Some(other) => {
            let message = match other {
                Json::Array(_) => {
                    "cannot convert dictionary update sequence element #0 to a sequence".to_owned()
                }
                other => format!("'{}' object is not iterable", python::type_name(&other)),
            };
            return Err(worded_error(&Exception::type_error(message)));
        }
    };
    let ids = ids(named.remove("ids")).map_err(|error| worded_error(&error))?;
    Ok(Call {
        protocol: "json2",
        account,
        model,
        method,
        ids,
        positional: vec![],
        named,
        context,
        bytes: request.body.len(),
    })
}

fn authenticate(shared: &Shared, request: &Request) -> Result<crate::config::Account, Answer> {
    let header = request.header("authorization").unwrap_or_default();
    let token = match header.split_once(char::is_whitespace) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => {
            let text = "User not authenticated, use an API Key with a Bearer Authorization header.";
            return Err(refused(Class::Unauthorized, text).with("WWW-Authenticate", "Bearer"));
        }
    };
    shared.account_of_key(token).ok_or_else(|| {
        refused(Class::Unauthorized, "Invalid apikey").with("WWW-Authenticate", "Bearer")
    })
}

/// Arguments. Whatever is no object counts as no arguments at all.
fn body(request: &Request) -> Result<Map<String, Json>, Answer> {
    if request.body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&request.body) {
        Ok(Json::Object(named)) => Ok(named),
        Ok(_) => Ok(Map::new()),
        Err(error) => Err(refused(
            Class::BadRequest,
            &format!("could not parse the body as json: {error}"),
        )),
    }
}

/// `Model.browse(ids)`: a list, or one id alone; falsy ones stand for no record.
pub(super) fn ids(json: Option<Json>) -> Outcome<Vec<i64>> {
    let one = |json: &Json| match json {
        Json::Number(number) if number.is_i64() => Ok(number.as_i64().unwrap_or_default()),
        other if !python::truthy(other) => Ok(0),
        // No record has such an id.
        Json::Number(_) => Ok(i64::MIN),
        other => Err(Exception::not_an_id(other)),
    };
    match json {
        None | Some(Json::Null) => Ok(vec![]),
        Some(Json::Array(list)) => list.iter().map(one).collect(),
        Some(other) if python::truthy(&other) => Ok(vec![one(&other)?]),
        Some(_) => Ok(vec![]),
    }
}

fn worded(_: &Call, outcome: Outcome<Option<Json>>, _: &Json) -> Answer {
    match outcome {
        Ok(result) => Answer::json(200, &result.unwrap_or(Json::Null)),
        Err(error) => worded_error(&error),
    }
}

pub(crate) fn worded_error(error: &Exception) -> Answer {
    Answer::json(error.status(), &error.body())
}

fn refused(class: Class, message: &str) -> Answer {
    worded_error(&Exception::new(class, message))
}
