//! Waiting for what a test promises to see.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Enough on a busy machine for whatever takes seconds at most.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// How often a condition is looked at.
const PACE: Duration = Duration::from_millis(20);

/// Looks until the condition holds; gives the time that took. Panics with `what` after `limit`.
#[track_caller]
pub fn eventually(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    loop {
        if holds() {
            return begin.elapsed();
        }
        assert!(
            begin.elapsed() < limit,
            "waited {limit:?} in vain for: {what}"
        );
        std::thread::sleep(PACE);
    }
}

/// Looks until there is an answer, and gives it. Panics with `what` and the last refusal after `limit`.
#[track_caller]
pub fn eventually_some<T, E: Debug>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let begin = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) if begin.elapsed() >= limit => {
                panic!("waited {limit:?} in vain for: {what}; last seen: {last:?}")
            }
            Err(_) => std::thread::sleep(PACE),
        }
    }
}

/// Prints a figure, so that a log of the tests tells it, and holds it against a bound with slack for a busy machine.
#[track_caller]
pub fn measure(what: &str, took: Duration, bound: Duration) {
    println!("measured: {what}: {took:.0?} (bound {bound:?})");
    assert!(took <= bound, "{what} took {took:?}, more than {bound:?}");
}
