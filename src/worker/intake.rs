//! Pulling from Odoo: one mirror of a connection at a time, its pages side by side. A page is merged in a transaction of its own as
//! soon as it is there; what to ask next is decided by [`Pull`].

mod merge;

use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pg_etl_core::breaker::Asked;
use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::mirror::{Column, Columns, MirrorConfig, Mode, Pull, Scope, next_floor};
use serde_json::{Value, json};

use super::claiming::prepare;
use super::engine::Engine;
use super::learning::Teaches;
use super::question::{Read, Reading};
use super::session::{Aborted, transaction};
use super::settling::is_passing;
use crate::mirror::store::{self, Differences, Mirror};
use crate::track::{self, Backfill};
use crate::two_way;

/// How often it is looked which mirrors are due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Waits while enough of a backfill is in the queue.
const BACKFILL_WAITS: Duration = Duration::from_millis(500);

/// Rounds in which what was left for later is looked at when a run ends: a thousand records each, as long as they get fewer.
const MOST_ROUNDS: u32 = 100;

/// What a worker does besides delivering.
#[derive(Debug, Clone)]
pub struct Duties {
    /// The mirrors that it pulls, by connection and model; `None`: all.
    pub mirrors: Option<Vec<(String, String)>>,
    /// Whether it enqueues what tracked tables had before.
    pub backfills: bool,
    /// Whether it adds up, counts, and deletes what is over and old.
    pub upkeep: bool,
}

/// The open run of a connection.
pub struct Intake {
    mirror: Mirror,
    config: MirrorConfig,
    run: i64,
    pull: Pull,
    scope: Arc<Scope>,
    /// What is read; `None` until Odoo told its fields.
    columns: Option<Arc<Vec<Column>>>,
    names: Vec<String>,
    /// The user that we are in Odoo.
    own: Option<i64>,
    describing: bool,
    floor: Option<String>,
    anew: bool,
    /// How long the run was open before this process had it.
    age: Duration,
    started: Instant,
    /// The server's clock when the run began.
    clock: Option<SystemTime>,
    newest: Option<String>,
    answers: VecDeque<Read>,
    rows: usize,
    /// What a comparison found.
    findings: Differences,
    extra: Vec<i64>,
    /// Records that Odoo could not give, and why the first could not be had.
    unread: Vec<i64>,
    unread_because: Option<Failure>,
    tries: u32,
    failure: Option<Failure>,
}

impl Intake {
    /// Whether something is on the wire, or waits to be merged.
    pub fn is_asking(&self) -> bool {
        self.on_the_wire() > 0
    }

    fn on_the_wire(&self) -> usize {
        self.pull.out() + usize::from(self.describing)
    }

    fn is_over(&self) -> bool {
        self.on_the_wire() == 0
            && self.answers.is_empty()
            && (self.failure.is_some() || (self.columns.is_some() && self.pull.is_over()))
    }
}

impl Engine {
    /// Does what there is to do for a connection's mirrors: merges what came, asks for more, opens and closes runs. `true`: it could go
    /// on at once.
    pub(super) fn pull(&mut self, name: &str) -> Result<bool, Aborted> {
        self.open_run(name)?;
        // Before an answer is merged: Odoo works on the next ones meanwhile.
        self.ask(name);
        let merged = self.merge_one(name)?;
        let ended = self.end_run(name)?;
        Ok(merged || ended)
    }

    /// Looks which mirrors are due, once a second at most.
    pub(super) fn look_at_mirrors(&mut self) -> Result<(), Aborted> {
        let none = matches!(&self.duties.mirrors, Some(mirrors) if mirrors.is_empty());
        let recent = self.mirrors_at.is_some_and(|at| at.elapsed() < LOOK_EVERY);
        if none || recent {
            return Ok(());
        }
        let (mirrors, two_way) = transaction(|| (store::due(), two_way::connections()))?;
        self.two_way = Some(two_way);
        self.mirrors = mirrors;
        if let Some(mirrors) = &self.duties.mirrors {
            self.mirrors.retain(|mirror| {
                mirrors.iter().any(|(connection, model)| {
                    *connection == mirror.connection && *model == mirror.model
                })
            });
        }
        self.mirrors_at = Some(Instant::now());
        Ok(())
    }

