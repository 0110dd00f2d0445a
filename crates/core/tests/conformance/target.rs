//! Which Odoos the suite runs against.

use odoo_sim::{Config, Sim};
use std::sync::OnceLock;

/// An Odoo, and an administrator of it.
pub struct Target {
    /// Shown when a test fails.
    pub label: &'static str,
    pub url: String,
    pub database: String,
    pub login: String,
    pub key: String,
    pub password: String,
}

/// The simulator, and the real Odoo where the environment names one.
pub fn targets() -> &'static [Target] {
    static TARGETS: OnceLock<Vec<Target>> = OnceLock::new();
    TARGETS.get_or_init(|| {
        let mut targets = vec![simulated()];
        targets.extend(real());
        targets
    })
}

fn simulated() -> Target {
    static SIM: OnceLock<Sim> = OnceLock::new();
    let sim = SIM.get_or_init(|| Sim::start(Config::default()).expect("a free loopback port"));
    let admin = sim.admin();
    Target {
        label: "simulator",
        url: sim.url(),
        database: sim.database().to_owned(),
        login: admin.login,
        key: admin.keys[0].key.clone(),
        password: admin.password,
    }
}

fn real() -> Option<Target> {
    let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let url = read("PG_ETL_ODOO_URL")?;
    // Half an address must not turn into a silent pass.
    let needed =
        |name: &str| read(name).unwrap_or_else(|| panic!("PG_ETL_ODOO_URL is set, {name} is not"));
    let key = needed("PG_ETL_ODOO_KEY");
    Some(Target {
        label: "real Odoo",
        url: url.trim_end_matches('/').to_owned(),
        database: needed("PG_ETL_ODOO_DB"),
        login: needed("PG_ETL_ODOO_LOGIN"),
        password: read("PG_ETL_ODOO_PASSWORD").unwrap_or_else(|| key.clone()),
        key,
    })
}
