//! `create`: the create-once `load`.
//!
//! `load` with the context `{"mode": "update", "noupdate": true}` makes a record together with its external id in one
//! transaction and skips an external id that exists, answering its record's id. Sending it twice, or twice at the same
//! time, makes one record. Both keys are undocumented in Odoo and pinned by the conformance suite.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::divide::Refusal;
use super::update::Change;
use super::{Delivery, Purpose, Ready};
use crate::failure::{ErrorClass, Failure};
use crate::odoo::judge::load::{self, Loaded};
use crate::odoo::values::Values;
use crate::odoo::values::cell::{Sheet, matrix};

/// A record to be made.
pub(super) struct Record<'v> {
    pub external_id: String,
    pub values: &'v Values,
    /// What it gets where it was there before; without them, `values`.
    pub changes: Option<&'v Values>,
    /// The field in which a line names its record.
    pub back: Option<&'v str>,
}

/// The records of rows that were read.
pub(super) fn records<'v>(ready: &'v [Ready<'_>]) -> Vec<Record<'v>> {
    let record = |ready: &'v Ready<'_>| Record {
        external_id: ready.row.external_id.clone(),
        values: &ready.values,
        // Only a create has any.
        changes: ready.changes.as_ref(),
        back: None,
    };
    ready.iter().map(record).collect()
}

impl Delivery<'_> {
    pub(super) fn create(&mut self) {
        let batch = self.batch;
        let mut rows = Vec::new();
        for row in &batch.rows {
            if row.odoo_id.is_some() {
                let failure = Failure::new(
                    ErrorClass::Invalid,
                    "create with an odoo_id: the record is there already",
                )
                .with_remedy(
                    "Use update or upsert for a record that exists, or leave odoo_id out.",
                );
                self.fail(row, failure);
            } else {
                rows.push(row);
            }
        }
        let ready = self.read(rows.into_iter(), Purpose::Create);
        let records = records(&ready);
        let ids = if records.iter().any(|record| record.changes.is_some()) {
            self.upsert_records(&batch.model, &records)
        } else {
            let sheets = sheets(&records);
            let ids = self.load(&batch.model, &sheets);
            self.complete(&batch.model, &sheets, ids)
        };
        for (ready, id) in ready.iter().zip(ids) {
            self.settle(ready.row, id);
        }
    }

    /// Makes records, or finds them, by create-once `load`; one result per sheet. What a sheet leaves for later is not
    /// done: see [`Delivery::complete`].
    pub(super) fn load(&mut self, model: &str, sheets: &[Sheet]) -> Vec<Result<i64, Failure>> {
        let mut results: BTreeMap<usize, Result<i64, Failure>> = BTreeMap::new();
        for group in groups(sheets) {
            let loaded = self.divide(group.len(), |delivery, places| {
                let chosen: Vec<&Sheet> =
                    places.iter().map(|place| &sheets[group[*place]]).collect();
                delivery.load_once(model, &chosen)
            });
            results.extend(group.into_iter().zip(loaded));
        }
        // A record of this batch may be what a reference did not find before.
        self.forget_lookups();
        let lost = || Err(Failure::new(ErrorClass::Bug, "load left a record out"));
        (0..sheets.len())
            .map(|place| results.remove(&place).unwrap_or_else(lost))
            .collect()
    }

    fn load_once(&mut self, model: &str, sheets: &[&Sheet]) -> Result<Vec<i64>, Refusal> {
        let matrix = matrix(sheets);
        let mut call = self
            .new_call(model, "load")
            .with("fields", matrix.fields)
            .with("data", json!(matrix.data));
        // Our times are in UTC, whatever the time zone of the connection's context.
        for (key, value) in [
            ("mode", json!("update")),
            ("noupdate", json!(true)),
            ("tz", json!("UTC")),
        ] {
            call.context.insert(key.to_owned(), value);
        }
        #[cfg(feature = "chaos")]
        if crate::chaos::loads_plainly() {
            call.context.remove("noupdate");
        }
        let answer = self.send(&call)?;
        match load::judge(&call, &answer, sheets.len()) {
            Loaded::Ids(ids) => Ok(ids),
            Loaded::Refused { failure, named } => {
                if failure.class == ErrorClass::Unknown {
                    self.halted = super::after(&failure);
                }
                let mut of_sheets = Vec::new();
                for error in named {
                    let Some((from, to)) = error.rows else {
                        continue;
                    };
                    for (place, span) in matrix.spans.iter().enumerate() {
                        if from <= span.1 && to >= span.0 {
                            of_sheets.push((place, error.failure.clone()));
                        }
                    }
                }
                Err(self.with_rights(
                    Refusal {
                        failure,
                        named: of_sheets,
                        of_all: false,
                    },
                    model,
                    "create",
                ))
            }
        }
    }

    /// Does what `load` could not: lines of other columns, and fields that only a write can set. Both may be done again
    /// without a second effect.
    pub(super) fn complete(
        &mut self,
        model: &str,
        sheets: &[Sheet],
        ids: Vec<Result<i64, Failure>>,
    ) -> Vec<Result<i64, Failure>> {
        let mut results = ids;
        let places: Vec<usize> = (0..sheets.len())
            .filter(|place| results[*place].is_ok() && !sheets[*place].later_values.is_empty())
            .collect();
        let changes: Vec<Change<'_>> = places
            .iter()
            .filter_map(|place| {
                results[*place].as_ref().ok().map(|id| Change {
                    id: *id,
                    values: &sheets[*place].later_values,
                })
            })
            .collect();
        for (place, written) in places.iter().zip(self.change(model, &changes)) {
            if let Err(failure) = written {
                results[*place] = Err(failure);
            }
        }
        let mut lines = Vec::new();
        for (place, sheet) in sheets.iter().enumerate() {
            if let Ok(id) = &results[place] {
                lines.extend(
                    sheet
                        .later_lines
                        .iter()
                        .map(|(field, line)| (place, *id, field.as_str(), line)),
                );
            }
        }
        for (place, failure) in self.save_lines(model, &lines) {
            if results[place].is_ok() {
                results[place] = Err(failure);
            }
        }
        results
    }
}

/// The sheet of each record.
pub(super) fn sheets(records: &[Record<'_>]) -> Vec<Sheet> {
    records
        .iter()
        .map(|record| Sheet::new(&record.external_id, record.values))
        .collect()
}

/// Sheets that go into one matrix: the same columns, and no external id twice, because `load` looks for existing records
/// once, before it makes the first.
fn groups(sheets: &[Sheet]) -> Vec<Vec<usize>> {
    let mut groups: Vec<(Vec<&str>, BTreeSet<&str>, Vec<usize>)> = Vec::new();
    for (place, sheet) in sheets.iter().enumerate() {
        let columns = sheet.columns();
        let name = sheet.external_id();
        let fitting = groups
            .iter_mut()
            .find(|(of, names, _)| *of == columns && !names.contains(name));
        match fitting {
            Some((_, names, places)) => {
                names.insert(name);
                places.push(place);
            }
            None => groups.push((columns, BTreeSet::from([name]), vec![place])),
        }
    }
    groups.into_iter().map(|(_, _, places)| places).collect()
}
