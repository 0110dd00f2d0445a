//! `update`: change records that exist.
//!
//! Different changes go in one `web_save_multi` (Odoo 19), equal ones in one `write`. Both are all or nothing. An Odoo
//! without `web_save_multi` gets one `write` per record.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::divide::Refusal;
use super::upsert::has_own_values;
use super::{Delivery, Purpose};
use crate::failure::{ErrorClass, Failure};
use crate::odoo::values::{Typed, Values};
use crate::outbox::Row;

/// What is to change of one record.
pub(super) struct Change<'v> {
    pub id: i64,
    pub values: &'v Values,
}

impl Delivery<'_> {
    pub(super) fn update(&mut self) {
        let rows: Vec<&Row> = self.batch.rows.iter().collect();
        self.update_rows(&rows, Purpose::Update);
    }

    /// Updates the records of `rows` and settles the rows.
    pub(super) fn update_rows(&mut self, rows: &[&Row], purpose: Purpose) {
        let mut ready = self.read(rows.iter().copied(), purpose);
        if purpose == Purpose::Upsert {
            for ready in &mut ready {
                ready.values = self.changeable(&self.batch.model, &ready.values, None);
            }
        }
        let mut targets = Vec::new();
        for ready in &ready {
            match self.target(ready.row) {
                Ok(Some(id)) => targets.push((ready, id)),
                Ok(None) => self.fail(ready.row, not_there(ready.row)),
                Err(failure) => self.fail(ready.row, failure),
            }
        }
        let changes: Vec<Change<'_>> = targets
            .iter()
            .map(|(ready, id)| Change {
                id: *id,
                values: &ready.values,
            })
            .collect();
        let results = self.change_with_lines(&self.batch.model, &changes);
        for ((ready, id), result) in targets.iter().zip(results) {
            self.settle(ready.row, result.map(|()| *id));
        }
    }

    /// Changes records, then their lines.
    pub(super) fn change_with_lines(
        &mut self,
        model: &str,
        changes: &[Change<'_>],
    ) -> Vec<Result<(), Failure>> {
        let mut results = self.change(model, changes);
        let mut lines = Vec::new();
        for (place, change) in changes.iter().enumerate() {
            if results[place].is_err() {
                continue;
            }
            for (field, value) in change.values {
                if let Typed::Lines(of_field) = value {
                    lines.extend(
                        of_field
                            .iter()
                            .map(|line| (place, change.id, field.as_str(), line)),
                    );
                }
            }
        }
        for (place, failure) in self.save_lines(model, &lines) {
            results[place] = Err(failure);
        }
        results
    }

    /// Changes records, without their lines; one result per change.
    pub(super) fn change(
        &mut self,
        model: &str,
        changes: &[Change<'_>],
    ) -> Vec<Result<(), Failure>> {
        let mut results: Vec<Result<(), Failure>> = Vec::new();
        let mut written: Vec<(usize, i64, Map<String, Value>)> = Vec::new();
        for (place, change) in changes.iter().enumerate() {
            results.push(Ok(()));
            if !has_own_values(change.values) {
                continue;
            }
            match self.native(change.values) {
                Ok(values) => written.push((place, change.id, values)),
                Err(failure) => results[place] = Err(failure),
            }
        }
        let sent = self.write_all(model, &written);
        for ((place, _, _), result) in written.iter().zip(sent) {
            results[*place] = result;
        }
        results
    }

    /// Writes together what can go together; one result per record.
    fn write_all(
        &mut self,
        model: &str,
        written: &[(usize, i64, Map<String, Value>)],
    ) -> Vec<Result<(), Failure>> {
        let mut known_missing: BTreeSet<i64> = BTreeSet::new();
        let mut attempt = |delivery: &mut Self, places: &[usize]| {
            let group: Vec<(i64, &Map<String, Value>)> = places
                .iter()
                .map(|place| (written[*place].1, &written[*place].2))
                .collect();
            delivery.write(model, &group, &mut known_missing)
        };
        let equal = written.windows(2).all(|pair| pair[0].2 == pair[1].2);
        if equal || self.gateway.has_web_save_multi() != Some(false) {
            let results = self.divide(written.len(), &mut attempt);
            if equal || self.gateway.has_web_save_multi() != Some(false) {
                return results;
            }
            // It was tried just now, and this Odoo does not have it: nothing took effect.
        }
        let mut results = Vec::with_capacity(written.len());
        for place in 0..written.len() {
            results.extend(self.divide(1, |delivery, _| attempt(delivery, &[place])));
        }
        results
    }

    /// One attempt at writing `group`; `known_missing` gathers ids that Odoo was asked about after it missed one.
    fn write(
        &mut self,
        model: &str,
        group: &[(i64, &Map<String, Value>)],
        known_missing: &mut BTreeSet<i64>,
    ) -> Result<Vec<()>, Refusal> {
        if let [(id, _)] = group
            && known_missing.contains(id)
        {
            return Err(missing(model, *id).into());
        }
        match self.write_once(model, group) {
            Ok(()) => Ok(vec![(); group.len()]),
            Err(failure) if failure.class == ErrorClass::Missing => {
                Err(self.find_missing(model, group, known_missing, failure))
            }
            Err(failure) => Err(self.with_rights(failure.into(), model, "write")),
        }
    }

    fn write_once(
        &mut self,
        model: &str,
        group: &[(i64, &Map<String, Value>)],
    ) -> Result<(), Failure> {
        let ids: Vec<i64> = group.iter().map(|(id, _)| *id).collect();
        let Some((_, first)) = group.first() else {
            return Ok(());
        };
        if group.iter().all(|(_, values)| values == first) {
            let distinct: Vec<i64> = ids
                .iter()
                .copied()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            let call = self
                .new_call(model, "write")
                .on(&distinct)
                .with("vals", Value::Object((*first).clone()));
            return self.send(&call).map(drop);
        }
        let values: Vec<&Map<String, Value>> = group.iter().map(|(_, values)| *values).collect();
        let call = self
            .new_call(model, "web_save_multi")
            .on(&ids)
            .with("vals_list", json!(values))
            .with("specification", json!({}));
        let answer = self.send(&call);
        match &answer {
            Ok(_) => self.gateway.learn_web_save_multi(true),
            Err(failure)
                if failure.class == ErrorClass::UnknownModel
                    && failure.message.contains("web_save_multi") =>
            {
                self.gateway.learn_web_save_multi(false);
            }
            Err(_) => {}
        }
        answer.map(drop)
    }

    /// Names the records of `group` that are gone, confirmed by a search.
    fn find_missing(
        &mut self,
        model: &str,
        group: &[(i64, &Map<String, Value>)],
        known_missing: &mut BTreeSet<i64>,
        failure: Failure,
    ) -> Refusal {
        let ids: Vec<i64> = group.iter().map(|(id, _)| *id).collect();
        let existing = match self.existing(model, &ids) {
            Ok(existing) => existing,
            Err(failure) => return failure.into(),
        };
        let mut named = Vec::new();
        for (place, id) in ids.iter().enumerate() {
            if !existing.contains(id) {
                known_missing.insert(*id);
                named.push((place, missing(model, *id)));
            }
        }
        if named.is_empty() {
            // It is there after all: someone made or restored it meanwhile, or Odoo missed it under a lock.
            return Failure::new(
                ErrorClass::Conflict,
                format!("Odoo missed a record that it has: {}", failure.message),
            )
            .into();
        }
        Refusal {
            failure,
            named,
            of_all: false,
        }
    }

    /// Those of `ids` that exist and that we may see, archived ones included.
    pub(super) fn existing(&mut self, model: &str, ids: &[i64]) -> Result<BTreeSet<i64>, Failure> {
        let mut call = self
            .new_call(model, "search")
            .with("domain", json!([["id", "in", ids]]));
        call.context.insert("active_test".to_owned(), json!(false));
        match self.ask(&call)? {
            Value::Array(found) => Ok(found.iter().filter_map(Value::as_i64).collect()),
            _ => Err(Failure::new(
                ErrorClass::Server,
                format!("search of {model} answered no list"),
            )),
        }
    }
}

pub(super) fn missing(model: &str, id: i64) -> Failure {
    Failure::new(
        ErrorClass::Missing,
        format!("{model}({id}) is gone from Odoo"),
    )
    .with_remedy(
        "Someone deleted it. Send an upsert without odoo_id to make it again, or cancel the row.",
    )
}

fn not_there(row: &Row) -> Failure {
    Failure::new(ErrorClass::Missing, format!("Odoo has no {} with the external id {}", row.model, row.external_id))
        .with_remedy("No row with this record_key made it, or someone deleted it. Send a create or an upsert first.")
}
