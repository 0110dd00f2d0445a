//! `cargo xtask pg`.

use anyhow::Result;
use clap::{Args, Subcommand};
use xtask::pg::PgVersion;
use xtask::pg::standing::{self, Options, Standing};
use xtask::progress::{BOLD, DIM, say};

#[derive(Debug, Subcommand)]
pub enum Pg {
    /// Start a fresh cluster and print the address of its database
    ///
    /// It listens on 127.0.0.1 only and trusts every local user. pg_etl and pg_cron are preloaded where they are
    /// installed (`cargo xtask install` installs pg_etl). PostgreSQL itself is installed from Debian's packages, or
    /// built once from Debian's source where they have no such version.
    Start(Start),
    /// Stop a cluster and remove it
    Stop {
        /// Which one, if there are several
        #[arg(long, default_value = "dev")]
        name: String,
    },
    /// List the clusters
    Status,
}

#[derive(Debug, Args)]
pub struct Start {
    /// The major version: 15 or 17 [default: one that is there]
    #[arg(long, value_name = "VERSION")]
    pg: Option<PgVersion>,
    /// The TCP port [default: a free one]
    #[arg(long)]
    port: Option<u16>,
    /// A name, to have several side by side
    #[arg(long, default_value = "dev")]
    name: String,
    /// A variable of the server's environment, such as a secret that pg_etl reads (may be repeated)
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
}

impl Pg {
    pub fn run(self) -> Result<()> {
        match self {
            Self::Start(start) => start.run(),
            Self::Stop { name } => {
                let stopped = standing::stop(&name)?;
                say(if stopped {
                    format!("Cluster `{name}` stopped and removed.")
                } else {
                    none(&name)
                });
                Ok(())
            }
            Self::Status => {
                let all = standing::all()?;
                if all.is_empty() {
                    say("No cluster. Start one: cargo xtask pg start");
                }
                all.iter().for_each(show);
                Ok(())
            }
        }
    }
}

impl Start {
    fn run(self) -> Result<()> {
        let options = Options {
            version: self.pg.unwrap_or_else(PgVersion::preferred),
            name: self.name,
            port: self.port,
            env: self.env,
            database: "pg_etl".to_owned(),
        };
        let standing = standing::start(&options)?;
        show(&standing);
        say(format_args!(
            "{DIM}stop it: cargo xtask pg stop --name {}{DIM:#}",
            standing.name
        ));
        Ok(())
    }
}

/// The address goes to standard output, so that a script may take it.
fn show(standing: &Standing) {
    let state = if standing.running() {
        "running"
    } else {
        "dead: stop it to clear it away"
    };
    say(format_args!(
        "{BOLD}{}{BOLD:#}: PostgreSQL {}, {state}, log {}",
        standing.name, standing.major, standing.log
    ));
    println!("{}", standing.dsn);
}

fn none(name: &str) -> String {
    format!("No cluster is called `{name}`.")
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
