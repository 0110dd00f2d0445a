//! Pulling from Odoo: one mirror of a connection at a time, its pages side by side. A page is merged in a transaction of its own as
//! soon as it is there; what to ask next is decided by [`Pull`].

use std::collections::VecDeque;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pg_etl_core::breaker::Asked;
use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::mirror::{
    Ask, Column, Columns, Fate, MirrorConfig, Mode, Page, Pull, STRETCH, Scope, columns, next_floor,
};
use pg_etl_core::odoo::Client;
use serde_json::{Value, json};

use super::claiming::prepare;
use super::engine::Engine;
use super::job::Finished;
use super::learning::Teaches;
use super::session::{Aborted, transaction};
use super::settling::is_passing;
use crate::mirror::store::{self, Differences, Mirror};
use crate::track::{self, Backfill};

/// How often it is looked which mirrors are due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Failures of a question that are asked again within a run.
const MOST_TRIES: u32 = 3;
/// Records that a run can be without before it is given up.
const MOST_UNREAD: usize = 100;
/// Ids that a comparison names of each kind.
const SHOWN: usize = 1_000;
/// Waits while enough of a backfill is in the queue.
const BACKFILL_WAITS: Duration = Duration::from_millis(500);

/// What a worker does besides delivering.
#[derive(Debug, Clone)]
pub struct Duties {
    /// The mirrors that it pulls, by connection and model; `None`: all.
    pub mirrors: Option<Vec<(String, String)>>,
    /// Whether it enqueues what tracked tables had before.
    pub backfills: bool,
}

/// What a question was answered.
pub enum Answer {
    /// With the names of all fields that Odoo has.
    Described(Columns, Vec<String>),
    Listed(Vec<i64>),
    Read(Page),
    Fates(Vec<(i64, Fate)>),
}

