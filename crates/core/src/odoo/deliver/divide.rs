//! A refusal of many is divided until only the bad ones are left.

use super::Delivery;
use crate::failure::{ErrorClass, Failure};

/// Why a call for several items took no effect.
#[derive(Debug)]
pub(super) struct Refusal {
    pub failure: Failure,
    /// Items that the answer names, by their place in the attempt, with what it says of each. Some may be innocent.
    pub named: Vec<(usize, Failure)>,
    /// It would be the same for each item alone: there is nothing to divide.
    pub of_all: bool,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            named: Vec::new(),
            of_all: false,
        }
    }
}

/// Items that are attempted together.
struct Group {
    items: Vec<usize>,
    /// What a refusal of it names is believed. Names are believed once: where the others are refused too, they were not the whole
    /// truth, and taking away a few at a time could go on as long as there are items.
    trusts_names: bool,
}

/// So many named items are tried one by one; more are tried together and divided again.
const ONE_BY_ONE: usize = 10;

/// An exception that has no verdict of its own may come from one row or from Odoo's own trouble. So many of them in one
/// delivery are taken for a row's, which is enough to find two bad rows in a hundred; then the rest fails alike.
const SERVER_FAILURES: u32 = 16;

impl Delivery<'_> {
    /// Attempts `count` items in as few calls as it takes: all together, then without those a refusal names, then in
    /// halves. `attempt` gets the items by number and returns one result for each, or why none took effect.
    ///
    /// For `k` bad items there are at most `2 * k * (log2(count) + 1)` attempts, and those that names cost:
    /// [`ONE_BY_ONE`] and two.
    pub(super) fn divide<R>(
        &mut self,
        count: usize,
        mut attempt: impl FnMut(&mut Self, &[usize]) -> Result<Vec<R>, Refusal>,
    ) -> Vec<Result<R, Failure>> {
        let mut results: Vec<Option<Result<R, Failure>>> = (0..count).map(|_| None).collect();
        // Taken from the end: groups are pushed in the reverse of the order in which they are to be sent.
        let mut groups: Vec<Group> = vec![Group {
            items: (0..count).collect(),
            trusts_names: true,
        }];
        while let Some(Group {
            items: group,
            trusts_names,
        }) = groups.pop()
        {
            if group.is_empty() {
                continue;
            }
            match attempt(self, &group) {
                Ok(answers) => {
                    for (item, answer) in group.iter().zip(answers) {
                        results[*item] = Some(Ok(answer));
                    }
                }
                Err(refusal)
                    if group.len() == 1
                        || refusal.of_all
                        || !self.is_divisible(refusal.failure.class) =>
                {
                    let failure = alone(refusal, group.len());
                    for item in group {
                        results[item] = Some(Err(failure.clone()));
                    }
                }
                Err(refusal) => {
                    self.divided.set(true);
                    split(group, &refusal, trusts_names, &mut groups);
                }
            }
        }
        let lost = || Failure::new(ErrorClass::Unknown, "the answer holds nothing for this row");
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(|| Err(lost())))
            .collect()
    }

    /// Whether one item of several can be to blame for such a refusal.
    fn is_divisible(&mut self, class: ErrorClass) -> bool {
        match class {
            ErrorClass::Dependency
            | ErrorClass::Invalid
            | ErrorClass::Forbidden
            | ErrorClass::Missing
            | ErrorClass::TooLarge => true,
            ErrorClass::Server => {
                self.server_failures += 1;
                self.server_failures <= SERVER_FAILURES
            }
            ErrorClass::Unreachable
            | ErrorClass::Misconfigured
            | ErrorClass::Throttled
            | ErrorClass::Unknown
            | ErrorClass::Conflict
            | ErrorClass::Overtaken
            | ErrorClass::UnknownModel
            | ErrorClass::Bug
            | ErrorClass::Crashed => false,
        }
    }
}

/// The failure of an item that was refused alone, or of a group that is not divided.
fn alone(refusal: Refusal, size: usize) -> Failure {
    let mut failure = refusal.failure;
    if size == 1 && failure.class == ErrorClass::TooLarge {
        // There is nothing left to halve.
        failure.class = ErrorClass::Invalid;
    }
    failure
}

fn split(group: Vec<usize>, refusal: &Refusal, trusts_names: bool, groups: &mut Vec<Group>) {
    let is_named = |place: usize| refusal.named.iter().any(|(named, _)| *named == place);
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for (place, item) in group.iter().enumerate() {
        if trusts_names && is_named(place) {
            named.push(*item);
        } else {
            others.push(*item);
        }
    }
    let mut push = |items, trusts_names| {
        groups.push(Group {
            items,
            trusts_names,
        });
    };
    if named.is_empty() || others.is_empty() {
        let mut first = group;
        let second = first.split_off(first.len() / 2);
        push(second, trusts_names);
        push(first, trusts_names);
        return;
    }
    // The others go first: a named one may have failed only because it refers to one of them.
    if named.len() <= ONE_BY_ONE {
        for item in named.into_iter().rev() {
            push(vec![item], false);
        }
    } else {
        push(named, false);
    }
    push(others, false);
}

#[cfg(test)]
mod tests;