    /// Enqueues a chunk of what tracked tables had before. `true`: it did.
    pub(super) fn backfill(&mut self) -> Result<bool, Aborted> {
        if !self.duties.backfills || self.backfill_at.is_none_or(|at| at > Instant::now()) {
            return Ok(false);
        }
        // Should it fail, it is tried again then.
        self.backfill_at = Some(Instant::now() + BACKFILL_WAITS);
        match transaction(track::backfill)? {
            Backfill::NothingAsked => self.backfill_at = None,
            Backfill::SentAChunk => self.backfill_at = Some(Instant::now()),
            Backfill::Waits => {}
        }
        Ok(self.backfill_at.is_some_and(|at| at <= Instant::now()))
    }

    /// How long until a mirror or a backfill is due.
    pub(super) fn next_duty(&self) -> Option<Duration> {
        let backfill = self
            .backfill_at
            .filter(|_| self.duties.backfills)
            .map(|at| at.saturating_duration_since(Instant::now()));
        self.next_pull().into_iter().chain(backfill).min()
    }

    fn next_pull(&self) -> Option<Duration> {
        let since = self.mirrors_at?.elapsed();
        let usable = |mirror: &&Mirror| {
            let lane = self.lanes.get(&mirror.connection);
            lane.is_some_and(|lane| lane.is_open() && lane.intake.is_none())
        };
        let first = self
            .mirrors
            .iter()
            .filter(usable)
            .map(|mirror| Duration::from_secs_f64(mirror.due_in.clamp(0.0, 86_400.0)))
            .min()?;
        // One that is due already waits for its connection, or for another of its connection.
        Some(first.saturating_sub(since).max(LOOK_EVERY))
    }

