//! What stands in for Postgres: the rules of `claim.sql`, `settle.sql` and `recover.sql`, on maps and with a clock of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use pg_etl_core::failure::ErrorClass;
use pg_etl_core::outbox::{
    self, BETWEEN_RECORDS, ClaimedRows, Cursor, Operation, RawRow, Remaining, Settled,
};

use crate::case::{MODELS, Row};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Queued,
    Processing,
    Done,
    Failed,
}

pub struct Stored {
    pub row: Row,
    pub status: Status,
    pub attempts: u32,
    pub class: Option<ErrorClass>,
    odoo_id: Option<i64>,
    /// Virtual milliseconds.
    due: u64,
    claim: Option<i64>,
    lot: Option<u64>,
}

impl Stored {
    fn key(&self) -> i64 {
        self.row.record.hash()
    }
}

impl From<outbox::Status> for Status {
    fn from(status: outbox::Status) -> Self {
        match status {
            outbox::Status::Done => Self::Done,
            outbox::Status::Queued => Self::Queued,
            outbox::Status::Failed => Self::Failed,
        }
    }
}

#[derive(Default)]
pub struct Queue {
    pub rows: BTreeMap<i64, Stored>,
    pub now: u64,
    /// By claim: its keys.
    claims: BTreeMap<i64, HashSet<i64>>,
    /// By key: the row after which others wait, until when, and whether only deletes do.
    holds: HashMap<i64, (i64, u64, bool)>,
    /// By key: the Odoo record.
    links: HashMap<i64, i64>,
    last_claim: i64,
    last_lot: u64,
}

impl Queue {
    pub fn new(rows: &[Row]) -> Self {
        let stored = |row: &Row| Stored {
            row: row.clone(),
            status: Status::Queued,
            attempts: 0,
            class: None,
            odoo_id: None,
            due: 0,
            claim: None,
            lot: None,
        };
        Self {
            rows: rows.iter().map(|row| (row.id, stored(row))).collect(),
            ..Self::default()
        }
    }

    fn queued(&self) -> impl Iterator<Item = &Stored> {
        self.rows
            .values()
            .filter(|row| row.status == Status::Queued)
    }

    /// Whether nothing waits and nothing is on its way.
    pub fn is_over(&self) -> bool {
        let over = |row: &Stored| matches!(row.status, Status::Done | Status::Failed);
        self.rows.values().all(over)
    }

