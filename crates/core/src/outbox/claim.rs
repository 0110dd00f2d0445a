//! One claim in hand: what of it waits, for what, and what is on the wire.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::config::Terms;
use super::order::After;
use super::pace::Pace;
use super::plan::{Batch, Planned, plan};
use super::references::{Known, finish_references, makes, needs};
use super::row::{Operation, Outcome, Row};
use super::stored::{ClaimedRows, check};
use crate::odoo::fields::ModelFields;

/// What the settle must know of a row on its way.
#[derive(Debug)]
pub struct Held {
    /// The hash of its record; a row without one waits for nobody.
    pub key: Option<i64>,
    pub operation: Operation,
    /// Attempts so far, this one included.
    pub attempts: u32,
    /// For a call: `unless` tells whether it has happened.
    pub checkable: bool,
    pub model: String,
    /// Of its record: see [`crate::external_id`].
    pub external_id: String,
    /// A create that is one request: sent late, it finds its record and does nothing. Others write what a `load` cannot carry after it.
    pub one_request: bool,
    /// The records it refers to by key, as `settle.sql` takes them.
    pub needs: Option<String>,
}

/// One claim: what of it is planned, what is on the wire.
#[derive(Debug)]
pub struct Claim {
    /// The fencing token.
    pub id: i64,
    /// Rows that are not settled yet. An older row of a record is written down before a younger one is sent: after a crash an older
    /// one that nobody knows to be done would go again, after the younger one.
    pub held: BTreeMap<i64, Held>,
    /// The urgent first, else in the order in which they may go.
    waiting: VecDeque<Planned>,
    /// Rows that are sent in two steps and whose second one waits.
    second_steps: HashSet<i64>,
    /// Whether anything of it waits for anything else of it.
    has_order: bool,
    /// Rows that made their record and have a second step to go.
    made: HashSet<i64>,
    /// The external id and the id of the record of each row that was delivered.
    records: HashMap<i64, (String, i64)>,
    /// Batches on the wire or in the connection's line.
    pub on_the_wire: usize,
    /// Bytes of payload it came with.
    pub bytes: usize,
    /// One of its rows may be what killed a worker: it goes by itself, so that no other row is blamed should it kill again.
    pub suspect: bool,
}

impl Claim {
    /// Checks and plans claimed rows; `fields` tells what is known of a model. Rows that can never be delivered come back with why.
    pub fn plan(
        claimed: ClaimedRows,
        terms: &Terms<'_>,
        fields: &dyn Fn(&str) -> Option<Arc<ModelFields>>,
        pace: &Pace,
    ) -> (Self, Vec<(i64, Outcome)>) {
        let mut held = BTreeMap::new();
        let mut refused = Vec::new();
        let mut planned = Vec::new();
        let mut bytes = 0;
        let known = Known { terms, fields };
        let mut by_key: HashMap<String, Vec<(String, String)>> = HashMap::new();
        // What follows a delete of its record is about one that is not made yet: the one that we know will be gone.
        let mut deleted = HashSet::new();
        let mut made_before = HashSet::new();
        for mut raw in claimed.rows {
            if let Some(key) = raw.key {
                if deleted.contains(&key) {
                    raw.odoo_id = None;
                } else if raw.operation == Operation::Delete.name() {
                    deleted.insert(key);
                }
            }
            let (record_key, own) = (raw.record_key.clone(), raw.own);
            bytes += raw.payload.as_ref().map_or(0, String::len);
            let mut row = Held {
                key: raw.key,
                operation: Operation::Create,
                attempts: raw.attempts,
                checkable: false,
                model: String::new(),
                external_id: String::new(),
                one_request: false,
                needs: None,
            };
            let id = raw.id;
            match check(raw, terms) {
                Ok(mut claimed) => {
                    claimed.joinable &=
                        row.attempts <= 1 || claimed.row.operation != Operation::Create;
                    let made = &claimed.row;
                    row.operation = made.operation;
                    row.checkable = made.payload.contains_key("unless");
                    row.model.clone_from(&made.model);
                    row.external_id.clone_from(&made.external_id);
                    if let Some(key) = record_key.filter(|_| makes(made.operation)) {
                        let record = (made.model.clone(), made.external_id.clone());
                        by_key.entry(key).or_default().push(record);
                    }
                    claimed.max_batch = pace.rows(&claimed.row.model, claimed.max_batch);
                    if own {
                        made_before.insert(id);
                    }
                    planned.push(claimed);
                }
                Err(failure) => refused.push((id, Outcome::Failed(failure))),
            }
            held.insert(id, row);
        }
        for claimed in &mut planned {
            known.find_references(claimed, &by_key);
            if made_before.contains(&claimed.row.id) {
                finish_references(claimed);
            }
            if let Some(row) = held.get_mut(&claimed.row.id) {
                row.needs = needs(claimed);
                let flat = |value: &Value| !value.is_array() && !value.is_object();
                row.one_request = claimed.row.operation == Operation::Create
                    && claimed.row.payload.values().all(flat);
            }
        }
        let mut waiting = plan(planned, &|model, field| known.nature(model, field));
        let mut once = HashSet::new();
        let ids = waiting.iter().flat_map(|planned| planned.batch.ids());
        let second_steps = ids.filter(|id| !once.insert(*id)).collect();
        let has_order = waiting.iter().any(|planned| !planned.after.is_empty());
        waiting.sort_by_key(|planned| std::cmp::Reverse(planned.priority));
        let claim = Self {
            id: claimed.claim,
            held,
            waiting: waiting.into(),
            second_steps,
            has_order,
            made: HashSet::new(),
            records: HashMap::new(),
            on_the_wire: 0,
            bytes,
            suspect: claimed.suspect,
        };
        (claim, refused)
    }

