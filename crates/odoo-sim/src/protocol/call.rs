//! A call from either protocol, on its way through faults, rate limit and workers to the models.

use super::work;
use crate::config::Account;
use crate::exception::{Exception, Outcome};
use crate::fault::{Effect, Fault};
use crate::journal::Logged;
use crate::server::{Answer, Delivery};
use crate::sim::{Shared, locked};
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, SystemTime};

/// A call, bound to nothing yet.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub protocol: &'static str,
    pub account: Account,
    pub model: String,
    pub method: String,
    pub ids: Vec<i64>,
    pub positional: Vec<Json>,
    pub named: Map<String, Json>,
    pub context: Map<String, Json>,
    pub bytes: usize,
}

/// How a protocol words an outcome.
pub(crate) type Wording = fn(&Call, Outcome<Option<Json>>, &Json) -> Answer;

impl Call {
    fn argument(&self, name: &str, position: usize) -> &Json {
        self.named
            .get(name)
            .or_else(|| self.positional.get(position))
            .unwrap_or(&Json::Null)
    }

    /// Records the call is about, and what names them.
    fn subject(&self) -> (usize, Vec<String>) {
        if self.method == "load" {
            let at = self
                .argument("fields", 0)
                .as_array()
                .and_then(|fields| fields.iter().position(|name| name == "id" || name == ".id"));
            let rows = self
                .argument("data", 1)
                .as_array()
                .map_or(&[][..], Vec::as_slice);
            let key = |row: &Json| at.and_then(|at| row.get(at)).map(crate::orm::python::text);
            return (
                rows.len(),
                rows.iter()
                    .filter_map(key)
                    .filter(|key| !key.is_empty())
                    .collect(),
            );
        }
        if self.method == "create" {
            let records = match self.argument("vals_list", 0) {
                Json::Array(list) => list.len(),
                _ => 1,
            };
            return (records, vec![]);
        }
        (
            self.ids.len(),
            self.ids.iter().map(i64::to_string).collect(),
        )
    }
}

/// Runs a call and words its answer. `id` is JSON-RPC's request id.
pub(crate) fn run(
    shared: &Arc<Shared>,
    call: Call,
    id: &Json,
    wording: Wording,
    generation: u64,
) -> Delivery {
    let faults = locked(&shared.plan).strike(&call.model, &call.method);
    let (records, keys) = call.subject();
    let number = locked(&shared.journal).arrived(Logged {
        number: 0,
        at: SystemTime::now(),
        protocol: call.protocol,
        uid: call.account.uid,
        model: call.model.clone(),
        method: call.method.clone(),
        records,
        bytes: call.bytes,
        keys,
        faults: faults.iter().map(|fault| name_of(&fault.effect)).collect(),
        outcome: "open".into(),
    });
    let finished = |outcome: &str| locked(&shared.journal).finished(number, outcome, records);
    if let Err(seconds) = locked(&shared.rate).take() {
        finished("throttled");
        let page = Answer::page(
            429,
            "This user has exceeded an allotted request count. Try again later.",
        );
        return Delivery::Whole(page.with("Retry-After", format!("{}", seconds.ceil().max(1.0))));
    }
    if let Some(raised) = faults.iter().find_map(|fault| raised(fault, &call)) {
        finished("raised");
        return Delivery::Whole(wording(&call, raised, id));
    }
    let spoiling = faults
        .iter()
        .find(|fault| !matches!(fault.effect, Effect::Delay { .. }));
    let (before, after) = delays(&faults);
    if let Some(Fault {
        effect: Effect::RunsLater { after_ms },
        ..
    }) = spoiling
    {
        let (shared, later) = (
            Arc::clone(shared),
            before + Duration::from_millis(*after_ms),
        );
        let effect = Effect::RunsLater {
            after_ms: *after_ms,
        };
        let _ = thread::Builder::new()
            .name("sim-later".into())
            .spawn(move || {
                if shared.running.sleep(generation, later) {
                    let outcome = perform(&shared, &call, Duration::ZERO, generation);
                    locked(&shared.journal).finished(number, &outcome_name(&outcome), records);
                }
            });
        return Answer::json(200, &Json::Null).spoilt(&effect);
    }
    if let Some(Fault {
        effect: Effect::Postponed,
        ..
    }) = spoiling
    {
        locked(&shared.postponed).push(Postponed {
            call,
            number,
            generation,
        });
        return Answer::json(200, &Json::Null).spoilt(&Effect::RequestLost);
    }
    if let Some(fault) = spoiling.filter(|fault| !fault.works()) {
        finished("lost");
        return Answer::json(200, &json!([])).spoilt(&fault.effect);
    }
    let outcome = perform(shared, &call, before, generation);
    finished(&outcome_name(&outcome));
    shared.running.sleep(generation, after);
    let Some(outcome) = outcome else {
        return Answer::json(200, &Json::Null).spoilt(&Effect::RequestLost);
    };
    let answer = wording(&call, outcome, id);
    match spoiling {
        Some(fault) => answer.spoilt(&fault.effect),
        None => Delivery::Whole(answer),
    }
}

