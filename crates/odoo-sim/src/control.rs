//! The control API under `/_sim/`, for tests that run the simulator as a process of its own.

use crate::config::{ApiKey, Poison, Rights};
use crate::fault::Fault;
use crate::server::{Answer, Request};
use crate::sim::{Shared, locked, records};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

#[derive(Deserialize)]
struct NewKey {
    uid: i64,
    key: String,
    /// Seconds until it expires; never when absent.
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct NewRights {
    uid: i64,
    rights: Vec<Rights>,
}

#[derive(Deserialize)]
struct Down {
    /// Milliseconds until the simulator listens again.
    ms: u64,
}

#[derive(Deserialize)]
struct Limit {
    per_second: Option<f64>,
}

/// Answers one control request; the README lists them.
pub(crate) fn answer(shared: &Arc<Shared>, request: &Request, path: &str) -> Answer {
    match control(shared, request, path) {
        Ok(body) => Answer::json(200, &body),
        Err((status, message)) => Answer::json(status, &json!({"error": message})),
    }
}

fn control(shared: &Arc<Shared>, request: &Request, path: &str) -> Result<Json, (u16, String)> {
    let done = json!({"ok": true});
    match (
        request.verb.as_str(),
        path.split_once('/').map_or((path, ""), |parts| parts),
    ) {
        ("GET", ("records", model)) => Ok(records(shared, model)
            .into_iter()
            .map(Json::Object)
            .collect()),
        ("GET", ("requests", _)) => Ok(json!(locked(&shared.journal).entries())),
        ("DELETE", ("requests", _)) => {
            locked(&shared.journal).clear();
            Ok(done)
        }
        ("GET", ("totals", _)) => Ok(json!(locked(&shared.journal).totals())),
        ("GET", ("faults", _)) => Ok(json!(locked(&shared.plan).faults())),
        ("POST", ("faults", _)) => {
            let fault: Fault = read(request)?;
            locked(&shared.plan).arm(fault);
            Ok(done)
        }
        ("DELETE", ("faults", _)) => {
            locked(&shared.plan).clear();
            Ok(done)
        }
        ("POST", ("poison", _)) => {
            let poison: Poison = read(request)?;
            locked(&shared.poisons).push(poison);
            Ok(done)
        }
        ("DELETE", ("poison", _)) => {
            locked(&shared.poisons).clear();
            Ok(done)
        }
        ("POST", ("keys", _)) => {
            let new: NewKey = read(request)?;
            let expires = new
                .expires_in
                .map(|seconds| SystemTime::now() + Duration::from_secs(seconds));
            let mut accounts = locked(&shared.accounts);
            let account = accounts
                .iter_mut()
                .find(|account| account.uid == new.uid)
                .ok_or((404, "no such uid".into()))?;
            account.keys.push(ApiKey {
                key: new.key,
                expires,
            });
            Ok(done)
        }
        ("DELETE", ("keys", key)) => {
            locked(&shared.accounts)
                .iter_mut()
                .for_each(|account| account.keys.retain(|known| known.key != key));
            Ok(done)
        }
        ("DELETE", ("accounts", uid)) => {
            locked(&shared.accounts).retain(|account| account.uid.to_string() != uid);
            Ok(done)
        }
        ("POST", ("rights", _)) => {
            let new: NewRights = read(request)?;
            let mut accounts = locked(&shared.accounts);
            let account = accounts
                .iter_mut()
                .find(|account| account.uid == new.uid)
                .ok_or((404, "no such uid".into()))?;
            account.rights = new.rights;
            Ok(done)
        }
        ("POST", ("rate", _)) => {
            let limit: Limit = read(request)?;
            locked(&shared.rate).per_second = limit.per_second;
            Ok(done)
        }
        ("POST", ("down", _)) => {
            let down: Down = read(request)?;
            let shared = Arc::clone(shared);
            let _ = thread::Builder::new()
                .name("sim-down".into())
                .spawn(move || {
                    // The answer to this request goes out first.
                    thread::sleep(Duration::from_millis(50));
                    crate::server::stop(&shared);
                    thread::sleep(Duration::from_millis(down.ms));
                    let _ = crate::server::start(&shared);
                });
            Ok(done)
        }
        _ => Err((
            404,
            "unknown control request; see the README of odoo-sim".into(),
        )),
    }
}

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, (u16, String)> {
    serde_json::from_slice(&request.body).map_err(|error| (400, error.to_string()))
}
