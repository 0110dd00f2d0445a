//! Records that may not be changed just now: those that do not meet the `editable_when` of their model.
//!
//! One `search` per batch tells. What Odoo itself would refuse is refused before it is sent, and what Odoo would let pass, such
//! as the reference of a posted invoice, is not sent either. A record may still be locked between the question and the write:
//! then Odoo decides.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Delivery;
use super::policy::{WhenLocked, key};
use super::update::Change;
use crate::failure::{ErrorClass, Failure};
use crate::odoo::guard::check_method;

/// Why a record is left alone.
pub(super) enum Closed {
    /// Its row is done without effect.
    Skipped,
    Refused(Failure),
}

impl Delivery<'_> {
    /// [`Delivery::change_with_lines`] of the batch's model, for records that may be changed.
    pub(super) fn change_editable(&mut self, changes: &[Change<'_>]) -> Vec<Result<(), Failure>> {
        let ids: Vec<i64> = changes.iter().map(|change| change.id).collect();
        let closed = self.closed(&ids);
        let open: Vec<Change<'_>> = changes
            .iter()
            .filter(|change| !closed.contains_key(&change.id))
            .map(|change| Change {
                id: change.id,
                values: change.values,
            })
            .collect();
        let mut changed = self.change_with_lines(&self.batch.model, &open).into_iter();
        let lost = || Err(Failure::new(ErrorClass::Bug, "a change has no result"));
        changes
            .iter()
            .map(|change| match closed.get(&change.id) {
                Some(Closed::Skipped) => Ok(()),
                Some(Closed::Refused(failure)) => Err(failure.clone()),
                None => changed.next().unwrap_or_else(lost),
            })
            .collect()
    }

    /// Those of `ids` that may not be changed. Records that are gone are not among them.
    pub(super) fn closed(&mut self, ids: &[i64]) -> BTreeMap<i64, Closed> {
        let all: BTreeSet<i64> = ids.iter().copied().collect();
        if self.policy.editable_when.is_empty() || all.is_empty() {
            return BTreeMap::new();
        }
        let locked = match self.locked(&all) {
            Ok(locked) => locked,
            Err(failure) => return refused(&all, &failure),
        };
        let reset = match &self.policy.when_locked {
            _ if locked.is_empty() => return BTreeMap::new(),
            WhenLocked::DeadLetter => return self.each_locked(&locked),
            WhenLocked::Skip => {
                for id in &locked {
                    let note = format!("left as it is: {}", self.why_locked(*id));
                    self.notes.insert(*id, note);
                }
                return locked.into_iter().map(|id| (id, Closed::Skipped)).collect();
            }
            WhenLocked::Reset(method) => method.as_str(),
        };
        self.reset(reset, &locked)
    }

    /// Calls the reset method on `locked`; what is still locked then, or could not be reset, is refused.
    fn reset(&mut self, method: &str, locked: &BTreeSet<i64>) -> BTreeMap<i64, Closed> {
        let model = &self.batch.model;
        if let Err(mut failure) = check_method(self.gateway.endpoint(), model, method) {
            failure.message = format!("reset_method of {}: {}", key(model), failure.message);
            return refused(locked, &failure);
        }
        let ids: Vec<i64> = locked.iter().copied().collect();
        let results = self.divide(ids.len(), |delivery, places| {
            let ids: Vec<i64> = places.iter().map(|place| ids[*place]).collect();
            let mut call = delivery.new_call(model, method).on(&ids);
            call.by_row = true;
            delivery.send(&call)?;
            Ok(vec![(); places.len()])
        });
        let mut closed = BTreeMap::new();
        let mut tried = BTreeSet::new();
        for (id, result) in ids.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    tried.insert(id);
                }
                Err(mut failure) => {
                    failure.message =
                        Failure::new(failure.class, format!("{method}: {}", failure.message))
                            .message;
                    closed.insert(id, Closed::Refused(failure));
                }
            }
        }
        // A method that does nothing to a record in another state says yes all the same.
        match self.locked(&tried) {
            Ok(still) => closed.extend(self.each_locked(&still)),
            Err(failure) => closed.extend(refused(&tried, &failure)),
        }
        closed
    }

    /// Those of `ids` that are there and do not meet the domain.
    fn locked(&mut self, ids: &BTreeSet<i64>) -> Result<BTreeSet<i64>, Failure> {
        if ids.is_empty() {
            return Ok(BTreeSet::new());
        }
        let model = &self.batch.model;
        // In front: see `still_open` of method.rs on domains in Polish notation.
        let mut domain = vec![json!(["id", "in", ids])];
        domain.extend(self.policy.editable_when.iter().cloned());
        let editable =
            self.found(model, Value::Array(domain))
                .map_err(|failure| match failure.class {
                    ErrorClass::Invalid | ErrorClass::Bug | ErrorClass::TooLarge => self
                        .misconfigured(&format!("Odoo refuses editable_when: {}", failure.message)),
                    _ => failure,
                })?;
        let rest: Vec<i64> = ids.difference(&editable).copied().collect();
        if rest.is_empty() {
            return Ok(BTreeSet::new());
        }
        self.existing(model, &rest)
    }

    /// The failure of every row that a policy concerns which cannot be used.
    pub(super) fn misconfigured(&self, why: &str) -> Failure {
        let key = key(&self.batch.model);
        Failure::new(
            ErrorClass::Invalid,
            format!("the configuration {key} cannot be used: {why}"),
        )
        .with_remedy(format!(
            "Correct the value of '{key}' in ops.odoo_sync_config, then SELECT etl.replay_failed(model => '{}', error_class => 'invalid').",
            self.batch.model
        ))
    }

    fn why_locked(&self, id: i64) -> String {
        let domain = Value::Array(self.policy.editable_when.clone());
        format!(
            "{}({id}) does not meet editable_when {domain}",
            self.batch.model
        )
    }

    fn each_locked(&self, locked: &BTreeSet<i64>) -> BTreeMap<i64, Closed> {
        let remedy = format!(
            "Make it editable in Odoo, then etl.replay() the row; or change editable_when or when_locked in ops.odoo_sync_config '{}'.",
            key(&self.batch.model)
        );
        let failure =
            |id| Failure::new(ErrorClass::Invalid, self.why_locked(id)).with_remedy(remedy.clone());
        locked
            .iter()
            .map(|id| (*id, Closed::Refused(failure(*id))))
            .collect()
    }
}

fn refused(ids: &BTreeSet<i64>, failure: &Failure) -> BTreeMap<i64, Closed> {
    ids.iter()
        .map(|id| (*id, Closed::Refused(failure.clone())))
        .collect()
}