    fn has_come_true(&self, after: After) -> bool {
        match after {
            After::Settled(row) => !self.held.contains_key(&row),
            After::Made(row) => self.made.contains(&row) || !self.held.contains_key(&row),
        }
    }

    fn may_go(&self, planned: &Planned) -> bool {
        let mut conditions = planned.after.values().flatten();
        conditions.all(|after| self.has_come_true(*after))
    }

    /// Batches that may go now; counted no further than `most`.
    pub fn sendable(&self, most: usize) -> usize {
        let free = self.waiting.iter().filter(|planned| self.may_go(planned));
        free.take(most).count()
    }

    /// The place and the priority of the batch that goes next, if one may go.
    pub fn next(&self) -> Option<(usize, i16)> {
        let mut all = self.waiting.iter().enumerate();
        let free = all.find(|(_, planned)| self.may_go(planned));
        free.map(|(at, planned)| (at, planned.priority))
    }

    /// Whether something waits, and all of it for rows that are not settled yet.
    pub fn is_held_up(&self) -> bool {
        !self.waiting.is_empty() && self.next().is_none()
    }

    /// A batch that was taken and that no thread has sent.
    pub fn give_back(&mut self, batch: &Batch) -> Vec<i64> {
        self.on_the_wire = self.on_the_wire.saturating_sub(1);
        for row in batch.ids() {
            self.drop_second_step(row);
        }
        batch
            .ids()
            .filter(|row| self.held.contains_key(row))
            .collect()
    }

    /// Takes the batch at a place that [`Claim::next`] gave.
    pub fn take(&mut self, at: usize) -> Option<Batch> {
        let Planned {
            mut batch, after, ..
        } = self.waiting.remove(at)?;
        self.on_the_wire += 1;
        let before = after.values().flatten().map(|after| after.row());
        let records = before.filter_map(|row| self.records.get(&row));
        batch
            .known
            .extend(records.map(|(name, id)| (name.clone(), *id)));
        Some(batch)
    }

    /// Takes rows out of what is not sent yet: all, or those that `stopped` keys and rows concern, and in turn what waits for these.
    /// They were never sent, or their second step was not.
    pub fn take_unsent(&mut self, stopped: Option<&Stopped>) -> Vec<i64> {
        let mut taken = BTreeSet::new();
        let Some(stopped) = stopped else {
            // A second step stays where the first one is on the wire: the row is not ours to give back before its answer came.
            let mut steps: HashMap<i64, usize> = HashMap::new();
            for id in self.waiting.iter().flat_map(|planned| planned.batch.ids()) {
                *steps.entry(id).or_default() += 1;
            }
            let is_under_way =
                |row: i64| self.second_steps.contains(&row) && steps.get(&row).copied() == Some(1);
            let waiting = std::mem::take(&mut self.waiting);
            let (stays, goes): (VecDeque<_>, VecDeque<_>) = waiting
                .into_iter()
                .partition(|planned| planned.batch.ids().any(is_under_way));
            taken.extend(goes.iter().flat_map(|planned| planned.batch.ids()));
            taken.retain(|row| self.held.contains_key(row) && !is_under_way(*row));
            self.waiting = stays;
            return taken.into_iter().collect();
        };
        let mut stopped = stopped.clone();
        // A row that goes back is no longer held, which must not look as if it were settled to those behind it: until nothing more is
        // found, for the urgent ones stand before what they wait for.
        loop {
            let before = taken.len();
            self.take_concerned(&mut stopped, &mut taken);
            if taken.len() == before {
                break;
            }
        }
        self.waiting
            .retain(|planned| !planned.batch.rows.is_empty());
        taken.retain(|row| self.held.contains_key(row));
        taken.into_iter().collect()
    }

