//! The six planted bugs: for each the smallest scenario that shows it. The scenario must pass without the bug and be caught with
//! it, and as what it is.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use odoo_sim::{Effect, Fault, Sim};
use serde::Serialize;
use serde_json::{Value, json};

use super::arena::{Arena, Setup};
use super::check::check;
use super::diary::Diary;
use super::enqueue;
use super::verdict::Verdict;
use super::workload::Workload;
use super::world::Kind;
use crate::pg::PgVersion;
use crate::progress::Step;

/// A bug, as `etl.planted_bug` names it, and what shows it.
#[derive(Clone, Copy)]
pub struct Bug {
    pub name: &'static str,
    /// What the checker must say.
    caught_as: &'static str,
    settings: &'static [(&'static str, &'static str)],
    scenario: fn(&Arena) -> Result<Workload>,
}

/// All six.
pub const ALL: [Bug; 6] = [
    Bug {
        name: "settle_before_send",
        caught_as: "lost",
        settings: &[],
        scenario: dies_between_claim_and_send,
    },
    Bug {
        name: "no_fencing",
        caught_as: "lost",
        settings: &[],
        scenario: changed_by_hand_while_on_the_wire,
    },
    Bug {
        name: "attempt_after_send",
        caught_as: "miscounted",
        settings: &[],
        scenario: dies_while_on_the_wire,
    },
    Bug {
        name: "plain_load",
        caught_as: "reordered",
        // Shorter than Odoo is late: a create does no harm whenever it comes, so nothing has to wait for it.
        settings: &[("etl.unknown_grace", "1s")],
        scenario: a_create_runs_late,
    },
    Bug {
        name: "order_ignored",
        caught_as: "reordered",
        settings: &[],
        scenario: a_slow_update_and_a_quick_one,
    },
    Bug {
        name: "no_grace",
        caught_as: "reordered",
        settings: &[("etl.unknown_grace", "8s")],
        scenario: an_update_runs_late,
    },
];

/// What one bug came to.
#[derive(Debug, Serialize)]
pub struct Caught {
    pub bug: &'static str,
    /// What is wrong without the bug: nothing, or the scenario proves nothing.
    pub without: Vec<&'static str>,
    /// What is wrong with it.
    pub with: Vec<&'static str>,
    pub passed: bool,
    pub example: String,
}

/// How long a small scenario may be without progress.
const STUCK: Duration = Duration::from_secs(40);
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the scenarios of these bugs, each without and with its bug.
pub fn run(version: PgVersion, names: &[&str], diary: &Diary) -> Result<Vec<Caught>> {
    let mut all = Vec::new();
    for bug in ALL.iter().filter(|bug| names.contains(&bug.name)) {
        let step = Step::start(format!("Planted bug {}", bug.name));
        let without = bug.verdict(version, false)?;
        let with = bug.verdict(version, true)?;
        let caught = Caught {
            bug: bug.name,
            without: without.violations(),
            with: with.violations(),
            passed: without.violations().is_empty() && with.violations().contains(&bug.caught_as),
            example: [without.examples(), with.examples()].concat().join("; "),
        };
        diary.note("planted bug", json!(caught));
        if caught.passed {
            step.done(&format!("caught ({})", caught.example));
        }
        all.push(caught);
    }
    Ok(all)
}

impl Bug {
    fn verdict(&self, version: PgVersion, planted: bool) -> Result<Verdict> {
        let mut setup = Setup {
            planted_bug: planted.then_some(self.name),
            ..Setup::default()
        };
        for (name, value) in self.settings {
            setup = setup.setting(name, *value);
        }
        let arena = Arena::start(version, Kind::Sim, 1, &setup)?;
        let workload =
            (self.scenario)(&arena).with_context(|| format!("the scenario of {}", self.name))?;
        let drained = arena.drained(STUCK, |_| {})?;
        arena.world.quiet()?;
        let mut verdict = check(&arena, &workload)?;
        if !drained {
            verdict.stuck("");
        }
        Ok(verdict)
    }
}

/// Calls of a method so far.
fn calls(sim: &Sim, method: &str) -> usize {
    sim.requests()
        .iter()
        .filter(|call| call.method == method)
        .count()
}

fn inject(arena: &Arena, methods: &[&str], effect: &Effect) -> Result<()> {
    for method in methods {
        let fault = Fault::new(effect.clone()).on("res.partner", method);
        arena.world.sim()?.inject(fault.times(1));
    }
    Ok(())
}

const WRITING: [&str; 2] = ["write", "web_save_multi"];

