//! A package or source of another Debian suite, through a private apt configuration: the machine's own stays untouched.
//! apt checks the suite's signature and every file's SHA-256 on the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use crate::command;
use crate::deps::apt;
use crate::place;
use crate::progress::Step;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The binary package.
    Package,
    /// The upstream tarball of the source package.
    Tarball,
}

/// Downloads into `dir` and gives the file's path.
pub fn fetch(suite: &str, kind: Kind, name: &str, dir: &Path) -> Result<PathBuf> {
    let step = Step::start(format!("Fetching {name} from Debian {suite}"));
    let config = Config::prepare(suite, kind)?;
    command::logged(&step, config.apt_get().arg("update"), "suite-update").with_context(|| {
        format!(
            "cannot read the package lists of {suite} at {}",
            config.mirror
        )
    })?;
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir)?;
    let mut get = config.apt_get();
    match kind {
        Kind::Package => get.args(["download", name]),
        Kind::Tarball => get.args(["source", "--download-only", "--tar-only", name]),
    };
    command::logged(&step, get.current_dir(dir), "suite-fetch").with_context(|| {
        format!(
            "{name} is not to be had from Debian {suite} at {}",
            config.mirror
        )
    })?;
    let file = fs::read_dir(dir)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| wanted(path, kind));
    let file =
        file.with_context(|| format!("apt-get left no file of {name} in {}", dir.display()))?;
    step.done(&file.file_name().unwrap_or_default().to_string_lossy());
    Ok(file)
}

/// A file of Debian's pool as its signed source description (.dsc) names it.
#[derive(Debug, Clone, Copy)]
pub struct Pinned {
    /// Below the mirror.
    pub path: &'static str,
    pub sha256: &'static str,
}

/// Downloads a pinned file into `dir`: for a mirror whose pool lags behind its lists, which then name what it does not have.
pub fn fetch_pinned(file: Pinned, dir: &Path) -> Result<PathBuf> {
    let name = file.path.rsplit('/').next().unwrap_or(file.path);
    let step = Step::start(format!("Fetching {name} from Debian's pool"));
    fs::create_dir_all(dir)?;
    let to = dir.join(name);
    let mut helper = Command::new("/usr/lib/apt/apt-helper");
    helper
        .arg("download-file")
        .arg(format!("{}/{}", mirror()?, file.path))
        .arg(&to)
        .arg(format!("SHA256:{}", file.sha256));
    command::logged(&step, &mut helper, "pool-fetch")?;
    step.done("");
    Ok(to)
}

fn wanted(path: &Path, kind: Kind) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match kind {
        Kind::Package => name.ends_with(".deb"),
        Kind::Tarball => name.contains(".orig.tar.") && !name.ends_with(".asc"),
    }
}

struct Config {
    dir: PathBuf,
    mirror: String,
}

impl Config {
    fn prepare(suite: &str, kind: Kind) -> Result<Self> {
        let mirror = mirror()?;
        let dir = place::cache_dir("apt")?.join(suite);
        for sub in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        fs::write(
            dir.join("sources.list"),
            source_line(suite, kind, &mirror, Path::new(KEYRING).exists()),
        )?;
        Ok(Self { dir, mirror })
    }

    fn apt_get(&self) -> Command {
        let mut command = Command::new("apt-get");
        let options = [
            format!(
                "Dir::Etc::SourceList={}",
                self.dir.join("sources.list").display()
            ),
            "Dir::Etc::SourceParts=-".into(),
            format!("Dir::State::Lists={}", self.dir.join("lists").display()),
            format!("Dir::Cache={}", self.dir.display()),
            "Acquire::Languages=none".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
        ];
        for option in options {
            command.args(["-o", &option]);
        }
        if Uid::effective().is_root() {
            // The directory is root's, where apt's own unprivileged user may not write.
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        command
    }
}

fn source_line(suite: &str, kind: Kind, mirror: &str, keyring: bool) -> String {
    let word = match kind {
        Kind::Package => "deb",
        Kind::Tarball => "deb-src",
    };
    let signed = if keyring {
        format!("[signed-by={KEYRING}] ")
    } else {
        String::new()
    };
    format!("{word} {signed}{mirror} {suite} main\n")
}

/// The Debian mirror that this machine already uses, or `PG_ETL_DEBIAN_MIRROR`.
fn mirror() -> Result<String> {
    if let Ok(mirror) = std::env::var("PG_ETL_DEBIAN_MIRROR") {
        apt::install(&["debian-archive-keyring"])?;
        return Ok(mirror);
    }
    apt::ensure_lists()?;
    let targets = command::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN)|$(LABEL)|$(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    let Some(mirror) = debian_mirror(&targets) else {
        bail!(
            "apt knows no Debian mirror here: set PG_ETL_DEBIAN_MIRROR to the address of one and run this again"
        );
    };
    Ok(mirror.to_owned())
}

/// The first repository that calls itself Debian (not Debian-Security, not a vendor's).
fn debian_mirror(targets: &str) -> Option<&str> {
    targets
        .lines()
        .find_map(|line| line.strip_prefix("Debian|Debian|"))
        .map(|uri| uri.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_debian_itself() {
        let targets = "Vendor|tools|https://vendor.example/apt/\n\
                       Debian|Debian-Security|http://mirror.example/security/\n\
                       Debian|Debian|http://mirror.example/debian/\n";
        assert_eq!(debian_mirror(targets), Some("http://mirror.example/debian"));
        assert_eq!(
            debian_mirror("Ubuntu|Ubuntu|http://mirror.example/ubuntu/"),
            None
        );
    }

    #[test]
    fn sources_are_signed_where_the_keyring_is() {
        assert_eq!(
            source_line("sid", Kind::Package, "http://m", true),
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://m sid main\n"
        );
        assert_eq!(
            source_line("trixie", Kind::Tarball, "http://m", false),
            "deb-src http://m trixie main\n"
        );
    }

    #[test]
    fn the_right_file_is_picked() {
        assert!(wanted(
            Path::new("postgresql-17_17.5.orig.tar.bz2"),
            Kind::Tarball
        ));
        assert!(!wanted(
            Path::new("postgresql-17_17.5-1.dsc"),
            Kind::Tarball
        ));
        assert!(!wanted(Path::new("a_1.orig.tar.gz.asc"), Kind::Tarball));
        assert!(wanted(Path::new("odoo-19_19.0_all.deb"), Kind::Package));
    }
}
