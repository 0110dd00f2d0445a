//! A running Odoo: started from a copy of the prepared state, stopped, killed and started again on the same port.

use std::fs::{self, File};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::install::Program;
use super::prepare::{self, State};
use super::{ADMIN, Access, DATABASE};
use crate::command;
use crate::daemon::{self, Life, Process};
use crate::pg::{Cluster, Stop};
use crate::place::{self, ServerUser};

/// How long until the first answer, and how long for a graceful end.
const PATIENCE: Duration = Duration::from_secs(120);

/// What an Odoo shall be like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Worker processes; 0 serves with threads of one process.
    pub workers: u16,
    /// Processes for scheduled jobs; none by default, so that nothing happens behind a test's back.
    pub cron_workers: u16,
    /// A free one by default.
    pub port: Option<u16>,
    /// Real `fsync` in Odoo's Postgres, for what measures. Off by default.
    pub fsync: bool,
    /// Further lines of the configuration file, such as `limit_time_real = 10`.
    pub settings: Vec<(String, String)>,
}

/// Where an Odoo lives and how long.
pub(crate) enum Home {
    /// In a directory of its own that goes with it, at the latest with this process.
    Temporary,
    /// In a directory that stays; it goes on after this process.
    Standing { dir: PathBuf, keep_state: bool },
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 2,
            cron_workers: 0,
            port: None,
            fsync: false,
            settings: Vec::new(),
        }
    }
}

/// An Odoo with its own Postgres. Dropped, both are stopped and their directory removed.
pub struct Odoo {
    access: Access,
    program: Program,
    state: State,
    user: ServerUser,
    cluster: Cluster,
    life: Life,
    dir: PathBuf,
    process: Mutex<Option<Process>>,
}

impl Odoo {
    /// Installs and prepares what is missing (minutes, once), then starts and waits until it answers (seconds).
    pub fn start(options: &Options) -> Result<Self> {
        Self::start_at(options, Home::Temporary)
    }

    pub(crate) fn start_at(options: &Options, home: Home) -> Result<Self> {
        super::postgres().ensure()?;
        let program = Program::ensure()?;
        let user = ServerUser::find()?;
        let prepared = prepare::ensure(&program, &user)?;
        let (dir, keep_state, life) = match home {
            Home::Temporary => (place::temporary_dir("odoo")?, false, Life::WithOwner),
            Home::Standing { dir, keep_state } => (dir, keep_state, Life::UntilStopped),
        };
        let state = State::at(dir.clone());
        if !(keep_state && state.exists()) {
            state.copy_from(&prepared, &user)?;
        }
        let cluster = prepare::cluster(&state)
            .life(life)
            .fsync(options.fsync)
            .start()?;
        let (port, gevent) = (
            options.port.map_or_else(crate::pg::free_port, Ok)?,
            crate::pg::free_port()?,
        );
        let mut more = format!(
            "http_port = {port}\ngevent_port = {gevent}\nworkers = {}\nmax_cron_threads = {}\n",
            options.workers, options.cron_workers
        );
        for (name, value) in &options.settings {
            more.push_str(&format!("{name} = {value}\n"));
        }
        prepare::configure(&state, &cluster, &user, &more)?;
        let access = Access {
            url: format!("http://127.0.0.1:{port}"),
            database: DATABASE.to_owned(),
            login: ADMIN.to_owned(),
            password: ADMIN.to_owned(),
            api_key: state.api_key()?,
            uid: 2,
        };
        let process = Mutex::new(None);
        let odoo = Self {
            access,
            program,
            state,
            user,
            cluster,
            life,
            dir,
            process,
        };
        odoo.start_again()?;
        Ok(odoo)
    }

    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The Postgres that holds Odoo's tables.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub fn log_path(&self) -> PathBuf {
        self.state.log()
    }

    /// The pid of the main process; none while it is stopped.
    pub fn pid(&self) -> Option<i32> {
        self.process()
            .filter(Process::alive)
            .map(|process| process.pid)
    }

    /// Ends Odoo as an operator would (SIGTERM, waits); its Postgres and port number stay.
    pub fn stop(&self) -> Result<()> {
        let Some(process) = self.process() else {
            return Ok(());
        };
        end(&process)?;
        self.remember(None);
        Ok(())
    }

    /// Ends Odoo and all of its workers at once, in the middle of whatever they do.
    pub fn kill9(&self) {
        if let Some(process) = self.process() {
            process.signal_group(Signal::SIGKILL);
            process.wait(PATIENCE);
            self.remember(None);
        }
    }

    /// Starts a stopped Odoo on the same port and state, and waits until it answers.
    pub fn start_again(&self) -> Result<()> {
        if self.pid().is_some() {
            return Ok(());
        }
        let log = self.state.log();
        let file = File::options().create(true).append(true).open(&log)?;
        self.user.own(&log)?;
        let mut server = prepare::odoo(&self.program, &self.state, &self.user);
        server
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let process = daemon::spawn(server, self.life, Signal::SIGTERM)?;
        self.remember(Some(process));
        let deadline = Instant::now() + PATIENCE;
        // A worker that answers a call that needs the database has loaded everything.
        while let Err(error) = self.answers() {
            if !process.alive() || Instant::now() > deadline {
                let said = command::tail(&log, 2_000);
                return Err(error.context(format!(
                    "Odoo did not start; {} ends with:\n{said}",
                    log.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Lets Odoo and its Postgres go on without this handle.
    pub(crate) fn leave_running(self) -> Option<(Process, Process)> {
        let processes = self.process().zip(self.cluster.process());
        std::mem::forget(self);
        processes
    }

    pub(crate) fn process(&self) -> Option<Process> {
        *self
            .process
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn remember(&self, process: Option<Process>) {
        *self
            .process
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = process;
    }

    fn answers(&self) -> Result<()> {
        self.access.version()?;
        let count = self.access.call(
            "res.users",
            "search_count",
            &serde_json::json!({ "domain": [] }),
        )?;
        if count.as_i64().is_none() {
            bail!("Odoo counted its users as {count}");
        }
        Ok(())
    }
}

/// Ends an Odoo gracefully; by force if it takes too long.
pub(crate) fn end(process: &Process) -> Result<()> {
    process.signal(Signal::SIGTERM);
    if !process.wait(Duration::from_secs(30)) {
        process.signal_group(Signal::SIGKILL);
        if !process.wait(Duration::from_secs(10)) {
            bail!("Odoo (pid {}) does not end", process.pid);
        }
    }
    Ok(())
}

/// `url`, `database`, `login`, `password`, `api_key`, `uid`.
impl Deref for Odoo {
    type Target = Access;

    fn deref(&self) -> &Access {
        &self.access
    }
}

impl Drop for Odoo {
    fn drop(&mut self) {
        // Nobody will look at this state again: no need to be gentle.
        self.kill9();
        let _ = self.cluster.stop(Stop::Immediate);
        if self.life == Life::WithOwner {
            // What cannot be removed now is left for the next sweep.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
