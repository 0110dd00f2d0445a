//! Writing down what became of rows. An answer is kept until it is written: a lock that somebody holds, or a user's trigger that
//! raises, delays the rows it concerns and nobody else's.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

use pg_etl_core::backoff::Backoff;
use pg_etl_core::breaker::Asked;
use pg_etl_core::failure::ErrorClass;
use pg_etl_core::outbox::{Answer, Outcome, Settled, Status, decide};
use pgrx::pg_sys::errcodes::PgSqlErrorCode;

use super::engine::{BRIEFLY, Engine};
use super::job::Finished;
use super::learning::{Teaches, teaches};
use super::session::{Aborted, transaction, transaction_waiting};
use crate::connections::store as connections;
use crate::outbox::{config, store};
use crate::two_way;

/// Waits between attempts to write an answer down.
const REWRITE: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(30),
};
/// Answers of one connection that may wait to be written while it claims more.
const MOST_WAITING: usize = 16;
/// Rows that are settled in one transaction.
const MOST_TOGETHER: usize = 2_000;

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
            if row.status == Status::Failed && row.class == Some(ErrorClass::Bug) {
                pgrx::warning!(
                    "pg_etl: row {} stays \"processing\", for it cannot be marked: {why}",
                    row.id
                );
                return false;
            }
            row.status = Status::Failed;
            row.class = Some(ErrorClass::Bug);
            row.error = Some(format!(
                "its outcome could not be written into ops.odoo_outbox: {why}"
            ));
            (row.wait, row.refund) = (Duration::ZERO, false);
        }
        self.tries = 0;
        true
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it was not tried yet, or its next try is due.
    pub fn is_due(&self) -> bool {
        self.not_before.is_none_or(|at| at <= Instant::now())
    }

    pub fn connection(&self) -> &str {
        &self.connection
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
    pub(super) fn take_in(&mut self, finished: Finished) -> Option<(String, Asked, Teaches)> {
        if let Some(lane) = self.lanes.get_mut(finished.connection()) {
            lane.heard_at = Some(Instant::now());
        }
        let (connection, id, outcomes, call) = match finished {
            Finished::Probed {
                connection,
                target,
                result,
            } => {
                if let Some(lane) = self.lanes.get_mut(&connection) {
                    lane.probing = false;
                    let is_refused = result
                        .as_ref()
                        .is_err_and(|failure| failure.class == ErrorClass::Misconfigured);
                    if is_refused && target == lane.target_number {
                        lane.refused_at = Some(Instant::now());
                    }
                    lane.walk.reopen();
                }
                return Some((
                    connection,
                    Asked::Probe,
                    result.map_or_else(Teaches::Failed, |()| Teaches::Answered),
                ));
            }
            Finished::Sent {
                connection,
                claim,
                outcomes,
                call,
            } => (connection, claim, outcomes, call),
            Finished::Keys { connection, ends } => {
                if let Some(lane) = self.lanes.get_mut(&connection) {
                    lane.key_ends = Some(ends);
                }
                return None;
            }
            Finished::Read { connection, read } => {
                let teaches = self.take_in_read(&connection, *read)?;
                return Some((connection, Asked::Call, teaches));
            }
        };
        let over = self.is_over();
        let most = self
            .lanes
            .get(&connection)
            .map_or(1, |lane| self.most_calls(lane));
        let lane = self.lanes.get_mut(&connection)?;
        lane.walk.reopen();
        let calls = lane.take_requests();
        let mut lesson = Teaches::Nothing;
        if let Some(call) = &call {
            if let Some(answer) = Answer::of(&outcomes, call.took, call.divided) {
                let now = Instant::now();
                lane.pace
                    .learn(&call.model, call.rows, call.at, answer, most, now);
            }
            lesson = teaches(&outcomes);
        }
        let claim = lane.claims.iter_mut().find(|claim| claim.id == id)?;
        if call.is_some() {
            claim.on_the_wire = claim.on_the_wire.saturating_sub(1);
        }
        // What was not sent because our time was over says nothing about the endpoint.
        let lesson = match lesson {
            Teaches::Failed(failure) if over && failure.class == ErrorClass::Unreachable => {
                Teaches::Nothing
            }
            lesson => lesson,
        };
        for (row, outcome) in &outcomes {
            if let (Outcome::Failed(failure), Some(held)) = (outcome, claim.held.get(row))
                && failure.class == ErrorClass::Overtaken
            {
                self.overtaken
                    .insert((connection.clone(), held.model.clone()));
            }
        }
        let terms = config::terms(&connection, &self.config);
        let decided = decide(claim, outcomes, &terms, &mut rand::rng());
        for (row, note) in &decided.notes {
            pgrx::log!("pg_etl: outbox row {row} is done, but {note}");
        }
        if !decided.rows.is_empty() || calls > 0 {
            let unsettled = Unsettled::new(&connection, id, decided.rows, calls);
            self.unsettled.push_back(unsettled);
        }
        Some((connection, Asked::Call, lesson))
    }

    /// A connection that may not be used or was set anew, and a worker whose time is over, give back what they have not sent. Whether there was any.
    pub(super) fn return_unsent(&mut self) -> bool {
        let over = self.is_over();
        let mut any = false;
        for (name, lane) in &mut self.lanes {
            if lane.is_open() && !over && !std::mem::take(&mut lane.was_set_anew) {
                continue;
            }
            let recalled = lane.line.recall();
            for claim in &mut lane.claims {
                let mut unsent = BTreeSet::new();
                for job in &recalled {
                    if job.claim == claim.id {
                        unsent.extend(claim.give_back(&job.batch));
                    }
                }
                unsent.extend(claim.take_unsent(None));
                let rows: Vec<Settled> = unsent
                    .iter()
                    .filter_map(|row| Settled::returned(*row, claim))
                    .collect();
                if !rows.is_empty() {
                    any = true;
                    self.totals.claimed -= i64::try_from(rows.len()).unwrap_or(0);
                    self.unsettled
                        .push_back(Unsettled::new(name, claim.id, rows, 0));
                }
            }
        }
        any
    }

    /// Writes down what can be written now. What cannot stays, and is tried again later in ever smaller parts, so that the row
    /// that is the cause ends up alone.
    pub(super) fn write_down(&mut self) -> Result<(), Aborted> {
        self.write_all(Unsettled::is_due)?;
        self.ask_for_overtaken()
    }

    /// Asks for pulls of what somebody changed in Odoo before we did. Whoever pulls is woken.
    fn ask_for_overtaken(&mut self) -> Result<(), Aborted> {
        if self.overtaken.is_empty() {
            return Ok(());
        }
        let mirrors: Vec<(String, String)> = self.overtaken.iter().cloned().collect();
        transaction(|| two_way::ask(&mirrors))?;
        self.overtaken.clear();
        self.mirrors_at = None;
        Ok(())
    }

    /// The same, and nothing waits for its time: there will be none.
    pub(super) fn write_down_now(&mut self) -> Result<(), Aborted> {
        self.write_all(|_| true)
    }

    fn write_all(&mut self, is_due: impl Fn(&Unsettled) -> bool) -> Result<(), Aborted> {
        self.write_together(&is_due);
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
            let Err(aborted) = self.write(std::slice::from_ref(&unsettled)) else {
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
                    unsettled.not_before = Some(Instant::now() + REWRITE.cap);
                }
            }
            self.unsettled.push_back(unsettled);
            last = Some(aborted);
        }
        last.map_or(Ok(()), Err)
    }

    /// Writes what came back at the same time in one transaction. If that fails, they are written one by one, which finds the cause.
    fn write_together(&mut self, is_due: &impl Fn(&Unsettled) -> bool) {
        let untried =
            |unsettled: &Unsettled| unsettled.tries == 0 && unsettled.not_before.is_none();
        let (together, rest): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.unsettled)
            .into_iter()
            .partition(|unsettled| untried(unsettled) && is_due(unsettled));
        self.unsettled = rest;
        let mut together: Vec<Unsettled> = together.into();
        while !together.is_empty() {
            let mut rows = 0;
            let count = together
                .iter()
                .take_while(|unsettled| {
                    rows += unsettled.rows.len();
                    rows <= MOST_TOGETHER
                })
                .count();
            let part: Vec<Unsettled> = together.drain(..count.max(1)).collect();
            if part.len() < 2 || self.write(&part).is_err() {
                self.unsettled.extend(part);
            }
        }
    }

    fn write(&mut self, unsettled: &[Unsettled]) -> Result<(), Aborted> {
        let mut gone: BTreeMap<i64, (&str, HashSet<i64>)> = BTreeMap::new();
        for part in unsettled {
            let (_, rows) = gone
                .entry(part.claim)
                .or_insert((&part.connection, HashSet::new()));
            rows.extend(part.rows.iter().map(|row| row.id));
        }
        let mut remaining = Vec::with_capacity(gone.len());
        for (claim, (connection, rows)) in &gone {
            let lane = self.lanes.get(*connection);
            let held = lane.and_then(|lane| lane.claims.iter().find(|held| held.id == *claim));
            remaining.extend(held.map(|held| held.remaining(rows)));
        }
        let known: HashSet<i64> = remaining.iter().map(|of| of.claim).collect();
        let parts = unsettled.iter().filter(|part| known.contains(&part.claim));
        let rows: Vec<(i64, &Settled)> = parts
            .flat_map(|part| part.rows.iter().map(|row| (part.claim, row)))
            .collect();
        let statements = &mut self.statements;
        let tallies = if rows.is_empty() {
            Vec::new()
        } else {
            transaction_waiting(BRIEFLY, || {
                let tallies = store::settle(statements, &rows, &remaining);
                crate::chaos::point(crate::chaos::Point::BeforeSettleCommits);
                tallies
            })?
        };
        for (claim, tally) in tallies {
            self.totals.tally += tally;
            self.delivered += tally.done;
            let connection = gone.get(&claim).map(|(connection, _)| *connection);
            if let Some(lane) = connection.and_then(|connection| self.lanes.get_mut(connection)) {
                lane.counts.tally += tally;
            }
        }
        for part in unsettled {
            self.totals.calls += part.calls;
            if let Some(lane) = self.lanes.get_mut(&part.connection) {
                lane.counts.calls += part.calls;
                // What waited for these rows may go now.
                lane.walk.reopen();
                if let Some(claim) = lane.claims.iter_mut().find(|claim| claim.id == part.claim) {
                    for row in &part.rows {
                        claim.held.remove(&row.id);
                    }
                }
                lane.claims.retain(|claim| !claim.held.is_empty());
            }
        }
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
            .filter(|unsettled| unsettled.connection == connection && unsettled.tries > 0)
            .count()
            >= MOST_WAITING
    }

    /// How long until the next answer may be written.
    pub(super) fn next_write(&self) -> Option<Duration> {
        let now = Instant::now();
        self.unsettled
            .iter()
            .filter_map(|unsettled| unsettled.not_before)
            .map(|at| at.saturating_duration_since(now))
            .min()
    }
}
