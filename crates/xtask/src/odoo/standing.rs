//! The Odoo that stays until it is stopped: `cargo xtask odoo start|stop|status`.

use std::fs;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::Access;
use super::server::{Home, Odoo, Options, end};
use crate::daemon::Process;
use crate::standing;

/// How to start one.
#[derive(Debug, Clone)]
pub struct Request {
    pub name: String,
    pub workers: u16,
    /// A free one by default.
    pub port: Option<u16>,
    /// Goes on from where the last one of that name was stopped, instead of from the clean prepared state.
    pub keep: bool,
}

fn key(name: &str) -> String {
    format!("odoo-{name}")
}

/// What is remembered of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Standing {
    pub access: Access,
    pub log: String,
    /// The address of Odoo's own database.
    pub dsn: String,
    odoo: Process,
    postgres: Process,
}

impl Standing {
    pub fn running(&self) -> bool {
        self.odoo.alive() && self.postgres.alive()
    }
}

/// Starts it; one of that name that runs is given back.
pub fn start(request: &Request) -> Result<Standing> {
    let name = &request.name;
    if let Some(standing) = find(name)? {
        if standing.running() {
            return Ok(standing);
        }
        stop(name)?;
    }
    let options = Options {
        workers: request.workers,
        cron_workers: 1,
        fsync: true,
        port: request.port,
        ..Options::default()
    };
    let home = Home::Standing {
        dir: standing::dir(&key(name))?,
        keep_state: request.keep,
    };
    let odoo = Odoo::start_at(&options, home)?;
    let access = odoo.access().clone();
    let log = odoo.log_path().display().to_string();
    let dsn = odoo.cluster().dsn(super::DATABASE);
    let Some((process, postgres)) = odoo.leave_running() else {
        bail!("Odoo ended at once; its log is {log}")
    };
    let standing = Standing {
        access,
        log,
        dsn,
        odoo: process,
        postgres,
    };
    standing::save(&key(name), &standing)?;
    Ok(standing)
}

/// Stops it; its state stays for `start --keep`. False when there is none.
pub fn stop(name: &str) -> Result<bool> {
    let Some(standing) = find(name)? else {
        return Ok(false);
    };
    end(&standing.odoo)?;
    standing.postgres.signal(Signal::SIGINT);
    if !standing.postgres.wait(Duration::from_secs(60)) {
        bail!(
            "Odoo's PostgreSQL (pid {}) does not stop",
            standing.postgres.pid
        );
    }
    standing::forget(&key(name))?;
    Ok(true)
}

/// Stops it and removes its state.
pub fn remove(name: &str) -> Result<()> {
    stop(name)?;
    let dir = standing::dir(&key(name))?;
    if dir.is_dir() {
        fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

pub fn find(name: &str) -> Result<Option<Standing>> {
    standing::load(&key(name))
}
