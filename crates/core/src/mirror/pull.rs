//! One run: what to ask Odoo next, and when it is over.
//!
//! A run lists ids in ascending order, a stretch at a time, and reads the records of what it listed in pages, several at a time. The
//! list is what is complete: a record of it that no page brought is asked for by itself before the run may end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Ids listed at a time.
pub const STRETCH: usize = 20_000;
/// A page's rows at first, before anything was measured.
const FIRST_PAGE: usize = 500;
/// A page is larger the next time where it took less than this, and smaller where it took more than the second.
const QUICK: Duration = Duration::from_millis(400);
const SLOW: Duration = Duration::from_secs(3);
/// Records whose fate is asked at a time.
const FATES: usize = 200;

/// What a run is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// What changed since.
    Changes { floor: String },
    /// Every record.
    Full,
    /// The ids of every record, and the records that the mirror lacks.
    Reconcile,
    /// Every record, to be compared and not merged.
    Verify,
}

impl Mode {
    /// The name in a run's `meta`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Changes { .. } => "changes",
            Self::Full => "full",
            Self::Reconcile => "reconcile",
            Self::Verify => "verify",
        }
    }

    /// Whether the whole model is listed, so that what is not in the list is gone.
    #[must_use]
    pub fn lists_all(&self) -> bool {
        match self {
            Self::Changes { .. } => false,
            Self::Full | Self::Reconcile | Self::Verify => true,
        }
    }
}

/// A question for Odoo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// At most [`STRETCH`] ids above this one, ascending.
    List { after: i64 },
    /// These records.
    Page { ids: Vec<i64> },
    /// What became of these.
    Fate { ids: Vec<i64> },
}

/// The course of one run.
#[derive(Debug)]
pub struct Pull {
    mode: Mode,
    most_rows: usize,
    rows: usize,
    /// Ids up to here were listed.
    listed_to: i64,
    listing: bool,
    listed_all: bool,
    /// Listed records that no page was asked for yet, ascending.
    listed: VecDeque<i64>,
    /// Pages that are to be asked for once more.
    pages: VecDeque<Vec<i64>>,
    /// Ids whose fate is not known.
    lost: Vec<i64>,
    /// Records that are there, though a page or the list lacked them.
    again: BTreeSet<i64>,
    /// Records that are asked for or wait for it, by their first id: below all of these everything is merged.
    open: BTreeMap<i64, usize>,
    out: usize,
}

impl Pull {
    /// A run that goes on behind `after`, which is 0 at its beginning. `most_rows`: of one page.
    #[must_use]
    pub fn new(mode: Mode, after: i64, most_rows: usize) -> Self {
        Self {
            mode,
            most_rows: most_rows.max(1),
            rows: FIRST_PAGE.min(most_rows.max(1)),
            listed_to: after,
            listing: false,
            listed_all: false,
            listed: VecDeque::new(),
            pages: VecDeque::new(),
            lost: Vec::new(),
            again: BTreeSet::new(),
            open: BTreeMap::new(),
            out: 0,
        }
    }

    #[must_use]
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// What may be asked now, with at most `calls` questions open at a time.
    pub fn next(&mut self, calls: usize) -> Option<Ask> {
        if self.out >= calls.max(1) {
            return None;
        }
        // The next stretch is listed while the last pages of this one are on their way.
        let ask =
            if !self.listing && !self.listed_all && self.listed.len() < calls.max(1) * self.rows {
                self.listing = true;
                Ask::List {
                    after: self.listed_to,
                }
            } else if let Some(ids) = self.pages.pop_front() {
                Ask::Page { ids }
            } else if !self.listed.is_empty() {
                // As large as pages may be by now, and not as they were when the list came.
                let ids: Vec<i64> = self
                    .listed
                    .drain(..self.listed.len().min(self.rows))
                    .collect();
                self.open(&ids);
                Ask::Page { ids }
            } else if !self.lost.is_empty() {
                let ids: Vec<i64> = self.lost.drain(..self.lost.len().min(FATES)).collect();
                Ask::Fate { ids }
            } else {
                return None;
            };
        self.out += 1;
        Some(ask)
    }

