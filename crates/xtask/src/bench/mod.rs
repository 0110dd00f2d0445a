//! `cargo xtask bench`: pg_etl beside what it could be replaced by and what it cannot pass, in one run on one machine.
//!
//! Sides of a comparison take turns, at least three rounds, so that whatever shakes the machine shakes all of them; ratios are taken
//! round by round.

mod backlog;
mod bare;
mod capture;
mod chart;
mod claim_log;
mod instant;
mod looks;
mod machine;
mod mirror;
mod odoo;
mod peers;
mod poison;
mod python;
mod report;
pub mod sink;
mod table;
mod wake;
mod wire;
mod world;

use std::path::PathBuf;

use anyhow::{Context, Result};

use self::machine::Machine;
use self::report::{Report, Section};
use crate::ext::{self, Build};
use crate::pg::PgVersion;
use crate::place;
use crate::progress::{DIM, Step, YELLOW, say};

/// The parts of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// (a) A real Odoo.
    Odoo,
    /// (b) Into an instant sink.
    Instant,
    /// (c) A Python worker.
    Python,
    /// (d) Commit to request.
    Wake,
    /// (e) Backlog, held xmin, hot key.
    Backlog,
    /// (f) Rows that Odoo refuses among those it takes.
    Poison,
    /// (g) A full pull.
    Mirror,
    /// (h) What tracking costs a writer.
    Capture,
    /// (i) Health and the views at a million rows.
    Looks,
}

impl Part {
    pub const ALL: [Self; 9] = [
        Self::Odoo,
        Self::Instant,
        Self::Python,
        Self::Wake,
        Self::Backlog,
        Self::Poison,
        Self::Mirror,
        Self::Capture,
        Self::Looks,
    ];

    fn run(self, plan: &Plan) -> Result<Section> {
        match self {
            Self::Odoo => odoo::run(plan),
            Self::Instant => instant::run(plan),
            Self::Python => python::run(plan),
            Self::Wake => wake::run(plan),
            Self::Backlog => backlog::run(plan),
            Self::Poison => poison::run(plan),
            Self::Mirror => mirror::run(plan),
            Self::Capture => capture::run(plan),
            Self::Looks => looks::run(plan),
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Odoo => "(a) real Odoo",
            Self::Instant => "(b) instant sink",
            Self::Python => "(c) Python worker",
            Self::Wake => "(d) commit to request",
            Self::Backlog => "(e) backlog, held xmin, hot key",
            Self::Poison => "(f) refused rows",
            Self::Mirror => "(g) full pull",
            Self::Capture => "(h) capture",
            Self::Looks => "(i) health and views",
        }
    }
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Request {
    pub version: PgVersion,
    pub parts: Vec<Part>,
    pub quick: bool,
    pub rounds: usize,
    /// Where the JSON goes, beside `out`.
    pub json: Option<PathBuf>,
    /// Where table, chart and JSON go; none: nothing is written there.
    pub out: Option<PathBuf>,
    /// As the user typed it.
    pub command: String,
}

/// What a part needs to know.
struct Plan {
    version: PgVersion,
    quick: bool,
    rounds: usize,
    step: Step,
}

fn note(plan: &Plan, what: &str) {
    plan.step.note(what);
}

pub fn run(request: &Request) -> Result<()> {
    ext::install(request.version, &Build::release())?;
    let postgres = std::process::Command::new(request.version.bin_dir()?.join("postgres"))
        .arg("--version")
        .output()
        .context("postgres --version")?;
    let postgres = String::from_utf8_lossy(&postgres.stdout)
        .trim()
        .replace("postgres (PostgreSQL)", "PostgreSQL");
    let mut report = Report {
        command: request.command.clone(),
        date: today(),
        machine: Machine::look(&place::cache_dir("tmp")?, postgres)?,
        quick: request.quick,
        sections: Vec::new(),
        not_run: peers::not_run(),
    };
    say(format_args!(
        "{DIM}{} · {} cores · fsync {:.1} ms · {:.0} % busy{DIM:#}",
        report.machine.cpu,
        report.machine.cores,
        report.machine.fsync_p50_ms,
        report.machine.busy_before
    ));
    if report.machine.is_busy() {
        say(format_args!(
            "{YELLOW}The machine is busy with something else: only a quiet one gives figures to quote.{YELLOW:#}"
        ));
    }
    for part in &request.parts {
        let plan = Plan {
            version: request.version,
            quick: request.quick,
            rounds: request.rounds,
            step: Step::start(part.label()),
        };
        let section = part.run(&plan).with_context(|| part.label())?;
        plan.step.done("");
        println!("{}", table::terminal(&section));
        report.sections.push(section);
        write(request, &report)?;
    }
    Ok(())
}

/// After each part, so that a later one that fails takes nothing away.
fn write(request: &Request, report: &Report) -> Result<()> {
    let json = serde_json::to_string_pretty(report)? + "\n";
    let put = |path: PathBuf, text: &str| {
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    if let Some(path) = &request.json {
        put(path.clone(), &json)?;
    }
    if let Some(out) = &request.out {
        std::fs::create_dir_all(out)?;
        put(out.join("results.json"), &json)?;
        put(out.join("chart.svg"), &chart::svg(report))?;
        put(out.join("table.md"), &table::markdown(report))?;
    }
    Ok(())
}

fn today() -> String {
    let output = std::process::Command::new("date")
        .args(["-u", "+%Y-%m-%d"])
        .output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