    /// The first row of a key that must wait: the key is on its way, an older row of it is not in the window, or it is held.
    fn bar(&self, key: i64, window: &BTreeSet<i64>) -> Option<i64> {
        let busy = self
            .claims
            .values()
            .any(|keys| keys.contains(&key))
            .then_some(0);
        let outside = self
            .queued()
            .find(|row| row.key() == key && !window.contains(&row.row.id));
        let held = self
            .holds
            .get(&key)
            .filter(|(_, until, deletes_only)| *until > self.now && !deletes_only);
        [
            busy,
            outside.map(|row| row.row.id),
            held.map(|(after, ..)| after + 1),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Claims of `rows` due rows those that are free, from the one at `from` on.
    pub fn claim(&mut self, rows: usize, from: usize) -> Option<ClaimedRows> {
        let due: Vec<i64> = self
            .queued()
            .filter(|row| row.due <= self.now)
            .map(|row| row.row.id)
            .collect();
        let window: BTreeSet<i64> = due.into_iter().skip(from).take(rows).collect();
        let is_free = |id: &i64| {
            self.bar(self.rows[id].key(), &window)
                .is_none_or(|bar| *id < bar)
        };
        let mut held = HashSet::new();
        let mut free: Vec<i64> = window.iter().copied().filter(is_free).collect();
        // A delete that is held stops what is behind it.
        free.retain(|id| {
            let row = &self.rows[id];
            if row.row.operation == Operation::Delete && self.is_held_delete(*id) {
                held.insert(row.key());
            }
            !held.contains(&row.key())
        });
        let lot = self.rows[free.first()?].lot;
        // Of each key what comes before the first row of another lot.
        let mut stopped = HashSet::new();
        let mut chosen = Vec::new();
        for id in free {
            let row = &self.rows[&id];
            if row.lot != lot {
                stopped.insert(row.key());
            }
            if !stopped.contains(&row.key()) {
                chosen.push(id);
            }
        }
        self.last_claim += 1;
        let claim = self.last_claim;
        let keys = chosen.iter().map(|id| self.rows[id].key()).collect();
        self.claims.insert(claim, keys);
        let links = &self.links;
        let mut claimed = Vec::new();
        for id in &chosen {
            let Some(stored) = self.rows.get_mut(id) else {
                continue;
            };
            (stored.status, stored.claim) = (Status::Processing, Some(claim));
            stored.attempts += 1;
            claimed.push(raw(stored, links));
        }
        Some(ClaimedRows {
            claim,
            rows: claimed,
            // The cases say where the next claim looks.
            cursor: Cursor::START,
            suspect: lot.is_some(),
        })
    }

    fn is_held_delete(&self, id: i64) -> bool {
        let held = self.holds.get(&self.rows[&id].key());
        held.is_some_and(|(after, until, _)| *after < id && *until > self.now)
    }

    /// Whether one of the records is on its way or waits here.
    fn is_coming(&self, needs: &str) -> bool {
        let waits = self.queued().map(|row| row.row.record);
        let on_the_way = self
            .rows
            .values()
            .filter(|row| self.claims.values().any(|keys| keys.contains(&row.key())));
        let records: HashSet<String> = waits
            .chain(on_the_way.map(|row| row.row.record))
            .map(crate::case::Record::name)
            .collect();
        needs
            .split(BETWEEN_RECORDS)
            .any(|name| records.contains(name))
    }

    /// Writes down what became of rows of a claim, and what stays in it. Returns the rows that are over.
    pub fn settle(&mut self, settled: Vec<Settled>, remaining: Remaining) -> Vec<i64> {
        let mut over = Vec::new();
        // What waits is judged before anything is written: one statement, one snapshot.
        let waits: Vec<bool> = settled
            .iter()
            .map(|row| {
                row.needs
                    .as_deref()
                    .is_some_and(|needs| self.is_coming(needs))
            })
            .collect();
        for (row, waits) in settled.into_iter().zip(waits) {
            let now = self.now;
            let Some(stored) = self.rows.get_mut(&row.id) else {
                continue;
            };
            if stored.claim != Some(remaining.claim) {
                continue;
            }
            let key = stored.key();
            stored.claim = None;
            stored.status = if waits {
                Status::Queued
            } else {
                row.status.into()
            };
            stored.odoo_id = row.odoo_id.or(stored.odoo_id);
            stored.class = row.class;
            stored.attempts -= u32::from(waits || row.refund);
            let wait = millis(row.wait);
            let wait = if waits { wait.max(1_000) } else { wait };
            (stored.due, stored.lot) = (now + wait, None);
            let operation = stored.row.operation;
            match (stored.status, operation) {
                (Status::Done, Operation::Delete) => {
                    self.links.remove(&key);
                }
                (Status::Done, Operation::Create | Operation::Upsert | Operation::Update) => {
                    self.links.extend(stored.odoo_id.map(|id| (key, id)));
                }
                _ => {}
            }
            if let Some(hold) = row.hold {
                self.hold(key, row.id, millis(hold), row.hold_deletes_only);
            }
            if matches!(self.rows[&row.id].status, Status::Done | Status::Failed) {
                over.push(row.id);
            }
        }
        match remaining.ids.is_empty() {
            true => self.claims.remove(&remaining.claim),
            false => self
                .claims
                .insert(remaining.claim, remaining.keys.into_iter().collect()),
        };
        over
    }

    fn hold(&mut self, key: i64, after: i64, time: u64, deletes_only: bool) {
        let until = self.now + time;
        let held = self.holds.entry(key).or_insert((after, until, true));
        let only = deletes_only && (held.2 || held.1 <= self.now);
        *held = (after, held.1.max(until), only);
    }

    /// Takes back what a dead worker held, in halves.
    pub fn recover(&mut self, grace: u64) {
        for claim in std::mem::take(&mut self.claims).into_keys() {
            let mine: Vec<i64> = self
                .rows
                .values()
                .filter(|row| row.claim == Some(claim))
                .map(|row| row.row.id)
                .collect();
            let mut groups: Vec<i64> = Vec::new();
            for id in &mine {
                let key = self.rows[id].key();
                if !groups.contains(&key) {
                    groups.push(key);
                }
            }
            self.last_lot += 2;
            for id in mine {
                let Some(stored) = self.rows.get_mut(&id) else {
                    continue;
                };
                let key = stored.key();
                let place = groups.iter().position(|group| *group == key).unwrap_or(0);
                let second = (place + 1) * 2 > groups.len();
                stored.lot = Some(self.last_lot + u64::from(second));
                (stored.status, stored.claim) = (Status::Queued, None);
                let operation = stored.row.operation;
                let flat = |value: &serde_json::Value| !value.is_array() && !value.is_object();
                let one_request =
                    operation == Operation::Create && stored.row.payload.values().all(flat);
                if holds_after_a_crash(operation) {
                    self.hold(key, id, grace, one_request);
                }
            }
        }
    }

    /// The next moment at which something may be claimed that may not be now.
    pub fn next_event(&self) -> Option<u64> {
        let due = self.queued().map(|row| row.due);
        let held = self.holds.values().map(|(_, until, _)| *until);
        due.chain(held).filter(|at| *at > self.now).min()
    }
}

/// As `recover.sql` has it.
fn holds_after_a_crash(operation: Operation) -> bool {
    operation != Operation::Delete
}

fn raw(stored: &Stored, links: &HashMap<i64, i64>) -> RawRow {
    let key = stored.key();
    RawRow {
        id: stored.row.id,
        model: MODELS[stored.row.record.model].to_owned(),
        operation: stored.row.operation.name().to_owned(),
        payload: Some(serde_json::Value::Object(stored.row.payload.clone()).to_string()),
        record_key: Some(stored.row.record.key()),
        // The record key names the record.
        idempotency_key: String::new(),
        attempts: stored.attempts,
        odoo_id: stored.odoo_id.or_else(|| links.get(&key).copied()),
        key: Some(key),
        own: stored.odoo_id.is_some(),
        priority: stored.row.priority,
        seen: None,
    }
}

/// The queue's clock counts these.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
