//! `cargo xtask bench`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use xtask::bench::{self, Part, Request};
use xtask::pg::PgVersion;
use xtask::place;

/// Measures pg_etl beside what it could be replaced by and what it cannot pass, in turns, on this machine: prints a table, and
/// writes it with the raw figures (JSON) and a chart (SVG). Everything is built in release mode first.
#[derive(Debug, Args)]
pub struct Bench {
    /// Parts to run, separated by commas [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,…")]
    only: Vec<Which>,
    /// Small amounts, in a few minutes: shows that the benchmark works; figures not to be quoted
    #[arg(long)]
    quick: bool,
    /// The major version of PostgreSQL: 15 or 17 [default: one that is there]
    #[arg(long, value_name = "VERSION")]
    pg: Option<PgVersion>,
    /// Rounds of each comparison
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Write the raw figures there too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write table, chart and figures into this folder [default: docs/benchmarks, unless --only or --quick]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    /// Real Odoo: one call per row, a bare client, pg_etl
    A,
    /// Instant sink
    B,
    /// A Python worker of the usual kind
    C,
    /// From the commit to the request
    D,
    /// Backlog of a million rows, held xmin, hot key
    E,
    /// Real Odoo: rows that it refuses among those it takes
    F,
    /// Real Odoo: a full pull of a model, beside a client that throws it away
    G,
    /// What it costs a writer that a table is tracked
    H,
    /// What a look at health or a view costs at a million rows
    I,
}

impl Which {
    fn part(self) -> Part {
        match self {
            Self::A => Part::Odoo,
            Self::B => Part::Instant,
            Self::C => Part::Python,
            Self::D => Part::Wake,
            Self::E => Part::Backlog,
            Self::F => Part::Poison,
            Self::G => Part::Mirror,
            Self::H => Part::Capture,
            Self::I => Part::Looks,
        }
    }
}

impl Bench {
    pub fn run(self) -> Result<()> {
        // Sink and bare client are on this side: built for debugging they would be what is measured.
        if cfg!(debug_assertions) {
            return again_in_release();
        }
        let mut parts: Vec<Part> = self.only.iter().map(|which| which.part()).collect();
        parts.sort();
        parts.dedup();
        let whole = parts.is_empty() && !self.quick;
        if parts.is_empty() {
            parts = Part::ALL.to_vec();
        }
        let arguments: Vec<String> = std::env::args().skip(2).collect();
        bench::run(&Request {
            version: self.pg.unwrap_or_else(PgVersion::preferred),
            parts,
            quick: self.quick,
            rounds: usize::from(self.rounds),
            json: self.json,
            out: self
                .out
                .or_else(|| whole.then(|| place::workspace().join("docs/benchmarks"))),
            command: format!("cargo xtask bench {}", arguments.join(" "))
                .trim()
                .to_owned(),
        })
    }
}

fn again_in_release() -> Result<()> {
    let manifest = place::workspace().join("Cargo.toml");
    let mut cargo = Command::new("cargo");
    cargo.args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "xtask",
        "--manifest-path",
    ]);
    cargo
        .arg(manifest)
        .arg("--")
        .args(std::env::args_os().skip(1));
    let status = cargo.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the benchmark ended with {status}");
    }
    Ok(())
}
