//! From a batch to calls, and from answers to one outcome per row.
//!
//! | operation | program | file |
//! |---|---|---|
//! | create | create-once `load` | [`create`] |
//! | upsert | create-once `load`, then an update of what was there before | [`upsert`] |
//! | update | `web_save_multi`, one `write` for equal values, or what an Odoo without the former has | [`update`], [`mod@write`] |
//! | update, upsert, delete | before it, which records may be changed, where the model has an `editable_when` | [`lock`] |
//! | update, upsert | before it, in a two-way table: what somebody else changed since it was pulled | [`overtaken`] |
//! | update, upsert | after it, what is gone: merged into another record, or to be made again | [`gone`] |
//! | delete | find what is still there, `unlink` it, make sure of the rest | [`delete`] |
//! | create with later changes | create-once `load`, then an update by the changes of what was there before | [`create`] |
//! | call | the method itself, row by row, guarded by `unless` | [`method`] |
//!
//! What must stay true:
//! * Exactly one outcome per row, whatever any answer holds.
//! * A refusal of many is divided until only the bad rows are left ([`divide`]); innocent rows are delivered.
//! * After a call whose outcome is unknown, and after the endpoint stopped answering or letting us in, nothing more is
//!   sent. Rows that were not sent say so by a class that counts no attempt.
//! * Of rows that were joined, one bad row takes down no other: they are sent again one after another ([`apart`]).
//! * Every program can run again from its start: what took effect before has no second effect, except a method call,
//!   which is never sent again here.

mod apart;
mod create;
mod delete;
mod divide;
pub(super) mod gateway;
mod gone;
mod lines;
mod lock;
mod lookup;
mod method;
mod natural;
mod overtaken;
mod policy;
mod rights;
mod update;
mod upsert;
mod write;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::call::Call;
use super::client::Client;
use super::fields::{ModelFields, Purpose};
use super::guard::check_model;
use super::values::{Line, Naming, Reader, Reference, Typed, Values, read_payload};
use crate::failure::{ErrorClass, Failure};
use crate::http;
use crate::outbox::{Batch, Circle, Operation, Outcome, Row};
use gateway::Gateway;
use natural::Found;
pub use policy::{ModelPolicy, OnMissing, WhenLocked};

/// What a delivery needs to know besides the batch.
#[derive(Clone, Copy)]
pub struct DeliverContext<'a> {
    /// The module prefix of this installation's external ids, e.g. `pg_etl_1f2e3d4c`.
    pub namespace: &'a str,
    /// The connection's name: part of what external ids are made from.
    pub connection: &'a str,
    /// What the configuration of the batch's model says of records that changed under us.
    pub policy: &'a ModelPolicy,
    /// Asked before every request; `true` means that no further request is to be sent (shutdown, deadline). Rows that
    /// were not sent for this come back as [`ErrorClass::Unreachable`].
    pub should_stop: &'a (dyn Fn() -> bool + Sync),
    /// Becomes true when a call for several rows was refused and sent again in parts.
    pub divided: &'a Cell<bool>,
}

/// Delivers `batch` and returns exactly one outcome per row, by row id. Never retries what may have taken effect.
pub fn deliver(client: &Client, batch: &Batch, cx: &DeliverContext<'_>) -> Vec<(i64, Outcome)> {
    let _answers = http::until_end();
    apart::deliver(client, batch, cx)
}

/// [`deliver`] through anything that answers like a client.
pub(super) fn deliver_through(
    gateway: &dyn Gateway,
    batch: &Batch,
    cx: &DeliverContext<'_>,
) -> Vec<(i64, Outcome)> {
    let mut delivery = Delivery::new(gateway, batch, cx);
    let allowed =
        check_model(gateway.endpoint(), &batch.model).and_then(|()| delivery.check_policy());
    match allowed {
        Err(failure) => delivery.fail_all(&failure),
        Ok(()) => match batch.operation {
            Operation::Create => delivery.create(),
            Operation::Upsert => delivery.upsert(),
            Operation::Update => delivery.update(),
            Operation::Delete => delivery.delete(),
            Operation::Call => delivery.call_methods(),
        },
    }
    delivery.finish()
}

/// One batch on its way.
struct Delivery<'a> {
    gateway: &'a dyn Gateway,
    batch: &'a Batch,
    naming: Naming<'a>,
    policy: &'a ModelPolicy,
    should_stop: &'a (dyn Fn() -> bool + Sync),
    divided: &'a Cell<bool>,
    outcomes: BTreeMap<i64, Outcome>,
    /// Why nothing more is sent.
    halted: Option<Failure>,
    /// External ids that were looked up, and what was found.
    lookups: HashMap<String, Option<i64>>,
    /// Rights on models that were asked for, by model and right.
    rights: HashMap<(String, &'static str), bool>,
    /// What is to be said of records although their rows are done.
    notes: HashMap<i64, String>,
    /// Exceptions without a verdict of their own, so far.
    server_failures: u32,
}

/// A row whose payload was read.
struct Ready<'a> {
    row: &'a Row,
    values: Values,
    /// Of a create that was joined: what a record gets that was there before.
    changes: Option<Values>,
}

