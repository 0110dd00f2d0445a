//! How a connection is: what it is asked, and what answers say about its circuit, its pauses, how long its keys last.

use std::time::{Duration, Instant};

use pg_etl_core::breaker::{self, Asked, Effect};
use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::outbox::Outcome;

use super::claiming::prepare;
use super::engine::Engine;
use super::job;
use super::lane::{Lane, OPEN_AT};
use super::session::{Aborted, transaction};
use crate::connections::store::{self as connections, Lesson};

/// How often a success is written down for the health report.
const OK_EVERY: Duration = Duration::from_secs(5);
/// How often it is asked how long keys last.
const KEYS_EVERY: Duration = Duration::from_secs(6 * 3_600);

impl Engine {
    /// Writes down what an answer, or its absence, says about the connection, and opens or closes it accordingly.
    pub(super) fn learn(
        &mut self,
        name: &str,
        asked: Asked,
        failure: Option<&Failure>,
    ) -> Result<(), Aborted> {
        let Some(lane) = self.lanes.get_mut(name) else {
            return Ok(());
        };
        let effect = breaker::effect(asked, failure, lane.look.failures, &mut rand::rng());
        let fresh = lane
            .last_ok_written
            .is_none_or(|at| at.elapsed() >= OK_EVERY);
        // A call that was on its way when it was refused says nothing of what is there now.
        let resumes =
            failure.is_none() && asked == Asked::Probe && lane.look.paused && lane.look.refused;
        let nothing_new = effect == Effect::Close && lane.look.failures == 0 && !fresh && !resumes;
        if nothing_new || effect == Effect::Known {
            return Ok(());
        }
        let client = lane.known_client();
        let mut lesson = Lesson {
            answered: effect == Effect::Close,
            failures: lane.look.failures,
            class: failure.map(|failure| failure.class.name()),
            error: failure.map(|failure| failure.message.clone()),
            remedy: failure.and_then(|failure| failure.remedy.clone()),
            protocol: client
                .and_then(|client| client.known_protocol())
                .map(pg_etl_core::odoo::ProtocolKind::name),
            version: client.and_then(|client| client.known_version()),
            resumes,
            ..Lesson::default()
        };
        match &effect {
            Effect::Close => {
                lesson.failures = 0;
                // About rows, not about the endpoint: the rows keep it.
                (lesson.class, lesson.error, lesson.remedy) = (None, None, None);
            }
            Effect::Count => lesson.failures += 1,
            Effect::Known => {}
            Effect::Open { probe_in } => {
                lesson.failures = (lesson.failures + 1).max(OPEN_AT);
                lesson.probe_in = Some(probe_in.as_secs_f64());
            }
            Effect::Throttle { wait } => {
                // It answered: it is not dead, and no probe would come to close the circuit.
                lesson.failures = 0;
                lesson.throttle = Some(wait.as_secs_f64());
            }
            Effect::Pause { reason } => lesson.pause = Some(reason.clone()),
        }
        transaction(|| connections::learn(name, &lesson))?;
        lane.look.failures = lesson.failures;
        lane.look.probe_in = lesson.probe_in;
        if lesson.throttle.is_some() {
            lane.look.throttled_for = lesson.throttle;
        }
        if lesson.pause.is_some() {
            lane.look.refused |= !lane.look.paused;
            lane.look.paused = true;
        } else if resumes {
            pgrx::log!("pg_etl: connection \"{name}\" has us again: it goes on");
            (lane.look.paused, lane.look.refused) = (false, false);
            // What waits was not looked at while nothing could be sent.
            self.looked_at = None;
        }
        if effect == Effect::Close {
            lane.last_ok_written = Some(Instant::now());
        }
        Ok(())
    }

    /// Asks an endpoint how it is: whether one that was dead is there again, and whether one that nobody called still is.
    pub(super) fn probe(&mut self, name: &str) -> Result<(), Aborted> {
        let watches = self.duties.upkeep;
        let is_due = |lane: &&mut Lane| {
            let asks = lane.asks_at().filter(|_| watches);
            lane.wants_probe() || asks.is_some_and(|at| at <= Instant::now())
        };
        let Some(lane) = self.lanes.get_mut(name).filter(is_due) else {
            return Ok(());
        };
        lane.heard_at = Some(Instant::now());
        match transaction(|| prepare(lane))? {
            // What paused it is said already.
            Err(_) if lane.look.paused => return Ok(()),
            Ok(()) if lane.is_still_refused() => return Ok(()),
            Ok(()) => {}
            Err(failure) => return self.learn(name, Asked::Probe, Some(&failure)),
        }
        if let Some(target) = lane.target().cloned() {
            lane.probing = true;
            let (connection, number) = (name.to_owned(), lane.target_number);
            self.pool
                .submit(move |emit| emit(job::probe(connection, number, &target)));
        }
        Ok(())
    }

    /// How long until an Odoo that nobody calls is asked how it is.
    pub(super) fn next_question(&self) -> Option<Duration> {
        let at = self.lanes.values().filter_map(Lane::asks_at).min()?;
        let wait = at.saturating_duration_since(Instant::now());
        self.duties.upkeep.then_some(wait)
    }

    /// Asks, a few times a day, how long the keys of the connection's user last, and writes down what was answered. Whoever may not
    /// know, or cannot be asked now, is asked again.
    pub(super) fn ask_for_keys(&mut self, name: &str) -> Result<(), Aborted> {
        let Some(lane) = self.lanes.get_mut(name) else {
            return Ok(());
        };
        match lane.key_ends.take() {
            Some(Ok(ends)) => transaction(|| connections::keep_key_ends(name, ends))?,
            Some(Err(failure)) => pgrx::debug1!(
                "pg_etl: how long the keys of connection \"{name}\" last is not known: {}",
                failure.message
            ),
            None => {}
        }
        if lane.is_open() && lane.keys_at.is_some_and(|at| at <= Instant::now()) {
            lane.keys_at = Some(Instant::now() + KEYS_EVERY);
            if let Some(client) = lane.known_client().cloned() {
                let connection = name.to_owned();
                self.pool
                    .submit(move |emit| emit(job::keys(connection, &client)));
            }
        }
        Ok(())
    }
}

/// What one batch taught.
#[derive(Clone)]
pub enum Teaches {
    /// Nothing was asked.
    Nothing,
    Answered,
    Failed(Failure),
}

/// What the outcomes of one batch say about the endpoint: the gravest failure that is the endpoint's, else that it answered.
pub fn teaches(outcomes: &[(i64, Outcome)]) -> Teaches {
    let gravity = |failure: &&Failure| match failure.class {
        ErrorClass::Misconfigured => 4,
        ErrorClass::Throttled => 3,
        ErrorClass::Unreachable => 2,
        ErrorClass::Unknown | ErrorClass::Server => 1,
        _ => 0,
    };
    let failures = outcomes.iter().filter_map(|(_, outcome)| match outcome {
        Outcome::Failed(failure) => Some(failure),
        Outcome::Delivered { .. } => None,
    });
    let gravest = failures.max_by_key(gravity);
    let delivered = outcomes
        .iter()
        .any(|(_, outcome)| matches!(outcome, Outcome::Delivered { .. }));
    match gravest {
        // One row that Odoo chokes on says nothing against an endpoint that took its neighbours.
        Some(failure) if gravity(&failure) > 1 || (gravity(&failure) == 1 && !delivered) => {
            Teaches::Failed(failure.clone())
        }
        Some(_) | None => Teaches::Answered,
    }
}
