//! Where a run takes place: a cluster with the extension built for the suite, connected to an Odoo.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postgres::Client;
use serde_json::{Map, Value, json};

use super::world::{Kind, World};
use crate::pg::{Builder, Cluster, PgVersion};
use crate::place::{self, ServerUser};

/// The database with the extension.
pub const DATABASE: &str = "shop";

/// The variable that holds the API key.
const KEY: &str = "ETL_ODOO_KEY";

/// How long a server may take to come back.
const PATIENCE: Duration = Duration::from_secs(90);

/// How one arena differs from another.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    pub settings: Vec<(&'static str, String)>,
    pub env: Vec<(&'static str, String)>,
    /// Options of the connection.
    pub options: Map<String, Value>,
    /// Another host name for the endpoint.
    pub host: Option<&'static str>,
    pub planted_bug: Option<&'static str>,
}

impl Setup {
    pub fn setting(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.settings.push((name, value.into()));
        self
    }

    pub fn option(mut self, name: &str, value: Value) -> Self {
        self.options.insert(name.to_owned(), value);
        self
    }
}

/// A cluster and its Odoo.
pub struct Arena {
    // In this order: the server leaves while its endpoint still answers.
    pub cluster: Cluster,
    pub world: World,
    /// Files in it kill: see `etl.chaos_dir` in the extension.
    dir: PathBuf,
}

impl Arena {
    pub fn start(version: PgVersion, kind: Kind, seed: u64, setup: &Setup) -> Result<Self> {
        Self::start_with(version, kind, seed, setup, |builder| builder)
    }