/// A call that waits for [`run_postponed`].
pub(crate) struct Postponed {
    call: Call,
    number: u64,
    /// The server's, which may have been stopped since.
    generation: u64,
}

/// Runs what was postponed, in the order in which it came; returns how many calls that were.
pub(crate) fn run_postponed(shared: &Shared) -> usize {
    let postponed = std::mem::take(&mut *locked(&shared.postponed));
    let count = postponed.len();
    for late in postponed {
        let outcome = perform(shared, &late.call, Duration::ZERO, late.generation);
        let records = late.call.subject().0;
        locked(&shared.journal).finished(late.number, &outcome_name(&outcome), records);
    }
    count
}

/// Does the work in a transaction of its own; `None` when the server was stopped before it committed.
fn perform(
    shared: &Shared,
    call: &Call,
    before: Duration,
    generation: u64,
) -> Option<Outcome<Option<Json>>> {
    let _place = shared.gate.enter(|| shared.running.is(generation))?;
    let snapshot = shared.commits.load(Ordering::Acquire);
    let records = u32::try_from(call.subject().0).unwrap_or(u32::MAX);
    let cost = shared.config.call_cost + shared.config.record_cost.saturating_mul(records);
    if !shared.running.sleep(generation, before + cost) {
        return None;
    }
    work::transaction(shared, call, snapshot, generation)
}

fn delays(faults: &[Fault]) -> (Duration, Duration) {
    let mut sums = (Duration::ZERO, Duration::ZERO);
    for fault in faults {
        if let Effect::Delay {
            before_ms,
            after_ms,
        } = fault.effect
        {
            sums.0 += Duration::from_millis(before_ms);
            sums.1 += Duration::from_millis(after_ms);
        }
    }
    sums
}

/// The outcome of an effect that speaks as Odoo itself.
fn raised(fault: &Fault, call: &Call) -> Option<Outcome<Option<Json>>> {
    match &fault.effect {
        Effect::Raise { exception, message } => {
            Some(Err(Exception::named(exception, message.clone())))
        }
        Effect::Conflict if call.method == "load" => Some(Ok(Some(json!({
            "ids": false,
            "messages": [{
                "rows": {"from": 0, "to": 0},
                "record": 0,
                "type": "error",
                "message": Exception::conflict().message,
            }],
            "nextrow": 0,
        })))),
        Effect::Conflict => Some(Err(Exception::conflict())),
        _ => None,
    }
}

fn outcome_name(outcome: &Option<Outcome<Option<Json>>>) -> String {
    match outcome {
        None => "killed".into(),
        Some(Ok(Some(Json::Object(map)))) if map.get("ids") == Some(&Json::Bool(false)) => {
            "refused".into()
        }
        Some(Ok(_)) => "done".into(),
        Some(Err(error)) => error.name(),
    }
}

fn name_of(effect: &Effect) -> String {
    match serde_json::to_value(effect) {
        Ok(json) => json["kind"].as_str().unwrap_or_default().to_owned(),
        Err(_) => String::new(),
    }
}
