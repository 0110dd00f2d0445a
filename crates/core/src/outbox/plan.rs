//! From claimed rows to calls: join what can be joined, order what refers to each other, batch what travels together.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::join::{Nature, join};
use super::order::{After, Step, order};
use super::row::{Operation, Row};

/// Rows that travel in one call: one model, one operation, one set of fields, one context.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub model: String,
    pub operation: Operation,
    /// The Odoo context of the call (language and companies are part of it).
    pub context: Map<String, Value>,
    /// What is sent; never empty.
    pub rows: Vec<Row>,
    /// By the id of a row that is sent, the rows that were joined to it, as they came and in their order, itself the last.
    pub joined: BTreeMap<i64, Vec<Row>>,
    /// Records that earlier calls made, by external id: nobody need ask Odoo for these.
    pub known: BTreeMap<String, i64>,
}

impl Batch {
    /// The ids of all rows that get an outcome from this batch.
    pub fn ids(&self) -> impl Iterator<Item = i64> {
        self.rows.iter().flat_map(|row| self.members(row.id))
    }

    /// The ids of the rows that `sent` stands for.
    pub fn members(&self, sent: i64) -> Vec<i64> {
        match self.joined.get(&sent) {
            Some(members) => members.iter().map(|row| row.id).collect(),
            None => vec![sent],
        }
    }
}

/// A row with what the plan must know of it beyond its content.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    pub row: Row,
    /// Rows with one key go one after another; a row without one waits for nobody.
    pub key: Option<i64>,
    pub context: Map<String, Value>,
    /// Most rows of its model in one call; at least 1.
    pub max_batch: usize,
    /// What goes first: the higher.
    pub priority: i16,
    /// The records that its values refer to by external id.
    pub references: Vec<Reference>,
    /// Whether it may become one with others. Not a create that was sent before: if it comes to Odoo late, ours does nothing there, and
    /// what was joined to it would be lost. Nor a row of a model whose records are looked at before each change.
    pub joinable: bool,
    /// Whether the fields of its model are described: only then is `required` of its references true or false for good.
    pub described: bool,
}

/// A value that refers to a record by its external id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The field of the payload in which it stands, at whatever depth.
    pub field: String,
    pub external_id: String,
    /// A record cannot be without the field.
    pub required: bool,
    /// Model and record key, where it was given by these.
    pub record: Option<(String, String)>,
}

/// A batch, and what its rows wait for.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub batch: Batch,
    /// By the id of a row that is sent. The batch may go when all of these have come true; what is not in the plan has.
    pub after: BTreeMap<i64, BTreeSet<After>>,
    pub priority: i16,
}

/// From claimed rows to batches, in an order in which they may go one by one; batches that do not wait for each other may go at the
/// same time. A row may be sent in two steps: then it stands in two batches, and the second one settles it.
#[must_use]
pub fn plan(mut claimed: Vec<Claimed>, nature: &dyn Fn(&str, &str) -> Nature) -> Vec<Planned> {
    claimed.sort_by_key(|claimed| claimed.row.id);
    let mut groups: BTreeMap<BatchKey, Vec<Step>> = BTreeMap::new();
    for step in order(join(claimed, nature)) {
        groups.entry(BatchKey::of(&step)).or_default().push(step);
    }
    groups
        .into_iter()
        .flat_map(|(key, steps)| key.into_batches(steps))
        .collect()
}

/// What travels together, and in which order it goes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct BatchKey {
    level: usize,
    priority: Reverse<i16>,
    operation: Operation,
    model: String,
    fields: BTreeSet<String>,
    /// JSON text: two contexts are one when they read the same.
    context: String,
    known: bool,
    has_changes: bool,
    max_batch: usize,
}

impl BatchKey {
    fn of(step: &Step) -> Self {
        let row = &step.sent.row;
        let fields = match row.operation {
            // Whatever is in a call goes as it is; whatever is in a delete does not go at all.
            Operation::Call | Operation::Delete => BTreeSet::new(),
            Operation::Upsert | Operation::Create | Operation::Update => {
                row.payload.keys().cloned().collect()
            }
        };
        Self {
            level: step.level,
            priority: Reverse(step.sent.priority),
            operation: row.operation,
            model: row.model.clone(),
            fields,
            context: context_text(&step.sent.context),
            known: row.odoo_id.is_some(),
            has_changes: row.changes.is_some(),
            // Each method call is its own request.
            max_batch: if row.operation == Operation::Call {
                1
            } else {
                step.sent.max_batch.max(1)
            },
        }
    }

    fn into_batches(self, steps: Vec<Step>) -> Vec<Planned> {
        let mut batches: Vec<Planned> = Vec::new();
        for step in steps {
            if batches
                .last()
                .is_none_or(|planned| planned.batch.rows.len() >= self.max_batch)
            {
                batches.push(Planned {
                    batch: Batch {
                        model: self.model.clone(),
                        operation: self.operation,
                        context: step.sent.context.clone(),
                        rows: Vec::new(),
                        joined: BTreeMap::new(),
                        known: BTreeMap::new(),
                    },
                    after: BTreeMap::new(),
                    priority: self.priority.0,
                });
            }
            let Some(planned) = batches.last_mut() else {
                continue;
            };
            let id = step.sent.row.id;
            if !step.after.is_empty() {
                planned.after.insert(id, step.after);
            }
            if !step.members.is_empty() {
                planned.batch.joined.insert(id, step.members);
            }
            planned.batch.rows.push(step.sent.row);
        }
        batches
    }
}

fn context_text(context: &Map<String, Value>) -> String {
    if context.is_empty() {
        return String::new();
    }
    Value::Object(context.clone()).to_string()
}

#[cfg(test)]
mod tests;
