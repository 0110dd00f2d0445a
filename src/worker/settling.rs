//! Writing down what became of rows. An answer is kept until it is written: a lock that somebody holds, or a user's trigger that
//! raises, delays the rows it concerns and nobody else's.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pg_etl_core::backoff::Backoff;
use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::outbox::{self, Outcome, Patience, Settlement, Tried};
use pgrx::pg_sys::errcodes::PgSqlErrorCode;

use super::engine::{BRIEFLY, Engine};
use super::job::Finished;
use super::learning::{Teaches, teaches};
use super::session::{Aborted, transaction, transaction_waiting};
use crate::connections::store as connections;
use crate::gucs;
use crate::outbox::store::{self, OutboundConfig, Settled};

/// Waits between attempts to write an answer down.
const REWRITE: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(30),
};
/// Answers of one connection that may wait to be written while it claims more.
const MOST_WAITING: usize = 16;

/// Decisions of one claim that are not written down yet.
pub struct Unsettled {
    connection: String,
    claim: i64,
    rows: Vec<Settled>,
    calls: i64,
    tries: u32,
    not_before: Option<Instant>,
}

/// Tries after which a row that something in the database refuses to mark is marked as a dead letter instead; and as many again until
/// it is left alone, processing, for the next worker.
const LAST_RESORT: u32 = 5;

/// Whether trying again can help: somebody holds a lock, or was in the way.
pub(super) fn is_passing(code: PgSqlErrorCode) -> bool {
    matches!(
        code,
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE
            | PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED
            | PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE
            | PgSqlErrorCode::ERRCODE_QUERY_CANCELED
    )
}

impl Unsettled {
    /// Turns the row into a dead letter that says why. `false`: not even that could be written.
    fn give_up(&mut self, why: &str) -> bool {
        for row in &mut self.rows {
            if row.status == "failed" && row.class == Some(ErrorClass::Bug.name()) {
                pgrx::warning!(
                    "pg_etl: row {} stays \"processing\", for it cannot be marked: {why}",
                    row.id
                );
                return false;
            }
            row.status = "failed";
            row.class = Some(ErrorClass::Bug.name());
            row.error = Some(format!(
                "its outcome could not be written into ops.odoo_outbox: {why}"
            ));
            (row.wait, row.refund) = (0.0, false);
        }
        self.tries = 0;
        true
    }

    fn new(connection: &str, claim: i64, rows: Vec<Settled>, calls: i64) -> Self {
        Self {
            connection: connection.to_owned(),
            claim,
            rows,
            calls,
            tries: 0,
            not_before: None,
        }
    }
}

impl Engine {
    /// Takes what a thread brought: decides on every row, lets go what follows a row that must come again, and tells the
    /// connection. Nothing is written here.
    pub(super) fn take_in(&mut self, finished: Finished) -> Option<(String, Teaches)> {
        let (connection, id, outcomes, asked) = match finished {
            Finished::Probed { connection, result } => {
                if let Some(lane) = self.lanes.get_mut(&connection) {
                    lane.probing = false;
                    lane.blocked_until = None;
                }
                return Some((
                    connection,
                    result.map_or_else(Teaches::Failed, |()| Teaches::Answered),
                ));
            }
            Finished::Sent {
                connection,
                claim,
                outcomes,
                asked,
            } => (connection, claim, outcomes, asked),
        };
        let over = self.is_over();
        let lane = self.lanes.get_mut(&connection)?;
        lane.blocked_until = None;
        let calls = lane.take_requests();
        let claim = lane.claims.iter_mut().find(|claim| claim.id == id)?;
        if asked {
            claim.on_the_wire = claim.on_the_wire.saturating_sub(1);
        }
        let lesson = if !asked {
            Teaches::Nothing
        } else {
            teaches(&outcomes)
        };
        // What was not sent because our time was over says nothing about the endpoint.
        let lesson = match lesson {
            Teaches::Failed(failure) if over && failure.class == ErrorClass::Unreachable => {
                Teaches::Nothing
            }
            lesson => lesson,
        };
        let mut rows = Vec::with_capacity(outcomes.len());
        let mut stopped = HashSet::new();
        for (row, outcome) in outcomes {
            let Some(held) = claim.held.get(&row) else {
                continue;
            };
            let tried = Tried {
                operation: held.operation,
                attempts: held.attempts,
                checkable: held.checkable,
            };
            let told = match (&outcome, held.key) {
                (
                    Outcome::Delivered {
                        odoo_id: Some(odoo_id),
                    },
                    Some(key),
                ) => Some((key, held.model.clone(), *odoo_id)),
                _ => None,
            };
            let settlement = outbox::settle(
                tried,
                outcome,
                &patience(&self.config, &held.model),
                &mut rand::rng(),
            );
            let goes_on = matches!(
                &settlement,
                Settlement::Done { .. } | Settlement::Dead { hold: None, .. }
            );
            if let Some(key) = held.key.filter(|_| !goes_on) {
                stopped.insert(key);
            }
            rows.push(columns(row, held.key, settlement));
            if let Some((key, model, odoo_id)) = told {
                claim.tell_followers(key, &model, odoo_id);
            }
        }
        // What follows a row that must come again goes back with it, unsent.
        if !stopped.is_empty() {
            let unsent = claim.take_unsent(Some(&stopped));
            rows.extend(
                unsent
                    .iter()
                    .filter_map(|row| Some(returned(*row, claim.held.get(row)?.key))),
            );
        }
        self.unsettled
            .push_back(Unsettled::new(&connection, id, rows, calls));
        Some((connection, lesson))
    }

