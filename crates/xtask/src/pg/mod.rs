//! PostgreSQL: the versions, where their programs are or come from, and throwaway clusters.

mod cluster;
pub(crate) mod data_dir;
mod install;
pub mod private;
pub mod standing;

pub use cluster::{Builder, Cluster, Stop};
pub use data_dir::free_port;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};

/// A major version that pg_etl supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PgVersion {
    V15,
    V17,
}

impl PgVersion {
    pub const ALL: [Self; 2] = [Self::V15, Self::V17];

    pub fn major(self) -> &'static str {
        match self {
            Self::V15 => "15",
            Self::V17 => "17",
        }
    }

    /// The cargo feature of the extension, and pgrx's name for the version.
    pub fn feature(self) -> &'static str {
        match self {
            Self::V15 => "pg15",
            Self::V17 => "pg17",
        }
    }

    /// The stable Debian release that carries this version.
    fn suite(self) -> &'static str {
        match self {
            Self::V15 => "bookworm",
            Self::V17 => "trixie",
        }
    }

    /// The version for commands that were given none: one that is installed, or else one that installs quickly.
    pub fn preferred() -> Self {
        let installed = |version: &Self| version.find_bin_dir().is_some();
        let packaged = |version: &Self| crate::deps::apt::available(&version.package());
        let found = Self::ALL
            .into_iter()
            .find(installed)
            .or_else(|| Self::ALL.into_iter().find(packaged));
        found.unwrap_or(Self::V15)
    }

    fn package(self) -> String {
        format!("postgresql-{}", self.major())
    }

    /// Installs or builds the server with its headers, unless it is there.
    pub fn ensure(self) -> Result<()> {
        install::ensure(self)
    }

    /// Where the programs are.
    pub fn bin_dir(self) -> Result<PathBuf> {
        let remedy = || {
            format!(
                "PostgreSQL {self} is not installed: cargo xtask pg start --pg {self} installs it"
            )
        };
        self.find_bin_dir().with_context(remedy)
    }

    fn find_bin_dir(self) -> Option<PathBuf> {
        install::find(self)
    }

    /// The machine's own `pg_config`, whatever installation this process uses.
    pub fn machines_pg_config(self) -> Option<PathBuf> {
        install::find_machines(self).map(|bin| bin.join("pg_config"))
    }

    pub fn pg_config(self) -> Result<PathBuf> {
        Ok(self.bin_dir()?.join("pg_config"))
    }

    /// A directory that `pg_config` knows: `pkglibdir`, `sharedir`, …
    pub fn directory(self, which: &str) -> Result<PathBuf> {
        let mut ask = std::process::Command::new(self.pg_config()?);
        Ok(PathBuf::from(crate::command::output(
            ask.arg(format!("--{which}")),
        )?))
    }

    /// Whether an extension library such as `pg_cron` is installed for this version.
    pub fn has_library(self, name: &str) -> bool {
        self.directory("pkglibdir")
            .is_ok_and(|dir| dir.join(format!("{name}.so")).is_file())
    }
}

impl fmt::Display for PgVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.major())
    }
}

impl FromStr for PgVersion {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL
            .into_iter()
            .find(|version| version.major() == text)
        {
            Some(version) => Ok(version),
            None => bail!("PostgreSQL {text} is not supported: choose 15 or 17"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_what_they_print() {
        for version in PgVersion::ALL {
            assert_eq!(version.to_string().parse::<PgVersion>().unwrap(), version);
        }
        assert!(
            "16".parse::<PgVersion>()
                .unwrap_err()
                .to_string()
                .contains("15 or 17")
        );
    }
}