    /// The first connection of these mirrors that cannot be used now.
    pub fn closed<'a>(&self, mirrors: &'a [(String, String)]) -> Option<&'a str> {
        let closed = |name: &str| self.lanes.get(name).is_none_or(|lane| !lane.is_open());
        mirrors
            .iter()
            .map(|(connection, _)| connection.as_str())
            .find(|name| closed(name))
    }

    /// Whether one of the mirrors that are due, or being pulled, can go on.
    pub fn can_pull(&self) -> bool {
        let open = |name: &str| self.lanes.get(name).is_some_and(|lane| lane.is_open());
        self.mirrors.iter().any(|mirror| open(&mirror.connection))
            || self
                .lanes
                .values()
                .any(|lane| lane.intake.is_some() && lane.is_open())
    }

    /// What the worker is pulling, for `pg_stat_activity`.
    pub fn pulling(&self) -> Option<CString> {
        let intake = self.lanes.values().find_map(|lane| lane.intake.as_ref())?;
        CString::new(format!(
            "pg_etl: pulling {} ({}, {} rows read)",
            intake.mirror.model,
            intake.pull.mode().name(),
            intake.rows
        ))
        .ok()
    }

    /// Opens a run for the connection's first mirror that is due.
    fn open_run(&mut self, name: &str) -> Result<(), Aborted> {
        let is_over = self.is_over();
        let Some(lane) = self.lanes.get_mut(name) else {
            return Ok(());
        };
        let since = self.mirrors_at.map_or(0.0, |at| at.elapsed().as_secs_f64());
        if lane.intake.is_some() || !lane.is_open() || is_over {
            return Ok(());
        }
        let due = |mirror: &Mirror| mirror.connection == name && mirror.due_in <= since;
        let Some(place) = self.mirrors.iter().position(due) else {
            return Ok(());
        };
        let mirror = self.mirrors.remove(place);
        let owner = self.owner;
        let begun = transaction(|| {
            prepare(lane)?;
            Ok(store::begin(&mirror, owner))
        })?;
        let begun = match begun {
            Ok(Some(begun)) => begun,
            Ok(None) => return Ok(()),
            Err(failure) => return self.learn(name, Asked::Call, Some(&failure)),
        };
        if !begun.is_new {
            pgrx::log!(
                "pg_etl: goes on with the pull of {} at id {}, whose worker died",
                mirror.model,
                begun.done_to
            );
        }
        let config = MirrorConfig::read(&mirror.config);
        let scope = Scope {
            model: mirror.model.clone(),
            domain: config.domain.clone(),
            context: config.context.clone(),
            variants: config.variants.clone(),
        };
        lane.intake = Some(Intake {
            run: begun.run,
            pull: Pull::new(
                begun.mode.clone(),
                if begun.mode == Mode::Verify {
                    0
                } else {
                    begun.done_to
                },
                config.page_size,
            ),
            scope: Arc::new(scope),
            columns: None,
            names: Vec::new(),
            own: None,
            describing: false,
            floor: begun.floor,
            anew: begun.failures > 0,
            age: begun.age,
            started: Instant::now(),
            clock: None,
            newest: None,
            answers: VecDeque::new(),
            rows: 0,
            findings: Differences::default(),
            extra: Vec::new(),
            unread: Vec::new(),
            unread_because: None,
            tries: 0,
            failure: None,
            config,
            mirror,
        });
        Ok(())
    }

    /// Asks what may be asked now.
    fn ask(&mut self, name: &str) {
        // Who runs for a caller leaves what is left to whoever comes next.
        if self.is_over() {
            return;
        }
        let most = self.lanes.get(name).map_or(1, |lane| self.calls(lane));
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        // Deliveries go first, and take no more than all but one.
        let calls = most.saturating_sub(lane.on_the_wire()).max(1);
        let is_open = lane.is_open();
        let Some(client) = lane.known_client().cloned() else {
            return;
        };
        let Some(intake) = lane.intake.as_mut() else {
            return;
        };
        // The run stays open, and goes on when the connection can be used again.
        if !is_open {
            return;
        }
        // What came and is not merged yet is no longer on the wire; twice as much as may be bounds what is held.
        let calls = calls + intake.answers.len().min(calls);
        while intake.failure.is_none() {
            // The list needs no fields, so both are asked at a time; pages wait for both.
            let ask = if intake.columns.is_none() && !intake.describing {
                intake.describing = true;
                None
            } else if intake.columns.is_none() && intake.pull.has_listed() {
                break;
            } else {
                match intake.pull.next(calls) {
                    Some(ask) => Some(ask),
                    None => break,
                }
            };
            let reading = Reading {
                client: Arc::clone(&client),
                scope: Arc::clone(&intake.scope),
                columns: intake.columns.clone(),
                chosen: intake.config.fields.clone(),
                mode: intake.pull.mode().clone(),
                anew: intake.anew,
                ask,
                run: intake.run,
            };
            let connection = name.to_owned();
            self.pool.submit(move |emit| emit(reading.run(connection)));
        }
    }

    /// Keeps an answer until it is merged. Returns what it says about the connection.
    pub(super) fn take_in_read(&mut self, connection: &str, read: Read) -> Option<Teaches> {
        let lane = self.lanes.get_mut(connection)?;
        lane.take_requests();
        let teaches = match &read.result {
            Err(failure) => Teaches::Failed(failure.clone()),
            Ok(_) => Teaches::Answered,
        };
        match lane.intake.as_mut() {
            Some(intake) if intake.run == read.run => intake.answers.push_back(read),
            _ => {}
        }
        Some(teaches)
    }

    /// Takes one answer into the mirror. `false`: there was none.
    fn merge_one(&mut self, name: &str) -> Result<bool, Aborted> {
        let Some(intake) = self
            .lanes
            .get_mut(name)
            .and_then(|lane| lane.intake.as_mut())
        else {
            return Ok(false);
        };
        let Some(read) = intake.answers.pop_front() else {
            return Ok(false);
        };
        if let (None, Some(clock)) = (intake.clock, read.clock) {
            intake.clock = clock.checked_sub(intake.started.elapsed() + intake.age);
        }
        let answer = match read.result {
            Ok(answer) => answer,
            Err(failure) => {
                intake.fail(read.ask, failure);
                return Ok(true);
            }
        };
        match intake.take(read.ask.as_ref(), answer, read.took, read.asked) {
            Ok(()) => intake.tries = 0,
            // Somebody's lock, or the table's own trigger or constraint. A lock is gone later.
            Err(aborted) => {
                let class = if is_passing(aborted.code) {
                    ErrorClass::Conflict
                } else {
                    ErrorClass::Invalid
                };
                let why = format!("the mirror could not be written: {}", aborted.message);
                intake.fail_to_write(read.ask, Failure::new(class, why));
                self.trouble = Some(aborted);
            }
        }
        Ok(true)
    }

    /// Closes the run where nothing is left of it. `true`: it did.
    fn end_run(&mut self, name: &str) -> Result<bool, Aborted> {
        let owner = self.owner;
        let Some(lane) = self.lanes.get_mut(name) else {
            return Ok(false);
        };
        let Some(intake) = lane.intake.as_mut().filter(|intake| intake.is_over()) else {
            return Ok(false);
        };
        if let (None, Some(why)) = (&intake.failure, &intake.unread_because) {
            let ids: Vec<String> = intake.unread.iter().take(10).map(i64::to_string).collect();
            let message = format!(
                "{} records of {} could not be read, the others were (ids {}): {}",
                intake.unread.len(),
                intake.mirror.model,
                ids.join(", "),
                why.message
            );
            intake.failure = Some(Failure::new(why.class, message).with_remedy(
                "Look at these records in Odoo; the next run begins where this one did.",
            ));
        }
        if *intake.pull.mode() != Mode::Verify {
            // Should a user's table stop it, the run ends all the same: what was left stays for the next one.
            let (mirror, run, own) = (&intake.mirror, intake.run, intake.own);
            let mut before = i64::MAX;
            for _ in 0..MOST_ROUNDS {
                // Each by itself: what stops one stops not the other.
                let taken = transaction(|| two_way::take_in(mirror, run, own, None));
                let deleted = transaction(|| two_way::take_deletes(mirror, run, None));
                for aborted in [taken.err(), deleted.err()].into_iter().flatten() {
                    pgrx::log!(
                        "pg_etl: what earlier pulls of {} left could not be taken in: {}",
                        mirror.model,
                        aborted.message
                    );
                }
                match transaction(|| two_way::left(mirror)) {
                    Ok(left) if left > 0 && left < before => before = left,
                    _ => break,
                }
            }
        }
        // What was met last stands for the clock only where the run is all this process's: else it too is younger than its beginning.
        let newest = intake.newest.as_deref().filter(|_| intake.age.is_zero());
        let floor = next_floor(intake.clock, newest, intake.config.overlap);
        transaction(|| {
            if *intake.pull.mode() == Mode::Verify {
                store::found(&intake.mirror, intake.run, intake.found(), intake.rows);
            }
            store::end(
                &intake.mirror,
                owner,
                floor.as_deref().or(intake.floor.as_deref()),
                intake.failure.as_ref(),
            );
        })?;
        lane.intake = None;
        // The next one is due at once, or none is for long.
        self.mirrors_at = None;
        Ok(true)
    }
}

/// Columns, and what has none, as `etl._notice_drift()` and `etl.mirror()` read them.
pub fn as_json(described: &Columns) -> (Value, Value) {
    let columns = described
        .columns
        .iter()
        .map(|column| json!({"name": column.name, "type": column.sql_type}));
    let skipped = described
        .skipped
        .iter()
        .map(|skipped| json!({"field": skipped.field, "why": skipped.why}));
    (columns.collect(), skipped.collect())
}
