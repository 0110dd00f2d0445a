//! `cargo xtask chaos`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use xtask::chaos::adversary::Intensity;
use xtask::chaos::diary::Diary;
use xtask::chaos::world::Kind;
use xtask::chaos::{self, bugs, mixed, trials, two_way};
use xtask::pg::PgVersion;
use xtask::place;
use xtask::progress::{BOLD, DIM, GREEN, RED, say};

#[derive(Debug, Args)]
pub struct Chaos {
    /// Where everything is drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rows of the mixed run
    #[arg(long, default_value_t = 100_000)]
    rows: usize,
    /// kill -9 of the worker, half of them at named points of its code
    #[arg(long, default_value_t = 100)]
    worker_kills: usize,
    /// kill -9 of the postmaster
    #[arg(long, default_value_t = 30)]
    postmaster_kills: usize,
    /// Odoo killed, or its answer lost after it did the work
    #[arg(long, default_value_t = 110)]
    odoo_losses: usize,
    /// Throttling, hangs, errors of a proxy, bodies that are no answer
    #[arg(long, default_value_t = 40)]
    nuisances: usize,
    /// Seconds for which people edit both sides
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Who wins a field that both sides changed
    #[arg(long, value_enum, default_value = "newest")]
    wins: two_way::Wins,
    /// Against which Odoo
    #[arg(long, value_enum, default_value = "sim")]
    odoo: Against,
    /// A few minutes: a small mixed run, then every planted bug
    #[arg(long)]
    short: bool,
    /// Only these parts [default: all; with --short all but the trials]
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Only this planted bug, without and with it; `all` for every one
    #[arg(long, value_name = "NAME")]
    planted_bug: Option<String>,
    /// Only this trial; `all` for every one
    #[arg(long, value_name = "NAME")]
    trial: Option<String>,
    /// The major version of PostgreSQL: 15 or 17 [default: one that is there]
    #[arg(long, value_name = "VERSION")]
    pg: Option<PgVersion>,
    /// The cargo profile of the extension
    #[arg(long, default_value = "dev")]
    profile: String,
    /// A private installation of that name; runs side by side need one each
    #[arg(long, value_name = "NAME", default_value = chaos::INSTALLATION)]
    installation: String,
    /// Where the log goes [default: log/chaos-SEED.log in the cache]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Writes the outcome as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Everything at once, drawn from the seed
    Mixed,
    /// Memory, throttling, names, disk, late, clock
    Trials,
    /// People edit a two-way table and its records in Odoo
    TwoWay,
    /// Six bugs that must be noticed
    Bugs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Against {
    Sim,
    Real,
}

impl Chaos {
    pub fn run(self) -> Result<()> {
        let version = self.pg.unwrap_or_else(PgVersion::preferred);
        match chaos::in_own_installation(&self.installation, version)? {
            Some(true) => return Ok(()),
            Some(false) => bail!("the crash suite failed"),
            None => {}
        }
        let _installed = chaos::install(&self.installation, version, &self.profile)?;
        let path = match &self.log {
            Some(path) => path.clone(),
            None => place::log_file(&format!("chaos-{}", self.seed))?,
        };
        let diary = Diary::open(&path)?;
        diary.note(
            "options",
            json!({"seed": self.seed, "command": format!("{self:?}")}),
        );
        say(format_args!("{DIM}log: {}{DIM:#}", path.display()));
        let mut outcome = json!({"seed": self.seed, "log": path, "command": std::env::args().collect::<Vec<_>>()});
        let mut wrong = Vec::new();
        let parts = self.parts();
        let bugs = chosen(self.planted_bug.as_deref(), &bugs::ALL.map(|bug| bug.name))?;
        let trials = chosen(self.trial.as_deref(), &trials::ALL.map(|trial| trial.name))?;
        if parts.contains(&Part::Mixed) {
            let report = mixed::run(version, self.mixed(), &diary)?;
            say(format_args!("{BOLD}{}{BOLD:#}", report.verdict));
            for example in report.verdict.examples() {
                say(format_args!("  {RED}{example}{RED:#}"));
            }
            if !report.verdict.violations().is_empty() {
                wrong.push(format!(
                    "mixed run: {}",
                    report.verdict.violations().join(", ")
                ));
            }
            outcome["mixed"] = json!(report);
            outcome["mixed"]["passed"] = json!(report.verdict.violations().is_empty());
        }
        if parts.contains(&Part::TwoWay) {
            let report = two_way::run(version, &self.two_way(), &diary)?;
            wrong.extend(
                report
                    .violations()
                    .into_iter()
                    .map(|violation| format!("two ways: {violation}")),
            );
            outcome["two_way"] = json!(report);
            outcome["two_way"]["passed"] = json!(report.violations().is_empty());
        }
        if parts.contains(&Part::Trials) {
            let outcomes = trials::run(version, &trials, &diary)?;
            for failed in outcomes.iter().filter(|outcome| !outcome.passed) {
                wrong.push(format!(
                    "trial {}: {} {}",
                    failed.trial,
                    failed.wrong.join("; "),
                    failed.figures
                ));
            }
            outcome["trials"] = json!(outcomes);
        }
        if parts.contains(&Part::Bugs) {
            let caught = bugs::run(version, &bugs, &diary)?;
            for caught in caught.iter().filter(|caught| !caught.passed) {
                wrong.push(format!(
                    "planted bug {}: without it {:?}, with it {:?} {}",
                    caught.bug, caught.without, caught.with, caught.example
                ));
            }
            outcome["planted_bugs"] = json!(caught);
        }
        outcome["passed"] = json!(wrong.is_empty());
        if let Some(path) = &self.json {
            std::fs::write(path, serde_json::to_vec_pretty(&outcome)?)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if !wrong.is_empty() {
            bail!("{}", wrong.join("\n"));
        }
        say(format_args!(
            "{GREEN}✓{GREEN:#} nothing lost, nothing twice, nothing out of order"
        ));
        Ok(())
    }

    fn kind(&self) -> Kind {
        match self.odoo {
            Against::Sim => Kind::Sim,
            Against::Real => Kind::Real,
        }
    }

    /// The numbers of blows are those of ten minutes.
    fn two_way(&self) -> two_way::Options {
        let seconds = if self.short {
            self.seconds.min(25)
        } else {
            self.seconds
        };
        let share = |number: usize| {
            let seconds = usize::try_from(seconds).unwrap_or(usize::MAX);
            (number.saturating_mul(seconds) / 600).max(1)
        };
        two_way::Options {
            seed: self.seed,
            lasts: Duration::from_secs(seconds),
            kind: self.kind(),
            wins: self.wins,
            intensity: Intensity {
                worker_kills: share(self.worker_kills.min(40)),
                postmaster_kills: share(self.postmaster_kills.min(12)),
                odoo_losses: share(self.odoo_losses),
                nuisances: share(self.nuisances.min(20)),
            },
        }
    }

    fn mixed(&self) -> mixed::Options {
        let full = mixed::Options {
            seed: self.seed,
            rows: self.rows,
            kind: Some(self.kind()),
            intensity: Intensity {
                worker_kills: self.worker_kills,
                postmaster_kills: self.postmaster_kills,
                odoo_losses: self.odoo_losses,
                nuisances: self.nuisances,
            },
            planted_bug: None,
        };
        if !self.short {
            return full;
        }
        mixed::Options {
            rows: self.rows.min(3_000),
            intensity: Intensity {
                worker_kills: self.worker_kills.min(4),
                postmaster_kills: self.postmaster_kills.min(2),
                odoo_losses: self.odoo_losses.min(6),
                nuisances: self.nuisances.min(4),
            },
            ..full
        }
    }

    fn parts(&self) -> Vec<Part> {
        let mut named = self.only.clone();
        named.extend(self.planted_bug.as_ref().map(|_| Part::Bugs));
        named.extend(self.trial.as_ref().map(|_| Part::Trials));
        match named.as_slice() {
            [] if self.short => vec![Part::Mixed, Part::TwoWay, Part::Bugs],
            [] => vec![Part::Mixed, Part::TwoWay, Part::Trials, Part::Bugs],
            _ => named,
        }
    }
}

/// The names that are meant; all of them where none is given.
fn chosen(name: Option<&str>, all: &[&'static str]) -> Result<Vec<&'static str>> {
    let wanted = name.unwrap_or("all");
    let chosen: Vec<_> = all
        .iter()
        .copied()
        .filter(|known| wanted == "all" || *known == wanted)
        .collect();
    if chosen.is_empty() {
        bail!("{wanted} is none of {}", all.join(", "));
    }
    Ok(chosen)
}
