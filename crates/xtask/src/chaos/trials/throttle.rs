//! An endpoint that says 429 to everything for a while is asked again when it said, and no attempt is burnt.

use std::time::{Duration, Instant};

use anyhow::Result;
use odoo_sim::{Effect, Fault};

use super::{Findings, creates, drain};
use crate::chaos::arena::{Arena, Setup};
use crate::chaos::enqueue;
use crate::chaos::workload::Workload;
use crate::chaos::world::Kind;
use crate::pg::PgVersion;

const STORM: Duration = Duration::from_secs(8);
/// What the endpoint asks for, in seconds.
const RETRY_AFTER: u64 = 1;

pub fn run(version: PgVersion, findings: &mut Findings) -> Result<()> {
    let arena = Arena::start(version, Kind::Sim, 1, &Setup::default())?;
    let sim = arena.world.sim()?;
    let mut workload = Workload::default();
    enqueue::all(&arena, &creates(&mut workload, 1))?;
    drain(&arena, STORM)?;
    sim.inject(Fault::new(Effect::Status {
        status: 429,
        retry_after: Some(RETRY_AFTER),
    }));
    let before = sim.requests().len();
    let begun = Instant::now();
    enqueue::all(&arena, &creates(&mut workload, 3_000))?;
    // The storm is a span of time, and nothing else ends it.
    std::thread::sleep(STORM.saturating_sub(begun.elapsed()));
    arena.world.heal();
    let asked = sim.requests().len() - before;
    findings.figure("requests_in_the_storm", asked);
    // Two calls at a time, each time the second is over; and as many again for a slow machine.
    let most = (STORM.as_secs() / RETRY_AFTER) as usize * 4 + 4;
    findings.must(asked <= most, || {
        format!("{asked} requests in {STORM:?}, at most {most} were due")
    });
    findings.must(asked > 1, || "the storm was not noticed".to_owned());
    drain(&arena, Duration::from_secs(60))?;
    let burnt = arena.number("SELECT count(*) FROM ops.odoo_outbox WHERE attempts <> 1")?;
    findings.must(burnt == 0, || format!("{burnt} rows burnt an attempt"));
    findings.judge(&arena, &workload)
}