    /// A connection that may not be used, and a worker whose time is over, give back what they have not sent.
    pub(super) fn return_unsent(&mut self) {
        let over = self.is_over();
        for (name, lane) in &mut self.lanes {
            if lane.is_open() && !over {
                continue;
            }
            for claim in &mut lane.claims {
                let rows: Vec<Settled> = claim
                    .take_unsent(None)
                    .iter()
                    .filter_map(|row| Some(returned(*row, claim.held.get(row)?.key)))
                    .collect();
                if !rows.is_empty() {
                    self.totals.claimed -= i64::try_from(rows.len()).unwrap_or(0);
                    self.unsettled
                        .push_back(Unsettled::new(name, claim.id, rows, 0));
                }
            }
        }
    }

    /// Writes down what can be written now. What cannot stays, and is tried again later in ever smaller parts, so that the row
    /// that is the cause ends up alone.
    pub(super) fn write_down(&mut self) -> Result<(), Aborted> {
        self.write_all(|unsettled| unsettled.not_before.is_none_or(|at| at <= Instant::now()))
    }

    /// The same, and nothing waits for its time: there will be none.
    pub(super) fn write_down_now(&mut self) -> Result<(), Aborted> {
        self.write_all(|_| true)
    }

    fn write_all(&mut self, is_due: impl Fn(&Unsettled) -> bool) -> Result<(), Aborted> {
        let mut last = None;
        // Of one connection one failure at a time: the others of it are tried in the next turn, and nobody waits for them.
        let mut failed = HashSet::new();
        for _ in 0..self.unsettled.len() {
            let Some(mut unsettled) = self.unsettled.pop_front() else {
                break;
            };
            if !is_due(&unsettled) || failed.contains(&unsettled.connection) {
                self.unsettled.push_back(unsettled);
                continue;
            }
            let Err(aborted) = self.write(&unsettled) else {
                continue;
            };
            pgrx::log!(
                "pg_etl: {} rows of claim {} cannot be settled yet: {}",
                unsettled.rows.len(),
                unsettled.claim,
                aborted.message
            );
            failed.insert(unsettled.connection.clone());
            unsettled.tries += 1;
            unsettled.not_before = Some(Instant::now() + REWRITE.ceiling(unsettled.tries - 1));
            if unsettled.rows.len() > 1 {
                // In two: the cause is in one of them, and the other need not wait. Of a lock, both may be.
                let pause = if is_passing(aborted.code) {
                    REWRITE.base
                } else {
                    Duration::ZERO
                };
                let rest = unsettled.rows.split_off(unsettled.rows.len() / 2);
                let mut other = Unsettled::new(&unsettled.connection, unsettled.claim, rest, 0);
                other.not_before = Some(Instant::now() + pause);
                (unsettled.tries, unsettled.not_before) = (0, other.not_before);
                self.unsettled.push_back(other);
            } else if !is_passing(aborted.code) && unsettled.tries >= LAST_RESORT {
                // A trigger or constraint of the user's that raises on this row, each time.
                if !unsettled.give_up(&aborted.message) {
                    last = Some(aborted);
                    continue;
                }
            }
            self.unsettled.push_back(unsettled);
            last = Some(aborted);
        }
        last.map_or(Ok(()), Err)
    }

