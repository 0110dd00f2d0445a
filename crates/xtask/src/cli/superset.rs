//! `cargo xtask superset`.

use anyhow::{Result, bail};
use clap::Subcommand;
use xtask::pg::PgVersion;
use xtask::progress::{BOLD, DIM, say};
use xtask::superset::{self, Standing};

#[derive(Debug, Subcommand)]
pub enum Superset {
    /// Start it and print how to reach it
    ///
    /// The first time takes a minute: Superset 6.1 is installed into a Python environment of its own. The demo's cluster is used where
    /// it runs, and started where it does not; it gets mirrors, refused rows and a made-up past, so that every chart has something to show.
    Start {
        /// The HTTP port [default: a free one]
        #[arg(long)]
        port: Option<u16>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Stop it and remove what it kept; the demo's cluster goes on
    Stop,
    /// Tell whether it runs and how to reach it
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Superset {
    pub fn run(self) -> Result<()> {
        match self {
            Self::Start { port, json } => {
                show(&superset::start(PgVersion::preferred(), port)?, json)
            }
            Self::Stop => {
                say(if superset::stop()? {
                    "Superset stopped. The demo's cluster goes on; stop it: cargo xtask demo --stop"
                } else {
                    "No Superset is running."
                });
                Ok(())
            }
            Self::Status { json } => match superset::find()? {
                Some(standing) if standing.running() => show(&standing, json),
                Some(standing) => bail!("Superset has died; its log is {}", standing.log),
                None => bail!("No Superset is running. Start it: cargo xtask superset start"),
            },
        }
    }
}

fn show(standing: &Standing, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(standing)?);
        return Ok(());
    }
    let rows = [
        ("dashboard", &standing.url),
        ("login", &standing.login),
        ("password", &standing.password),
    ];
    for (name, value) in rows {
        anstream::println!("{BOLD}{name:<10}{BOLD:#} {value}");
    }
    say(format_args!("{DIM}log {}{DIM:#}", standing.log));
    say(format_args!(
        "{DIM}stop it: cargo xtask superset stop{DIM:#}"
    ));
    Ok(())
}