/// A question that came back.
pub struct Read {
    run: i64,
    /// `None`: for the fields.
    ask: Option<Ask>,
    result: Result<Answer, Failure>,
    took: Duration,
    /// The server's clock at this moment, where it told.
    clock: Option<SystemTime>,
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

/// A question on its way, on a thread.
struct Reading {
    client: Arc<Client>,
    scope: Arc<Scope>,
    columns: Option<Arc<Vec<Column>>>,
    chosen: Option<Vec<String>>,
    mode: Mode,
    /// What is known of the fields may be wrong.
    anew: bool,
    ask: Option<Ask>,
    run: i64,
}

impl Reading {
    fn run(self, connection: String) -> Finished {
        let at = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| self.answer()));
        let result = result.unwrap_or_else(|_| {
            Err(Failure::new(
                ErrorClass::Bug,
                "a defect in pg_etl stopped this pull; the server log has its place",
            ))
        });
        Finished::Read {
            connection,
            read: Box::new(Read {
                run: self.run,
                ask: self.ask,
                result,
                took: at.elapsed(),
                clock: self.client.clock(),
            }),
        }
    }

    fn answer(&self) -> Result<Answer, Failure> {
        let columns = || self.columns.as_deref().map_or(&[][..], Vec::as_slice);
        match &self.ask {
            None => {
                let model = &self.scope.model;
                // Once a run that meets every record, and after one that failed, a field is found that came or went.
                let fields = if self.mode.lists_all() || self.anew {
                    self.client.refreshed_fields(model)
                } else {
                    None
                };
                let fields = fields.unwrap_or_else(|| self.client.fields(model))?;
                let known = fields.names().map(str::to_owned).collect();
                Ok(Answer::Described(
                    self::columns(&fields, self.chosen.as_deref()),
                    known,
                ))
            }
            Some(Ask::List { after }) => {
                let floor = match &self.mode {
                    Mode::Changes { floor } => Some(floor.as_str()),
                    Mode::Full | Mode::Reconcile | Mode::Verify => None,
                };
                self.scope
                    .list(&self.client, floor, *after)
                    .map(Answer::Listed)
            }
            Some(Ask::Page { ids }) => self
                .scope
                .page(&self.client, columns(), ids)
                .map(Answer::Read),
            Some(Ask::Fate { ids }) => self.scope.fates(&self.client, ids).map(Answer::Fates),
        }
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
        self.mirrors = transaction(store::due)?;
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
        match intake.take(read.ask.as_ref(), answer, read.took) {
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

impl Intake {
    /// What a comparison found: at most [`SHOWN`] ids of each kind, and how many there are.
    fn found(&self) -> Value {
        let mut found = json!({"checked": self.rows});
        let odd = &self.findings;
        for (name, ids) in [
            ("missing", &odd.missing),
            ("extra", &self.extra),
            ("different", &odd.different),
            ("behind", &odd.behind),
        ] {
            found[name] = json!(ids.iter().take(SHOWN).collect::<Vec<_>>());
            if ids.len() > SHOWN {
                found[format!("{name}_count")] = json!(ids.len());
            }
        }
        found
    }

    fn take(&mut self, ask: Option<&Ask>, answer: Answer, took: Duration) -> Result<(), Aborted> {
        let run = self.run;
        match (ask, answer) {
            (None, Answer::Described(described, known)) => {
                self.describing = false;
                let (columns, skipped) = as_json(&described);
                self.names =
                    transaction(|| store::notice_drift(&self.mirror, columns, skipped, known))?;
                let taken =
                    |column: &Column| column.name == "id" || self.names.contains(&column.name);
                let columns = described.columns.into_iter().filter(taken).collect();
                self.columns = Some(Arc::new(columns));
            }
            (Some(Ask::List { after }), Answer::Listed(ids)) => {
                let upto = match ids.last() {
                    Some(last) if ids.len() >= STRETCH => *last,
                    _ => i64::MAX,
                };
                let (missing, lost) = if self.pull.mode().lists_all() {
                    transaction(|| store::compare(&self.mirror, *after, upto, &ids))?
                } else {
                    (Vec::new(), Vec::new())
                };
                match self.pull.mode() {
                    Mode::Reconcile => self.pull.listed(upto, &missing, &lost),
                    Mode::Full | Mode::Verify | Mode::Changes { .. } => {
                        self.pull.listed(upto, &ids, &lost);
                    }
                }
            }
            (Some(Ask::Page { ids }), Answer::Read(page)) if *self.pull.mode() == Mode::Verify => {
                let (floor, overlap) = (self.floor.as_deref(), self.config.overlap);
                let odd = transaction(|| {
                    store::differences(&self.mirror, &self.names, &page.rows, floor, overlap)
                })?;
                self.findings.missing.extend(odd.missing);
                self.findings.different.extend(odd.different);
                self.findings.behind.extend(odd.behind);
                self.rows += page.ids.len();
                // What was deleted while it was listed is no difference.
                self.pull.paged(ids, &[], took);
            }
            (Some(Ask::Page { ids }), Answer::Read(page)) => {
                let absent: Vec<i64> = absent(ids, &page.ids);
                transaction(|| {
                    store::merge(&self.mirror, run, &self.names, &page.rows, page.ids.len());
                })?;
                self.pull.paged(ids, &absent, took);
                // Should this fail, a little is read twice after a crash.
                let reached = self.pull.safe_to();
                transaction(|| store::reached(&self.mirror, run, reached))?;
                self.rows += page.ids.len();
                if page.newest > self.newest {
                    self.newest = page.newest;
                }
            }
            (Some(Ask::Fate { ids }), Answer::Fates(fates)) => {
                let of = |wanted: &[Fate]| -> Vec<i64> {
                    fates
                        .iter()
                        .filter(|(_, fate)| wanted.contains(fate))
                        .map(|(id, _)| *id)
                        .collect()
                };
                if *self.pull.mode() == Mode::Verify {
                    self.extra
                        .extend(of(&[Fate::Deleted, Fate::Hidden, Fate::Outside]));
                    // What is there was made meanwhile, or hidden for a moment.
                    let _ = self.pull.told(ids, &[]);
                    return Ok(());
                }
                let (deleted, hidden) = (of(&[Fate::Deleted]), of(&[Fate::Hidden, Fate::Outside]));
                transaction(|| store::mark_gone(&self.mirror, run, &deleted, &hidden))?;
                if !self.pull.told(ids, &of(&[Fate::There])) {
                    self.failure = Some(
                        Failure::new(
                            ErrorClass::Server,
                            "Odoo's pages lack records that its list has",
                        )
                        .with_remedy("The checkpoint was not moved: nothing is lost. Look for an override of search_read in Odoo."),
                    );
                }
            }
            // A thread answers what it was asked.
            _ => {}
        }
        Ok(())
    }

    /// A question was not answered. One about several records is asked again in halves where it is too large, or something about one of
    /// them is wrong: the others hold nothing up.
    fn fail(&mut self, ask: Option<Ask>, failure: Failure) {
        let divides = matches!(
            failure.class,
            ErrorClass::TooLarge | ErrorClass::Invalid | ErrorClass::Server
        );
        let alone = matches!(&ask, Some(Ask::Page { ids }) if ids.len() == 1);
        let of_page = matches!(&ask, Some(Ask::Page { .. }));
        if let (true, true, Some(Ask::Page { ids })) = (divides, alone, &ask) {
            self.unread.extend(ids);
            self.unread_because.get_or_insert(failure);
            self.pull.paged(&ids.clone(), &[], Duration::ZERO);
            if self.unread.len() > MOST_UNREAD {
                self.failure = self.unread_because.clone();
            }
            return;
        }
        let asked_again = self.ask_again(ask, divides && of_page);
        if divides && of_page {
            return;
        }
        let passing = matches!(
            failure.class,
            ErrorClass::Unknown | ErrorClass::Conflict | ErrorClass::Server
        );
        let waits = matches!(
            failure.class,
            ErrorClass::Throttled | ErrorClass::Unreachable | ErrorClass::Misconfigured
        );
        // The connection itself says when it can be used again.
        if waits && asked_again {
            return;
        }
        self.tries += 1;
        if !asked_again || !passing || self.tries >= MOST_TRIES {
            self.failure.get_or_insert(failure);
        }
    }

    /// What was answered could not be written down.
    fn fail_to_write(&mut self, ask: Option<Ask>, failure: Failure) {
        let asked_again = self.ask_again(ask, false);
        self.tries += 1;
        let passing = failure.class == ErrorClass::Conflict;
        if !asked_again || !passing || self.tries >= MOST_TRIES {
            self.failure.get_or_insert(failure);
        }
    }

    fn ask_again(&mut self, ask: Option<Ask>, divided: bool) -> bool {
        match ask {
            None => {
                self.describing = false;
                true
            }
            Some(ask) => self.pull.failed(ask, divided),
        }
    }
}

/// Ids of the first, ascending list that the second lacks.
fn absent(asked: &[i64], read: &[i64]) -> Vec<i64> {
    let read: std::collections::BTreeSet<i64> = read.iter().copied().collect();
    asked
        .iter()
        .copied()
        .filter(|id| !read.contains(id))
        .collect()
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