fn wait_for(arena: &Arena, methods: &[&str]) -> Result<()> {
    let sim = arena.world.sim()?;
    arena.until("the request to reach Odoo", PATIENCE, || {
        Ok(methods.iter().any(|method| calls(sim, method) > 0))
    })
}

/// Enqueues one row and waits for its end.
fn deliver(
    arena: &Arena,
    workload: &mut Workload,
    operation: &'static str,
    fields: Value,
) -> Result<()> {
    let row = workload.scripted("P1", operation, fields);
    enqueue::all(arena, &[row])?;
    if !arena.drained(STUCK, |_| {})? {
        bail!("a plain {operation} is not delivered");
    }
    Ok(())
}

fn dies_between_claim_and_send(arena: &Arena) -> Result<Workload> {
    let mut workload = Workload::default();
    let rows: Vec<_> = ["P1", "P2", "P3"]
        .map(|record| workload.scripted(record, "create", json!({"city": "a"})))
        .into();
    let died = std::thread::scope(|scope| {
        let died = scope.spawn(|| arena.kill_worker_at("after_claim", PATIENCE));
        // Whichever comes first, the file or the rows: the first claim finds both.
        std::thread::sleep(Duration::from_millis(200));
        enqueue::all(arena, &rows)?;
        died.join()
            .map_err(|_| anyhow::anyhow!("the killer panicked"))?
    })?;
    if !died {
        bail!("no worker passed the point");
    }
    Ok(workload)
}

fn dies_while_on_the_wire(arena: &Arena) -> Result<Workload> {
    let mut workload = Workload::default();
    let row = workload.scripted("P1", "create", json!({"city": "a"}));
    inject(arena, &["load"], &Effect::Hang)?;
    enqueue::all(arena, &[row])?;
    wait_for(arena, &["load"])?;
    arena.kill_worker()?;
    Ok(workload)
}

fn changed_by_hand_while_on_the_wire(arena: &Arena) -> Result<Workload> {
    let mut workload = Workload::default();
    deliver(arena, &mut workload, "create", json!({"city": "a"}))?;
    let slow = Effect::Delay {
        before_ms: 0,
        after_ms: 2_000,
    };
    inject(arena, &WRITING, &slow)?;
    let row = workload.scripted("P1", "update", json!({"city": "b"}));
    enqueue::all(arena, std::slice::from_ref(&row))?;
    wait_for(arena, &WRITING)?;
    // Somebody corrects the row and queues it again. What comes back of the old request must not end it.
    let mut corrected = row;
    corrected.payload["city"] = json!("c");
    arena.ask(|client| {
        client.execute(
            "UPDATE ops.odoo_outbox SET payload = $2, status = 'queued' WHERE idempotency_key = $1",
            &[&corrected.idempotency_key(), &corrected.payload],
        )
    })?;
    if let Some(last) = workload.rows.last_mut() {
        *last = corrected;
    }
    Ok(workload)
}

fn a_create_runs_late(arena: &Arena) -> Result<Workload> {
    let mut workload = Workload::default();
    inject(arena, &["load"], &Effect::RunsLater { after_ms: 7_000 })?;
    let create = workload.scripted("P1", "create", json!({"city": "a"}));
    let update = workload.scripted("P1", "update", json!({"city": "b"}));
    enqueue::all(arena, &[create])?;
    wait_for(arena, &["load"])?;
    enqueue::all(arena, &[update])?;
    Ok(workload)
}

fn a_slow_update_and_a_quick_one(arena: &Arena) -> Result<Workload> {
    two_updates(
        arena,
        &Effect::Delay {
            before_ms: 2_000,
            after_ms: 0,
        },
    )
}

fn an_update_runs_late(arena: &Arena) -> Result<Workload> {
    two_updates(arena, &Effect::RunsLater { after_ms: 4_000 })
}

/// A second update is enqueued while the first one is on the wire and meets `effect`.
fn two_updates(arena: &Arena, effect: &Effect) -> Result<Workload> {
    let mut workload = Workload::default();
    deliver(arena, &mut workload, "create", json!({"city": "a"}))?;
    inject(arena, &WRITING[..1], effect)?;
    let first = workload.scripted("P1", "update", json!({"city": "b"}));
    let second = workload.scripted("P1", "update", json!({"city": "c", "zip": "2"}));
    enqueue::all(arena, &[first])?;
    wait_for(arena, &WRITING)?;
    enqueue::all(arena, &[second])?;
    Ok(workload)
}
