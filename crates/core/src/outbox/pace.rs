//! How much an endpoint bears: rows per call and calls at a time follow its answers, up by little steps and down by half.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::row::Outcome;
use crate::failure::ErrorClass;

/// Rows of a first call.
const FIRST_ROWS: usize = 100;
/// What a full call that came back quickly adds to the next ones of its model.
const MORE_ROWS: usize = 50;
/// A call that took no longer may be larger; Odoo's own limit for a request is 120 s.
const QUICK: Duration = Duration::from_secs(2);
/// A call that took longer is too large: others wait behind it, and it comes near limits of proxies.
const SLOW: Duration = Duration::from_secs(15);
/// Calls at a time to begin with: Odoo's default of workers.
const FIRST_CALLS: f64 = 2.0;
/// However often rows are refused: Odoo's `load` names ten bad rows at a time.
const FEW: usize = 10;
/// Rows over which refusals are counted.
const REMEMBERED: f64 = 2_000.0;
/// Models whose size is remembered.
const MOST_MODELS: usize = 1_000;
/// Time over which throughput is measured.
const SPAN: Duration = Duration::from_millis(250);
/// A longer gap between answers was idleness.
const IDLE: Duration = Duration::from_secs(2);

/// What a call said about the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It did what was asked for so many rows, and took the call apart to refuse others.
    Fine {
        rows: usize,
        refused: usize,
        took: Duration,
    },
    /// Too many at a time: throttled, in conflict with another call.
    TooMany,
    /// Too much in one: refused for its size, no answer in time.
    TooMuch,
}

impl Answer {
    /// What the outcomes of a call that took so long say; `None`: nothing of it is about the endpoint. `divided`: it was sent again
    /// in parts, for some rows of it.
    #[must_use]
    pub fn of(outcomes: &[(i64, Outcome)], took: Duration, divided: bool) -> Option<Self> {
        let mut delivered = 0;
        for (_, outcome) in outcomes {
            match outcome {
                Outcome::Delivered { .. } => delivered += 1,
                Outcome::Failed(failure) => match failure.class {
                    ErrorClass::Throttled | ErrorClass::Conflict => return Some(Self::TooMany),
                    ErrorClass::TooLarge | ErrorClass::Unknown => return Some(Self::TooMuch),
                    // Nothing was sent, or it is about the row.
                    _ => {}
                },
            }
        }
        (delivered > 0).then_some(Self::Fine {
            rows: delivered,
            refused: if divided {
                outcomes.len() - delivered
            } else {
                0
            },
            took,
        })
    }
}

/// The pace of one connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    calls: f64,
    /// Answers to calls that went before this do not slow us down a second time.
    slowed: Option<Instant>,
    models: HashMap<String, Size>,
    per_second: f64,
    since: Option<Instant>,
    counted: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            calls: FIRST_CALLS,
            slowed: None,
            models: HashMap::new(),
            per_second: 0.0,
            since: None,
            counted: 0,
        }
    }
}

impl Pace {
    /// Calls that may be on the wire at a time; `most` is the bound that was configured.
    #[must_use]
    pub fn calls(&self, most: usize) -> usize {
        (self.calls as usize).clamp(1, most.max(1))
    }

    /// Rows of `model` that one call may have.
    #[must_use]
    pub fn rows(&self, model: &str, most: usize) -> usize {
        let rows = self.models.get(model).map_or(FIRST_ROWS, Size::now);
        rows.clamp(1, most.max(1))
    }

    /// Rows that a call of whatever model may have, at most.
    #[must_use]
    pub fn most_rows(&self, most: usize) -> usize {
        let rows = self.models.values().map(Size::now).max();
        let rows = rows.unwrap_or(FIRST_ROWS);
        rows.clamp(1, most.max(1))
    }

    /// Rows delivered per second, lately.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// Learns from the answer to a call of `sent` rows of `model` that went at `sent_at`; `most_calls` is the bound that was
    /// configured.
    pub fn learn(
        &mut self,
        model: &str,
        sent: usize,
        sent_at: Instant,
        answer: Answer,
        most_calls: usize,
        now: Instant,
    ) {
        match answer {
            Answer::Fine {
                rows,
                refused,
                took,
            } => {
                self.count(rows, now);
                // One more when each of those that may go has come back once.
                self.calls = (self.calls + 1.0 / self.calls).min(most_calls.max(1) as f64);
                let size = self.size(model);
                size.count(rows + refused, refused);
                if took > SLOW && sent > 1 && refused == 0 {
                    size.halve(sent);
                } else if took < QUICK && sent >= size.rows {
                    size.rows = (size.rows + MORE_ROWS).min(1_000_000);
                }
            }
            Answer::TooMany => self.slow_down(model, sent, sent_at, now),
            Answer::TooMuch => {
                if self.is_news(sent_at) {
                    self.size(model).halve(sent);
                }
                self.slow_down(model, 0, sent_at, now);
            }
        }
    }

