//! The command line: texts and arguments only; the rooms of the library do the work.

mod bench;
mod demo;
mod odoo;
mod pg;
mod sim;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Servers, builds, tests and the demo of pg_etl. What is missing on the machine is installed or built, once.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See it work: rows of every kind committed, delivered to Odoo, and the health report
    Demo(demo::Demo),
    /// Measure it, beside what it could be replaced by
    Bench(bench::Bench),
    /// Run the tests
    Test(test::Test),
    /// Check formatting, clippy and the SQL's safety
    Lint(test::Lint),
    /// Build pg_etl and install it into a server
    Install(test::Install),
    /// A throwaway PostgreSQL with pg_etl preloaded
    #[command(subcommand)]
    Pg(pg::Pg),
    /// A real Odoo 19 with accounting, sales, purchase, stock and expenses
    #[command(subcommand)]
    Odoo(odoo::Odoo),
    /// The simulator of Odoo
    #[command(subcommand)]
    Sim(sim::Sim),
}

impl Cli {
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Bench(bench) => bench.run(),
            Command::Demo(demo) => demo.run(),
            Command::Test(test) => test.run(),
            Command::Lint(lint) => lint.run(),
            Command::Install(install) => install.run(),
            Command::Sim(sim) => sim.run(),
            Command::Pg(pg) => pg.run(),
            Command::Odoo(odoo) => odoo.run(),
        }
    }
}
