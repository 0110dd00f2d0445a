//! `delete`: a record that is gone already is a success; one that merely looks gone is not.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Delivery;
use super::divide::Refusal;
use super::lock::Closed;
use crate::failure::{ErrorClass, Failure};
use crate::outbox::Row;

impl Delivery<'_> {
    pub(super) fn delete(&mut self) {
        let batch = self.batch;
        let mut targets: Vec<(&Row, i64)> = Vec::new();
        for row in &batch.rows {
            match self.target(row) {
                Ok(Some(id)) => targets.push((row, id)),
                Ok(None) => self.deliver_row(row, None),
                Err(failure) => self.fail(row, failure),
            }
        }
        if targets.is_empty() {
            return;
        }
        let ids: Vec<i64> = targets.iter().map(|(_, id)| *id).collect();
        let seen = match self.existing(&batch.model, &ids) {
            Ok(seen) => seen,
            Err(failure) => {
                for (row, _) in targets {
                    self.fail(row, failure.clone());
                }
                return;
            }
        };
        let (there, unseen): (Vec<_>, Vec<_>) =
            targets.into_iter().partition(|(_, id)| seen.contains(id));
        let closed = self.closed(&there.iter().map(|(_, id)| *id).collect::<Vec<_>>());
        let mut open = Vec::with_capacity(there.len());
        for (row, id) in there {
            match closed.get(&id) {
                Some(Closed::Skipped) => self.deliver_row(row, Some(id)),
                Some(Closed::Refused(failure)) => self.fail(row, failure.clone()),
                None => open.push((row, id)),
            }
        }
        // One `unlink` with a missing id deletes none, so that these two never travel together.
        self.delete_records(&open);
        let unseen = self.settle_gone(unseen);
        self.delete_records(&unseen);
    }

    /// Settles those of `rows` whose records are gone, in one question; gives back the others.
    fn settle_gone<'r>(&mut self, rows: Vec<(&'r Row, i64)>) -> Vec<(&'r Row, i64)> {
        if rows.len() < 2 {
            // Asking costs as much as trying.
            return rows;
        }
        let ids: BTreeSet<i64> = rows.iter().map(|(_, id)| *id).collect();
        let Ok(Some(gone)) = self.gone(&self.batch.model, &ids) else {
            return rows;
        };
        let (gone, rest): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(_, id)| gone.contains(id));
        for (row, _) in gone {
            self.deliver_row(row, None);
        }
        rest
    }

    /// Deletes the records of `rows` and settles the rows.
    fn delete_records(&mut self, rows: &[(&Row, i64)]) {
        let ids: Vec<i64> = rows.iter().map(|(_, id)| *id).collect();
        for ((row, _), result) in rows.iter().zip(self.unlink(&self.batch.model, &ids)) {
            match result {
                Ok(deleted) => self.deliver_row(row, deleted),
                Err(failure) => self.fail(row, failure),
            }
        }
    }

    /// Deletes records; one result per id, `None` where it was gone. For what a search did not find, `unlink` has the last word: it
    /// answers MissingError for what is gone and AccessError for what is hidden.
    pub(super) fn unlink(&mut self, model: &str, ids: &[i64]) -> Vec<Result<Option<i64>, Failure>> {
        self.divide(ids.len(), |delivery, places| {
            let some: BTreeSet<i64> = places.iter().map(|place| ids[*place]).collect();
            let some: Vec<i64> = some.into_iter().collect();
            let call = delivery.new_call(model, "unlink").on(&some);
            match delivery.send(&call) {
                Ok(_) => Ok(places.iter().map(|place| Some(ids[*place])).collect()),
                Err(failure)
                    if failure.class == ErrorClass::Missing
                        && names_all(&failure, model, &some) =>
                {
                    Ok(vec![None; places.len()])
                }
                Err(failure) => Err(delivery.with_rights(
                    named_missing(failure, model, ids, places),
                    model,
                    "unlink",
                )),
            }
        })
    }
}

fn names_all(failure: &Failure, model: &str, ids: &[i64]) -> bool {
    ids.iter()
        .all(|id| crate::odoo::judge::names_record(&failure.message, model, *id))
}

fn named_missing(failure: Failure, model: &str, ids: &[i64], places: &[usize]) -> Refusal {
    let named = places
        .iter()
        .enumerate()
        .filter(|(_, place)| {
            crate::odoo::judge::names_record(&failure.message, model, ids[**place])
        })
        .map(|(at, _)| (at, failure.clone()))
        .collect();
    Refusal {
        failure,
        named,
        of_all: false,
    }
}

/// The ids of a list, each a positive whole number.
pub(super) fn ids_of(value: &Value) -> Option<Vec<i64>> {
    let ids = value.as_array()?.iter().map(|id| {
        id.as_i64()
            .filter(|id| *id > 0 && i32::try_from(*id).is_ok())
    });
    ids.collect()
}
