//! Keeps the requests of one connection below its `rate_limit`, and counts them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Spaces requests evenly; shared by the threads of a connection.
#[derive(Debug, Default)]
pub struct Pacer {
    /// Between two requests; zero without a limit.
    gap: Duration,
    next: Mutex<Option<Instant>>,
    sent: AtomicU64,
}

impl Pacer {
    /// `rate`: requests per second, where there is a limit.
    #[must_use]
    pub fn new(rate: Option<f64>) -> Self {
        let gap = rate
            .filter(|rate| *rate > 0.0)
            .and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
        Self {
            gap: gap.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Takes the next place in the row, counts it, and says how long to wait for it.
    pub fn take_place(&self, now: Instant) -> Duration {
        self.sent.fetch_add(1, Ordering::Relaxed);
        if self.gap.is_zero() {
            return Duration::ZERO;
        }
        // One value, replaced whole: a panic elsewhere leaves it sound.
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let place = next.map_or(now, |next| next.max(now));
        *next = place.checked_add(self.gap);
        place.saturating_duration_since(now)
    }

    /// Requests so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spaced_by_the_rate() {
        let pacer = Pacer::new(Some(2.0));
        let now = Instant::now();
        let waits: Vec<_> = (0..3).map(|_| pacer.take_place(now).as_millis()).collect();
        assert_eq!(waits, [0, 500, 1_000]);
        // Idle time is not saved up for a burst.
        let later = now + Duration::from_secs(60);
        assert_eq!(pacer.take_place(later), Duration::ZERO);
        assert_eq!(pacer.take_place(later).as_millis(), 500);
    }

    #[test]
    fn without_a_rate_nothing_waits_and_everything_is_counted() {
        let pacer = Pacer::new(None);
        assert!((0..10).all(|_| pacer.take_place(Instant::now()).is_zero()));
        assert_eq!(pacer.sent(), 10);
    }
}
