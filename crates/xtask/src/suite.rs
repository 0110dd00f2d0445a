//! `cargo xtask test`: every test there is, against real servers, with a summary.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command;
use crate::deps::{self, apt};
use crate::ext::{self, Build};
use crate::odoo::{self, Odoo};
use crate::pg::PgVersion;
use crate::place::{self, ServerUser};
use crate::progress::{BOLD, DIM, GREEN, RED, elapsed, say};

/// The crates whose tests need no server.
const UNIT: &[&str] = &["pg_etl_core", "odoo-sim", "xtask"];

/// The outside-in tests.
const SERVER: &str = "pg_etl-tests";

/// Those of them that need the real Odoo: not among the targets that run by themselves.
const REAL_ODOO: &[&str] = &["real_odoo", "real_odoo_credentials"];

/// The one that needs a real Superset and a browser.
const SUPERSET: &str = "superset";

/// Browsers that the test finds by itself.
const BROWSERS: &[&str] = &[
    "google-chrome-stable",
    "google-chrome",
    "chromium",
    "chromium-browser",
    "chrome",
];

/// What `pg_etl_core` must see the same way of the simulator and of the real Odoo.
const CONFORMANCE: &[&str] = &["conformance", "delivery"];

/// The outside-in tests that run on the second version as well.
const SUBSET: &[&str] = &["main_job", "install", "health"];

/// Tells the outside-in tests which version to start.
const ENV_PG: &str = "PG_ETL_PG";

/// Tells the outside-in tests that the real Odoo takes part.
const ENV_ODOO: &str = "PG_ETL_ODOO";

/// How much is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Pure code.
    Unit,
    /// `#[pg_test]`: inside a server.
    Pg,
    /// From outside, with the simulator, and the short form of the crash suite.
    Server,
    /// From outside, with the real Odoo too.
    Odoo,
    /// The dashboard, in a real Superset.
    Superset,
    All,
}

impl Tier {
    fn unit(self) -> bool {
        matches!(self, Self::Unit | Self::All)
    }

    fn pg(self) -> bool {
        matches!(self, Self::Pg | Self::All)
    }

    fn outside(self) -> bool {
        matches!(self, Self::Server | Self::Odoo | Self::All)
    }

    fn odoo(self) -> bool {
        matches!(self, Self::Odoo | Self::All)
    }

    fn superset(self) -> bool {
        matches!(self, Self::Superset | Self::All)
    }

    fn crashes(self) -> bool {
        matches!(self, Self::Server | Self::All)
    }
}

/// The version that an outside-in test shall start: `PG_ETL_PG`, else one that is there.
pub fn pg_under_test() -> Result<PgVersion> {
    match std::env::var(ENV_PG) {
        Ok(text) => text.parse(),
        Err(_) => Ok(PgVersion::preferred()),
    }
}

/// Whether the tests that need the real Odoo shall run.
pub fn odoo_takes_part() -> bool {
    std::env::var(ENV_ODOO).is_ok_and(|value| value == "1")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unit,
    /// The simulator and the real Odoo, side by side, over both protocols.
    Conformance,
    InServer(PgVersion),
    Servers(PgVersion),
    Install(PgVersion),
    Outside(PgVersion),
    OutsideSubset(PgVersion),
    /// The dashboard in a real Superset.
    Dashboard(PgVersion),
    /// The short form of the crash suite.
    Crashes(PgVersion),
}

impl Stage {
    fn name(self) -> String {
        match self {
            Self::Unit => "Unit tests".to_owned(),
            Self::Conformance => {
                "Conformance of the simulator and the client with a real Odoo".to_owned()
            }
            Self::InServer(version) => format!("Tests inside PostgreSQL {version}"),
            Self::Servers(version) => {
                format!("Starting and stopping the servers, PostgreSQL {version}")
            }
            Self::Install(version) => format!("Install into PostgreSQL {version}"),
            Self::Outside(version) => format!("Outside-in tests on PostgreSQL {version}"),
            Self::OutsideSubset(version) => format!(
                "Outside-in tests on PostgreSQL {version}: {}",
                SUBSET.join(", ")
            ),
            Self::Dashboard(version) => {
                format!("The dashboard in a real Superset, PostgreSQL {version}")
            }
            Self::Crashes(version) => format!("Crash suite, short, on PostgreSQL {version}"),
        }
    }
}

