//! The clock and the name resolution of a server under test, in our hands: see `shim.c`.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::place;

const SOURCE: &str = include_str!("shim.c");

/// A shim, built, and the file that it obeys.
#[derive(Debug)]
pub struct Shim {
    dir: PathBuf,
    control: File,
}

impl Shim {
    /// Builds it with the C compiler that Rust links with.
    pub fn build() -> Result<Self> {
        let dir = place::temporary_dir("shim")?;
        fs::create_dir_all(&dir)?;
        // The servers' user reads both files.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        let source = dir.join("shim.c");
        fs::write(&source, SOURCE)?;
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(dir.join("shim.so"))
            .arg(&source)
            .arg("-ldl");
        command::output(&mut cc).context("the shim cannot be built")?;
        let path = dir.join("control");
        fs::write(&path, [0; 16])?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        let control = File::options().write(true).open(&path)?;
        Ok(Self { dir, control })
    }

    /// What the server's environment needs.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.dir.join("shim.so").display().to_string()),
            (
                "CHAOS_CONTROL",
                self.dir.join("control").display().to_string(),
            ),
        ]
    }

    /// From now on the server's clock is that much ahead (or behind).
    pub fn shift_clock(&self, seconds: i64) -> Result<()> {
        Ok(self.control.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }

    /// Whether a look-up of a name takes for ever from now on.
    pub fn hang_names(&self, hang: bool) -> Result<()> {
        let hang = i64::from(hang);
        Ok(self.control.write_all_at(&hang.to_ne_bytes(), 8)?)
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        // Nobody may go on waiting for a file that nobody writes any more.
        let _ = self.hang_names(false);
        let _ = fs::remove_dir_all(&self.dir);
    }
}
