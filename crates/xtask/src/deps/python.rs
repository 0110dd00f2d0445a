//! Python environments of their own for servers that are written in Python.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::apt;
use crate::command;
use crate::progress::Step;

/// Makes an environment in `dir` with what pip installs for these arguments. `name` is that of the logs.
pub fn environment(step: &Step, dir: &Path, name: &str, install: &[&str]) -> Result<()> {
    apt::install(&["python3", "python3-venv"])?;
    // The system's own Python: one below a person's home could not be run by the servers' user.
    let system = Path::new("/usr/bin/python3");
    let python = if system.is_file() {
        system
    } else {
        Path::new("python3")
    };
    let mut venv = Command::new(python);
    venv.args(["-m", "venv"]).arg(dir);
    command::logged(step, &mut venv, &format!("{name}-venv"))
        .context("a Python environment cannot be made: apt-get install python3-venv")?;
    let mut pip = Command::new(dir.join("bin/pip"));
    pip.args([
        "install",
        "--disable-pip-version-check",
        "--prefer-binary",
        "--no-cache-dir",
    ]);
    pip.args(install).current_dir("/");
    command::logged(step, &mut pip, &format!("{name}-pip"))
}
