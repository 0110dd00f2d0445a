//! The record store: tables, the indexes over references, and one transaction at a time with savepoints.
//!
//! Invariant: every change goes through [`Store::put`], which keeps the indexes and the undo journal right.

use super::field::Kind;
use super::history::History;
use super::lookup_cache::LookupCaches;
use super::model::{Row, registry};
use super::value::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A record and the number of the commit that last changed it.
#[derive(Clone)]
pub(crate) struct Record {
    pub commit: u64,
    pub row: Arc<Row>,
}

#[derive(Default)]
struct Table {
    records: BTreeMap<i64, Record>,
    next_id: i64,
}

/// What `rollback_to` needs to put one record back.
struct Undo {
    model: usize,
    id: i64,
    before: Option<Record>,
}

#[derive(Default)]
pub(crate) struct Store {
    tables: Vec<Table>,
    /// (model, field) to target to the records that point to it.
    inverse: HashMap<(usize, usize), HashMap<i64, BTreeSet<i64>>>,
    /// `module.name` to the row of `ir.model.data`.
    external: HashMap<String, i64>,
    /// (model name, record) to rows of `ir.model.data`.
    externals_of: HashMap<(String, i64), BTreeSet<i64>>,
    journal: Vec<Undo>,
    pub lookups: LookupCaches,
    pub history: History,
    /// The last commit; a transaction sees what was committed when it began.
    commits: u64,
}

impl Store {
    /// An empty store, looked at by so many processes.
    pub fn new(processes: usize) -> Self {
        let tables = registry()
            .models
            .iter()
            .map(|_| Table {
                records: BTreeMap::new(),
                next_id: 1,
            })
            .collect();
        Self {
            tables,
            lookups: LookupCaches::new(processes),
            ..Self::default()
        }
    }

    pub fn commits(&self) -> u64 {
        self.commits
    }

    pub fn get(&self, model: usize, id: i64) -> Option<&Record> {
        self.tables[model].records.get(&id)
    }

    pub fn ids(&self, model: usize) -> impl DoubleEndedIterator<Item = i64> + '_ {
        self.tables[model].records.keys().copied()
    }

    pub fn ids_from(&self, model: usize, floor: i64) -> impl Iterator<Item = i64> + '_ {
        self.tables[model].records.range(floor..).map(|(id, _)| *id)
    }

    /// A new id. Like a Postgres sequence it never goes back.
    pub fn next_id(&mut self, model: usize) -> i64 {
        let table = &mut self.tables[model];
        let id = table.next_id;
        table.next_id += 1;
        id
    }

    /// Makes the next id of a model at least `id`.
    pub fn skip_to(&mut self, model: usize, id: i64) {
        let table = &mut self.tables[model];
        table.next_id = table.next_id.max(id);
    }

    /// Records of `model` whose field at `field` points to `target`.
    pub fn pointing(&self, model: usize, field: usize, target: i64) -> Vec<i64> {
        self.inverse
            .get(&(model, field))
            .and_then(|targets| targets.get(&target))
            .map_or_else(Vec::new, |ids| ids.iter().copied().collect())
    }

    /// The row of `ir.model.data` with this `module.name`.
    pub fn external(&self, full_name: &str) -> Option<i64> {
        self.external.get(full_name).copied()
    }

    /// Rows of `ir.model.data` that name this record.
    pub fn externals_of(&self, model: &str, id: i64) -> Vec<i64> {
        self.externals_of
            .get(&(model.to_owned(), id))
            .map_or_else(Vec::new, |ids| ids.iter().copied().collect())
    }

    /// Sets or, with `None`, removes a record.
    pub fn put(&mut self, model: usize, id: i64, row: Option<Arc<Row>>) {
        let next = row.map(|row| Record {
            commit: self.commits + 1,
            row,
        });
        let before = self.swap(model, id, next);
        self.journal.push(Undo { model, id, before });
    }

    /// A savepoint for [`Store::rollback_to`].
    pub fn savepoint(&self) -> usize {
        self.journal.len()
    }

    /// Undoes everything since the savepoint.
    pub fn rollback_to(&mut self, savepoint: usize) {
        while self.journal.len() > savepoint {
            if let Some(undo) = self.journal.pop() {
                self.swap(undo.model, undo.id, undo.before);
            }
        }
    }

    pub fn commit(&mut self) {
        self.lookups.committed();
        if !self.journal.is_empty() {
            self.commits += 1;
            self.remember();
            self.journal.clear();
        }
    }

    /// Notes what the transaction did to watched fields: what they were before its first change against what they are now.
    fn remember(&mut self) {
        let mut seen = BTreeSet::new();
        for undo in &self.journal {
            if !seen.insert((undo.model, undo.id)) {
                continue;
            }
            let now = self.tables[undo.model].records.get(&undo.id);
            let fields: Vec<usize> = self.history.fields_of(undo.model).collect();
            for field in fields {
                let before = undo.before.as_ref().map(|record| &record.row[field]);
                let after = now.map(|record| &record.row[field]);
                if before != after {
                    self.history.note(undo.model, undo.id, self.commits, after);
                }
            }
        }
    }

    fn swap(&mut self, model: usize, id: i64, next: Option<Record>) -> Option<Record> {
        let new_row = next.as_ref().map(|record| Arc::clone(&record.row));
        let before = match next {
            Some(record) => self.tables[model].records.insert(id, record),
            None => self.tables[model].records.remove(&id),
        };
        self.reindex(
            model,
            id,
            before.as_ref().map(|record| &*record.row),
            new_row.as_deref(),
        );
        before
    }

    fn reindex(&mut self, model: usize, id: i64, old: Option<&Row>, new: Option<&Row>) {
        let definition = &registry().models[model];
        for (position, field) in definition.fields.iter().enumerate() {
            if !matches!(field.kind, Kind::Many2one { .. } | Kind::Many2many { .. })
                || !field.stored
            {
                continue;
            }
            let (was, is) = (old.map(|row| &row[position]), new.map(|row| &row[position]));
            if was == is {
                continue;
            }
            let targets = self.inverse.entry((model, position)).or_default();
            for target in was.map(pointed).unwrap_or_default() {
                if let Some(ids) = targets.get_mut(target) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        targets.remove(target);
                    }
                }
            }
            for target in is.map(pointed).unwrap_or_default() {
                targets.entry(*target).or_default().insert(id);
            }
        }
        if definition.name == "ir.model.data" {
            if let Some(row) = old {
                let (name, target) = external_name(row);
                self.external.remove(&name);
                if let Some(ids) = self.externals_of.get_mut(&target) {
                    ids.remove(&id);
                }
            }
            if let Some(row) = new {
                let (name, target) = external_name(row);
                self.external.insert(name, id);
                self.externals_of.entry(target).or_default().insert(id);
            }
        }
    }
}

/// The ids a value points to.
fn pointed(value: &Value) -> &[i64] {
    match value {
        Value::Ref(id) => std::slice::from_ref(id),
        Value::Ids(ids) => ids,
        _ => &[],
    }
}

fn external_name(row: &Row) -> (String, (String, i64)) {
    let model = registry().model("ir.model.data");
    let text = |name: &str| row[model.at(name)].as_str().unwrap_or_default().to_owned();
    let target = match row[model.at("res_id")] {
        Value::Int(id) => id,
        _ => 0,
    };
    (
        format!("{}.{}", text("module"), text("name")),
        (text("model"), target),
    )
}
