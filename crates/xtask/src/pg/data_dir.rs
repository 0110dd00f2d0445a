//! Data directories: a template per version, made once by `initdb`, and copies of it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rand::RngExt;

use super::PgVersion;
use crate::command;
use crate::place::{self, ServerUser};

/// Below the range from which the kernel takes ports for outgoing connections.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// A port of the loopback interface that nobody listens on.
pub fn free_port() -> Result<u16> {
    let mut random = rand::rng();
    (0..200)
        .map(|_| random.random_range(PORTS))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no free port on 127.0.0.1")
}

/// A fresh data directory to copy from, kept because `initdb` is slow.
pub(super) fn template(version: PgVersion, user: &ServerUser) -> Result<PathBuf> {
    let exact =
        command::output(Command::new(version.bin_dir()?.join("postgres")).arg("--version"))?;
    let exact = exact
        .split_whitespace()
        .nth(2)
        .unwrap_or(version.major())
        .to_owned();
    let _turn = place::lock(&format!("template-{version}"))?;
    let data = place::cache_dir("template")?.join(exact);
    if !data.join("PG_VERSION").is_file() {
        let _ = fs::remove_dir_all(&data);
        let unfinished = data.with_extension("new");
        let _ = fs::remove_dir_all(&unfinished);
        initdb(version, &unfinished, user)?;
        fs::rename(&unfinished, &data)?;
    }
    Ok(data)
}

pub(super) fn initdb(version: PgVersion, data: &Path, user: &ServerUser) -> Result<()> {
    user.private_dir(data)?;
    let mut initdb = Command::new(version.bin_dir()?.join("initdb"));
    initdb.arg("-D").arg(data);
    initdb.args([
        "-U",
        "postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
    ]);
    command::output(command::as_server(&mut initdb, user, data)).map(drop)
}

/// The data directory of a standby that streams from `primary`.
pub(super) fn base_backup(
    version: PgVersion,
    data: &Path,
    primary: &str,
    user: &ServerUser,
) -> Result<()> {
    user.private_dir(data)?;
    let mut backup = Command::new(version.bin_dir()?.join("pg_basebackup"));
    backup.arg("-D").arg(data).args(["-d", primary]);
    backup.args([
        "--write-recovery-conf",
        "--wal-method=stream",
        "--checkpoint=fast",
        "--no-sync",
    ]);
    command::output(command::as_server(&mut backup, user, data)).map(drop)
}

/// Copies a directory with owners and rights, sharing blocks where the file system can.
pub(crate) fn copy_tree(from: &Path, to: &Path, user: &ServerUser) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.args(["-a", "--reflink=auto"]).arg(from).arg(to);
    let outcome = command::output(&mut copy);
    if outcome.is_err() {
        let _ = fs::remove_dir_all(to);
    }
    outcome.with_context(|| {
        format!(
            "cannot copy {} to {}: is the disk full?",
            from.display(),
            to.display()
        )
    })?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
    user.own(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound() {
        let port = free_port().unwrap();
        assert!(PORTS.contains(&port));
        TcpListener::bind(("127.0.0.1", port)).unwrap();
    }
}
