//! `update`: change records that exist.
//!
//! Which calls carry the changes: see [`super::write`].

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::gone::Gone;
use super::upsert::has_own_values;
use super::write::Written;
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
        let mut gone = Vec::new();
        for ready in &ready {
            match self.target(ready.row) {
                Ok(Some(id)) => targets.push((ready, id)),
                Ok(None) => gone.push(Gone {
                    row: ready.row,
                    id: None,
                    failure: not_there(ready.row),
                }),
                Err(failure) => self.fail(ready.row, failure),
            }
        }
        let overtaken = self.overtaken(targets.iter().map(|(ready, id)| (ready.row, *id)));
        for (ready, id) in &targets {
            if let Some(failure) = overtaken.get(id) {
                self.fail(ready.row, failure.clone());
            }
        }
        targets.retain(|(_, id)| !overtaken.contains_key(id));
        let changes: Vec<Change<'_>> = targets
            .iter()
            .map(|(ready, id)| Change {
                id: *id,
                values: &ready.values,
            })
            .collect();
        let results = self.change_editable(&changes);
        for ((ready, id), result) in targets.iter().zip(results) {
            match result.map_err(|failure| Gone::of(ready.row, *id, failure)) {
                Err(Ok(of_row)) => gone.push(of_row),
                Err(Err(failure)) => self.fail(ready.row, failure),
                Ok(()) => self.deliver_row(ready.row, Some(*id)),
            }
        }
        self.find_again(gone);
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
        let mut written: Vec<Written> = Vec::new();
        for (place, change) in changes.iter().enumerate() {
            results.push(Ok(()));
            if !has_own_values(change.values) {
                continue;
            }
            match self.native(change.values) {
                Ok(native) => written.push(Written {
                    place,
                    id: change.id,
                    cells: self.resolved(change.values),
                    native,
                }),
                Err(failure) => results[place] = Err(failure),
            }
        }
        let sent = self.write_all(model, &written);
        for (written, result) in written.iter().zip(sent) {
            results[written.place] = result;
        }
        results
    }

    /// Those of `ids` that exist and that we may see, archived ones included.
    pub(super) fn existing(&mut self, model: &str, ids: &[i64]) -> Result<BTreeSet<i64>, Failure> {
        self.found(model, json!([["id", "in", ids]]))
    }

    /// Those of `ids` that are gone, in one question; `None` where it cannot tell. A search does not find what a record rule hides:
    /// to a `read` such a record is an AccessError, and what is gone is nothing at all.
    pub(super) fn gone(
        &mut self,
        model: &str,
        ids: &BTreeSet<i64>,
    ) -> Result<Option<BTreeSet<i64>>, Failure> {
        let all: Vec<i64> = ids.iter().copied().collect();
        let call = self
            .new_call(model, "read")
            .on(&all)
            // Asked for the id alone, Odoo gives back every id.
            .with("fields", json!(["display_name"]));
        let read = match self.ask(&call) {
            Ok(Value::Array(read)) => read,
            Err(failure) if self.halted.is_some() => return Err(failure),
            Ok(_) | Err(_) => return Ok(None),
        };
        let there: BTreeSet<i64> = read
            .iter()
            .filter_map(|record| record.get("id")?.as_i64())
            .collect();
        Ok(Some(ids.difference(&there).copied().collect()))
    }

    /// The records of `model` that meet `domain` and that we may see, archived ones included.
    pub(super) fn found(&mut self, model: &str, domain: Value) -> Result<BTreeSet<i64>, Failure> {
        let mut call = self.new_call(model, "search").with("domain", domain);
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

/// What is said of a record of ours that is gone; [`Gone::of`] knows it by that.
pub(super) fn missing(model: &str, id: i64) -> Failure {
    Failure::new(
        ErrorClass::Missing,
        format!("{model}({id}) is gone from Odoo"),
    )
    .with_remedy(
        "Someone deleted it. An upsert with a record_key makes it again, and so does an update where on_missing of its model is \"recreate\". Or cancel the row.",
    )
}

fn not_there(row: &Row) -> Failure {
    Failure::new(ErrorClass::Missing, format!("Odoo has no {} with the external id {}", row.model, row.external_id))
        .with_remedy("No row with this record_key made it, or someone deleted it. Send a create or an upsert first.")
}
