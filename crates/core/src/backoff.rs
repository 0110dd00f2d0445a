//! Full jitter: `random(0, min(cap, base * 2^attempt))`, so that rows that failed together do not come back together.

use std::time::Duration;

use rand::{Rng, RngExt};

/// How long to wait between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub base: Duration,
    pub cap: Duration,
}

impl Backoff {
    /// The most that `attempt` (0 for the first failure) may wait.
    #[must_use]
    pub fn ceiling(self, attempt: u32) -> Duration {
        // 2^32 seconds is past any cap; the bound keeps the product in range.
        self.base.saturating_mul(1 << attempt.min(31)).min(self.cap)
    }

    /// A wait for `attempt`, drawn evenly between nothing and the ceiling.
    pub fn wait(self, attempt: u32, rng: &mut impl Rng) -> Duration {
        self.ceiling(attempt).mul_f64(rng.random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(2),
        cap: Duration::from_secs(60),
    };

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let ceilings: Vec<u64> = (0..8)
            .map(|attempt| BACKOFF.ceiling(attempt).as_secs())
            .collect();
        assert_eq!(ceilings, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(BACKOFF.ceiling(u32::MAX), BACKOFF.cap);
    }

    #[test]
    fn waits_spread_over_the_whole_range() {
        let mut rng = StdRng::seed_from_u64(1);
        let waits: Vec<f64> = (0..1_000)
            .map(|_| BACKOFF.wait(9, &mut rng).as_secs_f64())
            .collect();
        assert!(waits.iter().all(|wait| (0.0..=60.0).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < 6.0) && waits.iter().any(|wait| *wait > 54.0));
    }
}
