//! The log of requests: what tests ask about, and totals that benchmarks read.

use serde::Serialize;
use std::collections::VecDeque;
use std::time::SystemTime;

/// One request that reached the simulator.
#[derive(Debug, Clone, Serialize)]
pub struct Logged {
    /// Counts from 1 in the order of arrival.
    pub number: u64,
    /// Arrival.
    pub at: SystemTime,
    /// `json2`, `jsonrpc` or `http`.
    pub protocol: &'static str,
    /// User that called; 0 for none.
    pub uid: i64,
    /// Technical model name; `web` and `common` for what is no model.
    pub model: String,
    /// Method name.
    pub method: String,
    /// Records the call is about: ids, `vals_list` or rows.
    pub records: usize,
    /// Size of the body in bytes.
    pub bytes: usize,
    /// External ids (`load`) or ids of the call, for tests that check order.
    pub keys: Vec<String>,
    /// Names of the effects that struck it.
    pub faults: Vec<String>,
    /// What came of it: `done`, the name of an exception, or `lost` when the work was not done.
    pub outcome: String,
}

/// Counters that never forget.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Totals {
    /// Requests that arrived.
    pub requests: u64,
    /// Calls whose work was committed.
    pub committed: u64,
    /// Records those calls were about.
    pub records: u64,
    /// Bytes of all bodies.
    pub bytes: u64,
}

/// Requests remembered, newest last.
pub(crate) struct Journal {
    entries: VecDeque<Logged>,
    limit: usize,
    totals: Totals,
}

impl Journal {
    pub fn new(limit: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            limit,
            totals: Totals::default(),
        }
    }

    /// Logs an arrival and gives its number.
    pub fn arrived(&mut self, mut entry: Logged) -> u64 {
        self.totals.requests += 1;
        self.totals.bytes += entry.bytes as u64;
        entry.number = self.totals.requests;
        if self.limit == 0 {
            return self.totals.requests;
        }
        if self.entries.len() == self.limit {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        self.totals.requests
    }

    /// Notes what came of it.
    pub fn finished(&mut self, number: u64, outcome: &str, records: usize) {
        if outcome == "done" {
            self.totals.committed += 1;
            self.totals.records += records as u64;
        }
        let Some(first) = self.entries.front().map(|entry| entry.number) else {
            return;
        };
        let at = number
            .checked_sub(first)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
            entry.outcome = outcome.to_owned();
        }
    }

    pub fn entries(&self) -> Vec<Logged> {
        self.entries.iter().cloned().collect()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }
}
