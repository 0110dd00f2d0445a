//! What the answer to a batch means for the rows of its claim: those that were sent, and those that must not go now.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rand::Rng;

use super::claim::{Claim, Stopped};
use super::config::Terms;
use super::row::{Operation, Outcome};
use super::settle::{Settlement, Tried, settle};
use crate::failure::{ErrorClass, Failure};

/// What a settled row is from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It took effect.
    Done,
    /// It comes again.
    Queued,
    /// A dead letter.
    Failed,
}

impl Status {
    /// The word in `ops.odoo_outbox.status`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Queued => "queued",
            Self::Failed => "failed",
        }
    }
}

/// One row's settlement, as `settle.sql` takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// `ops.odoo_outbox.id`.
    pub id: i64,
    /// The hash of its record.
    pub key: Option<i64>,
    pub status: Status,
    /// The record in Odoo, where the row made or changed one.
    pub odoo_id: Option<i64>,
    pub class: Option<ErrorClass>,
    /// For a person: what happened and what to do.
    pub error: Option<String>,
    /// Until it is due again.
    pub wait: Duration,
    /// The attempt is taken back.
    pub refund: bool,
    /// How long the later rows of its record must wait.
    pub hold: Option<Duration>,
    /// The hold is for deletes alone.
    pub hold_deletes_only: bool,
    /// The row in whose call it travelled.
    pub went_with: Option<i64>,
    /// The records that it refers to, where one of them was missed: see [`super::record_name`].
    pub needs: Option<String>,
}

impl Settled {
    /// A row that took effect; what differs is for the caller to change.
    #[must_use]
    pub fn done(id: i64, key: Option<i64>) -> Self {
        Self {
            id,
            key,
            status: Status::Done,
            odoo_id: None,
            class: None,
            error: None,
            wait: Duration::ZERO,
            refund: false,
            hold: None,
            hold_deletes_only: false,
            went_with: None,
            needs: None,
        }
    }

    /// A row that was claimed and not sent, as long as `claim` holds it.
    #[must_use]
    pub fn returned(id: i64, claim: &Claim) -> Option<Self> {
        Some(Self {
            status: Status::Queued,
            // Its first step may have made the record: the row remembers it, so that the second one is not taken for done.
            odoo_id: claim.record_of(id),
            refund: true,
            ..Self::done(id, claim.held.get(&id)?.key)
        })
    }
}

/// What becomes of the rows of a batch.
#[derive(Debug, Default)]
pub struct Decided {
    /// A row that made its record and has a second step to go is not among them.
    pub rows: Vec<Settled>,
    /// By row, what a person should know of it although it is done.
    pub notes: Vec<(i64, String)>,
}

/// Decides on the rows of a batch, and takes out of the claim's waiting ones what follows a row that must come again. Nothing is
/// settled yet: the rows stay in [`Claim::held`] until their settlement is written down.
pub fn decide(
    claim: &mut Claim,
    outcomes: Vec<(i64, Outcome)>,
    terms: &Terms<'_>,
    rng: &mut impl Rng,
) -> Decided {
    let mut rows = Vec::with_capacity(outcomes.len());
    let mut notes = Vec::new();
    let mut stopped = Stopped::default();
    let mut told = HashMap::new();
    let mut waits = HashMap::new();
    for (row, outcome) in &outcomes {
        if matches!(outcome, Outcome::Failed(_)) {
            claim.drop_second_step(*row);
        }
    }
    for (row, outcome) in outcomes {
        let Some(held) = claim.held.get(&row) else {
            continue;
        };
        let (key, model) = (held.key, held.model.clone());
        let tried = Tried {
            operation: held.operation,
            attempts: held.attempts,
            checkable: held.checkable,
        };
        let needs = held.needs.clone();
        let one_request = held.one_request;
        if let Outcome::Delivered {
            odoo_id: Some(odoo_id),
            ..
        } = &outcome
            // The record of a delete is gone.
            && held.operation != Operation::Delete
        {
            claim.remember(row, *odoo_id);
            if let Some(key) = key {
                told.insert((key, model.clone()), *odoo_id);
            }
        }
        if matches!(outcome, Outcome::Delivered { .. }) && claim.take_second_step(row) {
            continue;
        }
        let settlement = settle(tried, outcome, &terms.patience(&model), rng);
        let mut settled = columns(row, key, settlement, &mut notes);
        settled.hold_deletes_only = one_request;
        if settled.class == Some(ErrorClass::Dependency) {
            settled.needs = needs;
        }
        // Rows of one record may have gone as one, and then come again as one: an older one by itself would set the record back.
        if let Some(key) = key.filter(|_| !settled.wait.is_zero()) {
            settled.wait = *waits.entry(key).or_insert(settled.wait);
        }
        // Where it waits for a record that is on its way here it comes again, even if its attempts are over.
        let comes_again = settled.status == Status::Queued || settled.needs.is_some();
        if comes_again {
            stopped.rows.insert(row);
        }
        if comes_again || settled.hold.is_some() {
            stopped.keys.extend(key);
        }
        rows.push(settled);
    }
    claim.tell_followers(&told);
    // What follows a row that must come again goes back with it, unsent.
    if !stopped.is_empty() {
        let unsent = claim.take_unsent(Some(&stopped));
        let settled: HashSet<i64> = rows.iter().map(|row| row.id).collect();
        rows.extend(
            unsent
                .iter()
                .filter(|row| !settled.contains(row))
                .filter_map(|row| Settled::returned(*row, claim)),
        );
    }
    Decided { rows, notes }
}

fn columns(
    id: i64,
    key: Option<i64>,
    settlement: Settlement,
    notes: &mut Vec<(i64, String)>,
) -> Settled {
    let row = Settled::done(id, key);
    match settlement {
        Settlement::Done {
            odoo_id,
            went_with,
            note,
        } => {
            notes.extend(note.map(|note| (id, note)));
            Settled {
                odoo_id,
                went_with,
                ..row
            }
        }
        Settlement::Retry {
            wait,
            refund,
            hold,
            failure,
        } => Settled {
            status: Status::Queued,
            wait,
            refund,
            hold,
            class: Some(failure.class),
            error: Some(words(failure)),
            ..row
        },
        Settlement::Dead { hold, failure } => Settled {
            status: Status::Failed,
            hold,
            class: Some(failure.class),
            error: Some(words(failure)),
            ..row
        },
    }
}

fn words(failure: Failure) -> String {
    match failure.remedy {
        Some(remedy) => format!("{} — {remedy}", failure.message),
        None => failure.message,
    }
}

#[cfg(test)]
mod tests;
