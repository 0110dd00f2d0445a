//! `cargo xtask sim`.

use anyhow::{Result, bail};
use clap::Subcommand;
use xtask::progress::{DIM, say};
use xtask::sim::{self, Standing};

use super::odoo::print_access;

/// The demo's has another name.
const NAME: &str = "dev";

#[derive(Debug, Subcommand)]
pub enum Sim {
    /// Start it and print how to reach it
    Start {
        /// The HTTP port [default: a free one]
        #[arg(long)]
        port: Option<u16>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Stop it; it forgets everything
    Stop,
    /// Tell whether it runs and how to reach it
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Sim {
    pub fn run(self) -> Result<()> {
        match self {
            Self::Start { port, json } => show(&sim::start(NAME, port)?, json),
            Self::Stop => {
                say(if sim::stop(NAME)? {
                    "odoo-sim stopped."
                } else {
                    "No odoo-sim is running."
                });
                Ok(())
            }
            Self::Status { json } => match sim::find(NAME)? {
                Some(standing) if standing.running() => show(&standing, json),
                _ => bail!("No odoo-sim is running. Start it: cargo xtask sim start"),
            },
        }
    }
}

fn show(standing: &Standing, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(&standing.access)?);
    } else {
        print_access(&standing.access);
        say(format_args!("{DIM}stop it: cargo xtask sim stop{DIM:#}"));
    }
    Ok(())
}
