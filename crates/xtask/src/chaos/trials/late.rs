//! A create that Odoo runs late, after its record was made by the second attempt and deleted by a younger row: the record stays
//! deleted.

use std::time::Duration;

use anyhow::Result;
use odoo_sim::{Effect, Fault};
use serde_json::json;

use super::{Findings, drain};
use crate::chaos::arena::{Arena, Setup};
use crate::chaos::enqueue;
use crate::chaos::workload::Workload;
use crate::chaos::world::Kind;
use crate::pg::PgVersion;

/// Less than the grace: within it Odoo may be late.
const LATE_MS: u64 = 6_000;

pub fn run(version: PgVersion, findings: &mut Findings) -> Result<()> {
    let setup = Setup::default().setting("etl.unknown_grace", "10s");
    let arena = Arena::start(version, Kind::Sim, 1, &setup)?;
    let mut workload = Workload::default();
    let late = Fault::new(Effect::RunsLater { after_ms: LATE_MS }).on_method("load");
    arena.world.sim()?.inject(late.times(1));
    let rows = [
        workload.scripted("P1", "create", json!({"city": "a"})),
        workload.scripted("P1", "delete", json!({})),
    ];
    enqueue::all(&arena, &rows)?;
    drain(&arena, Duration::from_secs(60))?;
    findings.judge(&arena, &workload)
}
