//! The walk of one connection's claims round its queue: where the next one begins, how much it looks at, and when to rest.

use std::time::{Duration, Instant};

use super::cursor::Cursor;
use super::round::Round;

/// When every row that waits is blocked and nothing tells when that ends (a user's row lock), look again after this.
pub const BLOCKED: Duration = Duration::from_secs(5);
/// After a failure that goes by, the next try comes after this.
pub const RETRY: Duration = Duration::from_secs(1);
/// Rows of one window, at most.
const LONGEST_STRIDE: usize = 20_000;
/// Rows that are found one by one to be impossible to claim, before a rest.
const REFUSED_AT_ONCE: u32 = 8;

/// What one window of the queue gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Rows,
    /// Rows, and all of them wait for something; the walk goes on behind them.
    Passed,
    /// Nothing to claim before something happens.
    Nothing,
}

/// Where the walk has got to.
#[derive(Debug, Clone)]
pub struct Walk {
    fresh: Round<(i32, i64)>,
    due: Round<(i64, i64)>,
    /// The youngest row known to come before where the lap is: it was looked at, and waits for something.
    known: i64,
    /// By how much windows are larger than what is claimed: many rows wait for others, and are walked past in large steps.
    stride: usize,
    /// By how much windows are smaller than usual, because a claim was aborted; at least 1.
    shrink: usize,
    /// Aborted claims since the last one that took rows, and those of them that looked at one row.
    stumbles: u32,
    refused: u32,
    /// Everything was in vain: until then, or until something happens.
    blocked_until: Option<Instant>,
    /// Claims are aborted: until then, whatever happens.
    resting_until: Option<Instant>,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            fresh: Round::new(Cursor::START.fresh),
            due: Round::new(Cursor::START.due),
            known: i64::MIN,
            stride: 1,
            shrink: 1,
            stumbles: 0,
            refused: 0,
            blocked_until: None,
            resting_until: None,
        }
    }
}

impl Walk {
    /// The rank at which the lap is: what is new before it is urgent.
    #[must_use]
    pub fn rank(&self) -> i32 {
        self.fresh.lap().0
    }

    /// Begins a claim: where it looks. `youngest`: the youngest row before [`Self::rank`]. What this decides stays, also where the
    /// claim is aborted.
    pub fn begin(&mut self, youngest: Option<i64>, now: Instant) -> Cursor {
        let news = youngest.filter(|youngest| *youngest > self.known);
        if let Some(youngest) = news
            && self.fresh.hurry((self.rank(), i64::MIN))
        {
            self.known = youngest;
        }
        let turned = self.fresh.turn(now);
        if self.due.turn(now) || turned {
            self.stride = 1;
        }
        self.place()
    }

    /// Behind which rows a claim looks.
    #[must_use]
    pub fn place(&self) -> Cursor {
        Cursor {
            fresh: self.fresh.place(),
            due: self.due.place(),
        }
    }

    /// Rows to take, and rows to look at, where `rows` are wanted.
    #[must_use]
    pub fn window(&self, rows: usize) -> (usize, usize) {
        let rows = (rows / self.shrink).max(1);
        (rows, (rows * self.stride).min(LONGEST_STRIDE.max(rows)))
    }

    /// A claim took `count` rows and ended at `next`. `release`: when something blocked is known to be free.
    pub fn took(
        &mut self,
        next: Cursor,
        count: usize,
        release: Option<Duration>,
        now: Instant,
    ) -> Found {
        self.went(next, now);
        if count > 0 {
            self.stride = 1;
            self.shrink = (self.shrink / 2).max(1);
            (self.stumbles, self.refused) = (0, 0);
            self.resting_until = None;
            self.reopen();
            return Found::Rows;
        }
        if self.was_in_vain() {
            let wait = release.map_or(BLOCKED, |wait| wait.min(BLOCKED));
            self.block(now + wait);
            return Found::Nothing;
        }
        if self.shrink == 1 {
            self.stride = self.stride.saturating_mul(4).min(LONGEST_STRIDE);
        }
        Found::Passed
    }

    fn went(&mut self, next: Cursor, now: Instant) {
        self.fresh.went(next.fresh, now);
        self.due.went(next.due, now);
    }

    /// Once around both halves of the queue since something happened, and every row waits.
    fn was_in_vain(&mut self) -> bool {
        let over = self.fresh.is_over() && self.due.is_over();
        if over {
            self.fresh.reopen();
            self.due.reopen();
            // The next lap begins with what is most likely to go, and need not look at much for it.
            self.stride = 1;
        }
        over
    }

    /// A claim that looked at `window` rows was aborted: smaller ones find the row that is the cause. `true`: it is found, and
    /// [`Self::step`] goes behind it.
    pub fn stumble(&mut self, window: usize) -> bool {
        self.stumbles = self.stumbles.saturating_add(1);
        self.stride = 1;
        if window > 1 {
            self.shrink = self.shrink.saturating_mul(8);
        }
        window <= 1
    }

    /// Whether the last stumble is worth a line in the log: ever more rarely while no claim succeeds.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.stumbles.is_power_of_two()
    }

    /// Goes on at `next`, behind a row that cannot be claimed.
    pub fn step(&mut self, next: Cursor, now: Instant) -> Found {
        self.refused = self.refused.saturating_add(1);
        if self.refused.is_multiple_of(REFUSED_AT_ONCE) {
            let doubled = (self.refused / REFUSED_AT_ONCE - 1).min(8);
            self.resting_until = Some(now + RETRY.saturating_mul(1 << doubled).min(BLOCKED));
        }
        self.went(next, now);
        if self.was_in_vain() {
            self.block(now + BLOCKED);
            return Found::Nothing;
        }
        Found::Passed
    }

    /// Nothing can be claimed until then, unless something happens.
    pub fn block(&mut self, until: Instant) {
        self.blocked_until = Some(until);
    }

    /// Something happened: what was blocked may be free.
    pub fn reopen(&mut self) {
        self.blocked_until = None;
        self.fresh.reopen();
        self.due.reopen();
    }

    /// Until when nothing is to be claimed; in the past where it may be again.
    #[must_use]
    pub fn rests_until(&self) -> Option<Instant> {
        self.blocked_until.max(self.resting_until)
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
