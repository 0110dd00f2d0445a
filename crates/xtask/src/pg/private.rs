//! Private installations: a copy of a server's programs and libraries, so that a build of the extension that nobody else may meet
//! (with planted bugs, of another branch) has a place of its own. PostgreSQL finds its directories relative to its programs, so that
//! a copy works wherever it stands.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::PgVersion;
use crate::command;
use crate::place;

/// A process with this variable, and what it starts, uses the private installation in that directory.
pub const ENV_ROOT: &str = "PG_ETL_PG_ROOT";

/// The private installation of this process.
pub fn root() -> Option<PathBuf> {
    std::env::var_os(ENV_ROOT)
        .filter(|root| !root.is_empty())
        .map(PathBuf::from)
}

/// The programs of `version` in the private installation `root`.
pub fn bin_dir(root: &Path, version: PgVersion) -> Option<PathBuf> {
    [
        root.join("usr/lib/postgresql").join(version.major()),
        root.join(version.feature()),
    ]
    .into_iter()
    .map(|prefix| prefix.join("bin"))
    .find(|bin| bin.join("postgres").is_file() && bin.join("pg_config").is_file())
}

/// Makes the private installation `name` of `version`, unless it is there, and returns its root.
pub fn ensure(name: &str, version: PgVersion) -> Result<PathBuf> {
    version.ensure()?;
    let root = place::cache_dir("private")?.join(name);
    if bin_dir(&root, version).is_some() {
        return Ok(root);
    }
    let _turn = place::lock(&format!("private-{name}"))?;
    let bin = version
        .machines_pg_config()
        .context("the server is not installed")?;
    let prefix = bin
        .ancestors()
        .nth(2)
        .context("pg_config stands in no directory")?;
    if prefix.starts_with("/usr/lib/postgresql") {
        copy(prefix, &root.join("usr/lib/postgresql"))?;
        let share = Path::new("/usr/share/postgresql").join(version.major());
        copy(&share, &root.join("usr/share/postgresql"))?;
        copy(
            &Path::new("/usr/include/postgresql").join(version.major()),
            &root.join("usr/include/postgresql"),
        )?;
    } else {
        copy(prefix, &root)?;
    }
    Ok(root)
}

/// Copies the directory `from` into the directory `into`.
fn copy(from: &Path, into: &Path) -> Result<()> {
    std::fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let mut copy = Command::new("cp");
    copy.args([OsStr::new("-a"), from.as_os_str(), into.as_os_str()]);
    command::output(&mut copy).map(drop)
}
