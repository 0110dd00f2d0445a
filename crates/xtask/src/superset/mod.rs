//! A real Superset with the dashboard of `superset/` loaded, beside the demo's cluster: `cargo xtask superset start|stop|status`.

mod install;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use postgres::{Client, NoTls};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::command;
use crate::daemon::{self, Life, Process};
use crate::demo::{self, Endpoint};
use crate::pg::{self, PgVersion};
use crate::place;
use crate::progress::Step;
use crate::standing;

use install::Program;

/// The one that stands.
const NAME: &str = "superset";

/// Login and password, on loopback only.
const ADMIN: &str = "admin";

/// How long until it serves its first page.
const PATIENCE: Duration = Duration::from_secs(120);

/// How to import the bundle, as users read it; they are the commands that are run here.
const README: &str = include_str!("../../../../superset/README.md");

/// What is remembered of a Superset that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Standing {
    /// The dashboard's address.
    pub url: String,
    pub login: String,
    pub password: String,
    pub log: String,
    process: Process,
}

impl Standing {
    pub fn running(&self) -> bool {
        self.process.alive()
    }
}

/// Starts it, and the demo's cluster where that does not run; one that runs is given back.
pub fn start(version: PgVersion, port: Option<u16>) -> Result<Standing> {
    if let Some(standing) = find()? {
        if standing.running() {
            return Ok(standing);
        }
        stop()?;
    }
    let program = Program::ensure()?;
    let cluster = match demo::find()? {
        Some(cluster) => cluster,
        None => demo::start(version, Endpoint::Sim)?.cluster,
    };
    enliven(&cluster)?;
    let site = Site {
        program,
        home: standing::dir(NAME)?,
        port: port.map_or_else(pg::free_port, Ok)?,
    };
    site.prepare()?;
    site.import(&format!(
        "postgresql://superset@127.0.0.1:{}/{}",
        cluster.port,
        demo::NAME
    ))?;
    let standing = site.serve()?;
    standing::save(NAME, &standing)?;
    Ok(standing)
}

/// Stops it and removes what it kept; the demo's cluster goes on. False when there is none.
pub fn stop() -> Result<bool> {
    let Some(standing) = find()? else {
        return Ok(false);
    };
    standing.process.signal(Signal::SIGTERM);
    if !standing.process.wait(Duration::from_secs(60)) {
        bail!("Superset (pid {}) does not stop", standing.process.pid);
    }
    fs::remove_dir_all(standing::dir(NAME)?)?;
    standing::forget(NAME)?;
    Ok(true)
}

pub fn find() -> Result<Option<Standing>> {
    standing::load(NAME)
}

