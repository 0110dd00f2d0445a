//! The simulator `odoo-sim` as a background process.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::command;
use crate::daemon::{self, Life, Process};
use crate::odoo::{ADMIN, Access};
use crate::place;
use crate::progress::Step;
use crate::standing;

const DATABASE: &str = "sim";
const PATIENCE: Duration = Duration::from_secs(10);

/// A simulator in a process of its own. Dropped, it ends.
#[derive(Debug)]
pub struct Sim {
    access: Access,
    arguments: Vec<String>,
    port: u16,
    log: PathBuf,
    life: Life,
    process: Mutex<Option<Process>>,
}

impl Sim {
    /// Builds it if needed and starts it, with further arguments of `odoo-sim`.
    pub fn start(port: Option<u16>, arguments: &[&str]) -> Result<Self> {
        Self::launch(port, arguments, Life::WithOwner)
    }

    fn launch(port: Option<u16>, arguments: &[&str], life: Life) -> Result<Self> {
        let port = port.map_or_else(crate::pg::free_port, Ok)?;
        let api_key: String = (0..40)
            .map(|_| char::from(rand::rng().random_range(b'a'..=b'f')))
            .collect();
        let access = Access {
            url: format!("http://127.0.0.1:{port}"),
            database: DATABASE.to_owned(),
            login: ADMIN.to_owned(),
            password: ADMIN.to_owned(),
            api_key,
            uid: 2,
        };
        let sim = Self {
            access,
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            port,
            log: place::log_file(&format!("odoo-sim-{port}"))?,
            life,
            process: Mutex::new(None),
        };
        build()?;
        sim.start_again()?;
        Ok(sim)
    }

    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Starts a stopped simulator on the same port; it remembers nothing.
    pub fn start_again(&self) -> Result<()> {
        if self.process().is_some_and(|process| process.alive()) {
            return Ok(());
        }
        let file = File::create(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut sim = Command::new(program());
        sim.args([
            "--port",
            &self.port.to_string(),
            "--database",
            DATABASE,
            "--login",
            ADMIN,
            "--password",
            ADMIN,
        ]);
        sim.args(["--api-key", &self.access.api_key])
            .args(&self.arguments);
        sim.stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let process = daemon::spawn(sim, self.life, Signal::SIGKILL)?;
        *self
            .process
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(process);
        let deadline = Instant::now() + PATIENCE;
        while !said_ready(&fs::read_to_string(&self.log).unwrap_or_default()) {
            if !process.alive() || Instant::now() > deadline {
                bail!(
                    "odoo-sim did not start; it says:\n{}",
                    command::tail(&self.log, 2_000)
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends it at once, as a crash would.
    pub fn kill9(&self) {
        if let Some(process) = self.process() {
            process.signal(Signal::SIGKILL);
            process.wait(PATIENCE);
        }
    }

    fn process(&self) -> Option<Process> {
        *self
            .process
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.kill9();
        let _ = fs::remove_file(&self.log);
    }
}

/// The program says one line of JSON when it listens.
fn said_ready(log: &str) -> bool {
    log.lines()
        .any(|line| serde_json::from_str::<Value>(line).is_ok_and(|value| value["url"].is_string()))
}

fn program() -> PathBuf {
    place::target().join("debug/odoo-sim")
}

fn build() -> Result<()> {
    let _turn = place::lock("odoo-sim")?;
    let step = Step::start("Building odoo-sim");
    let mut build = Command::new("cargo");
    build
        .args(["build", "--package", "odoo-sim", "--bin", "odoo-sim"])
        .current_dir(place::workspace());
    command::logged(&step, &mut build, "odoo-sim-build")?;
    step.done("");
    Ok(())
}

/// What is remembered of the simulator that stays until it is stopped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Standing {
    pub access: Access,
    process: Process,
}

impl Standing {
    pub fn running(&self) -> bool {
        self.process.alive()
    }
}

fn key(name: &str) -> String {
    format!("sim-{name}")
}

/// Starts the standing simulator of that name; one that runs is given back.
pub fn start(name: &str, port: Option<u16>) -> Result<Standing> {
    if let Some(standing) = find(name)?
        && standing.running()
    {
        return Ok(standing);
    }
    let sim = Sim::launch(port, &[], Life::UntilStopped)?;
    let Some(process) = sim.process() else {
        bail!("odoo-sim ended at once")
    };
    let standing = Standing {
        access: sim.access.clone(),
        process,
    };
    standing::save(&key(name), &standing)?;
    // It goes on without the handle.
    std::mem::forget(sim);
    Ok(standing)
}

/// Stops the standing simulator of that name; false when there is none.
pub fn stop(name: &str) -> Result<bool> {
    let Some(standing) = find(name)? else {
        return Ok(false);
    };
    standing.process.signal(Signal::SIGTERM);
    if !standing.process.wait(Duration::from_secs(5)) {
        standing.process.signal(Signal::SIGKILL);
    }
    standing::forget(&key(name))?;
    Ok(true)
}

pub fn find(name: &str) -> Result<Option<Standing>> {
    standing::load(&key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_one_line_of_json() {
        assert!(said_ready("warming up\n{\"url\":\"http://127.0.0.1:1\"}\n"));
        assert!(!said_ready("{\"error\":1}\nhttp://127.0.0.1:1"));
    }
}