impl<'a> Delivery<'a> {
    fn new(gateway: &'a dyn Gateway, batch: &'a Batch, cx: &DeliverContext<'a>) -> Self {
        Self {
            gateway,
            batch,
            naming: Naming {
                namespace: cx.namespace,
                connection: cx.connection,
            },
            policy: cx.policy,
            should_stop: cx.should_stop,
            divided: cx.divided,
            outcomes: BTreeMap::new(),
            halted: None,
            lookups: known(batch),
            rights: HashMap::new(),
            notes: HashMap::new(),
            server_failures: 0,
        }
    }
}

impl Delivery<'_> {
    /// Refuses rows that a policy concerns which is written wrongly: nobody knows what it was to protect.
    fn check_policy(&self) -> Result<(), Failure> {
        let concerns = match self.batch.operation {
            Operation::Upsert | Operation::Update | Operation::Delete => true,
            Operation::Create => self.batch.rows.iter().any(|row| row.changes.is_some()),
            Operation::Call => false,
        };
        match &self.policy.mistake {
            Some(mistake) if concerns => Err(self.misconfigured(mistake)),
            Some(_) | None => Ok(()),
        }
    }

    /// A call of the batch's model, in the batch's context.
    fn new_call(&self, model: &str, method: &str) -> Call {
        Call::new(model, method).in_context(&self.batch.context)
    }

    /// Sends `call`, unless something before it said to stop.
    fn send(&mut self, call: &Call) -> Result<Value, Failure> {
        if self.halted.is_none() && (self.should_stop)() {
            self.halted = Some(Failure::new(
                ErrorClass::Unreachable,
                "not sent: delivery was stopped",
            ));
        }
        if let Some(failure) = &self.halted {
            return Err(failure.clone());
        }
        let answer = self.gateway.run(call);
        if let Err(failure) = &answer {
            self.halted = after(failure);
        }
        answer
    }

    /// Sends a question that changes nothing. Where it has no answer, the row behind it was not sent.
    fn ask(&mut self, call: &Call) -> Result<Value, Failure> {
        self.send(call).map_err(unasked)
    }

    fn fields(&mut self, model: &str) -> Result<Arc<ModelFields>, Failure> {
        if let Some(failure) = &self.halted {
            return Err(failure.clone());
        }
        self.gateway.fields(model).map_err(|failure| {
            self.halted = after(&failure);
            unasked(failure)
        })
    }

    /// Reads the payloads of `rows`. A row that is refused gets its outcome here and is left out.
    fn read<'r>(
        &mut self,
        rows: impl Iterator<Item = &'r Row>,
        purpose: Purpose,
    ) -> Vec<Ready<'r>> {
        let rows: Vec<&Row> = rows.collect();
        let mut ready = Vec::new();
        let found = match self.natural_keys(&rows) {
            Ok(found) => found,
            Err(failure) => {
                for row in rows {
                    self.fail(row, failure.clone());
                }
                return ready;
            }
        };
        for row in rows {
            let values = self.read_one(row, &row.payload, &found, purpose);
            let changes = row
                .changes
                .as_ref()
                .map(|changes| self.read_one(row, changes, &found, Purpose::Upsert));
            match (values, changes.transpose()) {
                (Ok(values), Ok(changes)) => ready.push(Ready {
                    row,
                    values,
                    changes,
                }),
                (Err(failure), _) | (_, Err(failure)) => self.fail(row, failure),
            }
        }
        ready
    }

    fn read_one(
        &mut self,
        row: &Row,
        payload: &Map<String, Value>,
        found: &Found,
        purpose: Purpose,
    ) -> Result<Values, Failure> {
        // Also halts where the description cannot be had, so that not every row asks for it.
        self.fields(&self.batch.model)?;
        let payload = &self.named(payload, found)?;
        let reader = Reader {
            endpoint: self.gateway.endpoint(),
            naming: self.naming,
            source: self.gateway,
        };
        let read = || {
            read_payload(
                reader,
                &self.batch.model,
                payload,
                purpose,
                &row.external_id,
            )
        };
        let values = match read() {
            // The field or the choice may be younger than what we know.
            Err(failure) if failure.class == ErrorClass::Invalid => {
                match self.gateway.refreshed_fields(&self.batch.model) {
                    Some(Ok(_)) => read()?,
                    Some(Err(_)) | None => return Err(failure),
                }
            }
            other => other?,
        };
        if purpose != Purpose::Create && !row.has_record_key && row.odoo_id.is_some() {
            refuse_keyed_lines(&values)?;
        }
        Ok(values)
    }

    fn deliver_row(&mut self, row: &Row, odoo_id: Option<i64>) {
        let note = odoo_id.and_then(|id| self.notes.get(&id).cloned());
        let outcome = Outcome::Delivered {
            odoo_id,
            went_with: None,
            note,
        };
        self.outcomes.insert(row.id, outcome);
    }

    fn fail(&mut self, row: &Row, mut failure: Failure) {
        if let Some(circle) = &row.circle {
            failure = in_a_circle(circle, failure);
        }
        self.outcomes.insert(row.id, Outcome::Failed(failure));
    }

    fn settle(&mut self, row: &Row, result: Result<i64, Failure>) {
        match result {
            Ok(id) => self.deliver_row(row, Some(id)),
            Err(failure) => self.fail(row, failure),
        }
    }

    fn fail_all(&mut self, failure: &Failure) {
        for row in &self.batch.rows {
            self.fail(row, failure.clone());
        }
    }

    /// Says so where rows of different keys went into one record. Partners that were merged in Odoo are such: each key goes on
    /// sending its own values, and the later ones stay.
    fn note_shared_records(&mut self) {
        let mut keys: BTreeMap<i64, BTreeSet<&str>> = BTreeMap::new();
        for row in self.batch.rows.iter().filter(|row| row.has_record_key) {
            if let Some(Outcome::Delivered {
                odoo_id: Some(id), ..
            }) = self.outcomes.get(&row.id)
            {
                keys.entry(*id).or_default().insert(&row.external_id);
            }
        }
        for outcome in self.outcomes.values_mut() {
            let Outcome::Delivered {
                odoo_id: Some(id),
                note,
                ..
            } = outcome
            else {
                continue;
            };
            if let Some(shared) = keys.get(id).filter(|keys| keys.len() > 1) {
                let also = format!(
                    "{}({id}) is the record of {} record keys (merged in Odoo?): the later row has the last word",
                    self.batch.model,
                    shared.len()
                );
                *note = Some(match note.take() {
                    Some(first) => format!("{first}; {also}"),
                    None => also,
                });
            }
        }
    }

    /// One outcome per row, in the order of the rows.
    fn finish(mut self) -> Vec<(i64, Outcome)> {
        self.note_shared_records();
        let missing = Failure::new(
            ErrorClass::Bug,
            "delivery ended without an outcome for this row",
        );
        self.batch
            .rows
            .iter()
            .map(|row| {
                let outcome = self.outcomes.remove(&row.id);
                (
                    row.id,
                    outcome.unwrap_or_else(|| Outcome::Failed(missing.clone())),
                )
            })
            .collect()
    }
}

