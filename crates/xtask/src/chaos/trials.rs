//! What a mixture cannot show: one trial each, with figures.

mod clock;
mod disk;
mod hostile;
mod late;
mod names;
mod throttle;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::{Value, json};

use super::arena::Arena;
use super::check::check;
use super::diary::Diary;
use super::workload::{Row, Workload};
use crate::pg::PgVersion;
use crate::progress::Step;

/// A trial by name.
#[derive(Clone, Copy)]
pub struct Trial {
    pub name: &'static str,
    about: &'static str,
    run: fn(PgVersion, &mut Findings) -> Result<()>,
}

/// All of them.
pub const ALL: [Trial; 6] = [
    Trial {
        name: "memory",
        about: "bodies of 1 GB, gzip bombs, dense JSON, slow loris",
        run: hostile::run,
    },
    Trial {
        name: "throttling",
        about: "a storm of 429",
        run: throttle::run,
    },
    Trial {
        name: "names",
        about: "a host name that is never resolved",
        run: names::run,
    },
    Trial {
        name: "disk",
        about: "a disk that is full",
        run: disk::run,
    },
    Trial {
        name: "late",
        about: "a create that runs after the delete of its record",
        run: late::run,
    },
    Trial {
        name: "clock",
        about: "a clock that jumps by a day, forth and back",
        run: clock::run,
    },
];

/// What a trial measured, and what it found wrong.
#[derive(Debug, Default)]
pub struct Findings {
    figures: serde_json::Map<String, Value>,
    wrong: Vec<String>,
}

impl Findings {
    fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Notes `what` unless it holds.
    fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(what());
        }
    }

    /// The checker's word on the whole.
    fn judge(&mut self, arena: &Arena, workload: &Workload) -> Result<()> {
        arena.world.quiet()?;
        let verdict = check(arena, workload)?;
        self.figure("verdict", verdict.to_string());
        self.wrong.extend(verdict.examples());
        Ok(())
    }
}

/// How one ended.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub trial: &'static str,
    pub passed: bool,
    pub figures: Value,
    pub wrong: Vec<String>,
}

/// Runs trials by name. One that cannot be run on this machine has failed, and says so.
pub fn run(version: PgVersion, names: &[&str], diary: &Diary) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for trial in ALL.iter().filter(|trial| names.contains(&trial.name)) {
        let step = Step::start(format!("Trial {}: {}", trial.name, trial.about));
        let mut findings = Findings::default();
        if let Err(error) = (trial.run)(version, &mut findings) {
            findings
                .wrong
                .push(format!("could not be finished: {error:#}"));
        }
        let outcome = Outcome {
            trial: trial.name,
            passed: findings.wrong.is_empty(),
            figures: Value::Object(findings.figures),
            wrong: findings.wrong,
        };
        diary.note("trial", json!(outcome));
        if outcome.passed {
            step.done(&outcome.figures.to_string());
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// New partners, one row each.
fn creates(workload: &mut Workload, count: usize) -> Vec<Row> {
    (0..count)
        .map(|_| {
            let record = format!("P{}", workload.rows.len() + 1);
            workload.scripted(&record, "create", json!({"city": "a"}))
        })
        .collect()
}

/// Waits for everything to be settled, or fails.
fn drain(arena: &Arena, patience: std::time::Duration) -> Result<()> {
    if arena.drained(patience, |_| {})? {
        return Ok(());
    }
    bail!("rows are left that nothing moves")
}
