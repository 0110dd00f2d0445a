//! The last step of a row's way: what its outcome means for it.

use std::time::Duration;

use rand::Rng;

use super::row::{Operation, Outcome};
use crate::backoff::Backoff;
use crate::failure::{ErrorClass, Failure};

/// When a row is tried again whose record is pulled first; later each time, for a pull of a large model takes a while.
const AFTER_A_PULL: Duration = Duration::from_secs(1);
/// Attempts after which it is given up, three quarters of an hour later: what stops the pulls is for somebody to mend.
const MOST_OVERTAKEN: u32 = 100;

/// How patient we are with the rows of one model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// Attempts, each counted before its request was sent, after which a row is a dead letter.
    pub max_attempts: u32,
    pub backoff: Backoff,
    /// How long Odoo may go on with a request that we gave up.
    pub unknown_grace: Duration,
}

/// What the decision must know of the row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tried {
    pub operation: Operation,
    /// Attempts so far, this one included.
    pub attempts: u32,
    /// For a call: `unless` tells whether it has happened.
    pub checkable: bool,
}

/// What becomes of the row.
#[derive(Debug, Clone, PartialEq)]
pub enum Settlement {
    /// It took effect.
    Done {
        odoo_id: Option<i64>,
        /// The row in whose call it travelled.
        went_with: Option<i64>,
        /// What a person should know of it all the same.
        note: Option<String>,
    },
    /// It goes back and is due again after `wait`. `refund`: the attempt is taken back, for nothing was sent.
    Retry {
        wait: Duration,
        refund: bool,
        hold: Option<Duration>,
        failure: Failure,
    },
    /// A dead letter. It does not block its record; `hold` as above.
    Dead {
        hold: Option<Duration>,
        failure: Failure,
    },
}

/// Decides on one row. `hold` is how long the later rows of its record must wait, because Odoo may still run the request.
pub fn settle(
    tried: Tried,
    outcome: Outcome,
    patience: &Patience,
    rng: &mut impl Rng,
) -> Settlement {
    let failure = match outcome {
        Outcome::Delivered {
            odoo_id,
            went_with,
            note,
        } => {
            return Settlement::Done {
                odoo_id,
                went_with,
                note,
            };
        }
        Outcome::Failed(failure) => failure,
    };
    let retry = |failure: Failure, hold, rng: &mut _| {
        if tried.attempts >= patience.max_attempts {
            let message = format!(
                "{} (given up after {} attempts)",
                failure.message, tried.attempts
            );
            return Settlement::Dead {
                hold,
                failure: Failure { message, ..failure },
            };
        }
        let wait = patience.backoff.wait(tried.attempts.saturating_sub(1), rng);
        Settlement::Retry {
            wait,
            refund: false,
            hold,
            failure,
        }
    };
    match failure.class {
        // Nothing was sent. The connection as a whole waits (breaker, pause, throttle), the row loses nothing.
        ErrorClass::Unreachable | ErrorClass::Misconfigured | ErrorClass::Throttled => {
            Settlement::Retry {
                wait: Duration::ZERO,
                refund: true,
                hold: None,
                failure,
            }
        }
        // Sent blindly it would overwrite what nobody here has seen.
        ErrorClass::Overtaken if tried.attempts > MOST_OVERTAKEN => Settlement::Dead {
            hold: None,
            failure: Failure {
                message: format!("{} (given up after {} attempts: it was not taken in since)", failure.message, tried.attempts),
                ..failure
            }
            .with_remedy("See etl.sync_lag for what stops its pulls, and who keeps its row locked. Then SELECT etl.replay(id)."),
        },
        // The pull that is asked for now resolves it. Where all was pulled and it does not, the question is not asked any more.
        ErrorClass::Overtaken => Settlement::Retry {
            wait: AFTER_A_PULL * tried.attempts.clamp(1, 30),
            refund: false,
            hold: None,
            failure,
        },
        ErrorClass::Unknown => {
            let hold = leaves_a_trace(tried.operation).then_some(patience.unknown_grace);
            if tried.operation == Operation::Call && !tried.checkable {
                let failure = failure.with_remedy(
                    "Look in Odoo whether it happened. If not: SELECT etl.replay(id, force => true). A call with \"unless\" checks this by itself.",
                );
                return Settlement::Dead { hold, failure };
            }
            retry(failure, hold, rng)
        }
        ErrorClass::Conflict | ErrorClass::Dependency | ErrorClass::Server => {
            retry(failure, None, rng)
        }
        ErrorClass::Invalid
        | ErrorClass::Forbidden
        | ErrorClass::Missing
        | ErrorClass::UnknownModel
        | ErrorClass::TooLarge
        | ErrorClass::Bug
        | ErrorClass::Crashed => Settlement::Dead {
            hold: None,
            failure,
        },
    }
}

