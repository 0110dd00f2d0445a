//! cargo-pgrx: the version that the extension pins, told where the servers are.

use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::pg::PgVersion;
use crate::place;
use crate::progress::Step;

/// Must be the version of the `pgrx` crate in the root `Cargo.toml`.
pub const VERSION: &str = "0.18.1";

pub fn ensure(versions: &[PgVersion]) -> Result<()> {
    let _turn = place::lock("cargo-pgrx")?;
    if installed().as_deref() != Some(VERSION) {
        let step = Step::start(format!(
            "Installing cargo-pgrx {VERSION} (about 4 minutes, once)"
        ));
        let mut install = Command::new("cargo");
        install
            .args(["install", "--locked", "cargo-pgrx", "--version", VERSION])
            .current_dir("/");
        command::logged(&step, &mut install, "cargo-pgrx").with_context(|| {
            format!("run by hand: cargo install --locked cargo-pgrx --version {VERSION}")
        })?;
        step.done("");
    }
    init(versions)
}

fn installed() -> Option<String> {
    let said = command::output(
        Command::new("cargo")
            .args(["pgrx", "--version"])
            .current_dir("/"),
    )
    .ok()?;
    said.split_whitespace().last().map(str::to_owned)
}

/// Tells pgrx of servers it does not know, without forgetting those it knows: `init` writes its file anew.
fn init(versions: &[PgVersion]) -> Result<()> {
    let known = PgVersion::ALL.map(|version| (version, known(version)));
    let mut flags = Vec::new();
    let mut news = false;
    for (version, before) in known {
        let wanted = match versions.contains(&version) {
            true => version
                .machines_pg_config()
                .map(|path| path.display().to_string()),
            false => before.clone(),
        };
        news |= wanted != before;
        if let Some(path) = wanted {
            flags.extend([format!("--{}", version.feature()), path]);
        }
    }
    if !news {
        return Ok(());
    }
    let step = Step::start("Telling pgrx where the servers are");
    let mut init = Command::new("cargo");
    // --no-run: pgrx need not make clusters of its own, and as root it could not.
    init.args(["pgrx", "init", "--no-run"])
        .args(&flags)
        .current_dir("/");
    command::logged(&step, &mut init, "pgrx-init")
        .with_context(|| format!("run by hand: cargo pgrx init --no-run {}", flags.join(" ")))?;
    step.done("");
    Ok(())
}

/// The `pg_config` that pgrx has for a version.
fn known(version: PgVersion) -> Option<String> {
    let info = Command::new("cargo")
        .args(["pgrx", "info", "pg-config", version.major()])
        .current_dir("/")
        .output()
        .ok()?;
    let path = String::from_utf8(info.stdout).ok()?.trim().to_owned();
    (info.status.success() && std::path::Path::new(&path).is_file()).then_some(path)
}
