//! Superset's program, in a Python environment of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::deps::python;
use crate::place;
use crate::progress::Step;

/// Every package by its version: what comes out later is not always what Superset bears.
const REQUIREMENTS: &str = include_str!("requirements.txt");

/// The installed program.
pub struct Program {
    root: PathBuf,
}

impl Program {
    /// Finds it, or installs it.
    pub fn ensure() -> Result<Self> {
        let program = Self {
            root: place::cache_dir("superset")?,
        };
        let _turn = place::lock("superset")?;
        if fs::read_to_string(program.marker()).is_ok_and(|installed| installed == REQUIREMENTS) {
            return Ok(program);
        }
        let step = Step::start("Installing Superset 6.1 (about 1 minute, once)");
        let _ = fs::remove_dir_all(program.environment());
        let list = program.root.join("requirements.txt");
        fs::write(&list, REQUIREMENTS)?;
        let list = list.display().to_string();
        python::environment(&step, &program.environment(), "superset", &["-r", &list])?;
        fs::write(program.marker(), REQUIREMENTS)?;
        step.done("");
        Ok(program)
    }

    /// A command of the environment: `superset`, `gunicorn`, `python3`.
    pub fn command(&self, name: &str) -> Command {
        Command::new(self.environment().join("bin").join(name))
    }

    fn environment(&self) -> PathBuf {
        self.root.join("venv")
    }

    fn marker(&self) -> PathBuf {
        self.root.join(".complete")
    }
}
