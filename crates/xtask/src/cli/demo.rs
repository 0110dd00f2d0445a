//! `cargo xtask demo`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use xtask::demo::{self, Endpoint};
use xtask::pg::PgVersion;
use xtask::progress::say;

/// The first run installs and builds what is missing, which takes some minutes; the next ones take seconds. The servers
/// stay up for you to look around.
#[derive(Debug, Args)]
pub struct Demo {
    /// The major version of PostgreSQL: 15 or 17 [default: one that is there]
    #[arg(long, value_name = "VERSION")]
    pg: Option<PgVersion>,
    /// Deliver to the simulator or to a real Odoo 19
    #[arg(long, value_enum, default_value_t = Which::Sim)]
    odoo: Which,
    /// Stop what an earlier demo left running
    #[arg(long)]
    stop: bool,
    /// Draw what the demo prints as an SVG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    Sim,
    Real,
}

impl Demo {
    pub fn run(self) -> Result<()> {
        if self.stop {
            demo::stop()?;
            say("Stopped.");
            return Ok(());
        }
        if let Some(file) = self.picture {
            let pg = self.pg.unwrap_or_else(PgVersion::preferred).major();
            return demo::picture::draw(&file, &["--pg".to_owned(), pg.to_owned()]);
        }
        let endpoint = match self.odoo {
            Which::Sim => Endpoint::Sim,
            Which::Real => Endpoint::Real,
        };
        demo::run(self.pg.unwrap_or_else(PgVersion::preferred), endpoint)
    }
}
