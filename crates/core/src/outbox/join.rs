//! Pending changes of one record become one: later fields win.
//!
//! What a joined row leaves in Odoo is what its rows would have left one after another. That is so as long as every value of an
//! earlier row is either given again by a later one, or is a plain field, which nothing but a write changes. A value that Odoo computes
//! from others, and lines, which are added to what is there, keep their rows apart.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::plan::Claimed;
use super::row::{Operation, Row};

/// What a field is, as far as joining must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// A later value replaces an earlier one, and nothing else changes it.
    Plain,
    /// Plain, and given only when a record is made: a later write of it is refused.
    Fixed,
    /// Odoo computes it from other fields: writing those after it may change it.
    Computed,
    /// A value says something of what is there, not all of it: lines, properties.
    Partial,
    /// The field is not described yet.
    Unknown,
}

/// What is sent for one row, or for several that were joined.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unit {
    /// Has the id of its last row.
    pub sent: Claimed,
    /// The rows that were joined, as they came and in their order; empty for a row alone.
    pub members: Vec<Row>,
}

impl Unit {
    /// The ids of all its rows.
    pub fn ids(&self) -> Vec<i64> {
        if self.members.is_empty() {
            return vec![self.sent.row.id];
        }
        self.members.iter().map(|row| row.id).collect()
    }
}

/// Joins what can be joined. `claimed` is in the order of ids; so are the units, by their first rows.
pub(super) fn join(claimed: Vec<Claimed>, nature: &dyn Fn(&str, &str) -> Nature) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::with_capacity(claimed.len());
    let mut last_of_key: HashMap<i64, usize> = HashMap::new();
    for next in claimed {
        let last = next.key.and_then(|key| last_of_key.get(&key).copied());
        if let Some(unit) = last.and_then(|last| units.get_mut(last))
            && fits(&unit.sent, &next, nature)
        {
            if unit.members.is_empty() {
                unit.members.push(unit.sent.row.clone());
            }
            unit.members.push(next.row.clone());
            merge(&mut unit.sent, next);
            continue;
        }
        if let Some(key) = next.key {
            last_of_key.insert(key, units.len());
        }
        units.push(Unit {
            sent: next,
            members: Vec::new(),
        });
    }
    units
}

fn fits(earlier: &Claimed, later: &Claimed, nature: &dyn Fn(&str, &str) -> Nature) -> bool {
    let (a, b) = (&earlier.row, &later.row);
    let operations = match (a.operation, b.operation) {
        (Operation::Create | Operation::Upsert, Operation::Update | Operation::Upsert)
        | (Operation::Update, Operation::Update) => true,
        // An upsert makes a record where an update before it had found none.
        (Operation::Update, Operation::Upsert | Operation::Create)
        | (Operation::Create | Operation::Upsert, Operation::Create)
        | (Operation::Delete | Operation::Call, _)
        | (_, Operation::Delete | Operation::Call) => false,
    };
    operations
        && earlier.joinable
        && later.joinable
        // Alone, a change of a field that is given only once is refused; in a create it would pass.
        && (a.operation == b.operation
            || b.payload.keys().all(|field| {
                !matches!(nature(&b.model, field), Nature::Fixed | Nature::Unknown)
            }))
        && a.model == b.model
        && a.external_id == b.external_id
        && a.has_record_key == b.has_record_key
        && a.odoo_id == b.odoo_id
        && earlier.context == later.context
        // No value would keep such a row apart, where rows are to be kept apart.
        && !a.payload.is_empty()
        && a.payload.iter().all(|(field, value)| {
            let nature = nature(&a.model, field);
            match (b.payload.get(field), nature) {
                (Some(_), Nature::Plain | Nature::Fixed | Nature::Computed)
                | (None, Nature::Plain | Nature::Fixed) => true,
                // Whatever it is, a scalar is replaced whole.
                (Some(new), Nature::Unknown) => {
                    !value.is_array() && !new.is_array() && !value.is_object() && !new.is_object()
                }
                (_, Nature::Partial) | (None, Nature::Computed | Nature::Unknown) => false,
            }
        })
}

fn merge(unit: &mut Claimed, later: Claimed) {
    let Claimed {
        row,
        references,
        priority,
        ..
    } = later;
    // Those of values that are given again, too: where the rows must be sent one after another after all, they stand for themselves.
    unit.references.extend(references);
    unit.priority = unit.priority.max(priority);
    unit.row.id = row.id;
    if unit.row.operation == Operation::Create {
        let changes = unit.row.changes.get_or_insert_with(Map::new);
        changes.extend(row.payload.clone());
    }
    unit.row.payload.extend::<Map<String, Value>>(row.payload);
}
