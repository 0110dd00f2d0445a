//! The way of a row inside a worker: claim, commit, send on a thread, settle. One turn does everything that can be done now.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::CStr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pg_etl_core::breaker::Asked;
use pg_etl_core::outbox::walk::{BLOCKED, RETRY};
use pg_etl_core::outbox::{Found, OutboundConfig};

use super::intake::Duties;
use super::job::{Finished, Job};
use super::lane::Lane;
use super::learning::Teaches;
use super::owner;
use super::pool::Pool;
use super::session::{Aborted, transaction, transaction_waiting};
use super::settling::Unsettled;
use super::upkeep::Upkeep;
use crate::connections::store as connections;
use crate::gucs;
use crate::mirror::store::Mirror;
use crate::outbox::config;
use crate::outbox::store::{self, Statements, Tally};
use crate::runs::{self, Counts};

/// Patience for locks where others wait meanwhile.
pub(super) const BRIEFLY: &CStr = c"100ms";
/// How often the counts of a run are written down while it goes on.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// Windows of the queue that one turn looks at per connection, before answers and signals get their turn.
const WINDOWS: usize = 4;

/// Calls that wait in a connection's line beyond those on the wire, so that no thread waits for the main one.
const AHEAD: usize = 128;
/// Answers are written down together: when there are so many rows, or after this time, or as soon as somebody waits for it.
const MANY: usize = 500;
const SOON: Duration = Duration::from_millis(5);
/// While a worker is busy it looks at its tables, and at what else stands in its database, no more often.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

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
}

/// What was done so far.
#[derive(Debug, Default, Clone, Copy)]
pub struct Totals {
    pub claimed: i64,
    pub calls: i64,
    pub tally: Tally,
}

/// One worker's engine.
pub struct Engine {
    pub(super) owner: i64,
    pub(super) pool: Pool<Finished>,
    pub(super) limits: Limits,
    pub(super) statements: Statements,
    pub(super) lanes: BTreeMap<String, Lane>,
    pub(super) config: Arc<OutboundConfig>,
    /// Decisions that are not written down yet.
    pub(super) unsettled: VecDeque<Unsettled>,
    pub(super) totals: Totals,
    pub(super) delivered: i64,
    /// Whose pulls this worker does, the mirrors that are or will be due, and when it looked.
    pub(super) duties: Duties,
    pub(super) mirrors: Vec<Mirror>,
    pub(super) mirrors_at: Option<Instant>,
    /// Connections that have two-way tables; `None` until that was looked at.
    pub(super) two_way: Option<BTreeSet<String>>,
    /// Connections and models of which something is to be pulled before anything else is sent.
    pub(super) overtaken: BTreeSet<(String, String)>,
    /// When to look for a backfill; `None`: when somebody commits something.
    pub(super) backfill_at: Option<Instant>,
    upkeep: Upkeep,
    /// Since when the oldest of them waits.
    unsettled_since: Option<Instant>,
    pub(super) looked_at: Option<Instant>,
    /// Somebody committed something since the last turn.
    was_woken: bool,
    recover_at: Option<Instant>,
    pub(super) trouble: Option<Aborted>,
}

