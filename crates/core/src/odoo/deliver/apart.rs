//! Rows that were joined into one: they share its success; where it fails for what it holds, they are sent one after another, so that
//! only the bad ones fail.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::gateway::Gateway;
use super::{DeliverContext, deliver_through};
use crate::failure::{ErrorClass, Failure};
use crate::outbox::{Batch, Claimed, Nature, Outcome, Row, plan};

/// One outcome per row of `batch`, the joined ones included.
pub(super) fn deliver(
    gateway: &dyn Gateway,
    batch: &Batch,
    cx: &DeliverContext<'_>,
) -> Vec<(i64, Outcome)> {
    let sent = deliver_through(gateway, batch, cx);
    if batch.joined.is_empty() {
        return sent;
    }
    let mut outcomes = Vec::new();
    let mut bad: Vec<&[Row]> = Vec::new();
    let mut halted = None;
    for (row, outcome) in sent {
        let Some(members) = batch.joined.get(&row) else {
            halted = halted.or_else(|| stops(&outcome));
            outcomes.push((row, outcome));
            continue;
        };
        match outcome {
            Outcome::Failed(failure) if is_of_the_row(failure.class) => bad.push(members),
            Outcome::Failed(failure) => {
                halted = halted.or_else(|| super::after(&failure));
                outcomes.extend(
                    members
                        .iter()
                        .map(|member| (member.id, Outcome::Failed(failure.clone()))),
                );
            }
            Outcome::Delivered { odoo_id, note, .. } => {
                outcomes.extend(members.iter().map(|member| {
                    let went_with = (member.id != row).then_some(row);
                    let note = note.clone();
                    let outcome = Outcome::Delivered {
                        odoo_id,
                        went_with,
                        note,
                    };
                    (member.id, outcome)
                }));
            }
        }
    }
    outcomes.extend(one_after_another(gateway, batch, &bad, halted, cx));
    outcomes
}

/// Whether one row of several can be to blame.
fn is_of_the_row(class: ErrorClass) -> bool {
    match class {
        ErrorClass::Dependency
        | ErrorClass::Invalid
        | ErrorClass::Forbidden
        | ErrorClass::Missing
        | ErrorClass::TooLarge
        | ErrorClass::Server
        | ErrorClass::Bug => true,
        ErrorClass::Unreachable
        | ErrorClass::Misconfigured
        | ErrorClass::Throttled
        | ErrorClass::Unknown
        | ErrorClass::Conflict
        | ErrorClass::Overtaken
        | ErrorClass::UnknownModel
        | ErrorClass::Crashed => false,
    }
}

fn stops(outcome: &Outcome) -> Option<Failure> {
    match outcome {
        Outcome::Failed(failure) => super::after(failure),
        Outcome::Delivered { .. } => None,
    }
}

/// Sends the rows of each group in their order; the first rows of all groups together, then the second ones, and so on.
fn one_after_another(
    gateway: &dyn Gateway,
    batch: &Batch,
    groups: &[&[Row]],
    mut halted: Option<Failure>,
    cx: &DeliverContext<'_>,
) -> Vec<(i64, Outcome)> {
    let mut group_of: HashMap<i64, usize> = HashMap::new();
    let mut claimed = Vec::new();
    for (group, rows) in groups.iter().enumerate() {
        for row in *rows {
            group_of.insert(row.id, group);
            claimed.push(Claimed {
                row: row.clone(),
                key: i64::try_from(group).ok(),
                context: batch.context.clone(),
                max_batch: batch.rows.len().max(1),
                priority: 0,
                references: Vec::new(),
                described: false,
                joinable: false,
            });
        }
    }
    // Nothing is known of any field, and of a value that is given again it is enough that it is a scalar: that would join them anew.
    let apart = |_: &str, _: &str| Nature::Partial;
    let mut outcomes = Vec::new();
    let mut stopped: HashSet<usize> = HashSet::new();
    let mut known: BTreeMap<usize, i64> = BTreeMap::new();
    for planned in plan(claimed, &apart) {
        let mut part = planned.batch;
        for row in &mut part.rows {
            if let Some(id) = group_of.get(&row.id).and_then(|group| known.get(group)) {
                row.odoo_id = row.odoo_id.or(Some(*id));
            }
        }
        let waits = |row: &Row| {
            group_of
                .get(&row.id)
                .is_some_and(|group| stopped.contains(group))
        };
        let (waiting, free): (Vec<Row>, Vec<Row>) = part.rows.drain(..).partition(waits);
        outcomes.extend(
            waiting
                .iter()
                .map(|row| (row.id, Outcome::Failed(not_sent()))),
        );
        if let Some(failure) = &halted {
            outcomes.extend(
                free.iter()
                    .map(|row| (row.id, Outcome::Failed(failure.clone()))),
            );
            continue;
        }
        if free.is_empty() {
            continue;
        }
        part.rows = free;
        for (row, outcome) in deliver_through(gateway, &part, cx) {
            let Some(group) = group_of.get(&row) else {
                continue;
            };
            halted = halted.or_else(|| stops(&outcome));
            match &outcome {
                Outcome::Delivered { odoo_id, .. } => {
                    known.extend(odoo_id.map(|id| (*group, id)));
                }
                Outcome::Failed(failure) if comes_again(failure.class) => {
                    stopped.insert(*group);
                }
                Outcome::Failed(_) => {}
            }
            outcomes.push((row, outcome));
        }
    }
    outcomes
}

/// Whether a row that failed so may be sent again, so that the younger rows of its record must wait for it.
pub(super) fn comes_again(class: ErrorClass) -> bool {
    match class {
        ErrorClass::Unreachable
        | ErrorClass::Misconfigured
        | ErrorClass::Throttled
        | ErrorClass::Unknown
        | ErrorClass::Conflict
        | ErrorClass::Overtaken
        | ErrorClass::Dependency
        | ErrorClass::Server => true,
        ErrorClass::Invalid
        | ErrorClass::Forbidden
        | ErrorClass::Missing
        | ErrorClass::UnknownModel
        | ErrorClass::TooLarge
        | ErrorClass::Bug
        | ErrorClass::Crashed => false,
    }
}

pub(super) fn not_sent() -> Failure {
    Failure::new(
        ErrorClass::Unreachable,
        "not sent: an older row of the same record must be sent again first",
    )
}
