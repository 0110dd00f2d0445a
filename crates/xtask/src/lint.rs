//! `cargo xtask lint`: formatting, clippy for every server version, and pgspot on the extension's SQL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::deps::{self, apt};
use crate::ext::{self, Build};
use crate::pg::PgVersion;
use crate::place;
use crate::progress::{RED, Step, say};

/// Procedures that commit, which Postgres forbids to those with a `SET` clause. Their bodies must name every schema.
const COMMITTING_PROCEDURES: &[&str] = &["etl.drain(max_rows integer,max_time interval)"];

/// Runs every check to the end; an error if any found something.
pub fn run(versions: &[PgVersion]) -> Result<()> {
    deps::ensure(versions)?;
    let mut failed = Vec::new();
    let mut check = |name: String, outcome: Result<()>| {
        if let Err(error) = outcome {
            say(format_args!("{RED}✗{RED:#} {name}: {error:#}"));
            failed.push(name);
        }
    };
    check(
        "formatting".into(),
        cargo(
            "Checking the formatting",
            &["fmt", "--all", "--check"],
            "lint-fmt",
        ),
    );
    let plain = [
        "clippy",
        "--workspace",
        "--exclude",
        ext::PACKAGE,
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    check(
        "clippy".into(),
        cargo("Clippy on the plain crates", &plain, "lint-clippy"),
    );
    let plain = versions.iter().map(|version| version.feature().to_owned());
    // What only the crash suite compiles.
    let more = versions
        .first()
        .map(|version| format!("{} chaos", version.feature()));
    for features in plain.chain(more) {
        let name = format!("clippy on the extension ({features})");
        let arguments = [
            "clippy",
            "--package",
            ext::PACKAGE,
            "--no-default-features",
            "--features",
            &features,
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        let outcome = cargo(
            &format!("Clippy on the extension ({features})"),
            &arguments,
            "lint-clippy-ext",
        );
        check(name, outcome);
    }
    if let Some(version) = versions.first() {
        check("pgspot".into(), pgspot(*version));
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("failed: {}", failed.join(", "))
    }
}

fn cargo(label: &str, arguments: &[&str], log: &str) -> Result<()> {
    let step = Step::start(label);
    command::logged(
        &step,
        Command::new("cargo")
            .args(arguments)
            .current_dir(place::workspace()),
        log,
    )?;
    step.done("");
    Ok(())
}

/// pgspot looks for SQL that a user could hijack while a superuser runs it. It must find nothing.
fn pgspot(version: PgVersion) -> Result<()> {
    let program = pgspot_program()?;
    let step = Step::start("pgspot on the extension's SQL");
    let schema = place::cache_dir("build")?.join("pg_etl.sql");
    let mut generate = Command::new("cargo");
    generate.args([
        "pgrx",
        "schema",
        version.feature(),
        "--package",
        ext::PACKAGE,
        "--no-default-features",
    ]);
    generate
        .args(["--features", &ext::features(version, &Build::release())])
        .arg("--out")
        .arg(&schema);
    command::logged(
        &step,
        generate.current_dir(place::workspace()),
        "lint-schema",
    )?;
    let mut scripts = vec![schema];
    scripts.extend(upgrade_scripts(&place::workspace().join("sql"))?);
    for script in &scripts {
        let mut pgspot = Command::new(&program);
        for procedure in COMMITTING_PROCEDURES {
            pgspot.args(["--proc-without-search-path", procedure]);
        }
        pgspot.arg(script);
        command::logged(&step, &mut pgspot, "pgspot")
            .with_context(|| format!("in {}", script.display()))?;
        let said = fs::read_to_string(place::log_file("pgspot")?)?;
        if !is_clean(&said) {
            bail!("{}:\n{}", script.display(), said.trim());
        }
    }
    step.done(&format!("{} scripts", scripts.len()));
    Ok(())
}

/// The summary counts errors, warnings and what pgspot could not judge.
fn is_clean(said: &str) -> bool {
    said.lines()
        .any(|line| line.trim() == "Errors: 0 Warnings: 0 Unknown: 0")
}

fn upgrade_scripts(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut scripts: Vec<PathBuf> = fs::read_dir(dir)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| is_upgrade(&name.to_string_lossy()))
        })
        .collect();
    scripts.sort();
    Ok(scripts)
}

/// `pg_etl--0.1.0--0.2.0.sql`.
fn is_upgrade(name: &str) -> bool {
    name.strip_suffix(".sql")
        .is_some_and(|stem| stem.split("--").count() == 3)
}

fn pgspot_program() -> Result<PathBuf> {
    let venv = place::cache_dir("pgspot")?.join("venv");
    let program = venv.join("bin/pgspot");
    let _turn = place::lock("pgspot")?;
    if !program.is_file() {
        apt::install(&["python3", "python3-venv"])?;
        let step = Step::start("Installing pgspot");
        command::logged(
            &step,
            Command::new("/usr/bin/python3")
                .args(["-m", "venv"])
                .arg(&venv),
            "pgspot-venv",
        )?;
        let mut pip = Command::new(venv.join("bin/pip"));
        pip.args(["install", "--disable-pip-version-check", "pgspot"])
            .current_dir("/");
        command::logged(&step, &mut pip, "pgspot-pip")?;
        step.done("");
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_not_clean() {
        assert!(is_clean("\n Errors: 0 Warnings: 0 Unknown: 0 \n"));
        assert!(!is_clean(
            "PS016: Unqualified function call: count at line 1\n Errors: 0 Warnings: 1 Unknown: 0\n"
        ));
        assert!(!is_clean(""));
    }

    #[test]
    fn upgrade_scripts_name_two_versions() {
        assert!(is_upgrade("pg_etl--0.1.0--0.2.0.sql"));
        assert!(!is_upgrade("pg_etl--0.1.0.sql"));
        assert!(!is_upgrade("setup.sql"));
    }
}
