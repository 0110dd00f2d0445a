//! The command line: texts and arguments only; the rooms of the library do the work.

mod bench;
mod chaos;
mod demo;
mod odoo;
mod pg;
mod sim;
mod superset;
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
    /// Run the crash suite: kill everything, lose answers, and look whether anything is lost, made twice or out of order
    ///
    /// The extension is built with failpoints into a private installation of the server. Rows are enqueued by several sessions while
    /// workers, the postmaster and Odoo are killed and answers are lost; then what was enqueued, the outbox and Odoo must be one.
    /// Trials show what a mixture cannot; bugs planted on purpose show that the suite would see them.
    ///
    /// Rows, blows and their order are drawn from the seed. A blow falls when so many rows are settled; the log tells each of them,
    /// and the story of every record that is not as it must be. What the clock and the scheduler add is not repeatable. Exit status 1:
    /// something was found.
    Chaos(chaos::Chaos),
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
    /// A real Superset with the dashboard of `superset/`, beside the demo's cluster
    #[command(subcommand)]
    Superset(superset::Superset),
}

impl Cli {
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Bench(bench) => bench.run(),
            Command::Demo(demo) => demo.run(),
            Command::Test(test) => test.run(),
            Command::Chaos(chaos) => chaos.run(),
            Command::Lint(lint) => lint.run(),
            Command::Install(install) => install.run(),
            Command::Sim(sim) => sim.run(),
            Command::Superset(superset) => superset.run(),
            Command::Pg(pg) => pg.run(),
            Command::Odoo(odoo) => odoo.run(),
        }
    }
}
