//! Getting a server: Debian's package where the machine's suites have it, else built once from Debian's own source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{PgVersion, private};
use crate::command;
use crate::deps::apt;
use crate::deps::suite::{self, Kind};
use crate::place;
use crate::progress::Step;

const SOURCE_BUILD_PACKAGES: &[&str] = &[
    // for the user `postgres`
    "postgresql-common",
    "build-essential",
    "bison",
    "bzip2",
    "flex",
    "libicu-dev",
    "libreadline-dev",
    "libssl-dev",
    "perl",
    "pkg-config",
    "zlib1g-dev",
];

/// Where Debian puts servers, and their headers.
const PACKAGED: &str = "/usr/lib/postgresql";
const HEADERS: &str = "/usr/include/postgresql";

/// Written when a build is complete.
const COMPLETE: &str = ".complete";

/// The directory of the programs of an installed server that has its headers too: in the private installation of this process where
/// there is one, else in the machine's.
pub fn find(version: PgVersion) -> Option<PathBuf> {
    match private::root() {
        Some(root) => private::bin_dir(&root, version),
        None => find_machines(version),
    }
}

/// The machine's own installation, whatever this process uses.
pub fn find_machines(version: PgVersion) -> Option<PathBuf> {
    let packaged = Path::new(PACKAGED).join(version.major());
    let headers = Path::new(HEADERS)
        .join(version.major())
        .join("server/postgres.h");
    if packaged.join("bin/postgres").is_file()
        && packaged.join("bin/pg_config").is_file()
        && headers.is_file()
    {
        return Some(packaged.join("bin"));
    }
    let built = prefix(version).ok()?;
    built.join(COMPLETE).is_file().then(|| built.join("bin"))
}

pub fn ensure(version: PgVersion) -> Result<()> {
    if find(version).is_some() {
        return Ok(());
    }
    let _turn = place::lock(&format!("pg{version}"))?;
    if find(version).is_some() {
        return Ok(());
    }
    apt::ensure_lists()?;
    let (server, headers) = (
        version.package(),
        format!("postgresql-server-dev-{version}"),
    );
    if !apt::available(&server) || !apt::available(&headers) {
        return build(version);
    }
    apt::install(&[&server, &headers])?;
    let cron = format!("postgresql-{version}-cron");
    if apt::available(&cron) {
        apt::install(&[&cron])?;
    }
    Ok(())
}

/// Used where the suite's newest is not to be had.
const SOURCE_17: suite::Pinned = suite::Pinned {
    path: "pool/main/p/postgresql-17/postgresql-17_17.11.orig.tar.bz2",
    sha256: "dd27f2b3c59e73ed14aa3324901242bf69a032a6347805f274e6260322d42979",
};

fn prefix(version: PgVersion) -> Result<PathBuf> {
    Ok(place::cache()?.join(version.feature()))
}

fn build(version: PgVersion) -> Result<()> {
    apt::install(SOURCE_BUILD_PACKAGES)?;
    let work = place::cache_dir("build")?.join(version.feature());
    let tarball =
        suite::fetch(version.suite(), Kind::Tarball, &version.package(), &work).or_else(|why| {
            match version {
                PgVersion::V17 => {
                    suite::fetch_pinned(SOURCE_17, &work).with_context(|| format!("{why:#}"))
                }
                PgVersion::V15 => Err(why),
            }
        })?;
    let prefix = prefix(version)?;
    let name = tarball
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let step = Step::start(format!(
        "Building PostgreSQL {version} from {name} (about 5 minutes, once)"
    ));
    let source = work.join("source");
    fs::create_dir_all(&source)?;
    let mut unpack = Command::new("tar");
    unpack
        .arg("xf")
        .arg(&tarball)
        .arg("--strip-components=1")
        .arg("-C")
        .arg(&source);
    command::output(&mut unpack)?;
    let log = |stage: &str| format!("{}-{stage}", version.feature());

    let mut configure = Command::new("./configure");
    configure
        .arg(format!("--prefix={}", prefix.display()))
        .args(["--with-openssl", "--with-icu"])
        .current_dir(&source);
    command::logged(&step, &mut configure, &log("configure"))?;
    let jobs = format!(
        "-j{}",
        std::thread::available_parallelism().map_or(2, usize::from)
    );
    for (stage, dir) in [("server", "."), ("contrib", "contrib")] {
        let mut make = Command::new("make");
        make.args([jobs.as_str(), "-C", dir]).current_dir(&source);
        // make's own variables would turn a make that is run from make silent or serial.
        make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
        command::logged(&step, &mut make, &log(stage))?;
        let mut install = Command::new("make");
        install
            .args(["-C", dir, "install"])
            .current_dir(&source)
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL");
        command::logged(&step, &mut install, &log("install"))?;
    }
    fs::write(prefix.join(COMPLETE), name)
        .with_context(|| format!("cannot write into {}", prefix.display()))?;
    fs::remove_dir_all(&work)?;
    step.done(&prefix.display().to_string());
    Ok(())
}