    /// A stretch was listed: `upto` is its end (`i64::MAX` where nothing comes after it), `read` are the records of it to be read,
    /// ascending, and `lost` those of the mirror that the list lacks.
    pub fn listed(&mut self, upto: i64, read: &[i64], lost: &[i64]) {
        self.listing = false;
        self.out = self.out.saturating_sub(1);
        self.listed_to = upto;
        self.listed_all = upto == i64::MAX;
        self.listed.extend(read);
        self.lost_sight_of(lost);
    }

    /// The page of `asked` is in the mirror, but for those records that Odoo did not answer.
    pub fn paged(&mut self, asked: &[i64], absent: &[i64], took: Duration) {
        self.out = self.out.saturating_sub(1);
        self.close(asked);
        self.lost_sight_of(absent);
        if took < QUICK && asked.len() >= self.rows {
            self.rows = (self.rows * 2).min(self.most_rows);
        } else if took > SLOW {
            self.rows = (self.rows / 2).max(1);
        }
    }

    /// What became of the records `asked` is in the mirror, but for those that are `there`: they are read once more. `false`: one
    /// of these was read again before, and Odoo shows a part of what it has.
    #[must_use]
    pub fn told(&mut self, asked: &[i64], there: &[i64]) -> bool {
        self.out = self.out.saturating_sub(1);
        for id in asked {
            self.close(&[*id]);
        }
        for ids in there.chunks(self.rows) {
            self.open(ids);
            self.pages.push_back(ids.to_vec());
        }
        there.iter().all(|id| self.again.insert(*id))
    }

    /// The question failed and is asked again, in halves where the answer was too large. `false`: one record alone is too large.
    #[must_use]
    pub fn failed(&mut self, ask: Ask, too_large: bool) -> bool {
        self.out = self.out.saturating_sub(1);
        match ask {
            Ask::List { .. } => {
                self.listing = false;
                !too_large
            }
            Ask::Page { ids } if !too_large => {
                self.pages.push_front(ids);
                true
            }
            Ask::Page { ids } if ids.len() > 1 => {
                self.rows = (ids.len() / 2).max(1);
                self.close(&ids);
                let (first, second) = ids.split_at(ids.len() / 2);
                for half in [second, first] {
                    self.open(half);
                    self.pages.push_front(half.to_vec());
                }
                true
            }
            Ask::Page { .. } => false,
            Ask::Fate { ids } => {
                self.lost.extend(ids);
                !too_large
            }
        }
    }

    /// Whether a list was asked for.
    #[must_use]
    pub fn has_listed(&self) -> bool {
        self.listing || !self.listed.is_empty() || !self.pages.is_empty() || self.listed_all
    }

    /// Questions that are not answered yet.
    #[must_use]
    pub fn out(&self) -> usize {
        self.out
    }

    /// Whether nothing is left to ask.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.listed_all
            && self.out == 0
            && self.listed.is_empty()
            && self.pages.is_empty()
            && self.lost.is_empty()
    }

    /// Every record up to this id is merged: where another process may go on.
    #[must_use]
    pub fn safe_to(&self) -> i64 {
        let waits = self.listed.front().copied();
        let open = self.open.first_key_value().map(|(first, _)| *first);
        [waits, open]
            .into_iter()
            .flatten()
            .map(|first| first - 1)
            .fold(self.listed_to, i64::min)
    }

    /// What the mirror has, or had, and Odoo did not show.
    fn lost_sight_of(&mut self, ids: &[i64]) {
        for id in ids {
            self.open(&[*id]);
            self.lost.push(*id);
        }
    }

    fn open(&mut self, ids: &[i64]) {
        if let Some(first) = ids.first() {
            *self.open.entry(*first).or_default() += 1;
        }
    }

    fn close(&mut self, ids: &[i64]) {
        let Some(first) = ids.first() else { return };
        if let Some(count) = self.open.get_mut(first) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(first);
            }
        }
    }
}

#[cfg(test)]
mod tests;