    fn slow_down(&mut self, model: &str, sent: usize, sent_at: Instant, now: Instant) {
        if !self.is_news(sent_at) {
            return;
        }
        self.slowed = Some(now);
        if self.calls >= 2.0 {
            self.calls /= 2.0;
            return;
        }
        self.calls = 1.0;
        // Alone and still in the way of others: then less at a time.
        if sent > 1 {
            self.size(model).halve(sent);
        }
    }

    /// Whether the call went after the last slowing down: what was on the wire together is one incident.
    fn is_news(&self, sent_at: Instant) -> bool {
        self.slowed.is_none_or(|slowed| sent_at >= slowed)
    }

    fn size(&mut self, model: &str) -> &mut Size {
        if self.models.len() >= MOST_MODELS && !self.models.contains_key(model) {
            self.models.clear();
        }
        self.models.entry(model.to_owned()).or_default()
    }

    fn count(&mut self, rows: usize, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let span = now.saturating_duration_since(since);
        if span > IDLE {
            (self.since, self.counted) = (Some(now), rows);
            return;
        }
        self.counted += rows;
        if span >= SPAN {
            let now_per_second = self.counted as f64 / span.as_secs_f64();
            self.per_second = (self.per_second + now_per_second) / 2.0;
            (self.since, self.counted) = (Some(now), 0);
        }
    }
}

/// Rows of a call of one model.
#[derive(Debug, Clone, PartialEq)]
struct Size {
    /// What the endpoint bears.
    rows: usize,
    /// Rows it answered for lately, and those of them that it refused.
    answered: f64,
    refused: f64,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            rows: FIRST_ROWS,
            answered: 0.0,
            refused: 0.0,
        }
    }
}

impl Size {
    /// Where rows are refused, no more than goes four times out of five without one: Odoo undoes the work for all rows of a call
    /// that it refuses, after it has tried them one by one.
    fn now(&self) -> usize {
        let between = self.answered / self.refused;
        let safe = if between.is_finite() {
            (between / 5.0) as usize
        } else {
            usize::MAX
        };
        self.rows.min(safe.max(FEW))
    }

    fn count(&mut self, answered: usize, refused: usize) {
        self.answered += answered as f64;
        self.refused += refused as f64;
        if self.answered > REMEMBERED {
            (self.answered, self.refused) = (self.answered / 2.0, self.refused / 2.0);
        }
    }

