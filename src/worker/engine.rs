//! The way of a row inside a worker: claim, commit, send on a thread, settle. One turn does everything that can be done now.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pg_etl_core::backoff::Backoff;
use pg_etl_core::breaker::{self, Effect};
use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::odoo::{self, Client, DeliverContext, Endpoint};
use pg_etl_core::outbox::{self, Batch, Outcome, Patience, Settlement, Tried};

use super::lane::{Claim, Lane, OPEN_AT};
use super::owner;
use super::pool::Pool;
use super::session::{Aborted, transaction};
use crate::connections::secret;
use crate::connections::store::{self as connections, Lesson};
use crate::gucs;
use crate::outbox::store::{self, LAP_START, OutboundConfig, Settled, Statements, Tally, Wanted};
use crate::runs;

/// Payload bytes of one claim: what bounds a worker's memory whatever is in the outbox.
const CLAIM_BYTES: i64 = 16 * 1024 * 1024;
/// Calls of one connection on the wire at a time, where it does not say: Odoo's default of workers.
const DEFAULT_IN_FLIGHT: usize = 2;
/// When every row that waits is blocked and nothing tells when that ends (a user's row lock), look again after this.
const BLOCKED: Duration = Duration::from_secs(5);
/// How often a success is written down for the health report.
const OK_EVERY: Duration = Duration::from_secs(5);

/// What bounds a worker that runs for a caller.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_rows: Option<usize>,
    /// After it nothing new is claimed or sent.
    pub deadline: Option<Instant>,
}

impl Limits {
    pub fn none() -> Self {
        Self {
            max_rows: None,
            deadline: None,
        }
    }

