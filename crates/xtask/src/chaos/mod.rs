//! The crash suite: the extension is hurt in every way that there is, and then what was enqueued, what the outbox says and what
//! Odoo holds must be one.
//!
//! * [`mixed`]: everything at once, drawn from a seed: [`workload`] is enqueued while the [`adversary`] kills and spoils.
//! * [`trials`]: what a mixture cannot show: memory, a full disk, a clock that jumps, names that are never resolved.
//! * [`two_way`]: people edit a two-way table and its records in Odoo at the same time.
//! * [`bugs`]: six bugs planted on purpose; a suite that does not see them is worth nothing.
//! * [`check`]: the judge of all of them.
//!
//! The extension is built with the feature `chaos` into a private installation of the server, so that nobody meets it by accident.

pub mod adversary;
pub mod arena;
pub mod bugs;
pub mod check;
pub mod diary;
pub mod enqueue;
pub mod memory;
pub mod mixed;
mod proxy;
mod shim;
mod story;
pub mod trials;
pub mod two_way;
pub mod verdict;
pub mod workload;
pub mod world;

use std::fs::File;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::ext::{self, Build};
use crate::pg::{PgVersion, private};
use crate::place;

/// The name of the private installation, where nobody says otherwise.
pub const INSTALLATION: &str = "chaos";

/// Makes sure that this process uses the suite's own installation. `None`: it does. Otherwise the same command was run in a process
/// that does, and this is how it ended.
pub fn in_own_installation(name: &str, version: PgVersion) -> Result<Option<bool>> {
    let root = private::ensure(name, version)?;
    if private::root().as_deref() == Some(root.as_path()) {
        return Ok(None);
    }
    let mut again = command::this_program()?;
    again
        .args(std::env::args_os().skip(1))
        .env(private::ENV_ROOT, &root);
    let ended = again.status().context("cannot start this program again")?;
    Ok(Some(ended.success()))
}

/// Builds the extension with points and planted bugs, and installs it there. As long as the result is kept nobody else installs
/// anything there: servers that run would have their library changed under them.
pub fn install(name: &str, version: PgVersion, profile: &str) -> Result<File> {
    let turn = place::lock(&format!("installation-{name}"))?;
    let build = Build {
        profile: profile.to_owned(),
        features: vec!["chaos".to_owned()],
    };
    if private::root().is_none() {
        bail!("the extension with planted bugs goes nowhere but into a private installation");
    }
    ext::install(version, &build)?;
    Ok(turn)
}