/// Mirrors, refused rows and a made-up past for a demo that has only its few rows.
fn enliven(cluster: &pg::standing::Standing) -> Result<()> {
    let mut client = Client::connect(&cluster.dsn, NoTls)?;
    let role = client.query_one("SELECT to_regrole('superset') IS NOT NULL", &[])?;
    if role.get(0) {
        return Ok(());
    }
    let step = Step::start("Mirrors, refused rows, and two days of a made-up past");
    client.batch_execute(include_str!("activity.sql"))?;
    demo::wait::until_quiet(&mut client, &step)?;
    client.batch_execute(include_str!("past.sql"))?;
    let deadline = Instant::now() + PATIENCE;
    while client
        .query_one("SELECT count(*) FROM etl.sync_lag WHERE state <> 'ok'", &[])?
        .get::<_, i64>(0)
        > 0
    {
        ensure!(
            Instant::now() < deadline,
            "the mirrors are not pulled: psql {} -c 'SELECT * FROM etl.sync_lag'",
            cluster.dsn
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    step.done("");
    Ok(())
}

/// One Superset: its program, its files, its port.
struct Site {
    program: Program,
    home: PathBuf,
    port: u16,
}

impl Site {
    /// A command of the environment that uses this site's files.
    fn command(&self, name: &str) -> Command {
        let mut command = self.program.command(name);
        command
            .env("SUPERSET_CONFIG_PATH", self.home.join("superset_config.py"))
            .env("SUPERSET_HOME", &self.home)
            .env("FLASK_APP", "superset")
            .current_dir(&self.home);
        command
    }

    /// Its own tables, and someone who may log in.
    fn prepare(&self) -> Result<()> {
        let step = Step::start("Preparing Superset");
        let _ = fs::remove_dir_all(&self.home);
        fs::create_dir_all(&self.home)?;
        let key: String = (0..48)
            .map(|_| char::from(rand::rng().random_range(b'a'..=b'z')))
            .collect();
        let config = format!(
            "SECRET_KEY = \"{key}\"\nSQLALCHEMY_DATABASE_URI = \"sqlite:///{}\"\n",
            self.home.join("superset.db").display()
        );
        fs::write(self.home.join("superset_config.py"), config)?;
        for arguments in [
            "db upgrade",
            "fab create-admin --username admin --password admin --firstname Ada --lastname Admin --email admin@example.com",
            "init",
        ] {
            let mut superset = self.command("superset");
            superset.args(arguments.split_whitespace());
            command::logged(&step, &mut superset, "superset-prepare")?;
        }
        step.done("");
        Ok(())
    }

    /// As a user imports the bundle.
    fn import(&self, uri: &str) -> Result<()> {
        let step = Step::start("Importing the dashboard");
        symlink(
            place::workspace().join("superset/pg_etl"),
            self.home.join("pg_etl"),
        )?;
        for line in import_commands(README)? {
            let mut words = line.split_whitespace();
            let mut import = self.command(words.next().unwrap_or_default());
            import.args(words.map(|word| {
                if word.starts_with("postgresql://") {
                    uri
                } else {
                    word
                }
            }));
            command::logged(&step, &mut import, "superset-import")
                .with_context(|| format!("in superset/README.md: {line}"))?;
        }
        step.done("");
        Ok(())
    }

    fn serve(&self) -> Result<Standing> {
        let step = Step::start("Starting Superset");
        let log = self.home.join("superset.log");
        let file = File::create(&log)?;
        let mut server = self.command("gunicorn");
        server
            .args(["--bind", &format!("127.0.0.1:{}", self.port)])
            .args(["--workers", "1", "--threads", "8", "--timeout", "120"])
            .arg("superset.app:create_app()")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let process = daemon::spawn(server, Life::UntilStopped, Signal::SIGTERM)?;
        self.wait(process, &log)?;
        let url = format!("http://127.0.0.1:{}/superset/dashboard/pg_etl/", self.port);
        step.done(&url);
        Ok(Standing {
            url,
            login: ADMIN.to_owned(),
            password: ADMIN.to_owned(),
            log: log.display().to_string(),
            process,
        })
    }

    fn wait(&self, process: Process, log: &Path) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let health = format!("http://127.0.0.1:{}/health", self.port);
        while ureq::get(&health).call().is_err() {
            if !process.alive() || Instant::now() > deadline {
                process.signal(Signal::SIGKILL);
                bail!(
                    "Superset did not start; {} ends with:\n{}",
                    log.display(),
                    command::tail(log, 2_000)
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

/// The commands of the README, which are what is run.
fn import_commands(readme: &str) -> Result<Vec<&str>> {
    let block = readme
        .split("```sh\n")
        .find(|block| block.contains("import-dashboards"))
        .and_then(|rest| rest.split("```").next())
        .context("superset/README.md does not say how to import the bundle")?;
    Ok(block
        .lines()
        .filter(|line| line.starts_with("python3 ") || line.starts_with("superset "))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_readme_says_is_what_is_run() {
        let commands = import_commands(README).unwrap();
        let programs: Vec<&str> = commands
            .iter()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!(programs, ["python3", "superset", "superset"]);
        assert!(commands[2].contains(" postgresql://"), "{}", commands[2]);
    }
}
