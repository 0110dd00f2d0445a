//! What each worker process of Odoo remembers of external ids.
//!
//! `check_object_reference` answers from a cache of its process. Naming a record fills that cache at once, before the
//! transaction commits, and a rollback does not empty it: after a refused `load` the process that ran it goes on to answer
//! `[model, false]` for an external id, even when another process has created the record meanwhile. Deleting any record
//! that has an external id, and writing to `ir.model.data`, empties the caches of all processes.

use std::collections::HashMap;

/// The model and id a process believes an external id to stand for.
type Known = HashMap<String, (String, i64)>;

#[derive(Debug, Default)]
pub(crate) struct LookupCaches {
    processes: Vec<Known>,
    /// The process that runs the current call.
    current: usize,
    /// The current transaction changed what caches may hold.
    stale: bool,
}

impl LookupCaches {
    /// Caches of so many processes, all empty.
    pub fn new(processes: usize) -> Self {
        Self {
            processes: vec![Known::new(); processes.max(1)],
            current: 0,
            stale: false,
        }
    }

    /// Lets the next process run a call.
    pub fn next_process(&mut self) {
        self.current = (self.current + 1) % self.processes.len().max(1);
    }

    pub fn get(&self, full_name: &str) -> Option<&(String, i64)> {
        self.processes.get(self.current)?.get(full_name)
    }

    /// Remembers, whatever becomes of the transaction.
    pub fn remember(&mut self, full_name: &str, model: &str, id: i64) {
        if let Some(known) = self.processes.get_mut(self.current) {
            known.insert(full_name.to_owned(), (model.to_owned(), id));
        }
    }

    /// An external id moved or went.
    pub fn invalidate(&mut self) {
        self.stale = true;
        self.forget_own();
    }

    pub fn committed(&mut self) {
        if std::mem::take(&mut self.stale) {
            self.processes.iter_mut().for_each(HashMap::clear);
        }
    }

    pub fn rolled_back(&mut self) {
        if std::mem::take(&mut self.stale) {
            self.forget_own();
        }
    }

    fn forget_own(&mut self) {
        if let Some(known) = self.processes.get_mut(self.current) {
            known.clear();
        }
    }
}