    fn halve(&mut self, sent: usize) {
        self.rows = (self.rows.min(sent) / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    struct World {
        pace: Pace,
        now: Instant,
    }

    fn delivered(rows: usize, refused: usize, took: Duration) -> Answer {
        Answer::Fine {
            rows,
            refused,
            took,
        }
    }

    impl World {
        fn new() -> Self {
            Self {
                pace: Pace::default(),
                now: Instant::now(),
            }
        }

        fn answer(&mut self, sent: usize, answer: Answer) {
            let sent_at = self.now;
            self.now += Duration::from_millis(100);
            self.pace.learn("m", sent, sent_at, answer, 8, self.now);
        }

        /// What many full and quick answers make of it.
        fn at_full_speed() -> Self {
            let mut world = Self::new();
            for _ in 0..60 {
                world.fine(300);
            }
            world
        }

        /// Eight calls of 500 rows that were on the wire at the same time.
        fn answer_together(&mut self, answer: Answer) {
            let sent_at = self.now;
            for _ in 0..8 {
                self.now += Duration::from_millis(1);
                self.pace.learn("m", 500, sent_at, answer, 8, self.now);
            }
        }

        fn fine(&mut self, took_ms: u64) {
            let rows = self.pace.rows("m", 500);
            self.answer(rows, delivered(rows, 0, Duration::from_millis(took_ms)));
        }
    }

    #[test]
    fn quick_answers_raise_both_up_to_their_bounds() {
        let mut world = World::new();
        assert_eq!((world.pace.calls(8), world.pace.rows("m", 500)), (2, 100));
        for _ in 0..60 {
            world.fine(300);
        }
        assert_eq!((world.pace.calls(8), world.pace.rows("m", 500)), (8, 500));
        assert_eq!((world.pace.calls(3), world.pace.rows("m", 1)), (3, 1));
        assert_eq!(world.pace.rows("another", 500), 100);
        assert_eq!(world.pace.most_rows(500), 500);
    }

    #[test]
    fn a_call_that_was_not_full_says_nothing_about_size() {
        let mut world = World::new();
        let took = Duration::from_millis(1);
        world.answer(7, delivered(7, 0, took));
        assert_eq!(world.pace.rows("m", 500), 100);
    }

    #[test]
    fn slow_answers_halve_the_size() {
        let mut world = World::new();
        world.fine(20_000);
        assert_eq!(world.pace.rows("m", 500), 50);
        for _ in 0..20 {
            world.fine(20_000);
        }
        assert_eq!(world.pace.rows("m", 500), 1);
    }

    #[test]
    fn what_is_too_large_is_halved_and_what_is_too_many_goes_in_fewer_calls() {
        let mut world = World::at_full_speed();
        world.answer(500, Answer::TooMany);
        assert_eq!((world.pace.calls(8), world.pace.rows("m", 500)), (4, 500));
        world.answer(500, Answer::TooMuch);
        assert_eq!((world.pace.calls(8), world.pace.rows("m", 500)), (2, 250));
        world.answer(250, Answer::TooMany);
        world.answer(250, Answer::TooMany);
        assert_eq!((world.pace.calls(8), world.pace.rows("m", 500)), (1, 125));
    }

    #[test]
    fn calls_that_were_on_the_wire_together_slow_down_once() {
        let mut world = World::at_full_speed();
        world.answer_together(Answer::TooMany);
        assert_eq!(world.pace.calls(8), 4);
    }

    #[test]
    fn one_incident_halves_once_and_the_size_grows_again() {
        let mut world = World::at_full_speed();
        world.answer_together(Answer::TooMuch);
        assert_eq!(world.pace.rows("m", 500), 250);
        for _ in 0..8 {
            let rows = world.pace.rows("m", 500);
            world.answer(rows, Answer::TooMuch);
        }
        assert_eq!(world.pace.rows("m", 500), 1);
        for _ in 0..20 {
            world.fine(300);
        }
        assert_eq!(world.pace.rows("m", 500), 500);
    }

    #[test]
    fn what_is_about_the_endpoint_and_not_about_a_row_sets_the_pace() {
        let took = Duration::from_secs(1);
        let failed = |class| Outcome::Failed(Failure::new(class, "why"));
        let whole = |outcomes: Vec<Outcome>, divided| {
            let outcomes: Vec<(i64, Outcome)> = (1..).zip(outcomes).collect();
            Answer::of(&outcomes, took, divided)
        };
        let of = |outcomes| whole(outcomes, false);
        let done = || Outcome::delivered(None);
        let mixed = || vec![done(), failed(ErrorClass::Invalid), done()];
        assert_eq!(of(mixed()), Some(delivered(2, 0, took)), "refused by us");
        assert_eq!(whole(mixed(), true), Some(delivered(2, 1, took)));
        assert_eq!(of(vec![failed(ErrorClass::Invalid)]), None);
        assert_eq!(of(vec![failed(ErrorClass::Unreachable)]), None);
        for (class, answer) in [
            (ErrorClass::Throttled, Answer::TooMany),
            (ErrorClass::Conflict, Answer::TooMany),
            (ErrorClass::TooLarge, Answer::TooMuch),
            (ErrorClass::Unknown, Answer::TooMuch),
        ] {
            assert_eq!(of(vec![done(), failed(class)]), Some(answer), "{class:?}");
        }
    }

    #[test]
    fn rows_that_are_refused_make_calls_small_until_they_are_forgotten() {
        let mut world = World::new();
        for _ in 0..60 {
            world.fine(300);
        }
        // One row of a hundred.
        let took = Duration::from_millis(300);
        for _ in 0..100 {
            world.answer(100, delivered(99, 1, took));
        }
        assert_eq!(world.pace.rows("m", 500), 20);
        assert_eq!(world.pace.rows("other", 500), 100);
        for _ in 0..100 {
            world.answer(10, delivered(1, 9, took));
        }
        assert_eq!(world.pace.rows("m", 500), 10, "ever fewer would not help");
        for _ in 0..2_000 {
            world.fine(300);
        }
        assert_eq!(world.pace.rows("m", 500), 500);
    }

    #[test]
    fn throughput_is_that_of_the_last_moments() {
        let mut world = World::new();
        for _ in 0..100 {
            let took = Duration::from_millis(1);
            world.answer(10, delivered(10, 0, took));
        }
        assert!(
            (90.0..150.0).contains(&world.pace.per_second()),
            "{}",
            world.pace.per_second()
        );
    }
}
