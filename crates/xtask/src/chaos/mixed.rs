//! The mixed run: everything at once, by chance, from a seed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use serde_json::json;

use super::adversary::{self, Done, Intensity, OUTBOUND};
use super::arena::{Arena, Setup};
use super::check::check;
use super::diary::Diary;
use super::enqueue;
use super::memory;
use super::story;
use super::verdict::Verdict;
use super::workload::{SESSIONS, Workload};
use super::world::Kind;
use crate::pg::PgVersion;
use crate::progress::Step;

/// What a mixed run shall be like.
#[derive(Debug, Clone, Serialize)]
pub struct Options {
    pub seed: u64,
    pub rows: usize,
    #[serde(skip)]
    pub kind: Option<Kind>,
    pub intensity: Intensity,
    pub planted_bug: Option<&'static str>,
}

/// How it went.
#[derive(Debug, Serialize)]
pub struct Report {
    pub options: Options,
    pub odoo: &'static str,
    pub postgres: &'static str,
    pub done: Done,
    /// Answers that were lost after Odoo did the work, as the endpoint counts them.
    pub answers_lost: u64,
    pub verdict: Verdict,
    pub seconds: f64,
    /// The largest private memory that a worker was seen to have, in MB.
    pub worker_peak_mb: u64,
    /// Rows that were in the hands of a worker that died.
    pub rows_crashed: i64,
}

/// How long nothing may move before a run counts as stuck.
pub const STUCK: Duration = Duration::from_secs(120);

/// Runs it. The error is about the suite; what is wrong with the extension is in the verdict.
pub fn run(version: PgVersion, options: Options, diary: &Diary) -> Result<Report> {
    let kind = options.kind.unwrap_or(Kind::Sim);
    let begun = Instant::now();
    let setup = Setup {
        planted_bug: options.planted_bug,
        ..Setup::default()
    }
    .setting("etl.batch_rows", "100")
    .setting("fsync", "off")
    .option("timeout", json!(if kind == Kind::Sim { 2 } else { 60 }));
    let step = Step::start(format!(
        "Mixed run, seed {}, {} rows",
        options.seed, options.rows
    ));
    let arena = Arena::start(version, kind, options.seed, &setup)?;
    let product = arena.world.product()?;
    let workload = Workload::generate(options.seed, options.rows, product);
    let schedule = adversary::schedule(
        options.seed,
        options.rows,
        kind,
        options.intensity,
        &OUTBOUND,
    );
    diary.note(
        "mixed run",
        json!({"options": options, "rows": workload.rows.len()}),
    );
    let (enqueued, watched, peak) = (AtomicU64::new(0), AtomicBool::new(true), AtomicU64::new(0));
    let failed = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        let (arena, workload, failed, enqueued) = (&arena, &workload, &failed, &enqueued);
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|session| {
                scope.spawn(move || {
                    let stop = || failed.load(Ordering::Acquire);
                    let outcome = enqueue::session(arena, workload, session, options.seed, stop);
                    enqueued.fetch_add(1, Ordering::AcqRel);
                    outcome
                })
            })
            .collect();
        scope.spawn(|| memory::watch(arena, &peak, || watched.load(Ordering::Acquire)));
        let settled_all = || {
            enqueued.load(Ordering::Acquire) == SESSIONS as u64
                && arena
                    .number("SELECT count(*) FROM ops.odoo_outbox WHERE status IN ('queued', 'processing')")
                    .is_ok_and(|open| open == 0)
        };
        let blows = schedule.len();
        let tell = |number, settled| {
            step.note(&format!(
                "{settled} rows settled, {number} of {blows} blows"
            ))
        };
        let struck = adversary::strike(arena, &schedule, diary, tell, settled_all);
        arena.world.heal();
        failed.store(struck.is_err(), Ordering::Release);
        let mut enqueuing = Ok(());
        for session in sessions {
            let ended = session.join().map_err(|_| anyhow!("a session panicked"));
            enqueuing = enqueuing.and(ended.and_then(|outcome| outcome));
        }
        let ended = struck.and_then(|struck| {
            enqueuing.context("enqueuing failed")?;
            diary.note("healed", json!({}));
            arena.ask(|client| client.batch_execute("SELECT etl.resume()"))?;
            let tell = |open| step.note(&format!("{open} rows to go"));
            Ok((struck, arena.drained(STUCK, tell)?))
        });
        watched.store(false, Ordering::Release);
        ended
    });
    let (struck, drained) = match outcome {
        Ok(outcome) => outcome,
        Err(error) => bail!("{error:#}\nthe server's log ends with:\n{}", end_of(&arena)),
    };
    arena.world.quiet()?;
    let mut verdict = check(&arena, &workload)?;
    if !drained {
        verdict.stuck(&end_of(&arena));
    }
    for record in verdict.suspects.iter().take(10) {
        diary.note("suspect", story::tell(&arena, &workload, record)?);
    }
    let report = Report {
        odoo: if kind == Kind::Sim { "sim" } else { "real" },
        postgres: version.major(),
        done: struck,
        answers_lost: arena.world.lost_answers(),
        verdict,
        seconds: begun.elapsed().as_secs_f64(),
        worker_peak_mb: peak.load(Ordering::Acquire) / 1024,
        rows_crashed: arena.number("SELECT count(*) FROM ops.odoo_outbox WHERE crashes > 0")?,
        options,
    };
    diary.note("mixed run ended", json!(report));
    // A step that is dropped is shown as failed; whoever asked for the run says what was found.
    if report.verdict.violations().is_empty() {
        step.done(&format!("{}", report.verdict));
    }
    Ok(report)
}

pub(super) fn end_of(arena: &Arena) -> String {
    let log = arena.cluster.log();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
