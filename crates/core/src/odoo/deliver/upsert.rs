//! `upsert`: make the record where it is missing, change it where it was there before.

use serde_json::{Value, json};

use super::create::{Record, records, sheets};
use super::update::Change;
use super::{Delivery, Purpose};
use crate::failure::{ErrorClass, Failure};
use crate::odoo::values::{Typed, Values};

impl Delivery<'_> {
    pub(super) fn upsert(&mut self) {
        let batch = self.batch;
        let (known, unknown): (Vec<_>, Vec<_>) =
            batch.rows.iter().partition(|row| row.odoo_id.is_some());
        self.update_rows(&known, Purpose::Upsert);
        let ready = self.read(unknown.into_iter(), Purpose::Upsert);
        let records = records(&ready);
        let ids = self.upsert_records(&batch.model, &records);
        for (ready, id) in ready.iter().zip(ids) {
            self.settle(ready.row, id);
        }
    }

    /// Makes each record, or changes it where it was there before; one result per record.
    ///
    /// Which of the two, `load` does not tell. An id that is not above the highest one before the call was there; one that
    /// is above was made since, by this call or by an earlier one with the same row.
    pub(super) fn upsert_records(
        &mut self,
        model: &str,
        records: &[Record<'_>],
    ) -> Vec<Result<i64, Failure>> {
        if records.is_empty() {
            return Vec::new();
        }
        let highest = match self.highest_id(model) {
            Ok(highest) => highest,
            Err(failure) => return records.iter().map(|_| Err(failure.clone())).collect(),
        };
        let sheets = sheets(records);
        let ids = self.load(model, &sheets);
        let is_old = |id: &Result<i64, Failure>| matches!(id, Ok(id) if *id <= highest);
        let old: Vec<usize> = (0..ids.len())
            .filter(|place| is_old(&ids[*place]))
            .collect();
        if old.is_empty() {
            return self.complete(model, &sheets, ids);
        }
        // New records get what `load` left for later; old ones get everything by a write.
        let new: Vec<usize> = (0..ids.len())
            .filter(|place| !is_old(&ids[*place]))
            .collect();
        let new_sheets: Vec<_> = new.iter().map(|place| sheets[*place].clone()).collect();
        let new_ids = self.complete(
            model,
            &new_sheets,
            new.iter().map(|place| ids[*place].clone()).collect(),
        );
        let allowed: Vec<Values> = old
            .iter()
            .map(|place| {
                let record = &records[*place];
                let values = record.changes.unwrap_or(record.values);
                self.changeable(model, values, record.back)
            })
            .collect();
        let changes: Vec<Change<'_>> = old
            .iter()
            .zip(&allowed)
            .filter_map(|(place, values)| {
                ids[*place]
                    .as_ref()
                    .ok()
                    .map(|id| Change { id: *id, values })
            })
            .collect();
        // A line is protected by the record it stands in, which was asked for before.
        let changed = if records.iter().any(|record| record.back.is_some()) {
            self.change_with_lines(model, &changes)
        } else {
            self.change_editable(&changes)
        };
        let mut results = ids.clone();
        for (place, result) in new.into_iter().zip(new_ids) {
            results[place] = result;
        }
        for (place, changed) in old.into_iter().zip(changed) {
            if let Err(failure) = changed {
                results[place] = Err(failure);
            }
        }
        results
    }

    /// `values` without those that Odoo lets be given only when a record is made, and without `back`, the field in which a
    /// line names its record.
    pub(super) fn changeable(
        &mut self,
        model: &str,
        values: &Values,
        back: Option<&str>,
    ) -> Values {
        let fields = self.fields(model).ok();
        let fixed = |name: &str| {
            back == Some(name)
                || fields
                    .as_ref()
                    .and_then(|fields| fields.get(name))
                    .is_some_and(|field| field.readonly)
        };
        values
            .iter()
            .filter(|(name, _)| !fixed(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// The highest id of `model` that we may see; without the right to search, every record counts as old.
    fn highest_id(&mut self, model: &str) -> Result<i64, Failure> {
        let mut call = self
            .new_call(model, "search")
            .with("domain", json!([]))
            .with("order", "id desc")
            .with("limit", 1);
        call.context.insert("active_test".to_owned(), json!(false));
        match self.ask(&call) {
            Ok(Value::Array(ids)) => Ok(ids.first().and_then(Value::as_i64).unwrap_or(0)),
            Ok(_) => Ok(i64::MAX),
            Err(failure) if failure.class == ErrorClass::Forbidden => Ok(i64::MAX),
            Err(failure) => Err(failure),
        }
    }
}

/// Whether anything in `values` is for the record itself and not for its lines.
pub(super) fn has_own_values(values: &Values) -> bool {
    values
        .values()
        .any(|value| !matches!(value, Typed::Lines(_)))
}
