//! `cargo xtask test`, `lint` and `install`.

use anyhow::Result;
use clap::{Args, ValueEnum};
use xtask::ext::{self, Build};
use xtask::lint;
use xtask::pg::PgVersion;
use xtask::suite::{self, Tier};

/// Without options: everything on PostgreSQL 15, then on 17 what may differ there, with a real Odoo and a real Superset taking part.
#[derive(Debug, Args)]
pub struct Test {
    /// Run on this major version only: 15 or 17
    #[arg(long, value_name = "VERSION")]
    pg: Option<PgVersion>,
    /// How much is tested
    #[arg(long, value_enum, default_value_t = Which::All)]
    tier: Which,
    /// Names or parts of names of tests
    filter: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    /// Pure code, no server
    Unit,
    /// Inside a server
    Pg,
    /// From outside, with the simulator
    Server,
    /// From outside, with the simulator and a real Odoo
    Odoo,
    /// The dashboard, in a real Superset and a browser
    Superset,
    /// Everything
    All,
}

impl Test {
    pub fn run(self) -> Result<()> {
        let tier = match self.tier {
            Which::Unit => Tier::Unit,
            Which::Pg => Tier::Pg,
            Which::Server => Tier::Server,
            Which::Odoo => Tier::Odoo,
            Which::Superset => Tier::Superset,
            Which::All => Tier::All,
        };
        suite::run(self.pg, tier, &self.filter)
    }
}

/// Formatting, clippy on every crate and for every server version, and pgspot on the extension's SQL.
#[derive(Debug, Args)]
pub struct Lint {
    /// Only for this major version: 15 or 17 [default: both]
    #[arg(long, value_name = "VERSION")]
    pg: Option<PgVersion>,
}

impl Lint {
    pub fn run(self) -> Result<()> {
        match self.pg {
            Some(version) => lint::run(&[version]),
            None => lint::run(&PgVersion::ALL),
        }
    }
}

/// A cluster that runs already must be restarted to load it.
#[derive(Debug, Args)]
pub struct Install {
    /// The major version of PostgreSQL: 15 or 17 [default: one that is there]
    #[arg(long, value_name = "VERSION")]
    pg: Option<PgVersion>,
    /// The cargo profile
    #[arg(long, default_value = "release")]
    profile: String,
    /// Further cargo features (may be repeated)
    #[arg(long)]
    features: Vec<String>,
}

impl Install {
    pub fn run(self) -> Result<()> {
        let build = Build {
            profile: self.profile,
            features: self.features,
        };
        ext::install(self.pg.unwrap_or_else(PgVersion::preferred), &build)
    }
}
