//! The public methods that every model has.

use super::env::Env;
use super::method::{Arguments, Method};
use super::model::Model;
use crate::exception::{Class, Exception, Outcome};
use serde_json::{Map, Value as Json, json};

macro_rules! method {
    ($name:literal, model, [$($parameter:literal),*], $run:expr) => {
        crate::orm::method::Method { name: $name, on_model: true, parameters: &[$($parameter),*], open: false, run: $run }
    };
    ($name:literal, records, [$($parameter:literal),*], $run:expr) => {
        crate::orm::method::Method { name: $name, on_model: false, parameters: &[$($parameter),*], open: false, run: $run }
    };
}
pub(crate) use method;

/// Methods of `BaseModel`; a model's own come first.
pub(crate) const BASE: &[Method] = &[
    method!("create", model, ["vals_list"], create),
    method!("write", records, ["vals"], |env, model, ids, arguments| {
        // Python touches the ids before the values, but only where there are any.
        if !ids.is_empty() {
            env.write(model, ids, arguments.dict("vals")?)?;
        }
        Ok(Some(json!(true)))
    }),
    method!("unlink", records, [], |env, model, ids, _| env
        .unlink(model, ids)
        .map(|()| Some(json!(true)))),
    method!(
        "read",
        records,
        ["fields?", "load?"],
        |env, model, ids, arguments| {
            let names = with_names(arguments);
            Ok(Some(Json::from(env.read(
                model,
                ids,
                &arguments.names("fields"),
                names,
            )?)))
        }
    ),
    method!(
        "search",
        model,
        ["domain", "offset?", "limit?", "order?"],
        |env, model, _, arguments| { Ok(Some(json!(search(env, model, arguments)?))) }
    ),
    method!(
        "search_count",
        model,
        ["domain", "limit?"],
        |env, model, _, arguments| {
            Ok(Some(json!(
                env.search(
                    model,
                    arguments.get("domain"),
                    0,
                    arguments.count("limit"),
                    Some("id")
                )?
                .len()
            )))
        }
    ),
    Method {
        name: "search_read",
        on_model: true,
        parameters: &["domain?", "fields?", "offset?", "limit?", "order?"],
        open: true,
        run: search_read,
    },
    method!(
        "name_search",
        model,
        ["name?", "domain?", "operator?", "limit?"],
        name_search
    ),
    method!(
        "load",
        model,
        ["fields", "data"],
        |env, model, _, arguments| {
            crate::load::load(env, model, arguments.get("fields"), arguments.get("data")).map(Some)
        }
    ),
    method!(
        "fields_get",
        model,
        ["allfields?", "attributes?"],
        |env, model, _, arguments| {
            env.check_access(model, "read")?;
            let attributes = arguments
                .get("attributes")
                .is_array()
                .then(|| arguments.names("attributes"));
            Ok(Some(env.describe(
                model,
                &arguments.names("allfields"),
                attributes.as_deref(),
            )))
        }
    ),
    method!(
        "has_access",
        records,
        ["operation"],
        |env, model, _, arguments| {
            let operation = arguments.text("operation");
            if !["read", "write", "create", "unlink"].contains(&operation) {
                return Err(Exception::new(
                    Class::Builtin("AssertionError"),
                    "Invalid access mode",
                ));
            }
            Ok(Some(json!(env.account.may(model.name, operation))))
        }
    ),
    method!(
        "check_access_rights",
        model,
        ["operation", "raise_exception?"],
        |env, model, _, arguments| {
            let operation = arguments.text("operation");
            if arguments
                .0
                .get("raise_exception")
                .is_none_or(super::python::truthy)
            {
                return env.check_access(model, operation).map(|()| None);
            }
            Ok(Some(json!(env.account.may(model.name, operation))))
        }
    ),
    method!("get_metadata", records, [], |env, model, ids, _| env
        .metadata(model, ids)
        .map(Some)),
    method!(
        "web_read",
        records,
        ["specification"],
        |env, model, ids, arguments| web_read(env, model, ids, arguments)
    ),
    method!(
        "web_save",
        records,
        ["vals", "specification", "next_id?"],
        |env, model, ids, arguments| {
            let vals = arguments.dict("vals")?;
            let saved = if ids.is_empty() {
                env.create(model, std::slice::from_ref(vals))?
            } else {
                env.write(model, ids, vals)?;
                ids.to_vec()
            };
            web_read(env, model, &saved, arguments)
        }
    ),
    method!(
        "web_save_multi",
        records,
        ["vals_list", "specification"],
        |env, model, ids, arguments| {
            let Json::Array(vals_list) = arguments.get("vals_list") else {
                return Err(Exception::type_error(
                    "object of type 'NoneType' has no len()",
                ));
            };
            if vals_list.len() != ids.len() {
                return Err(Exception::value_error(
                    "Each record must have a corresponding vals entry.",
                ));
            }
            for (id, vals) in ids.iter().zip(vals_list) {
                let vals = vals.as_object().ok_or_else(|| {
                    let name = super::python::type_name(vals);
                    Exception::attribute_error(format!("'{name}' object has no attribute 'items'"))
                })?;
                env.write(model, &[*id], vals)?;
            }
            web_read(env, model, ids, arguments)
        }
    ),
    method!("action_archive", records, [], |env, model, ids, _| {
        set_active(env, model, ids, false)
    }),
    method!("action_unarchive", records, [], |env, model, ids, _| {
        set_active(env, model, ids, true)
    }),
];

