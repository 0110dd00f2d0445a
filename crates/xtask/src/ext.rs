//! Building the extension and installing it into a server.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::unistd::{AccessFlags, access};

use crate::command;
use crate::deps;
use crate::pg::PgVersion;
use crate::place;
use crate::progress::Step;

pub const PACKAGE: &str = "pg_etl";

/// How the extension is compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// A cargo profile: `release`, `dev`, …
    pub profile: String,
    /// Features beside the server's version.
    pub features: Vec<String>,
}

impl Build {
    /// What users get.
    pub fn release() -> Self {
        Self {
            profile: "release".to_owned(),
            features: Vec::new(),
        }
    }
}

/// Builds for one version and installs there; quick when nothing has changed.
pub fn install(version: PgVersion, build: &Build) -> Result<()> {
    deps::ensure(&[version])?;
    let _turn = place::lock("install")?;
    let step = Step::start(format!(
        "Building pg_etl for PostgreSQL {version} (profile {})",
        build.profile
    ));
    let mut install = Command::new("cargo");
    install
        .args([
            "pgrx",
            "install",
            "--package",
            PACKAGE,
            "--profile",
            &build.profile,
        ])
        .arg("--pg-config");
    install
        .arg(version.pg_config()?)
        .arg("--no-default-features")
        .args(["--features", &features(version, build)]);
    if needs_sudo(&version.directory("pkglibdir")?) {
        install.arg("--sudo");
    }
    install.current_dir(place::workspace());
    command::logged(
        &step,
        &mut install,
        &format!("install-{}", version.feature()),
    )
    .context("the extension could not be built or installed")?;
    step.done("");
    Ok(())
}

/// The features of a build for a version, as cargo wants them.
pub fn features(version: PgVersion, build: &Build) -> String {
    let all = std::iter::once(version.feature()).chain(build.features.iter().map(String::as_str));
    all.collect::<Vec<_>>().join(" ")
}

fn needs_sudo(dir: &Path) -> bool {
    access(dir, AccessFlags::W_OK).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_begin_with_the_version() {
        let build = Build {
            profile: "dev".into(),
            features: vec!["failpoints".into()],
        };
        assert_eq!(features(PgVersion::V17, &build), "pg17 failpoints");
        assert_eq!(features(PgVersion::V15, &Build::release()), "pg15");
    }
}
