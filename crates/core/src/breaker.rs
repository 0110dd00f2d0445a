//! The circuit breaker of one connection: a dead endpoint costs probes, not attempts.

use std::time::Duration;

use rand::Rng;

use crate::backoff::Backoff;
use crate::failure::{ErrorClass, Failure};

/// Waits between probes of an endpoint that does not answer.
pub const PROBES: Backoff = Backoff {
    base: Duration::from_secs(2),
    cap: Duration::from_secs(30),
};

/// Failures in a row, of requests that were sent, after which the endpoint is held for dead.
pub const TRIPS_AFTER: u32 = 5;

/// What an answer, or its absence, does to the connection as a whole.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// The endpoint answered us: the circuit closes.
    Close,
    /// Nothing is sent before a probe succeeds; the next one is due in `probe_in`.
    Open { probe_in: Duration },
    /// One more failure; not enough to open the circuit.
    Count,
    /// Nothing is sent for that long; the endpoint asked for it.
    Throttle { wait: Duration },
    /// Nothing is sent before a person acts.
    Pause { reason: String },
}

/// The effect of `failure` (`None`: the endpoint answered as it should) after `failures` in a row before it.
pub fn effect(failure: Option<&Failure>, failures: u32, rng: &mut impl Rng) -> Effect {
    let Some(failure) = failure else {
        return Effect::Close;
    };
    match failure.class {
        // At least one second, so that a probe is not a busy loop.
        ErrorClass::Unreachable => Effect::Open {
            probe_in: Duration::from_secs(1) + PROBES.wait(failures, rng),
        },
        ErrorClass::Unknown | ErrorClass::Server if failures.saturating_add(1) >= TRIPS_AFTER => {
            Effect::Open {
                probe_in: Duration::from_secs(1) + PROBES.wait(failures - (TRIPS_AFTER - 1), rng),
            }
        }
        ErrorClass::Unknown | ErrorClass::Server => Effect::Count,
        ErrorClass::Throttled => Effect::Throttle {
            wait: failure
                .retry_after
                .unwrap_or(Duration::from_secs(5))
                .clamp(Duration::from_secs(1), MAX_THROTTLE),
        },
        ErrorClass::Misconfigured => Effect::Pause {
            reason: failure.message.clone(),
        },
        // Odoo answered: it is about these rows, not about the endpoint.
        ErrorClass::Conflict
        | ErrorClass::Dependency
        | ErrorClass::Invalid
        | ErrorClass::Forbidden
        | ErrorClass::Missing
        | ErrorClass::UnknownModel
        | ErrorClass::TooLarge
        | ErrorClass::Bug
        | ErrorClass::Crashed => Effect::Close,
    }
}

/// The longest that a `Retry-After` is obeyed without asking again.
pub const MAX_THROTTLE: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    fn after(class: ErrorClass, failures: u32) -> Effect {
        effect(
            Some(&Failure::new(class, "why")),
            failures,
            &mut StdRng::seed_from_u64(7),
        )
    }

    #[test]
    fn what_was_not_sent_opens_at_once_and_an_answer_closes() {
        assert!(matches!(
            after(ErrorClass::Unreachable, 0),
            Effect::Open { .. }
        ));
        assert_eq!(
            effect(None, 9, &mut StdRng::seed_from_u64(7)),
            Effect::Close
        );
        assert_eq!(after(ErrorClass::Invalid, 9), Effect::Close);
    }

    #[test]
    fn unknown_outcomes_open_after_five_in_a_row() {
        assert_eq!(after(ErrorClass::Unknown, 3), Effect::Count);
        assert!(matches!(after(ErrorClass::Unknown, 4), Effect::Open { .. }));
    }

    #[test]
    fn probes_come_at_least_a_second_and_at_most_31_apart() {
        for failures in [0, 1, 5, 1_000, u32::MAX - 1] {
            let Effect::Open { probe_in } = after(ErrorClass::Unreachable, failures) else {
                panic!("not open")
            };
            assert!((Duration::from_secs(1)..=Duration::from_secs(31)).contains(&probe_in));
        }
    }

    #[test]
    fn retry_after_is_obeyed_within_bounds() {
        let mut failure = Failure::new(ErrorClass::Throttled, "slow down");
        failure.retry_after = Some(Duration::from_secs(42));
        let mut rng = StdRng::seed_from_u64(7);
        assert_eq!(
            effect(Some(&failure), 0, &mut rng),
            Effect::Throttle {
                wait: Duration::from_secs(42)
            }
        );
        failure.retry_after = Some(Duration::from_secs(1_000_000));
        assert_eq!(
            effect(Some(&failure), 0, &mut rng),
            Effect::Throttle { wait: MAX_THROTTLE }
        );
    }

    #[test]
    fn refused_credentials_pause() {
        assert_eq!(
            after(ErrorClass::Misconfigured, 0),
            Effect::Pause {
                reason: "why".into()
            }
        );
    }
}
