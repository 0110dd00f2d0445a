//! `cargo xtask odoo`.

use anyhow::{Result, bail};
use clap::Subcommand;
use xtask::odoo::Access;
use xtask::odoo::standing::{self, Request, Standing};
use xtask::progress::{BOLD, DIM, say};

/// The demo's has another name.
const NAME: &str = "dev";

#[derive(Debug, Subcommand)]
pub enum Odoo {
    /// Start it and print how to reach it
    ///
    /// The first time takes some minutes: Debian's package is fetched, a Python environment made and a database
    /// prepared. Later starts begin with a copy of that database and take seconds.
    Start {
        /// Worker processes (0: threads of one process)
        #[arg(long, default_value_t = 2)]
        workers: u16,
        /// The HTTP port [default: a free one]
        #[arg(long)]
        port: Option<u16>,
        /// Go on with the records of the previous start, instead of the clean database
        #[arg(long)]
        keep: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Stop it
    Stop,
    /// Tell whether it runs and how to reach it
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Odoo {
    pub fn run(self) -> Result<()> {
        match self {
            Self::Start {
                workers,
                port,
                keep,
                json,
            } => show(
                &standing::start(&Request {
                    name: NAME.to_owned(),
                    workers,
                    port,
                    keep,
                })?,
                json,
            ),
            Self::Stop => {
                say(if standing::stop(NAME)? {
                    "Odoo stopped."
                } else {
                    "No Odoo is running."
                });
                Ok(())
            }
            Self::Status { json } => match standing::find(NAME)? {
                Some(standing) if standing.running() => show(&standing, json),
                Some(standing) => bail!("Odoo has died; its log is {}", standing.log),
                None => bail!("No Odoo is running. Start it: cargo xtask odoo start"),
            },
        }
    }
}

fn show(standing: &Standing, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(&standing.access)?);
    } else {
        print_access(&standing.access);
        say(format_args!(
            "{DIM}log {}, own database {}{DIM:#}",
            standing.log, standing.dsn
        ));
        say(format_args!("{DIM}stop it: cargo xtask odoo stop{DIM:#}"));
    }
    Ok(())
}

/// How to reach an Odoo, for people.
pub fn print_access(access: &Access) {
    let rows = [
        ("url", &access.url),
        ("database", &access.database),
        ("login", &access.login),
        ("password", &access.password),
        ("API key", &access.api_key),
    ];
    for (name, value) in rows {
        anstream::println!("{BOLD}{name:<9}{BOLD:#} {value}");
    }
}
