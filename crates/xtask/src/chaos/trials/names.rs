//! A host name that is never resolved: the worker can be ended, users go on enqueuing, no attempt is burnt, and when names are
//! resolved again everything is delivered.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::{Findings, creates, drain};
use crate::chaos::arena::{Arena, Setup};
use crate::chaos::enqueue;
use crate::chaos::shim::Shim;
use crate::chaos::workload::Workload;
use crate::chaos::world::Kind;
use crate::pg::PgVersion;

const PATIENCE: Duration = Duration::from_secs(60);
/// How often the worker is made to try while names hang.
const ATTEMPTS: usize = 5;

pub fn run(version: PgVersion, findings: &mut Findings) -> Result<()> {
    let shim = Shim::build()?;
    let setup = Setup {
        env: shim.env(),
        host: Some("localhost"),
        ..Setup::default()
    }
    .option("timeout", json!(2));
    let arena = Arena::start(version, Kind::Sim, 1, &setup)?;
    let mut workload = Workload::default();
    enqueue::all(&arena, &creates(&mut workload, 5))?;
    drain(&arena, PATIENCE)?;
    shim.hang_names(true)?;
    let begun = Instant::now();
    let open = || {
        let open = arena.number("SELECT count(*) FROM etl.connection_state WHERE failures >= 5")?;
        Ok(open > 0)
    };
    arena.until("the circuit to open", PATIENCE, || {
        // What the name stood for is remembered for some seconds: until then rows go through.
        let waiting = arena.number("SELECT count(*) FROM etl.queue")?;
        if waiting == 0 {
            enqueue::all(&arena, &creates(&mut workload, 1))?;
        }
        open()
    })?;
    findings.figure("circuit_open_after_ms", millis(begun));
    enqueue::all(&arena, &creates(&mut workload, 500))?;
    // A look-up cannot be interrupted; the process can be ended all the same.
    let pid = arena.worker()?;
    let terminated = Instant::now();
    arena.ask(|client| client.execute("SELECT pg_terminate_backend($1)", &[&pid]))?;
    arena.until("the worker to leave", Duration::from_secs(10), || {
        Ok(!std::path::Path::new(&format!("/proc/{pid}")).exists())
    })?;
    findings.figure("terminated_after_ms", millis(terminated));
    // Each attempt leaves a thread behind that waits for ever; the circuit sees to it that there are few attempts.
    for _ in 0..ATTEMPTS {
        arena.ask(|client| client.batch_execute("SELECT etl.resume()"))?;
        arena.until("the circuit to open again", PATIENCE, open)?;
    }
    let pid = arena.worker()?;
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))?.count();
    findings.figure("threads", threads);
    findings.must(threads < 64, || format!("{threads} threads in the worker"));
    findings.must(threads > ATTEMPTS, || "names did not hang".to_owned());
    let burnt = arena
        .number("SELECT count(*) FROM ops.odoo_outbox WHERE status = 'queued' AND attempts > 1")?;
    findings.must(burnt == 0, || {
        format!("{burnt} rows burnt an attempt on a name")
    });
    shim.hang_names(false)?;
    let back = Instant::now();
    drain(&arena, PATIENCE)?;
    findings.figure("delivered_after_ms", millis(back));
    findings.judge(&arena, &workload)
}

fn millis(since: Instant) -> u64 {
    since.elapsed().as_millis() as u64
}