/// The records whose ids are known before anything is asked.
fn known(batch: &Batch) -> HashMap<String, Option<i64>> {
    let of_rows = batch.rows.iter().filter(|row| row.has_record_key);
    let of_rows = of_rows.filter_map(|row| Some((row.external_id.clone(), Some(row.odoo_id?))));
    let told = batch
        .known
        .iter()
        .map(|(name, id)| (name.clone(), Some(*id)));
    told.chain(of_rows).collect()
}

/// The failure of a question: nothing was sent that could have taken effect.
fn unasked(failure: Failure) -> Failure {
    if failure.class != ErrorClass::Unknown {
        return failure;
    }
    let class = ErrorClass::Unreachable;
    Failure {
        class,
        remedy: None,
        ..Failure::new(
            class,
            format!("not sent: a question before it: {}", failure.message),
        )
    }
}

/// What rows that follow a failed call get, where nothing more is to be sent after it.
fn after(failure: &Failure) -> Option<Failure> {
    match failure.class {
        ErrorClass::Unreachable | ErrorClass::Misconfigured | ErrorClass::Throttled => {
            Some(failure.clone())
        }
        // Those rows were not sent: they must not count an attempt, nor wait for a grace period.
        ErrorClass::Unknown => Some(Failure::new(
            ErrorClass::Unreachable,
            "not sent: the call before it in the same batch had no answer",
        )),
        ErrorClass::Conflict
        | ErrorClass::Overtaken
        | ErrorClass::Dependency
        | ErrorClass::Invalid
        | ErrorClass::Forbidden
        | ErrorClass::Missing
        | ErrorClass::UnknownModel
        | ErrorClass::TooLarge
        | ErrorClass::Bug
        | ErrorClass::Server
        | ErrorClass::Crashed => None,
    }
}

/// A row that was cut in two, for it refers to itself through others, was refused.
fn in_a_circle(circle: &Circle, mut failure: Failure) -> Failure {
    match failure.class {
        // Now the fields are described, and it is cut where it may be.
        ErrorClass::Invalid if circle.blind => failure.class = ErrorClass::Dependency,
        ErrorClass::Invalid | ErrorClass::Dependency | ErrorClass::Server => {}
        _ => return failure,
    }
    failure.with_remedy(format!(
        "It refers to itself through others ({}), so that one reference of the circle was left for a second step; Odoo refused it. Make one of these records without the reference, and set it by an update.",
        circle.way
    ))
}

/// Without a record key the external id is the row's own: no two rows about the record would name the same line.
fn refuse_keyed_lines(values: &Values) -> Result<(), Failure> {
    let keyed = |line: &Line| matches!(line.identity, Reference::External(_));
    for (name, value) in values {
        if let Typed::Lines(lines) = value
            && lines.iter().any(keyed)
        {
            return Err(Failure::new(
                ErrorClass::Invalid,
                format!("{name}: lines with a key need the record's record_key"),
            )
            .with_remedy(
                "Give the row a record_key, or name lines by their Odoo id as [1, id, {…}].",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