    /// The same with a cluster of another kind.
    pub fn start_with(
        version: PgVersion,
        kind: Kind,
        seed: u64,
        setup: &Setup,
        tune: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self> {
        let world = World::start(kind, seed)?;
        let access = world.access();
        let dir = place::temporary_dir("chaos")?;
        ServerUser::find()?.private_dir(&dir)?;
        let mut builder = Cluster::builder(version)
            .preload(&["pg_etl"])
            .env(KEY, &access.api_key)
            .setting("max_parallel_workers_per_gather", "0")
            .setting("etl.chaos_dir", &dir.display().to_string())
            .setting("etl.planted_bug", setup.planted_bug.unwrap_or(""))
            .setting("etl.backoff_base", "1s")
            .setting("etl.backoff_cap", "2s")
            // What must not happen is a row given up because the suite was unkind.
            .setting("etl.max_attempts", "1000")
            .setting("etl.unknown_grace", "5s");
        for (name, value) in &setup.settings {
            builder = builder.setting(name, value);
        }
        for (name, value) in &setup.env {
            builder = builder.env(name, value);
        }
        let cluster = tune(builder).start()?;
        cluster
            .client("postgres")?
            .batch_execute(&format!("CREATE DATABASE {DATABASE}"))?;
        let mut options = json!({
            "database": access.database,
            "login": access.login,
            "allow_methods": ["sale.order.action_confirm", "res.partner.message_post"],
        });
        for (name, value) in &setup.options {
            options[name] = value.clone();
        }
        let url = match setup.host {
            Some(host) => access.url.replace("127.0.0.1", host),
            None => access.url,
        };
        let mut db = cluster.client(DATABASE)?;
        db.batch_execute("CREATE EXTENSION pg_etl")?;
        db.execute(
            "SELECT etl.set_connection('odoo', 'odoo', $1, $2, secret => $3)",
            &[&url, &options, &format!("env:{KEY}")],
        )
        .context("etl.set_connection")?;
        Ok(Self {
            cluster,
            world,
            dir,
        })
    }

    /// A session, as soon as the server takes one.
    pub fn client(&self) -> Result<Client> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let attempt = self.cluster.client(DATABASE).and_then(|mut client| {
                client.batch_execute("SET client_min_messages = warning")?;
                Ok(client)
            });
            match attempt {
                Ok(client) => return Ok(client),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context("the server does not come back"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Asks until the server has answered, over crashes.
    pub fn ask<T>(
        &self,
        mut question: impl FnMut(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut client = self.client()?;
            match question(&mut client) {
                Ok(answer) => return Ok(answer),
                // What the server itself refuses, it refuses again.
                Err(error)
                    if error.as_db_error().is_some_and(|db| {
                        !["57", "08", "40"]
                            .iter()
                            .any(|class| db.code().code().starts_with(class))
                    }) =>
                {
                    return Err(error.into());
                }
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// One number.
    pub fn number(&self, sql: &str) -> Result<i64> {
        self.ask(|client| Ok(client.query_one(sql, &[])?.get(0)))
    }

    /// Rows that are settled.
    pub fn settled(&self) -> Result<i64> {
        self.number("SELECT count(*) FROM ops.odoo_outbox WHERE status IN ('done', 'failed')")
    }

    /// The pid of the resident worker, once there is one.
    pub fn worker(&self) -> Result<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pids: Vec<i32> = self.ask(|client| {
                let rows = client.query(
                    "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'pg_etl%' AND datname = $1",
                    &[&DATABASE],
                )?;
                Ok(rows.iter().map(|row| row.get(0)).collect())
            })?;
            match pids.as_slice() {
                [pid] => return Ok(*pid),
                _ if Instant::now() > deadline => bail!("{} workers instead of one", pids.len()),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// `kill -9` of the worker, which restarts the whole server; comes back when it takes sessions again.
    pub fn kill_worker(&self) -> Result<()> {
        loop {
            let pid = self.worker()?;
            // It may have left by itself, or have gone down with the blow before: then the next one is it.
            if kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
                self.gone(pid)?;
                break;
            }
        }
        self.client().map(drop)
    }

    /// Lets the first worker that passes `point` kill itself. False: none did within `limit`.
    pub fn kill_worker_at(&self, point: &str, limit: Duration) -> Result<bool> {
        let token = self.dir.join(point);
        // Under its name at once and whole: a worker may take it the moment it is there.
        let unnamed = self.dir.join("unnamed");
        fs::write(&unnamed, "")?;
        ServerUser::find()?.own(&unnamed)?;
        fs::rename(&unnamed, &token)?;
        let deadline = Instant::now() + limit;
        while token.exists() {
            if Instant::now() > deadline {
                // Whoever removes it decides: a worker that was faster dies of it.
                if fs::remove_file(&token).is_ok() {
                    return Ok(false);
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // The postmaster takes no session between noticing and having restarted; a session of before is cut off.
        std::thread::sleep(Duration::from_millis(50));
        self.client().map(drop)?;
        Ok(true)
    }

    /// `kill -9` of the postmaster; comes back when the server that follows takes sessions.
    pub fn kill_postmaster(&self) -> Result<()> {
        self.cluster.kill9_postmaster();
        self.cluster.start_again()?;
        self.client().map(drop)
    }

    /// Waits until nothing is queued or on its way. Gives up when nothing moves for `patience`.
    pub fn drained(&self, patience: Duration, mut tell: impl FnMut(i64)) -> Result<bool> {
        let (mut last, mut moved) = (i64::MAX, Instant::now());
        loop {
            let open = self.number(
                "SELECT count(*) FROM ops.odoo_outbox WHERE status IN ('queued', 'processing')",
            )?;
            tell(open);
            if open == 0 {
                return Ok(true);
            }
            if open != last {
                (last, moved) = (open, Instant::now());
            } else if moved.elapsed() > patience {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until `holds`; an error that says `what` after `limit`.
    pub fn until(
        &self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !holds()? {
            if Instant::now() > deadline {
                bail!("waited {limit:?} in vain for: {what}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn gone(&self, pid: i32) -> Result<()> {
        self.until("the killed process to be gone", PATIENCE, || {
            Ok(!PathBuf::from(format!("/proc/{pid}")).exists())
        })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
