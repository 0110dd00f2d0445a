//! Rows whose record is gone from Odoo under the id that we know.
//!
//! Where Odoo merged it into another record, its external id names that one now, and the row goes there. Where someone deleted
//! it, an upsert makes it again (whoever upserts wants it to be there), and an update becomes a dead letter, unless the
//! `on_missing` of its model says otherwise. A record is only made again under its external id: sent twice, it is made once.

use super::create::records;
use super::policy::OnMissing;
use super::update::{Change, missing};
use super::{Delivery, Purpose};
use crate::failure::{ErrorClass, Failure};
use crate::outbox::{Operation, Row};

/// A row without its record.
pub(super) struct Gone<'r> {
    pub row: &'r Row,
    /// The id under which it was looked for.
    pub id: Option<i64>,
    pub failure: Failure,
}

impl<'r> Gone<'r> {
    /// `failure` of a change of the record `id`, where it says that this very record is gone, and not one of its lines.
    pub fn of(row: &'r Row, id: i64, failure: Failure) -> Result<Self, Failure> {
        if failure.class == ErrorClass::Missing && failure == missing(&row.model, id) {
            return Ok(Self {
                row,
                id: Some(id),
                failure,
            });
        }
        Err(failure)
    }
}

impl Delivery<'_> {
    /// Settles rows whose record is gone.
    pub(super) fn find_again(&mut self, gone: Vec<Gone<'_>>) {
        let mut to_make = Vec::new();
        let mut moved = Vec::new();
        for gone in gone {
            if !gone.row.has_record_key {
                self.fail(gone.row, gone.failure);
            } else if self.is_made_again(gone.row) {
                to_make.push(gone.row);
            } else {
                match self.other_record(&gone) {
                    Ok(Some(id)) => moved.push((gone.row, id)),
                    Ok(None) => self.fail(gone.row, gone.failure),
                    Err(failure) => self.fail(gone.row, failure),
                }
            }
        }
        self.change_moved(&moved);
        self.make_again(&to_make);
    }

    fn is_made_again(&self, row: &Row) -> bool {
        match self.policy.on_missing {
            Some(OnMissing::Recreate) => true,
            Some(OnMissing::DeadLetter) => false,
            None => row.operation == Operation::Upsert,
        }
    }

    /// The record that the row's external id names instead of the one that is gone.
    fn other_record(&mut self, gone: &Gone<'_>) -> Result<Option<i64>, Failure> {
        let Some(old) = gone.id else {
            return Ok(None);
        };
        let row = gone.row;
        self.lookups.remove(&row.external_id);
        match self.lookup(&row.external_id, Some(&row.model)) {
            Ok(found) => Ok(found.filter(|id| *id != old)),
            // A process of Odoo may remember what the external id named before.
            Err(failure) if failure.class == ErrorClass::Dependency => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn change_moved(&mut self, moved: &[(&Row, i64)]) {
        if moved.is_empty() {
            return;
        }
        let rows = moved.iter().map(|(row, _)| *row);
        let ready = self.read(rows, Purpose::Update);
        let changes: Vec<Change<'_>> = ready
            .iter()
            .filter_map(|ready| {
                let (_, id) = moved.iter().find(|(row, _)| row.id == ready.row.id)?;
                Some(Change {
                    id: *id,
                    values: &ready.values,
                })
            })
            .collect();
        let ids: Vec<i64> = changes.iter().map(|change| change.id).collect();
        let results = self.change_editable(&changes);
        for ((ready, id), result) in ready.iter().zip(ids).zip(results) {
            self.settle(ready.row, result.map(|()| id));
        }
    }

    fn make_again(&mut self, rows: &[&Row]) {
        if rows.is_empty() {
            return;
        }
        let ready = self.read(rows.iter().copied(), Purpose::Upsert);
        let records = records(&ready);
        let ids = self.upsert_records(&self.batch.model, &records);
        for (ready, result) in ready.iter().zip(ids) {
            let result = result.map_err(|failure| of_the_new_record(ready.row, failure));
            self.settle(ready.row, result);
        }
    }
}

/// What Odoo refuses of a record that an update was to make again is mostly what the update left out.
fn of_the_new_record(row: &Row, failure: Failure) -> Failure {
    if row.operation != Operation::Update || failure.class != ErrorClass::Invalid {
        return failure;
    }
    let message = format!(
        "it is gone from Odoo and cannot be made again from this update alone: {}",
        failure.message
    );
    Failure::new(failure.class, message).with_remedy(
        "Send an upsert with every value that a new record needs; then replay or cancel this row.",
    )
}