/// The stages in order. Without a version: everything on 15, and on 17 what differs between servers.
fn plan(version: Option<PgVersion>, tier: Tier) -> Vec<Stage> {
    let main = version.unwrap_or(PgVersion::V15);
    let mut stages = Vec::new();
    if tier.unit() {
        stages.push(Stage::Unit);
    }
    if tier.odoo() {
        stages.push(Stage::Conformance);
    }
    if tier.pg() {
        stages.push(Stage::InServer(main));
    }
    if tier.outside() {
        stages.extend([
            Stage::Servers(main),
            Stage::Install(main),
            Stage::Outside(main),
        ]);
        if version.is_none() {
            stages.extend([
                Stage::Install(PgVersion::V17),
                Stage::OutsideSubset(PgVersion::V17),
            ]);
        }
    }
    if tier.superset() {
        stages.push(Stage::Dashboard(main));
    }
    if tier.crashes() {
        stages.push(Stage::Crashes(main));
    }
    stages
}

/// Runs the stages to the end; an error if any failed.
pub fn run(version: Option<PgVersion>, tier: Tier, filter: &[String]) -> Result<()> {
    let mut summary = Vec::new();
    let mut broken = Vec::new();
    for stage in plan(version, tier) {
        // A filter names tests, and the crash suite has none by name.
        if matches!(stage, Stage::Crashes(_)) && !filter.is_empty() {
            continue;
        }
        if let Stage::Outside(version) | Stage::OutsideSubset(version) = stage
            && broken.contains(&version)
        {
            continue;
        }
        say(format_args!("\n{BOLD}▶ {}{BOLD:#}", stage.name()));
        let started = Instant::now();
        let mut tally = Tally::default();
        let outcome = stage.run(tier, filter, &mut tally);
        if let Err(error) = &outcome {
            say(format_args!("{RED}✗{RED:#} {}: {error:#}", stage.name()));
            if let Stage::Install(version) = stage {
                broken.push(version);
            }
        }
        summary.push(Line {
            stage,
            passed: outcome.is_ok(),
            tally,
            time: started.elapsed(),
        });
    }
    place::sweep(&place::cache_dir("tmp")?)?;
    conclude(&summary)
}

impl Stage {
    fn run(self, tier: Tier, filter: &[String], tally: &mut Tally) -> Result<()> {
        match self {
            Self::Unit => {
                let mut test = cargo(&["test"]);
                test.args(UNIT.iter().flat_map(|name| ["--package", name]));
                finish(test, filter, tally)
            }
            Self::Conformance => conformance(filter, tally),
            Self::InServer(version) => in_server(version, filter, tally),
            Self::Servers(version) => {
                let mut test = cargo(&["test", "--package", "xtask", "--test", "servers"]);
                if tier.odoo() {
                    test.args(["--test", "odoo"]);
                }
                test.env(ENV_PG, version.major());
                finish(test, filter, tally)
            }
            Self::Install(version) => ext::install(version, &Build::release()),
            Self::Outside(version) => {
                let simulated = finish(outside(version, tier), filter, tally);
                if tier.odoo() {
                    let mut real = outside(version, tier);
                    real.args(REAL_ODOO.iter().flat_map(|name| ["--test", name]));
                    finish(real, filter, tally)?;
                }
                simulated
            }
            Self::OutsideSubset(version) => {
                let mut test = outside(version, tier);
                test.args(SUBSET.iter().flat_map(|name| ["--test", name]));
                if tier.odoo() {
                    test.args(["--test", REAL_ODOO[0]]);
                }
                finish(test, filter, tally)
            }
            Self::Dashboard(version) => {
                if !BROWSERS.iter().any(|name| command::on_path(name)) {
                    apt::install(&["chromium"])?;
                }
                let mut test = outside(version, tier);
                test.args(["--test", SUPERSET]);
                finish(test, filter, tally)
            }
            Self::Crashes(version) => crashes(version, tally),
        }
    }
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(arguments).current_dir(place::workspace());
    cargo
}

