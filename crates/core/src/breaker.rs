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
    /// It was on its way when the circuit opened: the same incident, and no reason to ask later.
    Known,
    /// Nothing is sent for that long; the endpoint asked for it.
    Throttle { wait: Duration },
    /// Nothing is sent before a person acts.
    Pause { reason: String },
}

/// What the endpoint was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To do some work. Many calls may be on their way at a time.
    Call,
    /// Whether it is there again.
    Probe,
}

/// The effect of `failure` (`None`: the endpoint answered as it should) after `failures` in a row before it. An open circuit has at
/// least [`TRIPS_AFTER`] of them: each probe that fails is one more.
pub fn effect(
    asked: Asked,
    failure: Option<&Failure>,
    failures: u32,
    rng: &mut impl Rng,
) -> Effect {
    let Some(failure) = failure else {
        return Effect::Close;
    };
    match failure.class {
        ErrorClass::Unreachable | ErrorClass::Unknown | ErrorClass::Server
            if asked == Asked::Call && failures >= TRIPS_AFTER =>
        {
            Effect::Known
        }
        ErrorClass::Unreachable => open(failures, rng),
        ErrorClass::Unknown | ErrorClass::Server if failures.saturating_add(1) >= TRIPS_AFTER => {
            open(failures, rng)
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
        | ErrorClass::Overtaken
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

/// Probes come the less often the more of them failed; what failed before the circuit opened does not delay the first one.
fn open(failures: u32, rng: &mut impl Rng) -> Effect {
    let probes = failures.saturating_sub(TRIPS_AFTER - 1);
    Effect::Open {
        // At least one second, so that a probe is not a busy loop.
        probe_in: Duration::from_secs(1) + PROBES.wait(probes, rng),
    }
}

/// The longest that a `Retry-After` is obeyed without asking again.
pub const MAX_THROTTLE: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    fn after(class: ErrorClass, failures: u32) -> Effect {
        asking(Asked::Call, class, failures)
    }

    fn asking(asked: Asked, class: ErrorClass, failures: u32) -> Effect {
        effect(
            asked,
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
            effect(Asked::Call, None, 9, &mut StdRng::seed_from_u64(7)),
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
    fn the_first_probe_comes_soon_and_later_ones_at_most_31_seconds_apart() {
        let most = |asked, class, failures| {
            let waits = (0..200).map(|seed| {
                let failure = Failure::new(class, "why");
                let mut rng = StdRng::seed_from_u64(seed);
                match effect(asked, Some(&failure), failures, &mut rng) {
                    Effect::Open { probe_in } => probe_in,
                    other => panic!("{other:?}"),
                }
            });
            let waits: Vec<Duration> = waits.collect();
            assert!(waits.iter().all(|wait| *wait >= Duration::from_secs(1)));
            // Rounded up: the ceiling itself is never drawn.
            waits.iter().max().map_or(0, |most| most.as_secs() + 1)
        };
        // What failed before the circuit opened does not count.
        for failures in 0..TRIPS_AFTER {
            assert_eq!(most(Asked::Call, ErrorClass::Unreachable, failures), 3);
        }
        assert_eq!(most(Asked::Call, ErrorClass::Unknown, TRIPS_AFTER - 1), 3);
        for class in [ErrorClass::Unreachable, ErrorClass::Unknown] {
            let ceilings = (0..5).map(|probes| most(Asked::Probe, class, TRIPS_AFTER + probes));
            assert_eq!(ceilings.collect::<Vec<_>>(), [5, 9, 17, 31, 31]);
            assert_eq!(most(Asked::Probe, class, u32::MAX - 1), 31);
        }
    }

    #[test]
    fn calls_that_were_on_their_way_are_the_incident_that_opened_the_circuit() {
        for class in [
            ErrorClass::Unreachable,
            ErrorClass::Unknown,
            ErrorClass::Server,
        ] {
            assert_eq!(after(class, TRIPS_AFTER), Effect::Known);
            assert_eq!(after(class, u32::MAX), Effect::Known);
            assert!(matches!(
                asking(Asked::Probe, class, TRIPS_AFTER),
                Effect::Open { .. }
            ));
        }
        // They may bring news all the same.
        assert_eq!(after(ErrorClass::Invalid, TRIPS_AFTER), Effect::Close);
        assert!(matches!(
            after(ErrorClass::Misconfigured, TRIPS_AFTER),
            Effect::Pause { .. }
        ));
    }

    #[test]
    fn retry_after_is_obeyed_within_bounds() {
        let mut failure = Failure::new(ErrorClass::Throttled, "slow down");
        failure.retry_after = Some(Duration::from_secs(42));
        let mut rng = StdRng::seed_from_u64(7);
        assert_eq!(
            effect(Asked::Call, Some(&failure), 0, &mut rng),
            Effect::Throttle {
                wait: Duration::from_secs(42)
            }
        );
        failure.retry_after = Some(Duration::from_secs(1_000_000));
        assert_eq!(
            effect(Asked::Call, Some(&failure), 0, &mut rng),
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
