//! A disk that is full, first for the tables (statements fail), then for the write-ahead log (the server panics). When there is room
//! again, everything goes on.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Findings, creates, drain};
use crate::chaos::arena::{Arena, Setup};
use crate::chaos::enqueue;
use crate::chaos::workload::Workload;
use crate::chaos::world::Kind;
use crate::command;
use crate::pg::PgVersion;
use crate::place;

const PATIENCE: Duration = Duration::from_secs(90);

/// A file system of its own, of a size that can be filled.
struct Disk(PathBuf);

impl Disk {
    fn mount(size: &str) -> Result<Self> {
        let dir = place::temporary_dir("disk")?;
        fs::create_dir_all(&dir)?;
        let mut mount = Command::new("mount");
        mount
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size},mode=755"),
                "tmpfs",
            ])
            .arg(&dir);
        command::output(&mut mount)
            .context("a file system of its own needs the right to mount one")?;
        Ok(Self(dir))
    }

    /// Takes every byte that is free.
    fn fill(&self) -> Result<()> {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(self.0.join("filler"))?;
        for size in [1 << 20, 4_096] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Ok(())
    }

    fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.0.join("filler"))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        let _ = command::output(unmount.arg("--lazy").arg(&self.0));
        let _ = fs::remove_dir(&self.0);
    }
}

pub fn run(version: PgVersion, findings: &mut Findings) -> Result<()> {
    let disk = Disk::mount("300m")?;
    let setup = Setup::default()
        .setting("max_wal_size", "64MB")
        .setting("min_wal_size", "32MB")
        .setting("etl.batch_rows", "20");
    let dir = disk.0.join("pg");
    let arena = Arena::start_with(version, Kind::Sim, 1, &setup, |builder| builder.dir(dir))?;
    let mut workload = Workload::default();
    let outcome = full_twice(&arena, &disk, &mut workload, findings);
    // The server's directory must be free before it is unmounted.
    let judged = outcome.and_then(|()| findings.judge(&arena, &workload));
    drop(arena);
    judged
}

fn full_twice(
    arena: &Arena,
    disk: &Disk,
    workload: &mut Workload,
    findings: &mut Findings,
) -> Result<()> {
    enqueue::all(arena, &creates(workload, 6_000))?;
    arena.until("some rows to be done", PATIENCE, || {
        Ok(arena.settled()? > 500)
    })?;
    arena.ask(|client| client.batch_execute("CREATE TABLE public.ballast (x text)"))?;
    disk.fill()?;
    let at = arena.settled();
    // Statements that need room fail one after another; nobody is told that anything is done.
    let refused = enqueue_until_refused(arena)?;
    findings.figure("settled_when_full", at.unwrap_or(-1));
    findings.must(refused == "53100", || {
        format!("refused with {refused}, and not for want of space")
    });
    findings.figure("refused_with", refused);
    // The log needs a new segment: the server cannot write on, and says so by going down.
    let emit = "SELECT pg_logical_emit_message(false, 'chaos', repeat('x', 1000000)) FROM generate_series(1, 60)";
    let panicked = arena
        .client()
        .and_then(|mut client| Ok(client.batch_execute(emit)?))
        .is_err();
    findings.must(panicked, || "the log went on without a disk".to_owned());
    // As long as it is full the server comes back only to fall again.
    std::thread::sleep(Duration::from_secs(3));
    disk.free()?;
    arena.cluster.start_again()?;
    enqueue::all(arena, &creates(workload, 500))?;
    drain(arena, PATIENCE)?;
    let log = arena.cluster.log();
    findings.figure("panics", log.matches("PANIC").count());
    findings.figure(
        "no_space_errors",
        log.matches("No space left on device").count(),
    );
    findings.must(log.contains("No space left on device"), || {
        "the disk was never full".to_owned()
    });
    Ok(())
}

/// Inserts rows that nobody will miss until one is refused, and says why it was.
fn enqueue_until_refused(arena: &Arena) -> Result<String> {
    let mut client = arena.client()?;
    for _ in 0..200 {
        let insert =
            "INSERT INTO public.ballast SELECT repeat('x', 500) FROM generate_series(1, 2000)";
        if let Err(error) = client.batch_execute(insert) {
            let code = error.code().map(|code| code.code().to_owned());
            return Ok(code.unwrap_or_else(|| "a lost session".to_owned()));
        }
    }
    bail!("the disk does not fill")
}