fn outside(version: PgVersion, tier: Tier) -> Command {
    let mut test = cargo(&["test", "--package", SERVER]);
    test.env(ENV_PG, version.major())
        .env(ENV_ODOO, takes_part(tier));
    test
}

fn takes_part(tier: Tier) -> &'static str {
    if tier.odoo() { "1" } else { "0" }
}

fn conformance(filter: &[String], tally: &mut Tally) -> Result<()> {
    deps::ensure(&[PgVersion::V15])?;
    let odoo = Odoo::start(&odoo::Options::default())?;
    let mut test = cargo(&["test", "--package", "pg_etl_core"]);
    test.args(CONFORMANCE.iter().flat_map(|name| ["--test", name]))
        .env("PG_ETL_ODOO_URL", &odoo.url)
        .env("PG_ETL_ODOO_DB", &odoo.database)
        .env("PG_ETL_ODOO_LOGIN", &odoo.login)
        .env("PG_ETL_ODOO_PASSWORD", &odoo.password)
        .env("PG_ETL_ODOO_KEY", &odoo.api_key);
    let outcome = finish(test, filter, tally);
    odoo.stop()?;
    outcome
}

/// A filter is passed on to the test programs; all test programs run, even after one has failed.
fn finish(mut test: Command, filter: &[String], tally: &mut Tally) -> Result<()> {
    test.arg("--no-fail-fast").arg("--").args(filter);
    command::streamed(&mut test, |line| tally.read(line))
}

/// pgrx makes its own cluster. As root it must hand the server over to another user, which it does through sudo.
fn in_server(version: PgVersion, filter: &[String], tally: &mut Tally) -> Result<()> {
    deps::ensure(&[version])?;
    let mut test = cargo(&["pgrx", "test", version.feature(), "--package", ext::PACKAGE]);
    test.args(["--no-default-features", "--features", version.feature()]);
    let user = ServerUser::find()?;
    let dir = place::temporary_dir("pgrx")?;
    if user.switch {
        apt::install(&["sudo"])?;
        user.private_dir(&dir)?;
        test.args(["--runas", &user.name])
            .arg("--pgdata")
            .arg(dir.join("data"));
    }
    if let Some(name) = filter.first() {
        test.arg(name);
    }
    let outcome = command::streamed(&mut test, |line| tally.read(line));
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

/// In a process of its own, for the crash suite uses an installation of its own.
fn crashes(version: PgVersion, tally: &mut Tally) -> Result<()> {
    let dir = place::temporary_dir("crashes")?;
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let outcome = dir.join("outcome.json");
    let mut chaos = command::this_program()?;
    chaos
        .args(["chaos", "--short", "--pg", version.major(), "--json"])
        .arg(&outcome);
    let ended = command::streamed(&mut chaos, |_| ());
    let said = std::fs::read(&outcome).unwrap_or_default();
    let _ = std::fs::remove_dir_all(&dir);
    tally.read_outcome(&serde_json::from_slice(&said).unwrap_or_default());
    ended?;
    // Had it done nothing, it would have failed at nothing.
    if tally.passed == 0 {
        bail!("the crash suite does not say what it did");
    }
    Ok(())
}

/// What the test programs said about themselves.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Tally {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn read(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        for part in result.split(['.', ';']) {
            if let Some((Ok(count), what)) = part
                .trim()
                .split_once(' ')
                .map(|(n, what)| (n.parse::<u64>(), what))
            {
                match what {
                    "passed" => self.passed += count,
                    "failed" => self.failed += count,
                    "ignored" => self.ignored += count,
                    _ => {}
                }
            }
        }
    }

    /// Adds what the crash suite says: each run counts as one test, and so does each planted bug.
    fn read_outcome(&mut self, outcome: &Value) {
        let bugs = outcome["planted_bugs"].as_array().into_iter().flatten();
        let runs = ["mixed", "two_way"]
            .into_iter()
            .filter_map(|name| outcome.get(name));
        for part in runs.chain(bugs) {
            if part["passed"] == true {
                self.passed += 1;
            } else {
                self.failed += 1;
            }
        }
    }
}

