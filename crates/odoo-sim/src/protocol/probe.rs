//! Endpoints that need no model: version, health, and JSON-RPC's `common` service.

use super::jsonrpc::{check_database, envelope_of};
use super::login;
use crate::exception::{Class, Exception, Outcome};
use crate::fault::Effect;
use crate::journal::Logged;
use crate::server::{Answer, Delivery, Request};
use crate::sim::{Shared, locked};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) fn version(shared: &Arc<Shared>, request: &Request, generation: u64) -> Delivery {
    let major = shared.config.version;
    let body =
        json!({"version_info": [major, 0, 0, "final", 0, ""], "version": format!("{major}.0")});
    under_faults(
        shared,
        "http",
        "web",
        "version",
        request.body.len(),
        generation,
        || Answer::json(200, &body),
    )
}

pub(crate) fn health(shared: &Arc<Shared>, request: &Request, generation: u64) -> Delivery {
    let body = json!({"status": "pass"});
    under_faults(
        shared,
        "http",
        "web",
        "health",
        request.body.len(),
        generation,
        || Answer::json(200, &body),
    )
}

/// `common.version`, `common.authenticate` and `common.login`.
pub(super) fn common(
    shared: &Arc<Shared>,
    method: &str,
    args: &[Json],
    id: &Json,
    bytes: usize,
    generation: u64,
) -> Delivery {
    under_faults(
        shared,
        "jsonrpc",
        "common",
        method,
        bytes,
        generation,
        || envelope_of(answer(shared, method, args).map(Some), id),
    )
}

fn answer(shared: &Shared, method: &str, args: &[Json]) -> Outcome<Json> {
    let major = shared.config.version;
    match method {
        "version" => Ok(json!({
            "server_version": format!("{major}.0"),
            "server_version_info": [major, 0, 0, "final", 0, ""],
            "server_serie": format!("{major}.0"),
            "protocol_version": 1,
        })),
        "authenticate" | "login" => {
            let [database, login, secret, ..] = args else {
                return Err(Exception::type_error(format!(
                    "exp_{method}() missing 3 required positional arguments"
                )));
            };
            check_database(shared, database)?;
            let (login, secret) = (
                login.as_str().unwrap_or_default(),
                secret.as_str().unwrap_or_default(),
            );
            Ok(login::authenticate(shared, login, secret).map_or(json!(false), Json::from))
        }
        other => Err(Exception::new(
            Class::Builtin("Exception"),
            format!("Method not found: {other}"),
        )),
    }
}

/// Lets faults strike an endpoint that does no work.
fn under_faults(
    shared: &Arc<Shared>,
    protocol: &'static str,
    model: &str,
    method: &str,
    bytes: usize,
    generation: u64,
    make: impl FnOnce() -> Answer,
) -> Delivery {
    let faults = locked(&shared.plan).strike(model, method);
    let number = locked(&shared.journal).arrived(Logged {
        number: 0,
        at: SystemTime::now(),
        protocol,
        uid: 0,
        model: model.into(),
        method: method.into(),
        records: 0,
        bytes,
        keys: vec![],
        faults: vec![],
        outcome: "open".into(),
    });
    for fault in &faults {
        if let Effect::Delay {
            before_ms,
            after_ms,
        } = fault.effect
        {
            shared
                .running
                .sleep(generation, Duration::from_millis(before_ms + after_ms));
        }
    }
    let spoiling = faults.iter().find(|fault| {
        !matches!(
            fault.effect,
            Effect::Delay { .. }
                | Effect::Raise { .. }
                | Effect::Conflict
                | Effect::RunsLater { .. }
                | Effect::Postponed
        )
    });
    locked(&shared.journal).finished(
        number,
        if spoiling.is_some() {
            "lost"
        } else {
            "answered"
        },
        0,
    );
    match spoiling {
        Some(fault) => make().spoilt(&fault.effect),
        None => Delivery::Whole(make()),
    }
}
