//! `odoo-sim`: the simulator as a process of its own. Prints one line of JSON once it listens.

use clap::Parser;
use odoo_sim::{ApiKey, Config, Sim};
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// A faithful small Odoo on a loopback port.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Name of the database.
    #[arg(long, default_value = "odoo")]
    database: String,
    /// Login of the administrator.
    #[arg(long, default_value = "admin")]
    login: String,
    /// Password of the administrator.
    #[arg(long, default_value = "admin")]
    password: String,
    /// API key of the administrator.
    #[arg(long, default_value = "sim-api-key-of-the-administrator")]
    api_key: String,
    /// Simulated major version: 19, or 17 and 18 without JSON-2.
    #[arg(long, default_value_t = 19)]
    odoo_version: u16,
    /// Keep connections open, as a proxy in front of Odoo would.
    #[arg(long)]
    keep_alive: bool,
    /// Calls that run at the same time.
    #[arg(long, default_value_t = 64)]
    workers: usize,
    /// Milliseconds every call takes.
    #[arg(long, default_value_t = 0)]
    call_ms: u64,
    /// Seed of faults that strike by chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut config = Config {
        port: arguments.port,
        database: arguments.database,
        version: arguments.odoo_version,
        keep_alive: arguments.keep_alive,
        workers: arguments.workers,
        call_cost: Duration::from_millis(arguments.call_ms),
        seed: arguments.seed,
        ..Config::default()
    };
    let admin = &mut config.accounts[0];
    admin.login = arguments.login;
    admin.password = arguments.password;
    admin.keys = vec![ApiKey::new(arguments.api_key)];
    let sim = match Sim::start(config) {
        Ok(sim) => sim,
        Err(error) => {
            eprintln!("odoo-sim cannot listen on port {}: {error}", arguments.port);
            return ExitCode::FAILURE;
        }
    };
    let admin = sim.admin();
    println!(
        "{}",
        json!({
            "url": sim.url(),
            "database": sim.database(),
            "login": admin.login,
            "password": admin.password,
            "api_key": admin.keys.first().map(|key| &key.key),
            "uid": admin.uid,
        })
    );
    let _ = std::io::stdout().flush();
    // SIGTERM and SIGINT end the process by default, and there is nothing to save.
    loop {
        thread::park();
    }
}