struct Line {
    stage: Stage,
    passed: bool,
    tally: Tally,
    time: Duration,
}

fn conclude(summary: &[Line]) -> Result<()> {
    let width = summary
        .iter()
        .map(|line| line.stage.name().chars().count())
        .max()
        .unwrap_or(0);
    say(format_args!("\n{BOLD}Summary{BOLD:#}"));
    let mut total = Tally::default();
    for line in summary {
        let mark = if line.passed {
            format!("{GREEN}✓{GREEN:#}")
        } else {
            format!("{RED}✗{RED:#}")
        };
        let counts = match line.stage {
            Stage::Install(_) => String::new(),
            _ => line.tally.to_string(),
        };
        say(format_args!(
            "{mark} {:<width$}  {counts:<34} {DIM}{}{DIM:#}",
            line.stage.name(),
            elapsed(line.time)
        ));
        total.passed += line.tally.passed;
        total.failed += line.tally.failed;
        total.ignored += line.tally.ignored;
    }
    let time = summary.iter().map(|line| line.time).sum();
    say(format_args!("{BOLD}{total} in {}{BOLD:#}", elapsed(time)));
    let failed: Vec<String> = summary
        .iter()
        .filter(|line| !line.passed)
        .map(|line| line.stage.name())
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("failed: {}", failed.join("; "))
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} ignored",
            self.passed, self.failed, self.ignored
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_everything_on_15_and_a_part_on_17() {
        let stages = plan(None, Tier::All);
        assert_eq!(
            stages,
            [
                Stage::Unit,
                Stage::Conformance,
                Stage::InServer(PgVersion::V15),
                Stage::Servers(PgVersion::V15),
                Stage::Install(PgVersion::V15),
                Stage::Outside(PgVersion::V15),
                Stage::Install(PgVersion::V17),
                Stage::OutsideSubset(PgVersion::V17),
                Stage::Dashboard(PgVersion::V15),
                Stage::Crashes(PgVersion::V15),
            ]
        );
    }

    #[test]
    fn a_version_gets_the_whole_suite_alone() {
        let stages = plan(Some(PgVersion::V17), Tier::Server);
        assert_eq!(
            stages,
            [
                Stage::Servers(PgVersion::V17),
                Stage::Install(PgVersion::V17),
                Stage::Outside(PgVersion::V17),
                Stage::Crashes(PgVersion::V17),
            ]
        );
        assert_eq!(plan(None, Tier::Unit), [Stage::Unit]);
        assert_eq!(
            plan(Some(PgVersion::V17), Tier::Superset),
            [Stage::Dashboard(PgVersion::V17)]
        );
    }

    #[test]
    fn each_part_of_the_crash_suite_counts_as_a_test() {
        let mut tally = Tally::default();
        tally.read_outcome(&serde_json::json!({
            "mixed": {"passed": true}, "planted_bugs": [{"passed": true}, {"passed": false}, {}],
        }));
        tally.read_outcome(&Value::Null);
        assert_eq!((tally.passed, tally.failed, tally.ignored), (2, 2, 0));
    }

    #[test]
    fn results_add_up() {
        let mut tally = Tally::default();
        tally.read("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.02s\n");
        tally.read(
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        tally.read("test tests::a ... ok\n");
        assert_eq!(
            tally,
            Tally {
                passed: 14,
                failed: 1,
                ignored: 1
            }
        );
    }
}
