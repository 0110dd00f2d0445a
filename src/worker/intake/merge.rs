//! What an answer does to a mirror and to the course of its run.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::mirror::{Ask, Column, Fate, Mode, STRETCH};
use serde_json::{Value, json};

use super::super::question::Answer;
use super::super::session::{Aborted, transaction};
use super::{Intake, as_json};
use crate::mirror::store;
use crate::two_way;

/// Failures of a question that are asked again within a run.
const MOST_TRIES: u32 = 3;
/// Records that a run can be without before it is given up.
const MOST_UNREAD: usize = 100;
/// Ids that a comparison names of each kind.
const SHOWN: usize = 1_000;

impl Intake {
    /// What a comparison found: at most [`SHOWN`] ids of each kind, and how many there are.
    pub(super) fn found(&self) -> Value {
        let mut found = json!({"checked": self.rows});
        let odd = &self.findings;
        for (name, ids) in [
            ("missing", &odd.missing),
            ("extra", &self.extra),
            ("different", &odd.different),
            ("behind", &odd.behind),
        ] {
            found[name] = json!(ids.iter().take(SHOWN).collect::<Vec<_>>());
            if ids.len() > SHOWN {
                found[format!("{name}_count")] = json!(ids.len());
            }
        }
        found
    }

    pub(super) fn take(
        &mut self,
        ask: Option<&Ask>,
        answer: Answer,
        took: Duration,
        asked: SystemTime,
    ) -> Result<(), Aborted> {
        let run = self.run;
        match (ask, answer) {
            (None, Answer::Described(described, known, own)) => {
                self.own = own;
                self.describing = false;
                let (columns, skipped) = as_json(&described);
                self.names =
                    transaction(|| store::notice_drift(&self.mirror, columns, skipped, known))?;
                let taken =
                    |column: &Column| column.name == "id" || self.names.contains(&column.name);
                let columns = described.columns.into_iter().filter(taken).collect();
                self.columns = Some(Arc::new(columns));
            }
            (Some(Ask::List { after }), Answer::Listed(ids)) => {
                let upto = match ids.last() {
                    Some(last) if ids.len() >= STRETCH => *last,
                    _ => i64::MAX,
                };
                let (missing, lost) = if self.pull.mode().lists_all() {
                    transaction(|| store::compare(&self.mirror, *after, upto, &ids))?
                } else {
                    (Vec::new(), Vec::new())
                };
                match self.pull.mode() {
                    Mode::Reconcile => self.pull.listed(upto, &missing, &lost),
                    Mode::Full | Mode::Verify | Mode::Changes { .. } => {
                        self.pull.listed(upto, &ids, &lost);
                    }
                }
            }
            (Some(Ask::Page { ids }), Answer::Read(page)) if *self.pull.mode() == Mode::Verify => {
                let (floor, overlap) = (self.floor.as_deref(), self.config.overlap);
                let odd = transaction(|| {
                    store::differences(&self.mirror, &self.names, &page.rows, floor, overlap)
                })?;
                self.findings.missing.extend(odd.missing);
                self.findings.different.extend(odd.different);
                self.findings.behind.extend(odd.behind);
                self.rows += page.ids.len();
                // What was deleted while it was listed is no difference.
                self.pull.paged(ids, &[], took);
            }
            (Some(Ask::Page { ids }), Answer::Read(page)) => {
                let absent: Vec<i64> = absent(ids, &page.ids);
                transaction(|| {
                    store::merge(&self.mirror, run, &self.names, &page.rows, page.ids.len());
                    two_way::take_in(&self.mirror, run, self.own, Some((&page.ids, asked)));
                    crate::chaos::point(crate::chaos::Point::BeforeMergeCommits);
                })?;
                self.pull.paged(ids, &absent, took);
                // Should this fail, a little is read twice after a crash.
                let reached = self.pull.safe_to();
                transaction(|| store::reached(&self.mirror, run, reached))?;
                self.rows += page.ids.len();
                if page.newest > self.newest {
                    self.newest = page.newest;
                }
            }
            (Some(Ask::Fate { ids }), Answer::Fates(fates)) => {
                let of = |wanted: &[Fate]| -> Vec<i64> {
                    fates
                        .iter()
                        .filter(|(_, fate)| wanted.contains(fate))
                        .map(|(id, _)| *id)
                        .collect()
                };
                if *self.pull.mode() == Mode::Verify {
                    self.extra
                        .extend(of(&[Fate::Deleted, Fate::Hidden, Fate::Outside]));
                    // What is there was made meanwhile, or hidden for a moment.
                    let _ = self.pull.told(ids, &[]);
                    return Ok(());
                }
                let (deleted, hidden) = (of(&[Fate::Deleted]), of(&[Fate::Hidden, Fate::Outside]));
                transaction(|| {
                    store::mark_gone(&self.mirror, run, &deleted, &hidden);
                    two_way::take_deletes(&self.mirror, run, Some(&deleted));
                })?;
                if !self.pull.told(ids, &of(&[Fate::There])) {
                    self.failure = Some(
                        Failure::new(
                            ErrorClass::Server,
                            "Odoo's pages lack records that its list has",
                        )
                        .with_remedy("The checkpoint was not moved: nothing is lost. Look for an override of search_read in Odoo."),
                    );
                }
            }
            // A thread answers what it was asked.
            _ => {}
        }
        Ok(())
    }

