//! A throwaway cluster: its own directory, port and settings; loopback only, everyone trusted. Many can run side by
//! side. Dropped, it is stopped and its directory removed; should the owner be killed, it dies too.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::PgVersion;
use super::data_dir::{base_backup, copy_tree, free_port, initdb, template};
use crate::command;
use crate::daemon::{self, Life, Process};
use crate::place::{self, ServerUser};

/// How long a start, stop or recovery may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The three ways of stopping a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Waits for clients to leave.
    Smart,
    /// Ends sessions, writes a checkpoint.
    Fast,
    /// No checkpoint: recovery at the next start, as after a crash.
    Immediate,
}

/// What a new cluster shall be like.
#[derive(Debug, Clone)]
pub struct Builder {
    version: PgVersion,
    dir: Option<PathBuf>,
    port: Option<u16>,
    preload: Vec<String>,
    settings: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    fsync: bool,
    own_identity: bool,
    /// The address of the server whose standby it is.
    primary: Option<String>,
    life: Life,
}

impl Builder {
    /// Libraries for `shared_preload_libraries`.
    pub fn preload(mut self, libraries: &[&str]) -> Self {
        self.preload = libraries.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// A line of `postgresql.conf`; the value is quoted for you.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A variable of the postmaster's environment, such as one that holds a secret.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Real `fsync`, for what measures or loses power. Off by default: a throwaway cluster need not survive that.
    pub fn fsync(mut self, on: bool) -> Self {
        self.fsync = on;
        self
    }

    /// A system identifier of its own (a full `initdb`, about a second). Clusters otherwise share their template's.
    pub fn own_identity(mut self) -> Self {
        self.own_identity = true;
        self
    }

    /// Where it lives and stays, instead of a temporary directory.
    pub(crate) fn dir(mut self, dir: PathBuf) -> Self {
        self.dir = Some(dir);
        self
    }

    /// Whether it ends with this process.
    pub(crate) fn life(mut self, life: Life) -> Self {
        self.life = life;
        self
    }

    /// Makes the data directory, starts the server and waits until it answers.
    pub fn start(self) -> Result<Cluster> {
        self.version.ensure()?;
        let user = ServerUser::find()?;
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => place::temporary_dir(self.version.feature())?,
        };
        user.private_dir(&dir)?;
        let data = dir.join("data");
        if !data.is_dir() {
            self.fill(&data, &user)?;
        }
        let port = match self.port {
            Some(port) => port,
            None => free_port()?,
        };
        let cluster = Cluster {
            version: self.version,
            user,
            dir,
            port,
            spec: self,
            process: Mutex::new(None),
        };
        cluster.configure()?;
        cluster.start_again()?;
        Ok(cluster)
    }

    fn fill(&self, data: &Path, user: &ServerUser) -> Result<()> {
        if let Some(primary) = &self.primary {
            return base_backup(self.version, data, primary, user);
        }
        if self.own_identity {
            return initdb(self.version, data, user);
        }
        copy_tree(&template(self.version, user)?, data, user)
    }
}

/// A running (or stopped) cluster.
#[derive(Debug)]
pub struct Cluster {
    version: PgVersion,
    user: ServerUser,
    dir: PathBuf,
    port: u16,
    spec: Builder,
    process: Mutex<Option<Process>>,
}

impl Cluster {
    pub fn builder(version: PgVersion) -> Builder {
        Builder {
            version,
            dir: None,
            port: None,
            preload: Vec::new(),
            settings: BTreeMap::new(),
            env: BTreeMap::new(),
            fsync: false,
            own_identity: false,
            primary: None,
            life: Life::WithOwner,
        }
    }

    pub fn version(&self) -> PgVersion {
        self.version
    }

    /// A streaming standby of this running server, with the settings and the environment that this one began with.
    pub fn standby(&self) -> Builder {
        Builder {
            dir: None,
            port: None,
            primary: Some(self.dsn("postgres")),
            ..self.spec.clone()
        }
    }

    /// The address of a database as superuser `postgres`, over TCP.
    pub fn dsn(&self, database: &str) -> String {
        self.dsn_as("postgres", database)
    }