/// Whether a request that runs late could undo what a later row did. A create-once finds the record and does nothing, but where a
/// later row has deleted it, it makes it anew; an id that was removed never comes back.
fn leaves_a_trace(operation: Operation) -> bool {
    match operation {
        Operation::Create | Operation::Update | Operation::Upsert | Operation::Call => true,
        Operation::Delete => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    const PATIENCE: Patience = Patience {
        max_attempts: 3,
        backoff: Backoff {
            base: Duration::from_secs(2),
            cap: Duration::from_secs(60),
        },
        unknown_grace: Duration::from_secs(150),
    };

    fn decide(
        operation: Operation,
        attempts: u32,
        checkable: bool,
        class: ErrorClass,
    ) -> Settlement {
        let tried = Tried {
            operation,
            attempts,
            checkable,
        };
        settle(
            tried,
            Outcome::Failed(Failure::new(class, "why")),
            &PATIENCE,
            &mut StdRng::seed_from_u64(3),
        )
    }

    #[test]
    fn every_class_is_retried_refunded_or_dead() {
        for class in ErrorClass::ALL {
            let settlement = decide(Operation::Update, 1, false, class);
            match class {
                ErrorClass::Unreachable | ErrorClass::Misconfigured | ErrorClass::Throttled => {
                    assert!(
                        matches!(
                            settlement,
                            Settlement::Retry {
                                refund: true,
                                hold: None,
                                ..
                            }
                        ),
                        "{class:?}"
                    );
                }
                ErrorClass::Unknown
                | ErrorClass::Conflict
                | ErrorClass::Overtaken
                | ErrorClass::Dependency
                | ErrorClass::Server => {
                    assert!(
                        matches!(settlement, Settlement::Retry { refund: false, .. }),
                        "{class:?}"
                    );
                }
                _ => assert!(matches!(settlement, Settlement::Dead { .. }), "{class:?}"),
            }
        }
    }

    #[test]
    fn attempts_run_out_but_never_for_what_was_not_sent() {
        assert!(matches!(
            decide(Operation::Update, 3, false, ErrorClass::Server),
            Settlement::Dead { .. }
        ));
        assert!(matches!(
            decide(Operation::Update, 99, false, ErrorClass::Unreachable),
            Settlement::Retry { .. }
        ));
    }

    #[test]
    fn what_no_pull_brings_is_given_up_and_never_sent_blindly() {
        let outcome = |attempts| decide(Operation::Update, attempts, false, ErrorClass::Overtaken);
        assert!(matches!(
            outcome(MOST_OVERTAKEN),
            Settlement::Retry { refund: false, .. }
        ));
        let Settlement::Dead { failure, .. } = outcome(MOST_OVERTAKEN + 1) else {
            panic!("it goes on for ever")
        };
        assert!(
            failure
                .remedy
                .is_some_and(|remedy| remedy.contains("etl.replay"))
        );
    }

    #[test]
    fn a_bare_call_of_unknown_outcome_is_never_sent_again() {
        let dead = decide(Operation::Call, 1, false, ErrorClass::Unknown);
        let Settlement::Dead { hold, failure } = dead else {
            panic!("sent again")
        };
        assert_eq!(hold, Some(PATIENCE.unknown_grace));
        assert!(failure.remedy.is_some());
        assert!(matches!(
            decide(Operation::Call, 1, true, ErrorClass::Unknown),
            Settlement::Retry { .. }
        ));
    }

    #[test]
    fn only_what_a_late_request_could_undo_is_held() {
        let hold = |operation| match decide(operation, 1, true, ErrorClass::Unknown) {
            Settlement::Retry { hold, .. } => hold,
            other => panic!("{other:?}"),
        };
        assert_eq!(hold(Operation::Delete), None);
        assert_eq!(hold(Operation::Create), Some(PATIENCE.unknown_grace));
        assert_eq!(hold(Operation::Update), Some(PATIENCE.unknown_grace));
        assert_eq!(hold(Operation::Upsert), Some(PATIENCE.unknown_grace));
    }
}