fn create(
    env: &mut Env,
    model: &'static Model,
    _: &[i64],
    arguments: &Arguments,
) -> Outcome<Option<Json>> {
    let vals_list = arguments.dicts("vals_list")?;
    Ok(Some(json!(env.create(model, &vals_list)?)))
}

fn with_names(arguments: &Arguments) -> bool {
    arguments
        .0
        .get("load")
        .is_none_or(|load| load.as_str() == Some("_classic_read"))
}

fn search(env: &Env, model: &'static Model, arguments: &Arguments) -> Outcome<Vec<i64>> {
    let everything = json!([]);
    let domain = match arguments.get("domain") {
        Json::Null => &everything,
        domain => domain,
    };
    let order = arguments.get("order").as_str();
    if arguments
        .get("limit")
        .as_i64()
        .is_some_and(|limit| limit < 0)
    {
        return Err(Exception::database(
            "InvalidRowCountInLimitClause",
            "LIMIT must not be negative\n",
        ));
    }
    // A limit of 0 is no limit, as in Odoo's SQL.
    let limit = arguments.count("limit").filter(|limit| *limit > 0);
    env.search(
        model,
        domain,
        arguments.count("offset").unwrap_or(0),
        limit,
        order,
    )
}

fn search_read(
    env: &mut Env,
    model: &'static Model,
    _: &[i64],
    arguments: &Arguments,
) -> Outcome<Option<Json>> {
    let fields = arguments.names("fields");
    env.fields_to_read(model, &fields)?;
    let ids = search(env, model, arguments)?;
    // The flag is meant for the search; lines and tags of what was found are shown without the archived ones.
    env.context.remove("active_test");
    Ok(Some(Json::from(env.read(
        model,
        &ids,
        &fields,
        with_names(arguments),
    )?)))
}

fn name_search(
    env: &mut Env,
    model: &'static Model,
    _: &[i64],
    arguments: &Arguments,
) -> Outcome<Option<Json>> {
    let operator = arguments
        .get("operator")
        .as_str()
        .unwrap_or("ilike")
        .to_owned();
    let found = names_matching(
        env,
        model,
        arguments.text("name"),
        &operator,
        arguments.get("domain"),
    )?;
    let limit = arguments.count("limit").unwrap_or(100);
    let pairs = found
        .into_iter()
        .take(limit)
        .map(|id| json!([id, env.display_name(model, id)]));
    Ok(Some(pairs.collect()))
}

/// Records whose display name matches.
pub(crate) fn names_matching(
    env: &Env,
    model: &'static Model,
    name: &str,
    operator: &str,
    domain: &Json,
) -> Outcome<Vec<i64>> {
    let everything = json!([]);
    let domain = if domain.is_null() {
        &everything
    } else {
        domain
    };
    let mut ids = env.search(model, domain, 0, None, None)?;
    if !(name.is_empty() && operator == "ilike") {
        ids.retain(|id| {
            let shown = env.display_name(model, *id);
            match operator {
                "=" => shown == name,
                "!=" => shown != name,
                "like" => shown.contains(name),
                _ => shown.to_lowercase().contains(&name.to_lowercase()),
            }
        });
    }
    Ok(ids)
}

fn web_read(
    env: &Env,
    model: &'static Model,
    ids: &[i64],
    arguments: &Arguments,
) -> Outcome<Option<Json>> {
    let Json::Object(specification) = arguments.get("specification") else {
        let name = super::python::type_name(arguments.get("specification"));
        return Err(Exception::attribute_error(format!(
            "'{name}' object has no attribute 'items'"
        )));
    };
    let fields: Vec<String> = specification.keys().cloned().collect();
    if fields.iter().all(|name| name == "id") {
        return Ok(Some(ids.iter().map(|id| json!({"id": id})).collect()));
    }
    let rows: Vec<Map<String, Json>> = env.read(model, ids, &fields, false)?;
    Ok(Some(Json::from(rows)))
}

fn set_active(
    env: &mut Env,
    model: &'static Model,
    ids: &[i64],
    active: bool,
) -> Outcome<Option<Json>> {
    if !model.has_active() {
        return Err(Exception::new(Class::Builtin("AssertionError"), ""));
    }
    env.write(
        model,
        ids,
        &Map::from_iter([("active".to_owned(), json!(active))]),
    )?;
    Ok(Some(json!(true)))
}
