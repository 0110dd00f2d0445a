//! Whatever the endpoint answers, the worker's memory stays where it was.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use odoo_sim::{Effect, Fault};
use serde_json::json;

use super::{Findings, creates, drain};
use crate::chaos::arena::{Arena, Setup};
use crate::chaos::workload::Workload;
use crate::chaos::world::Kind;
use crate::chaos::{enqueue, memory};
use crate::pg::PgVersion;

/// How much a worker may grow.
const BOUND_KB: u64 = 64 * 1024;
const GB: u64 = 1 << 30;
/// Just under what is read of an answer by default.
const ALLOWED: u64 = (16 << 20) - 64;
/// Dense, and just under what is parsed.
const PARSED: u64 = 340 << 10;
/// Rows of one call.
const ROWS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(version: PgVersion, findings: &mut Findings) -> Result<()> {
    for in_flight in [2, 8] {
        with(version, in_flight, findings)?;
    }
    Ok(())
}

/// With so many calls on the wire at a time.
fn with(version: PgVersion, in_flight: usize, findings: &mut Findings) -> Result<()> {
    let setup = Setup::default()
        .setting("etl.batch_rows", ROWS.to_string())
        .option("timeout", json!(15))
        .option("max_in_flight", json!(in_flight));
    let arena = Arena::start(version, Kind::Sim, 1, &setup)?;
    let mut workload = Workload::default();
    // Until it has done everything once that it does every day.
    for _ in 0..5 {
        enqueue::all(&arena, &creates(&mut workload, 20 * ROWS))?;
        drain(&arena, PATIENCE)?;
    }
    let pid = arena.worker()?;
    let baseline = memory::private_kb(pid).unwrap_or_default();
    findings.figure(&format!("{in_flight} calls: baseline_mb"), baseline / 1024);
    let answers = [
        ("1 GB", Effect::Giant { bytes: GB }),
        ("1 GB without a length", Effect::Endless { bytes: GB }),
        ("gzip bomb", Effect::GzipBomb { bytes: GB }),
        ("1 GB of dense JSON", Effect::Dense { bytes: GB }),
        ("allowed dense JSON", Effect::Dense { bytes: ALLOWED }),
        ("3 MB of dense JSON", Effect::Dense { bytes: 3 << 20 }),
        ("dense JSON that is parsed", Effect::Dense { bytes: PARSED }),
        ("slow loris", Effect::SlowLoris { byte_ms: 100 }),
    ];
    for (name, effect) in answers {
        let peak = watched(&arena, || {
            // As many as are on the wire at a time, and then some.
            let calls = 2 * in_flight;
            let fault = Fault::new(effect.clone()).on_method("load");
            arena
                .world
                .sim()?
                .inject(fault.times(calls as u64).committed());
            enqueue::all(&arena, &creates(&mut workload, calls * ROWS))?;
            drain(&arena, PATIENCE)
        })?;
        arena.world.heal();
        arena.ask(|client| client.batch_execute("SELECT etl.resume()"))?;
        let grown = peak.saturating_sub(baseline);
        findings.figure(
            &format!("{in_flight} calls, {name}: grown by MB"),
            grown / 1024,
        );
        findings.must(grown <= BOUND_KB, || {
            format!(
                "{in_flight} calls, {name}: the worker grew by {} MB",
                grown / 1024
            )
        });
    }
    findings.must(arena.worker()? == pid, || {
        "the worker was replaced".to_owned()
    });
    findings.judge(&arena, &workload)
}

/// The largest memory of the worker while `work` is done.
fn watched(arena: &Arena, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let (peak, on) = (AtomicU64::new(0), AtomicBool::new(true));
    thread::scope(|scope| {
        scope.spawn(|| memory::watch(arena, &peak, || on.load(Ordering::Acquire)));
        let done = work();
        on.store(false, Ordering::Release);
        done
    })?;
    Ok(peak.load(Ordering::Acquire))
}