impl Engine {
    /// Takes an owner's number and starts the threads.
    pub fn start(limits: Limits, duties: Duties) -> Result<Self, String> {
        let (owner, copy) = transaction(|| (owner::become_owner(), connections::move_in()))
            .map_err(|aborted| aborted.message)?;
        if copy {
            pgrx::log!(
                "pg_etl: this database is a copy or was restored; its connections are paused until etl.resume()"
            );
        }
        let pool = Pool::start().map_err(|error| format!("cannot start threads: {error}"))?;
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
            duties,
            mirrors: Vec::new(),
            mirrors_at: None,
            two_way: None,
            overtaken: BTreeSet::new(),
            backfill_at: Some(Instant::now()),
            upkeep: Upkeep::new(),
            unsettled_since: None,
            looked_at: None,
            was_woken: false,
            recover_at: None,
            trouble: None,
        })
    }

    /// Whether the time of a worker that runs for a caller is over.
    pub fn is_over(&self) -> bool {
        self.limits
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
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

    /// Whether a request is on the wire.
    pub fn awaits_answers(&self) -> bool {
        self.lanes
            .values()
            .any(|lane| lane.probing || lane.on_the_wire() > 0 || lane.is_asking())
    }

    /// Whether anything is on its way.
    pub fn is_busy(&self) -> bool {
        !self.unsettled.is_empty()
            || self
                .lanes
                .values()
                .any(|lane| !lane.claims.is_empty() || lane.probing || lane.intake.is_some())
    }

    /// Somebody committed something: what was blocked may be free.
    pub fn woken(&mut self) {
        self.was_woken = true;
        self.mirrors_at = None;
        self.backfill_at = Some(Instant::now());
        for lane in self.lanes.values_mut() {
            lane.walk.reopen();
        }
    }

    /// Settles what came back, claims what is due, sends what may go. Returns how long until the next turn if nothing happens.
    pub fn turn(&mut self) -> Result<Duration, Aborted> {
        self.trouble = None;
        let was_probing = self.lanes.values().any(|lane| lane.probing);
        let lessons = self.take_results();
        let has_news = self.was_woken || lessons.iter().any(|(_, asked, _)| *asked == Asked::Call);
        if self.must_write() {
            let written = self.write_down();
            self.note(written);
        }
        for (connection, asked, lesson) in lessons {
            let failure = match lesson {
                Teaches::Nothing => continue,
                Teaches::Answered => None,
                Teaches::Failed(failure) => Some(failure),
            };
            let learned = self
                .keep_fields(&connection)
                .and_then(|()| self.learn(&connection, asked, failure.as_ref()));
            self.note(learned);
        }
        let mut looks = self.must_look(was_probing);
        if looks {
            self.look()?;
            self.looked_at = Some(Instant::now());
        }
        if self.return_unsent() {
            // What went back is seen by the next look.
            (looks, self.looked_at) = (false, None);
            let written = self.write_down();
            self.note(written);
        }
        let looked = self.look_at_mirrors();
        self.note(looked);
        let names: Vec<String> = self.lanes.keys().cloned().collect();
        let mut more = self.backfill().unwrap_or_else(|aborted| {
            self.note(Err(aborted));
            false
        });
        for name in &names {
            // What stops one connection stops no other.
            for served in [self.serve(name), self.pull(name)] {
                match served {
                    Ok(went_on) => more |= went_on,
                    failed => self.note(failed.map(|_| ())),
                }
            }
        }
        // Last: what is to be delivered does not wait for it.
        if self.duties.upkeep {
            let is_busy = |lane: &Lane| !lane.claims.is_empty() || lane.is_asking();
            let is_idle = !more && !self.lanes.values().any(is_busy);
            more |= self
                .upkeep
                .round(is_idle, has_news)
                .unwrap_or_else(|aborted| {
                    self.note(Err(aborted));
                    false
                });
        }
        if more {
            return Ok(Duration::ZERO);
        }
        // A lane that has no room for another call is woken by an answer.
        let due = self
            .lanes
            .values()
            .filter_map(|lane| lane.next_due(self.has_room(lane)));
        let retry = self.trouble.is_some().then_some(RETRY);
        let settle = self.unsettled_since.map(|_| SOON);
        let look = (!looks).then_some(LOOK_EVERY);
        let next = due
            .chain(self.next_write())
            .chain(retry)
            .chain(settle)
            .chain(look)
            .chain(self.next_duty())
            .chain(self.upkeep.next().filter(|_| self.duties.upkeep))
            .chain(self.next_question())
            .min();
        Ok(next.unwrap_or(Duration::MAX).min(gucs::poll_interval()))
    }

    /// Whether the answers that came so far are to be written down now.
    fn must_write(&mut self) -> bool {
        let due = || self.unsettled.iter().filter(|part| part.is_due());
        if due().next().is_none() {
            self.unsettled_since = None;
            return false;
        }
        let since = *self.unsettled_since.get_or_insert_with(Instant::now);
        let rows: usize = due().map(Unsettled::len).sum();
        let awaited = || {
            let mut of = due().map(Unsettled::connection);
            of.any(|name| self.lanes.get(name).is_none_or(Lane::waits_for_settling))
        };
        rows >= MANY || since.elapsed() >= SOON || awaited()
    }

    /// A busy worker need not look every time an answer comes, and one that only asked how an Odoo is need not look again.
    fn must_look(&mut self, was_probing: bool) -> bool {
        let was_woken = std::mem::take(&mut self.was_woken);
        let is_busy = self
            .lanes
            .values()
            .any(|lane| lane.on_the_wire() > 0 || lane.is_asking());
        !(is_busy || was_probing && !was_woken)
            || self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY)
    }

    /// Something failed that concerns one connection or some rows; it is tried again.
    fn note(&mut self, result: Result<(), Aborted>) {
        if let Err(aborted) = result {
            self.trouble = Some(aborted);
        }
    }

    /// What failed in the last turn, if anything did.
    pub fn trouble(&self) -> Option<&Aborted> {
        self.trouble.as_ref()
    }

    /// Probes, claims and sends for one connection. `true`: it could go on at once.
    fn serve(&mut self, name: &str) -> Result<bool, Aborted> {
        self.probe(name)?;
        self.send(name);
        let mut windows = 0;
        while windows < WINDOWS && self.may_claim(name) {
            windows += 1;
            match self.claim(name)? {
                Found::Rows => self.send(name),
                Found::Passed => {}
                Found::Nothing => break,
            }
        }
        self.write_counts(name);
        self.close_run(name)?;
        if self.duties.upkeep {
            self.ask_for_keys(name)?;
        }
        Ok(windows == WINDOWS && self.may_claim(name))
    }

    /// The process ends: what was not sent goes back as such, so that no attempt is burnt and no call is given up for it.
    pub fn last_words(&mut self) {
        if let Err(aborted) = self.wind_down() {
            pgrx::log!(
                "pg_etl: left without giving back what was not sent: {}",
                aborted.message
            );
        }
    }

    /// Settles what comes back and gives back what is not sent; claims and sends nothing.
    pub fn wind_down(&mut self) -> Result<(), Aborted> {
        self.take_results();
        for lane in self.lanes.values_mut() {
            lane.closed = true;
        }
        self.return_unsent();
        let written = self.write_down_now();
        for name in self.lanes.keys().cloned().collect::<Vec<_>>() {
            self.write_counts(&name);
        }
        written
    }

    fn take_results(&mut self) -> Vec<(String, Asked, Teaches)> {
        let mut lessons = Vec::new();
        for finished in self.pool.take() {
            match finished {
                Ok(finished) => lessons.extend(self.take_in(finished)),
                // Jobs catch their own panics, so this is one outside a job.
                Err(message) => pgrx::log!("pg_etl: an HTTP thread failed: {message}"),
            }
        }
        lessons
    }

    /// Takes back what dead workers held. A row of theirs that somebody has locked, or a user's trigger that raises, puts it off and
    /// stops nothing else.
    fn recover(&mut self) {
        if self.recover_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        let owner = self.owner;
        match transaction_waiting(BRIEFLY, || store::recover(owner)) {
            Ok(back) => {
                self.recover_at = None;
                if back.retried + back.failed > 0 {
                    pgrx::log!(
                        "pg_etl: took back {} rows of a worker that died; {} of them are dead letters",
                        back.retried + back.failed,
                        back.failed
                    );
                }
            }
            Err(aborted) => {
                self.recover_at = Some(Instant::now() + BLOCKED);
                pgrx::log!(
                    "pg_etl: rows of a worker that died cannot be taken back yet: {}",
                    aborted.message
                );
            }
        }
    }

    fn look(&mut self) -> Result<(), Aborted> {
        self.recover();
        let (looks, config, has_alerts) = transaction(|| {
            (
                connections::look(),
                config::read(),
                crate::alerts::are_expected(),
            )
        })?;
        self.upkeep.expect_alerts(has_alerts);
        self.config = Arc::new(config);
        // A connection that was removed: its rows wait for it to come back, its answers are still settled.
        self.lanes.retain(|name, lane| {
            !lane.claims.is_empty()
                || lane.probing
                || lane.intake.is_some()
                || looks.iter().any(|look| look.name == *name)
        });
        for lane in self.lanes.values_mut() {
            // Gone or of another kind now; a look at it opens it again.
            lane.closed = true;
        }
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

    /// Puts into the connection's line what may go; threads take it from there.
    fn send(&mut self, name: &str) {
        let most = match self.lanes.get(name) {
            Some(lane) if lane.is_open() && !self.is_over() => self.calls(lane),
            _ => return,
        };
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        let Some(target) = lane.target().cloned() else {
            return;
        };
        lane.line.allow(most);
        for _ in lane.on_the_wire()..most + AHEAD {
            let Some((claim, priority, batch)) = lane.next_batch() else {
                break;
            };
            lane.line.push(Job {
                target: target.clone(),
                connection: name.to_owned(),
                config: Arc::clone(&self.config),
                claim,
                batch,
                priority,
                deadline: self.limits.deadline,
            });
        }
        lane.line.start(&mut self.pool);
    }

    /// Writes down the counts of the run, about once a second. Whoever holds the run's row delays them and nothing else.
    fn write_counts(&mut self, name: &str) {
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        let busy =
            !lane.claims.is_empty() && lane.counted_at.is_some_and(|at| at.elapsed() < COUNT_EVERY);
        if lane.counts == Counts::default() || busy {
            return;
        }
        lane.counted_at = Some(Instant::now());
        match transaction_waiting(BRIEFLY, || runs::count(name, &lane.counts)) {
            Ok(()) => lane.counts = Counts::default(),
            Err(aborted) => pgrx::log!(
                "pg_etl: the run's counts cannot be written yet: {}",
                aborted.message
            ),
        }
    }

    /// Closes the connection's run when nothing is left to do for it.
    fn close_run(&mut self, name: &str) -> Result<(), Aborted> {
        let Some(lane) = self.lanes.get_mut(name) else {
            return Ok(());
        };
        let soon = lane.look.due_in.is_some_and(|seconds| seconds < 60.0);
        let uncounted = lane.counts != Counts::default();
        if lane.look.run.is_none()
            || !lane.claims.is_empty()
            || lane.look.has_fresh
            || soon
            || uncounted
        {
            return Ok(());
        }
        transaction(|| runs::close(name))?;
        lane.look.run = None;
        Ok(())
    }
}
