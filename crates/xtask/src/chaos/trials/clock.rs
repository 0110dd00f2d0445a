//! The server's clock jumps by a day, forth and back, while rows wait for retries and keys are held. Order holds, nothing is lost
//! or made twice. What was scheduled by the wrong clock may wait for the day to pass: the figures tell how much does.

use std::time::{Duration, Instant};

use anyhow::Result;
use odoo_sim::{Effect, Fault};
use serde_json::json;

use super::{Findings, drain};
use crate::chaos::arena::{Arena, Setup};
use crate::chaos::enqueue;
use crate::chaos::shim::Shim;
use crate::chaos::workload::Workload;
use crate::chaos::world::Kind;
use crate::pg::PgVersion;

const DAY: i64 = 86_400;
const PATIENCE: Duration = Duration::from_secs(45);

pub fn run(version: PgVersion, findings: &mut Findings) -> Result<()> {
    let shim = Shim::build()?;
    let setup = Setup {
        env: shim.env(),
        ..Setup::default()
    }
    .setting("etl.poll_interval", "5s")
    .option("timeout", json!(2));
    let arena = Arena::start(version, Kind::Sim, 1, &setup)?;
    let product = arena.world.product()?;
    let workload = Workload::generate(5, 1_500, product);
    let sim = arena.world.sim()?;
    let quarter = workload.rows.len() / 4;
    for (number, (part, jump)) in workload
        .rows
        .chunks(quarter + 1)
        .zip([DAY, 0, -DAY, 0])
        .enumerate()
    {
        // Something to wait for while the clock is wrong: retries, and keys that are held.
        for method in ["load", "web_save_multi", "write"] {
            let fault = Fault::new(Effect::AnswerLost).on_method(method);
            sim.inject(fault.times(2));
        }
        enqueue::all(&arena, part)?;
        let before = arena.settled()?;
        let some = i64::try_from(part.len() / 3).unwrap_or(0);
        arena.until("rows to be settled", PATIENCE, || {
            Ok(arena.settled()? > before + some)
        })?;
        shim.shift_clock(jump)?;
        let jumped = Instant::now();
        let seen = arena.number("SELECT extract(epoch FROM clock_timestamp())::bigint")?;
        let real = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)?
            .as_secs();
        let shift = seen - i64::try_from(real).unwrap_or(0);
        findings.must((shift - jump).abs() < 60, || {
            format!("the clock is {shift} s ahead instead of {jump}")
        });
        arena.world.heal();
        let drained = drain(&arena, PATIENCE);
        findings.figure(
            &format!("{number}: {jump} s: drained after ms"),
            jumped.elapsed().as_millis() as u64,
        );
        if drained.is_err() {
            let rows = arena.number("SELECT count(*) FROM ops.odoo_outbox WHERE status = 'queued' AND next_run_at > now() + interval '1 h'")?;
            let held = arena
                .number("SELECT count(*) FROM etl.holds WHERE until > now() + interval '1 h'")?;
            let circuit = arena.number("SELECT count(*) FROM etl.connection_state WHERE greatest(probe_at, throttled_until) > now() + interval '1 h'")?;
            // No promise covers how long: what was scheduled by a clock that was wrong is due by that clock. It must be known, though.
            findings.figure(
                &format!("{number}: {jump} s: waits for the day to pass"),
                json!({"rows": rows, "held_keys": held, "connections": circuit}),
            );
            // A person puts it right, so that the rest can be seen.
            arena.ask(|client| client.batch_execute(
                "UPDATE ops.odoo_outbox SET next_run_at = now() WHERE status = 'queued' AND next_run_at > now() + interval '1 h';
                 UPDATE etl.holds SET until = now() + interval '6 s' WHERE until > now() + interval '1 h';
                 SELECT etl.resume()",
            ))?;
            drain(&arena, PATIENCE)?;
        }
    }
    findings.judge(&arena, &workload)
}