    fn write(&mut self, unsettled: &Unsettled) -> Result<(), Aborted> {
        let Some(lane) = self.lanes.get_mut(&unsettled.connection) else {
            return Ok(());
        };
        let Some(claim) = lane
            .claims
            .iter_mut()
            .find(|claim| claim.id == unsettled.claim)
        else {
            return Ok(());
        };
        let gone: HashSet<i64> = unsettled.rows.iter().map(|row| row.id).collect();
        let remaining = claim.remaining(&gone);
        let statements = &mut self.statements;
        let tally = transaction_waiting(BRIEFLY, || {
            store::settle(statements, unsettled.claim, &unsettled.rows, remaining)
        })?;
        lane.counts.tally += tally;
        lane.counts.calls += unsettled.calls;
        for row in &gone {
            claim.held.remove(row);
        }
        lane.claims.retain(|claim| !claim.held.is_empty());
        self.totals.tally += tally;
        self.totals.calls += unsettled.calls;
        self.delivered += tally.done;
        Ok(())
    }

    /// Keeps the field descriptions that calls brought along.
    pub(super) fn keep_fields(&mut self, connection: &str) -> Result<(), Aborted> {
        let client = self
            .lanes
            .get(connection)
            .and_then(|lane| lane.known_client());
        let fields = client
            .map(|client| client.take_new_fields())
            .unwrap_or_default();
        if fields.is_empty() {
            return Ok(());
        }
        transaction(|| connections::keep_fields(connection, fields))
    }

    /// Whether so many answers of a connection wait to be written that it must not claim more.
    pub(super) fn is_choked(&self, connection: &str) -> bool {
        self.unsettled
            .iter()
            .filter(|unsettled| unsettled.connection == connection)
            .count()
            >= MOST_WAITING
    }

    /// Claims with answers that are not written down yet.
    pub(super) fn unwritten(&self) -> HashSet<i64> {
        self.unsettled
            .iter()
            .map(|unsettled| unsettled.claim)
            .collect()
    }

    /// How long until the next answer may be written.
    pub(super) fn next_write(&self) -> Option<Duration> {
        let now = Instant::now();
        self.unsettled
            .iter()
            .map(|unsettled| {
                unsettled
                    .not_before
                    .map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
            })
            .min()
    }
}

fn patience(config: &OutboundConfig, model: &str) -> Patience {
    let of_model = config.models.get(model);
    let base = of_model
        .and_then(|model| model.base_backoff_seconds)
        .map(Duration::from_secs_f64);
    Patience {
        max_attempts: of_model
            .and_then(|model| model.max_attempts)
            .unwrap_or_else(gucs::max_attempts),
        backoff: Backoff {
            base: base.unwrap_or_else(gucs::backoff_base),
            cap: gucs::backoff_cap(),
        },
        unknown_grace: gucs::unknown_grace(),
    }
}

fn columns(id: i64, key: Option<i64>, settlement: Settlement) -> Settled {
    let mut row = Settled {
        id,
        key,
        status: "done",
        odoo_id: None,
        class: None,
        error: None,
        wait: 0.0,
        refund: false,
        hold: None,
    };
    match settlement {
        Settlement::Done { odoo_id } => row.odoo_id = odoo_id,
        Settlement::Retry {
            wait,
            refund,
            hold,
            failure,
        } => {
            row.status = "queued";
            row.wait = wait.as_secs_f64();
            row.refund = refund;
            row.hold = hold.map(|hold| hold.as_secs_f64());
            row.class = Some(failure.class.name());
            row.error = Some(words(failure));
        }
        Settlement::Dead { hold, failure } => {
            row.status = "failed";
            row.hold = hold.map(|hold| hold.as_secs_f64());
            row.class = Some(failure.class.name());
            row.error = Some(words(failure));
        }
    }
    row
}

fn words(failure: Failure) -> String {
    match failure.remedy {
        Some(remedy) => format!("{} — {remedy}", failure.message),
        None => failure.message,
    }
}

/// A row that was claimed and not sent.
fn returned(id: i64, key: Option<i64>) -> Settled {
    Settled {
        id,
        key,
        status: "queued",
        odoo_id: None,
        class: None,
        error: None,
        wait: 0.0,
        refund: true,
        hold: None,
    }
}
