//! The prepared database: modules installed, an API key made, kept as a directory to copy.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::install::Program;
use super::{DATABASE, MODULES};
use crate::command;
use crate::pg::{Cluster, Stop};
use crate::place::{self, ServerUser};
use crate::progress::Step;

/// Run in `odoo shell`: uid 2 is the administrator, who may hold a key that never expires.
const MAKE_KEY: &str = "key = env['res.users.apikeys'].with_user(2)._generate('rpc', 'pg_etl', None)\n\
                        env.cr.commit()\n\
                        print('API' + '_KEY=' + key)\n";

/// The parts of a state of Odoo: its Postgres data directory, its files, the administrator's key.
pub struct State {
    dir: PathBuf,
}

impl State {
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The directory of the Postgres cluster; its data directory is `data` below it.
    pub fn postgres(&self) -> PathBuf {
        self.dir.join("pg")
    }

    /// Odoo's `data_dir`.
    pub fn files(&self) -> PathBuf {
        self.dir.join("files")
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("odoo.conf")
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("odoo.log")
    }

    pub fn api_key(&self) -> Result<String> {
        let path = self.key_file();
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    pub fn exists(&self) -> bool {
        self.key_file().is_file() && self.postgres().join("data/PG_VERSION").is_file()
    }

    /// Becomes a copy of another state.
    pub fn copy_from(&self, other: &Self, user: &ServerUser) -> Result<()> {
        let _ = fs::remove_dir_all(&self.dir);
        user.private_dir(&self.dir)?;
        user.private_dir(&self.postgres())?;
        let (from, to) = (other.postgres().join("data"), self.postgres().join("data"));
        crate::pg::data_dir::copy_tree(&from, &to, user)?;
        crate::pg::data_dir::copy_tree(&other.files(), &self.files(), user)?;
        fs::copy(other.key_file(), self.key_file())?;
        Ok(())
    }

    fn key_file(&self) -> PathBuf {
        self.dir.join("api-key")
    }
}

/// The prepared state, made when it is missing or of another version or other modules.
pub fn ensure(program: &Program, user: &ServerUser) -> Result<State> {
    let _turn = place::lock("odoo-prepare")?;
    let version = super::postgres();
    let root = place::cache_dir("odoo")?;
    let name = format!("prepared-pg{version}");
    let state = State::at(root.join(&name));
    let made_of = format!(
        "{} with {}",
        program.version().unwrap_or_default(),
        MODULES.join(" ")
    );
    let label = root.join(&name).join("made-of");
    if state.exists() && fs::read_to_string(&label).is_ok_and(|text| text == made_of) {
        return Ok(state);
    }
    let step = Step::start("Preparing Odoo's database (about 2 minutes, once)");
    let _ = fs::remove_dir_all(&state.dir);
    user.private_dir(&state.dir)?;
    user.private_dir(&state.files())?;
    let cluster = cluster(&state).start()?;
    cluster.psql("postgres", "CREATE ROLE odoo LOGIN CREATEDB")?;
    configure(&state, &cluster, user, "")?;
    let mut install = odoo(program, &state, user);
    install.args(["-i", &MODULES.join(","), "--stop-after-init"]);
    command::logged(&step, &mut install, "odoo-prepare")?;
    let mut shell = program.command();
    shell
        .arg("shell")
        .arg("--config")
        .arg(state.config())
        .args(["--no-http", "--shell-interface=python"]);
    command::as_server(&mut shell, user, &state.dir);
    let key = make_key(&mut shell)?;
    fs::write(state.key_file(), key)?;
    cluster.stop(Stop::Fast)?;
    fs::write(&label, &made_of)?;
    step.done("");
    Ok(state)
}

/// The cluster of a state.
pub fn cluster(state: &State) -> crate::pg::Builder {
    Cluster::builder(super::postgres())
        .dir(state.postgres())
        .setting("shared_buffers", "256MB")
}

/// Writes Odoo's configuration file.
pub fn configure(state: &State, cluster: &Cluster, user: &ServerUser, more: &str) -> Result<()> {
    let text = format!(
        "[options]\ndb_host = {}\ndb_port = {}\ndb_user = odoo\ndb_name = {DATABASE}\ndata_dir = {}\n\
         http_interface = 127.0.0.1\nlist_db = False\n{more}",
        cluster.socket_dir().display(),
        cluster.port(),
        state.files().display(),
    );
    fs::write(state.config(), text)?;
    user.own(&state.config())
}

/// The server program on a state.
pub fn odoo(program: &Program, state: &State, user: &ServerUser) -> Command {
    let mut command = program.command();
    command.arg("--config").arg(state.config());
    command::as_server(&mut command, user, &state.dir);
    command
}

fn make_key(shell: &mut Command) -> Result<String> {
    let log = place::log_file("odoo-shell")?;
    let mut child = shell
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log)?)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(MAKE_KEY.as_bytes())?;
    }
    let out = child.wait_with_output()?;
    match find_key(&String::from_utf8_lossy(&out.stdout)) {
        Some(key) => Ok(key),
        None => bail!(
            "odoo shell made no API key; it says:\n{}",
            command::tail(Path::new(&log), 2_000)
        ),
    }
}

fn find_key(output: &str) -> Option<String> {
    let after = output.split("API_KEY=").nth(1)?;
    let key: String = after.chars().take_while(char::is_ascii_hexdigit).collect();
    (key.len() >= 20).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_among_prompts() {
        let output = ">>> >>> API_KEY=0123456789abcdef0123456789abcdef01234567\n>>> ";
        assert_eq!(
            find_key(output).as_deref(),
            Some("0123456789abcdef0123456789abcdef01234567")
        );
        assert_eq!(find_key("Traceback"), None);
    }
}
