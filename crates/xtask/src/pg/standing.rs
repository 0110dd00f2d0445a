//! Clusters that stay until they are stopped: `cargo xtask pg start|stop|status`.

use std::fs;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::{Cluster, PgVersion};
use crate::daemon::{Life, Process};
use crate::standing;

/// What is remembered of a cluster that was started by command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Standing {
    pub name: String,
    pub major: String,
    pub port: u16,
    pub dsn: String,
    pub log: String,
    process: Process,
}

impl Standing {
    pub fn running(&self) -> bool {
        self.process.alive()
    }
}

/// How to start one.
#[derive(Debug, Clone)]
pub struct Options {
    pub version: PgVersion,
    pub name: String,
    pub port: Option<u16>,
    /// Variables of the server's environment.
    pub env: Vec<(String, String)>,
    /// The database that is made and, where `pg_cron` is installed, whose jobs run.
    pub database: String,
}

fn key(name: &str) -> String {
    format!("pg-{name}")
}

/// Starts a fresh cluster with `pg_etl` (if it is installed) and `pg_cron` (if it is installed) preloaded.
/// One of that name that runs already is given back as it is.
pub fn start(options: &Options) -> Result<Standing> {
    if let Some(standing) = find(&options.name)? {
        if standing.running() {
            if standing.major != options.version.major() {
                bail!(
                    "cluster `{}` runs PostgreSQL {}: stop it first (cargo xtask pg stop --name {}) or choose another --name",
                    standing.name,
                    standing.major,
                    standing.name
                );
            }
            return Ok(standing);
        }
        discard(&options.name)?;
    }
    options.version.ensure()?;
    let preload: Vec<&str> = ["pg_cron", "pg_etl"]
        .into_iter()
        .filter(|library| options.version.has_library(library))
        .collect();
    let mut builder = Cluster::builder(options.version)
        .dir(standing::dir(&key(&options.name))?)
        .life(Life::UntilStopped)
        .fsync(true)
        .own_identity()
        .preload(&preload);
    if preload.contains(&"pg_cron") {
        builder = builder.setting("cron.database_name", &options.database);
    }
    if let Some(port) = options.port {
        builder = builder.port(port);
    }
    for (name, value) in &options.env {
        builder = builder.env(name, value);
    }
    let cluster = builder.start()?;
    if options.database != "postgres" {
        let mut client = cluster.client("postgres")?;
        client.batch_execute(&format!("CREATE DATABASE \"{}\"", options.database))?;
    }
    let (port, dsn) = (cluster.port(), cluster.dsn(&options.database));
    let log = cluster.log_path().display().to_string();
    let Some(process) = cluster.leave_running() else {
        bail!("the cluster ended at once; its log is {log}")
    };
    let (name, major) = (options.name.clone(), options.version.major().to_owned());
    let standing = Standing {
        name,
        major,
        port,
        dsn,
        log,
        process,
    };
    standing::save(&key(&options.name), &standing)?;
    Ok(standing)
}

/// Stops a cluster and removes it; false when there is none of that name.
pub fn stop(name: &str) -> Result<bool> {
    let Some(standing) = find(name)? else {
        return Ok(false);
    };
    standing.process.signal(Signal::SIGINT);
    if !standing.process.wait(Duration::from_secs(60)) {
        bail!(
            "PostgreSQL (pid {}) does not stop; its log is {}",
            standing.process.pid,
            standing.log
        );
    }
    discard(name)?;
    Ok(true)
}

pub fn find(name: &str) -> Result<Option<Standing>> {
    standing::load(&key(name))
}

pub fn all() -> Result<Vec<Standing>> {
    let names = standing::names("pg")?;
    Ok(names
        .iter()
        .filter_map(|name| standing::load(name).ok().flatten())
        .collect())
}

fn discard(name: &str) -> Result<()> {
    let dir = standing::dir(&key(name))?;
    if dir.is_dir() {
        fs::remove_dir_all(&dir)?;
    }
    standing::forget(&key(name))
}