    fn take_concerned(&mut self, stopped: &mut Stopped, taken: &mut BTreeSet<i64>) {
        let held = &self.held;
        for Planned { batch, after, .. } in &mut self.waiting {
            let concerns = |row: i64| {
                let key = held.get(&row).and_then(|held| held.key);
                let waits = after.get(&row).into_iter().flatten();
                key.is_some_and(|key| stopped.keys.contains(&key))
                    || waits
                        .map(|after| after.row())
                        .any(|row| stopped.rows.contains(&row))
            };
            let sent = batch.rows.iter().map(|row| row.id);
            let gone: Vec<i64> = sent.filter(|row| concerns(*row)).collect();
            for row in &gone {
                let members = batch.members(*row);
                stopped.keys.extend(held.get(row).and_then(|held| held.key));
                stopped.rows.extend(&members);
                taken.extend(members);
                batch.joined.remove(row);
                after.remove(row);
            }
            batch.rows.retain(|row| !gone.contains(&row.id));
        }
    }

    /// The row was delivered. `true`: that was the first of two steps, which made its record; the answer to the second one settles it.
    pub fn take_second_step(&mut self, row: i64) -> bool {
        let has = self.second_steps.remove(&row);
        if has {
            self.made.insert(row);
        }
        has
    }

    /// Takes a row whose first step failed out of the second one. Rows that were joined to it keep what is theirs of it.
    pub fn drop_second_step(&mut self, row: i64) {
        if !self.second_steps.remove(&row) {
            return;
        }
        for Planned { batch, after, .. } in &mut self.waiting {
            let is_of = |sent: &Row| batch.members(sent.id).contains(&row);
            let Some(at) = batch.rows.iter().position(is_of) else {
                continue;
            };
            let sent = batch.rows.remove(at).id;
            let waits = after.remove(&sent);
            let mut members = batch.joined.remove(&sent).unwrap_or_default();
            members.retain(|member| member.id != row);
            let Some(mut rest) = members.last().cloned() else {
                continue;
            };
            let payloads = members.iter().map(|member| member.payload.clone());
            rest.payload = payloads.flatten().collect();
            if rest.payload.is_empty() {
                for member in &members {
                    self.second_steps.remove(&member.id);
                }
                continue;
            }
            after.extend(waits.map(|waits| (rest.id, waits)));
            if members.len() > 1 {
                batch.joined.insert(rest.id, members);
            }
            batch.rows.insert(at, rest);
        }
        self.waiting
            .retain(|planned| !planned.batch.rows.is_empty());
    }

    /// A row told the id of its record: the later rows of the same record need not ask for it.
    pub fn tell_followers(&mut self, told: &HashMap<(i64, String), i64>) {
        if !self.has_order || told.is_empty() {
            return;
        }
        let key = |row: i64| self.held.get(&row).and_then(|held| held.key);
        // What is behind the delete of its record is about another one.
        let mut deleted: HashMap<i64, i64> = HashMap::new();
        for Planned { batch, .. } in &self.waiting {
            for row in batch
                .rows
                .iter()
                .filter(|row| row.operation == Operation::Delete)
            {
                if let Some(key) = key(row.id) {
                    let first = deleted.entry(key).or_insert(row.id);
                    *first = row.id.min(*first);
                }
            }
        }
        for Planned { batch, .. } in &mut self.waiting {
            let joined = batch.joined.values_mut().flatten();
            for row in batch.rows.iter_mut().chain(joined) {
                if row.odoo_id.is_some()
                    || !row.has_record_key
                    || row.operation == Operation::Create
                {
                    continue;
                }
                let key = key(row.id)
                    .filter(|key| deleted.get(key).is_none_or(|delete| row.id <= *delete));
                if let Some(odoo_id) = key.and_then(|key| told.get(&(key, row.model.clone()))) {
                    row.odoo_id = Some(*odoo_id);
                }
            }
        }
    }

    /// The id of the record that a row made.
    pub fn record_of(&self, row: i64) -> Option<i64> {
        self.records.get(&row).map(|(_, odoo_id)| *odoo_id)
    }

    /// A row was delivered: what refers to its record need not ask for it.
    pub fn remember(&mut self, row: i64, odoo_id: i64) {
        if let Some(held) = self.held.get(&row) {
            let record = (held.external_id.clone(), odoo_id);
            self.records.insert(row, record);
        }
    }

    /// What stays in the claim when `settled` is taken out.
    pub fn remaining(&self, settled: &HashSet<i64>) -> Remaining {
        let mut remaining = Remaining {
            claim: self.id,
            ..Remaining::default()
        };
        let mut keys = HashSet::new();
        for (id, held) in self.held.iter().filter(|(id, _)| !settled.contains(id)) {
            remaining.ids.push(*id);
            keys.extend(held.key);
        }
        remaining.keys = keys.into_iter().collect();
        remaining
    }
}

/// Rows of a claim that stay on their way: ids and keys.
#[derive(Debug, Default)]
pub struct Remaining {
    /// The fencing token.
    pub claim: i64,
    pub ids: Vec<i64>,
    pub keys: Vec<i64>,
}

/// What must come again, so that what follows it may not go.
#[derive(Debug, Default, Clone)]
pub struct Stopped {
    /// Records, by hash.
    pub keys: HashSet<i64>,
    pub rows: HashSet<i64>,
}

impl Stopped {
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.rows.is_empty()
    }
}
