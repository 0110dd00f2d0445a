//! Where things are kept: the checkout, the cache of everything that is built or downloaded once, and the directories of
//! running servers.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::{Gid, Uid, User};
use rand::RngExt;

/// The root of the checkout.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}

/// `$PG_ETL_CACHE`; for root `/var/cache/pg_etl`, because the servers run as another user, who may not look into root's
/// home; else `$XDG_CACHE_HOME/pg_etl`.
pub fn cache() -> Result<PathBuf> {
    let dir = if let Some(dir) = std::env::var_os("PG_ETL_CACHE") {
        std::path::absolute(dir)?
    } else if Uid::effective().is_root() {
        PathBuf::from("/var/cache/pg_etl")
    } else if let Some(dir) = std::env::var_os("XDG_CACHE_HOME") {
        PathBuf::from(dir).join("pg_etl")
    } else {
        let home =
            std::env::var_os("HOME").context("HOME is not set: set PG_ETL_CACHE to a directory")?;
        PathBuf::from(home).join(".cache/pg_etl")
    };
    public_dir(&dir)?;
    Ok(dir)
}

/// A directory of the cache, made when it is missing.
pub fn cache_dir(name: &str) -> Result<PathBuf> {
    let dir = cache()?.join(name);
    public_dir(&dir)?;
    Ok(dir)
}

/// A file below `log` in the cache, for the output of a long command.
pub fn log_file(name: &str) -> Result<PathBuf> {
    Ok(cache_dir("log")?.join(format!("{name}.log")))
}

/// Makes a directory that every user may enter.
fn public_dir(dir: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .with_context(|| {
            format!(
                "cannot make {}: set PG_ETL_CACHE to a directory you may write",
                dir.display()
            )
        })
}

/// Holds a named lock until dropped, so that two processes never prepare the same thing at once.
pub fn lock(name: &str) -> Result<File> {
    let path = cache_dir("lock")?.join(name);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// The name of a new directory that is removed, at the latest, when its owner is gone and another one is asked for.
pub fn temporary_dir(kind: &str) -> Result<PathBuf> {
    let all = cache_dir("tmp")?;
    sweep(&all)?;
    let owner = std::process::id();
    Ok(all.join(format!(
        "{kind}-{owner}-{:06x}",
        rand::rng().random_range(0..0x100_0000)
    )))
}

/// Removes what killed owners left behind; their servers died with them.
pub fn sweep(all: &Path) -> Result<()> {
    for entry in fs::read_dir(all)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if owner(&name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

fn owner(name: &str) -> Option<u32> {
    name.rsplit('-').nth(1)?.parse().ok()
}

/// Who the servers run as: Postgres refuses root, so root hands over to `postgres`.
#[derive(Debug, Clone)]
pub struct ServerUser {
    pub name: String,
    pub uid: Uid,
    pub gid: Gid,
    /// True when processes must change user.
    pub switch: bool,
}

impl ServerUser {
    pub fn find() -> Result<Self> {
        let root = Uid::effective().is_root();
        let user = if root {
            User::from_name("postgres")?
        } else {
            User::from_uid(Uid::effective())?
        };
        let user = user.context(if root {
            "there is no user `postgres` to run servers as: apt-get install postgresql-common"
        } else {
            "the current user has no name"
        })?;
        Ok(Self {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
            switch: root,
        })
    }

    /// Gives a file or directory to the servers' user.
    pub fn own(&self, path: &Path) -> Result<()> {
        if self.switch {
            chown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
                .with_context(|| format!("cannot give {} to {}", path.display(), self.name))?;
        }
        Ok(())
    }

    /// Makes a directory that only the servers' user may enter.
    pub fn private_dir(&self, dir: &Path) -> Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("cannot make {}", dir.display()))?;
        self.own(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_tells_its_owner() {
        assert_eq!(owner("pg15-4711-0a1b2c"), Some(4711));
        assert_eq!(owner("odoo-x"), None);
    }

    #[test]
    fn the_workspace_is_the_checkout() {
        assert!(workspace().join("crates/xtask/Cargo.toml").is_file());
    }
}
