//! One transaction: bind the arguments, run the method, commit or roll back.

use super::call::Call;
use crate::exception::{Class, Exception, Outcome};
use crate::orm::clock;
use crate::orm::env::Env;
use crate::orm::method::Method;
use crate::orm::model::{Model, registry};
use crate::orm::web::BASE;
use crate::sim::{Shared, locked};
use serde_json::Value as Json;

/// Odoo tries a call that lost against another transaction so often.
const TRIES: usize = 5;

/// Runs a call; `None` when the server was stopped before it could commit.
pub(super) fn transaction(
    shared: &Shared,
    call: &Call,
    mut snapshot: u64,
    generation: u64,
) -> Option<Outcome<Option<Json>>> {
    let poisons = locked(&shared.poisons).clone();
    let mut store = locked(&shared.store);
    // Left over only if a thread died in the middle of a transaction.
    store.rollback_to(0);
    store.lookups.next_process();
    for attempt in 1.. {
        if !shared.running.is(generation) {
            return None;
        }
        let mut env = Env {
            store: &mut store,
            account: &call.account,
            context: call.context.clone(),
            poisons: &poisons,
            languages: &shared.config.languages,
            snapshot,
            now: clock::now(),
        };
        let outcome = dispatch(shared, &mut env, call);
        match &outcome {
            Ok(_) => {
                store.commit();
                shared.published(&store);
            }
            Err(error) => {
                store.rollback_to(0);
                store.lookups.rolled_back();
                if error.class == Class::Serialization && attempt < TRIES {
                    snapshot = store.commits();
                    continue;
                }
            }
        }
        return Some(outcome);
    }
    None
}

fn dispatch(shared: &Shared, env: &mut Env, call: &Call) -> Outcome<Option<Json>> {
    let model = find_model(call)?;
    let method = find_method(shared, model, call)?;
    let json2 = call.protocol == "json2";
    // JSON-2 looks at the language of every call, JSON-RPC only when something translated is touched.
    if json2 || touches_translation(model, call) {
        env.check_language()?;
    }
    // Companies are looked at where a record rule asks for them.
    if model.position("company_id").is_some() {
        env.check_companies()?;
    }
    let arguments = method
        .bind(&call.positional, call.named.clone())
        .map_err(|misfit| {
            if json2 {
                Exception::new(Class::Unprocessable, misfit.bound())
            } else {
                Exception::type_error(misfit.called(method))
            }
        })?;
    // The dispatcher looks at the first argument to know whether one id or a list goes back.
    if !json2 && call.method == "create" && call.positional.is_empty() {
        return Err(Exception::new(
            Class::Builtin("IndexError"),
            "list index out of range",
        ));
    }
    (method.run)(env, model, &call.ids, &arguments)
}

fn touches_translation(model: &'static Model, call: &Call) -> bool {
    let named = call.named.get("fields").into_iter().chain(&call.positional);
    let mut names = named
        .filter_map(Json::as_array)
        .flatten()
        .filter_map(Json::as_str)
        .peekable();
    match call.method.as_str() {
        "load" | "name_search" | "fields_get" => true,
        "read" | "search_read" => {
            names.peek().is_none()
                || names.any(|name| model.field(name).is_some_and(|field| field.translated))
        }
        _ => false,
    }
}

fn find_model(call: &Call) -> Outcome<&'static Model> {
    registry().find(&call.model).ok_or_else(|| {
        if call.protocol == "json2" {
            let name = crate::orm::python::quoted(&call.model);
            Exception::new(Class::NotFound, format!("the model {name} does not exist"))
        } else {
            Exception::user(format!("Object {} doesn't exist", call.model))
        }
    })
}

/// The public method of that name, if the simulated version has it.
pub(super) fn method_of(
    shared: &Shared,
    model: &'static Model,
    name: &str,
) -> Option<&'static Method> {
    if name == "web_save_multi" && shared.config.version < 19 {
        return None;
    }
    model
        .methods
        .iter()
        .chain(BASE)
        .find(|method| method.name == name)
}

fn find_method(shared: &Shared, model: &'static Model, call: &Call) -> Outcome<&'static Method> {
    let full = format!("{}.{}", model.name, call.method);
    if call.method.starts_with('_') {
        let message = format!("Private methods (such as '{full}') cannot be called remotely.");
        return Err(Exception::new(Class::Access, message));
    }
    let Some(method) = method_of(shared, model, &call.method) else {
        let message = format!("The method '{full}' does not exist");
        return Err(if call.protocol == "json2" {
            Exception::new(Class::NotFound, message)
        } else {
            Exception::attribute_error(message)
        });
    };
    if call.protocol == "json2" && method.on_model && !call.ids.is_empty() {
        return Err(Exception::new(
            Class::Unprocessable,
            format!("cannot call {full} with ids"),
        ));
    }
    Ok(method)
}
