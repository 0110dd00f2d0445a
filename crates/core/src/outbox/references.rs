//! What the rows of a claim refer to: found before they are planned, so that they go in an order in which it is there.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::config::Terms;
use super::join::Nature;
use super::plan::Claimed;
use super::row::Operation;
use crate::odoo::fields::ModelFields;
use crate::odoo::values::{Naming, guessed_references, may_refer, references};

/// Between the records of one text: see [`record_name`].
pub const BETWEEN_RECORDS: &str = "\u{1e}";

/// A record as its key is hashed; several in one text have [`BETWEEN_RECORDS`] between them.
#[must_use]
pub fn record_name(model: &str, key: &str) -> String {
    format!("{model}\u{1f}{key}")
}

/// What the rows of a claim are read by.
pub(super) struct Known<'a> {
    pub(super) terms: &'a Terms<'a>,
    /// What is known of the fields of a model.
    pub(super) fields: &'a dyn Fn(&str) -> Option<Arc<ModelFields>>,
}

impl Known<'_> {
    pub(super) fn nature(&self, model: &str, field: &str) -> Nature {
        let fields = (self.fields)(model);
        let field = fields.as_ref().and_then(|fields| fields.get(field));
        field.map_or(Nature::Unknown, |field| field.nature())
    }

    /// `by_key`: model and external id of the records that rows of the claim make, by record key.
    pub(super) fn find_references(
        &self,
        claimed: &mut Claimed,
        by_key: &HashMap<String, Vec<(String, String)>>,
    ) {
        let row = &claimed.row;
        let namespace = &self.terms.config.namespace;
        let has_values = makes(row.operation) || row.operation == Operation::Update;
        if !has_values || !may_refer(&row.payload, namespace) {
            return;
        }
        if (self.fields)(&row.model).is_none() {
            claimed.references = guessed_references(&row.payload, by_key);
            return;
        }
        claimed.described = true;
        let naming = Naming {
            namespace,
            connection: self.terms.connection,
        };
        claimed.references = references(naming, &row.model, &row.payload, self.fields);
    }
}

/// A create whose first step made the record, and whose second one did not go: it touches the record no more, but what was cut off
/// is still to be written.
pub(super) fn finish_references(claimed: &mut Claimed) {
    if claimed.row.operation != Operation::Create {
        return;
    }
    let fields: HashSet<&str> = claimed
        .references
        .iter()
        .map(|of| of.field.as_str())
        .collect();
    let payload = claimed.row.payload.iter();
    let cut = payload.filter(|(field, _)| fields.contains(field.as_str()));
    let cut = cut.map(|(field, value)| (field.clone(), value.clone()));
    claimed.row.changes = Some(cut.collect()).filter(|cut: &Map<String, Value>| !cut.is_empty());
}

/// Whether a row of this operation makes its record where it is not there.
pub(super) fn makes(operation: Operation) -> bool {
    matches!(operation, Operation::Create | Operation::Upsert)
}

/// The other records that the row refers to by key, as `settle.sql` takes them.
pub(super) fn needs(claimed: &Claimed) -> Option<String> {
    let records: BTreeSet<String> = claimed
        .references
        .iter()
        .filter(|reference| reference.external_id != claimed.row.external_id)
        .filter_map(|reference| reference.record.as_ref())
        .map(|(model, key)| record_name(model, key))
        .collect();
    let text = records
        .into_iter()
        .collect::<Vec<_>>()
        .join(BETWEEN_RECORDS);
    (!text.is_empty()).then_some(text)
}