    fn is_over(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// What was done so far.
#[derive(Debug, Default, Clone, Copy)]
pub struct Totals {
    pub claimed: i64,
    pub calls: i64,
    pub tally: Tally,
}

enum Finished {
    Sent {
        connection: String,
        claim: i64,
        outcomes: Vec<(i64, Outcome)>,
        calls: i64,
    },
    Probed {
        connection: String,
        result: Result<(), Failure>,
    },
}

/// One worker's engine.
pub struct Engine {
    owner: i64,
    pool: Pool<Finished>,
    statements: Statements,
    lanes: BTreeMap<String, Lane>,
    config: Arc<OutboundConfig>,
    /// Answers that are not written down yet, in the order in which they came. Nothing is claimed while there are any.
    unsettled: VecDeque<Finished>,
    limits: Limits,
    totals: Totals,
    delivered: i64,
}

impl Engine {
    /// Takes an owner's number and starts the threads.
    pub fn start(limits: Limits) -> Result<Self, String> {
        let (owner, copy) = transaction(|| (owner::become_owner(), connections::move_in()))
            .map_err(|aborted| aborted.message)?;
        if copy {
            pgrx::log!(
                "pg_etl: this database is a copy or was restored; its connections are paused until etl.resume()"
            );
        }
        let pool = Pool::start(gucs::max_in_flight())
            .map_err(|error| format!("cannot start threads: {error}"))?;
        Ok(Self {
            owner,
            pool,
            statements: Statements::default(),
            lanes: BTreeMap::new(),
            config: Arc::default(),
            unsettled: VecDeque::new(),
            limits,
            totals: Totals::default(),
            delivered: 0,
        })
    }

    /// What to wait on for answers.
    pub fn readable(&self) -> RawFd {
        self.pool.readable()
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Rows delivered since this was last asked.
    pub fn take_delivered(&mut self) -> i64 {
        std::mem::take(&mut self.delivered)
    }

    /// Whether anything is on its way.
    pub fn is_busy(&self) -> bool {
        !self.unsettled.is_empty()
            || self
                .lanes
                .values()
                .any(|lane| !lane.claims.is_empty() || lane.probing)
    }

    /// Settles what came back, claims what is due, sends what may go. Returns how long until the next turn if nothing happens.
    pub fn turn(&mut self) -> Result<Duration, Aborted> {
        for finished in self.pool.take() {
            match finished {
                Ok(finished) => self.unsettled.push_back(finished),
                // Jobs catch their own panics, so this is one outside a job.
                Err(message) => pgrx::log!("pg_etl: an HTTP thread failed: {message}"),
            }
        }
        self.settle_all()?;
        self.look()?;
        self.return_unsent()?;
        let names: Vec<String> = self.lanes.keys().cloned().collect();
        for name in &names {
            self.probe(name)?;
            self.send(name);
            while self.may_claim(name) {
                if !self.claim(name)? {
                    break;
                }
                self.send(name);
            }
            self.close_run(name)?;
        }
        let next = self.lanes.values().filter_map(Lane::next_due).min();
        Ok(next.unwrap_or(Duration::MAX).min(gucs::poll_interval()))
    }

    fn look(&mut self) -> Result<(), Aborted> {
        let owner = self.owner;
        let (looks, config) = transaction(|| {
            let back = store::recover(owner);
            if back.retried + back.failed > 0 {
                pgrx::log!(
                    "pg_etl: took back {} rows of a worker that died; {} of them are dead letters",
                    back.retried + back.failed,
                    back.failed
                );
            }
            (connections::look(), store::outbound_config())
        })?;
        self.config = Arc::new(config);
        // A connection that was removed: its rows wait for it to come back, its answers are still settled.
        self.lanes.retain(|name, lane| {
            !lane.claims.is_empty() || lane.probing || looks.iter().any(|look| look.name == *name)
        });
        for look in looks {
            match self.lanes.get_mut(&look.name) {
                Some(lane) => lane.see(look),
                None => {
                    self.lanes.insert(look.name.clone(), Lane::new(look));
                }
            }
        }
        Ok(())
    }

    fn may_claim(&self, name: &str) -> bool {
        let Some(lane) = self.lanes.get(name) else {
            return false;
        };
        let room = lane.in_hand() < self.most_in_flight(lane);
        let rows_left = self
            .limits
            .max_rows
            .is_none_or(|most| self.totals.claimed < i64::try_from(most).unwrap_or(i64::MAX));
        room && rows_left
            && !self.limits.is_over()
            && self.unsettled.is_empty()
            && lane.is_open()
            && lane.has_work()
    }

    fn most_in_flight(&self, lane: &Lane) -> usize {
        let of_endpoint = lane.known_client().map_or(1, |client| {
            client
                .endpoint()
                .max_in_flight
                .map_or(DEFAULT_IN_FLIGHT, |most| most as usize)
        });
        of_endpoint.clamp(1, self.pool.threads())
    }

    /// Claims for one connection, commits, and plans. `false`: nothing more to claim now.
    fn claim(&mut self, name: &str) -> Result<bool, Aborted> {
        let Some(lane) = self.lanes.get_mut(name) else {
            return Ok(false);
        };
        let rows = gucs::batch_rows() * self.pool.threads().min(4);
        let left = self.limits.max_rows.map_or(usize::MAX, |most| {
            most.saturating_sub(usize::try_from(self.totals.claimed).unwrap_or(0))
        });
        let (owner, statements, cursor) = (self.owner, &mut self.statements, lane.cursor);
        let claimed = transaction(|| {
            prepare(lane)?;
            let run = runs::open(name);
            let wanted = Wanted {
                connection: name,
                cursor,
                rows: rows.min(left),
                bytes: CLAIM_BYTES,
                owner,
                run,
            };
            Ok(store::claim(statements, &wanted))
        })?;
        let claimed = match claimed {
            Ok(Some(claimed)) => claimed,
            Ok(None) => {
                lane.blocked_until = Some(Instant::now() + Duration::from_millis(50));
                return Ok(false);
            }
            Err(failure) => {
                self.learn(name, Some(&failure))?;
                return Ok(false);
            }
        };
        let lap_over = claimed.cursor.is_none();
        let from_the_start = lane.cursor == LAP_START;
        lane.cursor = claimed.cursor.unwrap_or(LAP_START);
        let count = i64::try_from(claimed.rows.len()).unwrap_or(i64::MAX);
        if claimed.rows.is_empty() {
            if lap_over && from_the_start {
                lane.blocked_until = Some(Instant::now() + BLOCKED);
            }
            return Ok(!(lap_over && from_the_start));
        }
        lane.blocked_until = None;
        self.totals.claimed += count;
        let (claim, refused) = Claim::plan(claimed, name, &self.config);
        let id = claim.id;
        lane.claims.push(claim);
        transaction(|| runs::count(name, Tally::default(), count, 0))?;
        if !refused.is_empty() {
            self.unsettled.push_back(Finished::Sent {
                connection: name.to_owned(),
                claim: id,
                outcomes: refused,
                calls: 0,
            });
            self.settle_all()?;
        }
        Ok(true)
    }

    /// Gives batches to threads as long as the endpoint bears more.
    fn send(&mut self, name: &str) {
        let most = match self.lanes.get(name) {
            Some(lane) if lane.is_open() && !self.limits.is_over() => self.most_in_flight(lane),
            _ => return,
        };
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        let Some(client) = lane.known_client().cloned() else {
            return;
        };
        let mut under_way = lane.on_the_wire();
        for claim in &mut lane.claims {
            while under_way < most {
                let Some(batch) = claim.next_batch() else {
                    break;
                };
                under_way += 1;
                let job = Job {
                    client: Arc::clone(&client),
                    connection: name.to_owned(),
                    config: Arc::clone(&self.config),
                    claim: claim.id,
                    batch,
                    deadline: self.limits.deadline,
                };
                self.pool.submit(move || job.run());
            }
        }
    }

    fn settle_all(&mut self) -> Result<(), Aborted> {
        while let Some(finished) = self.unsettled.front() {
            match finished {
                Finished::Probed { connection, result } => {
                    let (connection, failure) =
                        (connection.clone(), result.as_ref().err().cloned());
                    self.learn(&connection, failure.as_ref())?;
                    if let Some(lane) = self.lanes.get_mut(&connection) {
                        lane.probing = false;
                        lane.blocked_until = None;
                    }
                }
                Finished::Sent { .. } => self.settle_front()?,
            }
            self.unsettled.pop_front();
        }
        Ok(())
    }

    /// Writes down the answer at the front; it stays there when the transaction is aborted.
    fn settle_front(&mut self) -> Result<(), Aborted> {
        let Some(Finished::Sent {
            connection,
            claim: id,
            outcomes,
            calls,
        }) = self.unsettled.front()
        else {
            return Ok(());
        };
        let (connection, id, calls) = (connection.clone(), *id, *calls);
        let Some(lane) = self.lanes.get_mut(&connection) else {
            return Ok(());
        };
        let fields = lane
            .known_client()
            .map(|client| client.take_new_fields())
            .unwrap_or_default();
        let Some(claim) = lane.claims.iter_mut().find(|claim| claim.id == id) else {
            return Ok(());
        };

        let mut settled = Vec::with_capacity(outcomes.len());
        let mut stopped = HashSet::new();
        for (row, outcome) in outcomes {
            let Some(held) = claim.held.get(row) else {
                continue;
            };
            let tried = Tried {
                operation: held.operation,
                attempts: held.attempts,
                checkable: held.checkable,
            };
            let patience = patience(&self.config, &held.model);
            let settlement = outbox::settle(tried, outcome.clone(), &patience, &mut rand::rng());
            let goes_on = matches!(
                &settlement,
                Settlement::Done { .. } | Settlement::Dead { hold: None, .. }
            );
            if let Some(key) = held.key.filter(|_| !goes_on) {
                stopped.insert(key);
            }
            settled.push(columns(*row, held.key, settlement));
        }
        // What follows a row that must come again goes back with it, unsent.
        let unsent: Vec<i64> = if stopped.is_empty() {
            Vec::new()
        } else {
            claim.take_unsent(Some(&stopped))
        };
        settled.extend(
            unsent
                .iter()
                .filter_map(|row| Some(returned(*row, claim.held.get(row)?.key))),
        );
        let gone: HashSet<i64> = settled.iter().map(|row| row.id).collect();
        let remaining = claim.remaining(&gone);
        let told: Vec<(i64, String, i64)> = settled
            .iter()
            .filter_map(|row| {
                Some((
                    row.key?,
                    claim.held.get(&row.id)?.model.clone(),
                    row.odoo_id?,
                ))
            })
            .collect();
        let lesson = if calls == 0 {
            Teaches::Nothing
        } else {
            teaches(outcomes)
        };
        let statements = &mut self.statements;
        let tally = transaction(|| {
            let tally = store::settle(statements, id, settled, remaining);
            runs::count(&connection, tally, 0, calls);
            connections::keep_fields(&connection, fields);
            tally
        })?;

        for row in &gone {
            claim.held.remove(row);
        }
        for (key, model, odoo_id) in told {
            claim.tell_followers(key, &model, odoo_id);
        }
        if calls > 0 {
            claim.on_the_wire = claim.on_the_wire.saturating_sub(1);
        }
        lane.claims.retain(|claim| !claim.held.is_empty());
        lane.blocked_until = None;
        self.totals.tally += tally;
        self.totals.calls += calls;
        self.delivered += tally.done;
        match lesson {
            Teaches::Nothing => Ok(()),
            Teaches::Answered => self.learn(&connection, None),
            Teaches::Failed(failure) => self.learn(&connection, Some(&failure)),
        }
    }

    /// A connection that may not be used gives back what it has not sent.
    fn return_unsent(&mut self) -> Result<(), Aborted> {
        let over = self.limits.is_over();
        for lane in self.lanes.values_mut() {
            if lane.is_open() && !over {
                continue;
            }
            for claim in &mut lane.claims {
                let unsent = claim.take_unsent(None);
                if unsent.is_empty() {
                    continue;
                }
                let settled: Vec<Settled> = unsent
                    .iter()
                    .filter_map(|row| Some(returned(*row, claim.held.get(row)?.key)))
                    .collect();
                let gone: HashSet<i64> = unsent.into_iter().collect();
                let remaining = claim.remaining(&gone);
                let (statements, id) = (&mut self.statements, claim.id);
                transaction(|| store::settle(statements, id, settled, remaining))?;
                self.totals.claimed -= i64::try_from(gone.len()).unwrap_or(0);
                for row in &gone {
                    claim.held.remove(row);
                }
            }
            lane.claims.retain(|claim| !claim.held.is_empty());
        }
        Ok(())
    }

    fn probe(&mut self, name: &str) -> Result<(), Aborted> {
        let Some(lane) = self.lanes.get_mut(name).filter(|lane| lane.wants_probe()) else {
            return Ok(());
        };
        match transaction(|| prepare(lane))? {
            Ok(()) => {}
            Err(failure) => return self.learn(name, Some(&failure)),
        }
        if let Some(client) = lane.known_client().cloned() {
            lane.probing = true;
            let connection = name.to_owned();
            self.pool.submit(move || {
                let result = catch_unwind(AssertUnwindSafe(|| odoo::probe(&client)));
                let result = result.unwrap_or_else(|_| {
                    Err(Failure::new(
                        ErrorClass::Unreachable,
                        "the probe failed inside pg_etl",
                    ))
                });
                Finished::Probed { connection, result }
            });
        }
        Ok(())
    }

    /// Writes down what an answer, or its absence, says about the connection, and opens or closes it accordingly.
    fn learn(&mut self, name: &str, failure: Option<&Failure>) -> Result<(), Aborted> {
        let Some(lane) = self.lanes.get_mut(name) else {
            return Ok(());
        };
        let effect = breaker::effect(failure, lane.look.failures, &mut rand::rng());
        let fresh = lane
            .last_ok_written
            .is_none_or(|at| at.elapsed() >= OK_EVERY);
        if effect == Effect::Close && lane.look.failures == 0 && !fresh {
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
            ..Lesson::default()
        };
        match &effect {
            Effect::Close => {
                lesson.failures = 0;
                // About rows, not about the endpoint: the rows keep it.
                (lesson.class, lesson.error, lesson.remedy) = (None, None, None);
            }
            Effect::Count => lesson.failures += 1,
            Effect::Open { probe_in } => {
                lesson.failures = (lesson.failures + 1).max(OPEN_AT);
                lesson.probe_in = Some(probe_in.as_secs_f64());
            }
            Effect::Throttle { wait } => lesson.throttle = Some(wait.as_secs_f64()),
            Effect::Pause { reason } => lesson.pause = Some(reason.clone()),
        }
        transaction(|| connections::learn(name, &lesson))?;
        lane.look.failures = lesson.failures;
        lane.look.probe_in = lesson.probe_in;
        lane.look.throttled_for = lesson.throttle;
        lane.look.paused |= lesson.pause.is_some();
        if effect == Effect::Close {
            lane.last_ok_written = Some(Instant::now());
        }
        Ok(())
    }

    /// Closes the connection's run when nothing is left to do for it.
    fn close_run(&mut self, name: &str) -> Result<(), Aborted> {
        let Some(lane) = self.lanes.get_mut(name) else {
            return Ok(());
        };
        let soon = lane.look.due_in.is_some_and(|seconds| seconds < 60.0);
        if lane.look.run.is_none() || !lane.claims.is_empty() || lane.look.has_fresh || soon {
            return Ok(());
        }
        transaction(|| runs::close(name))?;
        lane.look.run = None;
        Ok(())
    }
}

/// Reads the secret, just before it is used, and sees that the client has it. Inside a transaction.
fn prepare(lane: &mut Lane) -> Result<(), Failure> {
    let misconfigured = |message: String, remedy: &str| {
        Failure::new(ErrorClass::Misconfigured, message).with_remedy(remedy)
    };
    let endpoint = Endpoint::parse(&lane.look.url, &lane.look.options).map_err(|error| {
        misconfigured(
            error.message.clone(),
            "Call etl.set_connection() with valid options, then etl.resume().",
        )
    })?;
    let Some(reference) = lane.look.secret.clone() else {
        return Err(misconfigured(
            "the connection has no secret".to_owned(),
            "Call etl.set_connection() with secret => 'vault:NAME', then etl.resume().",
        ));
    };
    let secret = secret::read(&reference)
        .map_err(|why| misconfigured(why, "Provide the secret, then: SELECT etl.resume();"))?;
    let name = lane.look.name.clone();
    lane.client(endpoint, secret, || connections::known_fields(&name))
        .map(|_| ())
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

enum Teaches {
    /// Nothing was asked.
    Nothing,
    Answered,
    Failed(Failure),
}

/// What the outcomes of one batch say about the endpoint: the gravest failure that is the endpoint's, else that it answered.
fn teaches(outcomes: &[(i64, Outcome)]) -> Teaches {
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
        Some(_) => Teaches::Answered,
        None => Teaches::Answered,
    }
}

/// One batch on a thread. Knows nothing of Postgres.
struct Job {
    client: Arc<Client>,
    connection: String,
    config: Arc<OutboundConfig>,
    claim: i64,
    batch: Batch,
    deadline: Option<Instant>,
}

impl Job {
    fn run(self) -> Finished {
        let deadline = self.deadline;
        let should_stop = move || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let context = DeliverContext {
            namespace: &self.config.namespace,
            connection: &self.connection,
            should_stop: &should_stop,
        };
        let outcomes = catch_unwind(AssertUnwindSafe(|| {
            odoo::deliver(&self.client, &self.batch, &context)
        }));
        // Nobody knows how far it came.
        let outcomes = outcomes.unwrap_or_else(|_| {
            let failure = Failure::new(
                ErrorClass::Unknown,
                "a defect in pg_etl stopped this delivery half-way; the server log has its place",
            );
            self.batch
                .rows
                .iter()
                .map(|row| (row.id, Outcome::Failed(failure.clone())))
                .collect()
        });
        Finished::Sent {
            connection: self.connection,
            claim: self.claim,
            outcomes,
            calls: 1,
        }
    }
}
