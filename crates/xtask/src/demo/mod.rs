//! `cargo xtask demo`: rows committed in Postgres, delivered to an Odoo by the background worker, seen from both sides.

pub mod picture;
mod report;
pub(crate) mod wait;

use anyhow::{Context, Result};
use postgres::{Client, NoTls};

use crate::ext::{self, Build};
use crate::odoo::{self, Access};
use crate::pg::{self, PgVersion};
use crate::progress::{BOLD, DIM, Step, say};
use crate::sim;

/// The standing servers of the demo.
pub(crate) const NAME: &str = "demo";

/// The worker reads the API key from this variable of the server's environment.
const KEY_VARIABLE: &str = "ETL_ODOO_KEY";

/// Which Odoo takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// The simulator: starts at once.
    Sim,
    /// The real Odoo 19: prepared once, then seconds.
    Real,
}

/// The servers of a demo whose rows were delivered.
pub struct Demo {
    pub cluster: pg::standing::Standing,
    access: Access,
}

/// Runs the demo with fresh servers, shows what became of it, and leaves them running.
pub fn run(version: PgVersion, endpoint: Endpoint) -> Result<()> {
    let Demo { cluster, access } = start(version, endpoint)?;
    let mut client = Client::connect(&cluster.dsn, NoTls)?;
    show(&mut client, &access)?;
    say(format_args!("\n{BOLD}Look around{BOLD:#}"));
    say(format_args!("  psql {}", cluster.dsn));
    say(format_args!(
        "  Odoo {} {DIM}(database {}, login admin, password admin){DIM:#}",
        access.url, access.database
    ));
    say("  stop everything: cargo xtask demo --stop");
    Ok(())
}

/// Starts fresh servers and has the demo's rows delivered.
pub fn start(version: PgVersion, endpoint: Endpoint) -> Result<Demo> {
    ext::install(version, &Build::release())?;
    stop()?;
    let access = start_odoo(endpoint)?;
    let step = Step::start(format!(
        "Starting PostgreSQL {version} with pg_etl preloaded"
    ));
    let cluster = pg::standing::start(&pg::standing::Options {
        version,
        name: NAME.to_owned(),
        port: None,
        env: vec![(KEY_VARIABLE.to_owned(), access.api_key.clone())],
        database: NAME.to_owned(),
    })?;
    step.done(&cluster.dsn);
    let mut client = Client::connect(&cluster.dsn, NoTls)?;
    play(&mut client, &access).with_context(|| format!("the server's log is {}", cluster.log))?;
    Ok(Demo { cluster, access })
}

/// The cluster of a demo that runs.
pub fn find() -> Result<Option<pg::standing::Standing>> {
    Ok(pg::standing::find(NAME)?.filter(pg::standing::Standing::running))
}

/// Stops what an earlier run left running.
pub fn stop() -> Result<()> {
    pg::standing::stop(NAME)?;
    sim::stop(NAME)?;
    odoo::standing::remove(NAME)
}

fn start_odoo(endpoint: Endpoint) -> Result<Access> {
    match endpoint {
        Endpoint::Sim => Ok(sim::start(NAME, None)?.access),
        Endpoint::Real => {
            let request = odoo::standing::Request {
                name: NAME.to_owned(),
                workers: 2,
                port: None,
                keep: false,
            };
            let odoo = odoo::standing::start(&request)?;
            say(format_args!(
                "  {DIM}Odoo {} on {}{DIM:#}",
                odoo.access.version()?,
                odoo.access.url
            ));
            Ok(odoo.access)
        }
    }
}

fn play(client: &mut Client, access: &Access) -> Result<()> {
    let step = Step::start("CREATE EXTENSION pg_etl and one connection");
    client.batch_execute("CREATE EXTENSION pg_etl")?;
    let options = serde_json::json!({
        "database": access.database,
        "login": access.login,
        "allow_methods": ["sale.order.action_confirm"],
    });
    client.execute(
        "SELECT etl.set_connection('odoo', 'odoo', $1, $2, secret => $3)",
        &[&access.url, &options, &format!("env:{KEY_VARIABLE}")],
    )?;
    step.done("");

    // Each act refers to records that the act before it made in Odoo.
    let acts = [
        (
            "Committing creates, upserts, an update, and rows that must fail",
            include_str!("act1.sql"),
        ),
        (
            "Committing a sale order and a delete",
            include_str!("act2.sql"),
        ),
        (
            "Committing the order's confirmation, a call of a method",
            include_str!("act3.sql"),
        ),
    ];
    for (title, sql) in acts {
        let step = Step::start(title);
        client
            .batch_execute(sql)
            .with_context(|| format!("in: {title}"))?;
        let result = wait::until_quiet(client, &step)?;
        step.done(&result);
    }
    Ok(())
}

fn show(client: &mut Client, access: &Access) -> Result<()> {
    report::section("The outbox");
    report::query(client, include_str!("outbox.sql"))?;
    report::section("SELECT * FROM etl.health_report()");
    report::query(client, include_str!("health.sql"))?;
    report::section("What Odoo now holds, asked through JSON-2");
    report::partners(access)?;
    report::orders(access)
}
