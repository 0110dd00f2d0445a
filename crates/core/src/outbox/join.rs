//! Pending changes of one record become one: later fields win.
//!
//! What a joined row leaves in Odoo is what its rows would have left one after another. That is so as long as every value of an
//! earlier row is either given again by a later one, or is a plain field, which nothing but a write changes. A value that Odoo computes
//! from others keeps its rows apart. Lines are added to what is there: those of one key are joined where the later one is given whole.

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
    /// A value says something of what is there, not all of it: properties.
    Partial,
    /// As `Partial`, one line at a time: of different lines, one write says what several would.
    Lines,
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
            merge(&mut unit.sent, next, nature);
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
                (Some(new), Nature::Lines) => are_lines_to_join(value, new),
                (_, Nature::Partial) | (None, Nature::Lines | Nature::Computed | Nature::Unknown) => {
                    false
                }
            }
        })
}

/// Lines by their keys; `None` where one does not say by its key which it is, or two are the same.
fn by_key(lines: &Value) -> Option<HashMap<String, &Map<String, Value>>> {
    let lines = lines.as_array()?;
    let mut found = HashMap::with_capacity(lines.len());
    for line in lines {
        let line = line.as_object()?;
        let key = line.get("key").filter(|_| !line.contains_key("id"))?;
        // A key of 1 and one of "1" are the same.
        let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
        if found.insert(key, line).is_some() {
            return None;
        }
    }
    Some(found)
}

/// Whether one write of the lines of both says what two would: they are different ones, or what is in both is given whole again.
fn are_lines_to_join(earlier: &Value, later: &Value) -> bool {
    let (Some(earlier), Some(later)) = (by_key(earlier), by_key(later)) else {
        return false;
    };
    let is_deleted = |line: &Map<String, Value>| line.contains_key("_delete");
    later.iter().all(|(key, new)| match earlier.get(key) {
        None => true,
        // What is deleted is not made anew in the same write.
        Some(old) if is_deleted(old) => is_deleted(new),
        Some(old) => is_deleted(new) || old.keys().all(|field| new.contains_key(field)),
    })
}

fn merge(unit: &mut Claimed, later: Claimed, nature: &dyn Fn(&str, &str) -> Nature) {
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
        take_in(changes, &unit.row.model, row.payload.clone(), nature);
    }
    take_in(&mut unit.row.payload, &unit.row.model, row.payload, nature);
}

/// Later fields win; lines are added to each other.
fn take_in(
    payload: &mut Map<String, Value>,
    model: &str,
    later: Map<String, Value>,
    nature: &dyn Fn(&str, &str) -> Nature,
) {
    for (field, value) in later {
        match (payload.get_mut(&field), value) {
            (Some(Value::Array(lines)), Value::Array(more))
                if nature(model, &field) == Nature::Lines =>
            {
                add_lines(lines, more);
            }
            (_, value) => {
                payload.insert(field, value);
            }
        }
    }
}

/// Later lines take the places of those with their keys; the others come after.
fn add_lines(lines: &mut Vec<Value>, more: Vec<Value>) {
    let key = |line: &Value| {
        let key = line.get("key")?;
        Some(key.as_str().map_or_else(|| key.to_string(), str::to_owned))
    };
    let places: HashMap<String, usize> = lines
        .iter()
        .enumerate()
        .filter_map(|(place, line)| Some((key(line)?, place)))
        .collect();
    for line in more {
        match key(&line).and_then(|key| places.get(&key).copied()) {
            Some(place) => lines[place] = line,
            None => lines.push(line),
        }
    }
}