    /// A question was not answered. One about several records is asked again in halves where it is too large, or something about one of
    /// them is wrong: the others hold nothing up.
    pub(super) fn fail(&mut self, ask: Option<Ask>, failure: Failure) {
        let divides = matches!(
            failure.class,
            ErrorClass::TooLarge | ErrorClass::Invalid | ErrorClass::Server
        );
        let alone = matches!(&ask, Some(Ask::Page { ids }) if ids.len() == 1);
        let of_page = matches!(&ask, Some(Ask::Page { .. }));
        if let (true, true, Some(Ask::Page { ids })) = (divides, alone, &ask) {
            self.unread.extend(ids);
            self.unread_because.get_or_insert(failure);
            self.pull.paged(&ids.clone(), &[], Duration::ZERO);
            if self.unread.len() > MOST_UNREAD {
                self.failure = self.unread_because.clone();
            }
            return;
        }
        let asked_again = self.ask_again(ask, divides && of_page);
        if divides && of_page {
            return;
        }
        let passing = matches!(
            failure.class,
            ErrorClass::Unknown | ErrorClass::Conflict | ErrorClass::Server
        );
        let waits = matches!(
            failure.class,
            ErrorClass::Throttled | ErrorClass::Unreachable | ErrorClass::Misconfigured
        );
        // The connection itself says when it can be used again.
        if waits && asked_again {
            return;
        }
        self.tries += 1;
        if !asked_again || !passing || self.tries >= MOST_TRIES {
            self.failure.get_or_insert(failure);
        }
    }

    /// What was answered could not be written down.
    pub(super) fn fail_to_write(&mut self, ask: Option<Ask>, failure: Failure) {
        let asked_again = self.ask_again(ask, false);
        self.tries += 1;
        let passing = failure.class == ErrorClass::Conflict;
        if !asked_again || !passing || self.tries >= MOST_TRIES {
            self.failure.get_or_insert(failure);
        }
    }

    fn ask_again(&mut self, ask: Option<Ask>, divided: bool) -> bool {
        match ask {
            None => {
                self.describing = false;
                true
            }
            Some(ask) => self.pull.failed(ask, divided),
        }
    }
}

/// Ids of the first, ascending list that the second lacks.
fn absent(asked: &[i64], read: &[i64]) -> Vec<i64> {
    let read: std::collections::BTreeSet<i64> = read.iter().copied().collect();
    asked
        .iter()
        .copied()
        .filter(|id| !read.contains(id))
        .collect()
}