    /// The address of a database as another role (no password is asked).
    pub fn dsn_as(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The directory of the Unix socket.
    pub fn socket_dir(&self) -> &Path {
        &self.dir
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The postmaster's pid; none while it is stopped.
    pub fn postmaster_pid(&self) -> Option<i32> {
        self.process()
            .filter(Process::alive)
            .map(|process| process.pid)
    }

    pub fn running(&self) -> bool {
        self.postmaster_pid().is_some()
    }

    /// A client connection as `postgres`.
    pub fn client(&self, database: &str) -> Result<postgres::Client> {
        let dsn = self.dsn(database);
        postgres::Client::connect(&dsn, postgres::NoTls)
            .with_context(|| format!("cannot connect to {dsn}"))
    }

    /// Runs SQL through `psql`; gives its unaligned, tuples-only output.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let mut psql = self.program("psql")?;
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            &self.dsn(database),
            "-c",
            sql,
        ]);
        command::output(&mut psql)
    }

    /// A server program such as `pg_dump`, to be run against [`Cluster::dsn`].
    pub fn program(&self, name: &str) -> Result<Command> {
        let path = self.version.bin_dir()?.join(name);
        // psql of a packaged server lives with its clients.
        Ok(Command::new(if path.is_file() {
            path
        } else {
            name.into()
        }))
    }

    /// Changes `postgresql.conf`; takes effect at a reload or restart, whichever the setting needs.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        let mut conf = File::options()
            .append(true)
            .open(self.data_dir().join("postgresql.conf"))?;
        writeln!(conf, "{}", line(name, value))?;
        Ok(())
    }

    pub fn reload(&self) {
        if let Some(process) = self.process() {
            process.signal(Signal::SIGHUP);
        }
    }

    /// Starts a stopped server on the same port and data, and waits until it answers.
    pub fn start_again(&self) -> Result<()> {
        if self.running() {
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.start_once() {
                Ok(()) => return Ok(()),
                // After a crash, orphaned backends hold the shared memory until they notice.
                Err(error)
                    if Instant::now() < deadline
                        && format!("{error:#}").contains("still in use") =>
                {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub fn restart(&self) -> Result<()> {
        self.stop(Stop::Fast)?;
        self.start_again()
    }

    /// Stops the server and waits for its end; the data stays.
    pub fn stop(&self, mode: Stop) -> Result<()> {
        let Some(process) = self.process() else {
            return Ok(());
        };
        process.signal(match mode {
            Stop::Smart => Signal::SIGTERM,
            Stop::Fast => Signal::SIGINT,
            Stop::Immediate => Signal::SIGQUIT,
        });
        if !process.wait(PATIENCE) {
            bail!(
                "PostgreSQL (pid {}) does not stop; its log is {}",
                process.pid,
                self.log_path().display()
            );
        }
        self.forget();
        Ok(())
    }

    /// `kill -9` of the postmaster; its backends notice and leave by themselves.
    pub fn kill9_postmaster(&self) {
        if let Some(process) = self.process() {
            process.signal(Signal::SIGKILL);
            process.wait(PATIENCE);
            self.forget();
        }
    }

    /// Lets the server go on without this handle.
    pub(crate) fn leave_running(self) -> Option<Process> {
        let process = self.process();
        std::mem::forget(self);
        process
    }

    pub(crate) fn process(&self) -> Option<Process> {
        *self
            .process
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn forget(&self) {
        *self
            .process
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
    }

    fn configure(&self) -> Result<()> {
        let spec = &self.spec;
        let mut settings = BTreeMap::from([
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", self.port.to_string()),
            ("unix_socket_directories", self.dir.display().to_string()),
            ("max_wal_size", "4GB".to_owned()),
            ("log_line_prefix", "%m [%p] %b %d ".to_owned()),
            ("fsync", if spec.fsync { "on" } else { "off" }.to_owned()),
            ("timezone", "UTC".to_owned()),
            ("log_timezone", "UTC".to_owned()),
        ]);
        if !spec.preload.is_empty() {
            settings.insert("shared_preload_libraries", spec.preload.join(","));
        }
        for (name, value) in &spec.settings {
            settings.insert(name, value.clone());
        }
        let lines: String = settings
            .iter()
            .map(|(name, value)| line(name, value) + "\n")
            .collect();
        let conf = self.data_dir().join("postgresql.conf");
        fs::write(&conf, lines).with_context(|| format!("cannot write {}", conf.display()))?;
        self.user.own(&conf)
    }

    fn start_once(&self) -> Result<()> {
        let data = self.data_dir();
        let log = self.log_path();
        let file = File::options().create(true).append(true).open(&log)?;
        self.user.own(&log)?;
        let before = file.metadata()?.len();
        // A file left by a crash must not be taken for the new server's.
        let pidfile = data.join("postmaster.pid");
        let mut server = Command::new(self.version.bin_dir()?.join("postgres"));
        server.arg("-D").arg(&data);
        server
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        // pgrx would put a backtrace into every client's error DETAIL.
        server.env_remove("RUST_BACKTRACE");
        command::as_server(&mut server, &self.user, &self.dir).envs(&self.spec.env);
        let process = daemon::spawn(server, self.spec.life, Signal::SIGQUIT)?;
        *self
            .process
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(process);
        let deadline = Instant::now() + PATIENCE;
        while !ready(&pidfile, process.pid) {
            if !process.alive() || Instant::now() > deadline {
                end_at_once(&process);
                let said = fs::read(&log).unwrap_or_default();
                let said = String::from_utf8_lossy(
                    said.get(usize::try_from(before)?..).unwrap_or_default(),
                )
                .into_owned();
                bail!(
                    "PostgreSQL {} did not start; {} says:\n{said}",
                    self.version,
                    log.display()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(process) = self.process() {
            end_at_once(&process);
        }
        if self.spec.dir.is_none() && std::env::var_os("PG_ETL_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// No checkpoint; by force if it does not listen.
fn end_at_once(process: &Process) {
    process.signal(Signal::SIGQUIT);
    if !process.wait(Duration::from_secs(10)) {
        process.signal_group(Signal::SIGKILL);
        process.wait(Duration::from_secs(5));
    }
}

/// Line 8 of `postmaster.pid` tells the state, as `pg_ctl` reads it.
fn ready(pidfile: &Path, pid: i32) -> bool {
    let Ok(text) = fs::read_to_string(pidfile) else {
        return false;
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.first().is_some_and(|first| *first == pid.to_string()) && lines.get(7) == Some(&"ready")
}

/// One line of `postgresql.conf`.
fn line(name: &str, value: &str) -> String {
    format!(
        "{name} = '{}'",
        value.replace('\\', "\\\\").replace('\'', "''")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_quoted() {
        assert_eq!(line("a.b", "it's"), "a.b = 'it''s'");
        assert_eq!(line("x", r"c:\d"), r"x = 'c:\\d'");
    }
}
