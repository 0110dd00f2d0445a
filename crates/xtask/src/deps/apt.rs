//! Debian packages from the machine's own apt configuration.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use crate::command;
use crate::place;
use crate::progress::Step;

/// Installs what is missing; says what and how where that cannot be done.
pub fn install(packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let _turn = place::lock("apt")?;
    let remedy = format!("install by hand: {}", by_hand(&missing));
    if !command::on_path("apt-get") {
        bail!(
            "missing packages {}, and there is no apt-get; {remedy}",
            missing.join(" ")
        );
    }
    let step = Step::start(format!("Installing {}", missing.join(" ")));
    // The lists of a fresh machine are empty or old; a failure here only matters if the next one fails too.
    let update = command::logged(&step, apt_get().arg("update"), "apt-update");
    let mut install = apt_get();
    install
        .args(["install", "--yes", "--no-install-recommends"])
        .args(&missing);
    if let Err(error) = command::logged(&step, &mut install, "apt-install").and(update) {
        let left = self::missing(&missing);
        if !left.is_empty() {
            return Err(error.context(format!("cannot install {}; {remedy}", left.join(" "))));
        }
    }
    step.done("");
    Ok(())
}

/// Whether the configured suites offer a package (or it is installed).
pub fn available(package: &str) -> bool {
    command::output(Command::new("apt-cache").args(["policy", package]))
        .is_ok_and(|policy| policy.lines().any(|line| candidate(line).is_some()))
}

fn candidate(line: &str) -> Option<&str> {
    line.trim()
        .strip_prefix("Candidate:")
        .map(str::trim)
        .filter(|version| *version != "(none)")
}

/// Brings the package lists up to date if the machine has none.
pub fn ensure_lists() -> Result<()> {
    let lists = Path::new("/var/lib/apt/lists");
    let any = std::fs::read_dir(lists).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    });
    if any {
        return Ok(());
    }
    let step = Step::start("Fetching package lists");
    command::logged(&step, apt_get().arg("update"), "apt-update").context("run: apt-get update")?;
    step.done("");
    Ok(())
}

fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    packages
        .iter()
        .copied()
        .filter(|package| !installed(package))
        .collect()
}

fn installed(package: &str) -> bool {
    command::output(Command::new("dpkg-query").args([
        "--show",
        "--showformat=${db:Status-Status}",
        package,
    ]))
    .is_ok_and(|status| status == "installed")
}

/// `apt-get` as a user who may install, never asking questions.
fn apt_get() -> Command {
    let mut command = if Uid::effective().is_root() || !command::on_path("sudo") {
        Command::new("env")
    } else {
        let mut command = Command::new("sudo");
        command.arg("env");
        command
    };
    command.args([
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-o",
        "DPkg::Lock::Timeout=300",
    ]);
    command
}

fn by_hand(packages: &[&str]) -> String {
    format!(
        "sudo apt-get update && sudo apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_a_version() {
        assert_eq!(
            candidate("  Candidate: 15.20-0+deb12u1"),
            Some("15.20-0+deb12u1")
        );
        assert_eq!(candidate("  Candidate: (none)"), None);
        assert_eq!(candidate("  Installed: (none)"), None);
    }

    #[test]
    fn the_remedy_can_be_pasted() {
        assert_eq!(
            by_hand(&["bison", "flex"]),
            "sudo apt-get update && sudo apt-get install --no-install-recommends bison flex"
        );
    }
}
