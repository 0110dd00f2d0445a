//! The Odoo that a bench talks to: simulated, or the real one.

use std::sync::OnceLock;

use odoo_sim::Sim;
use xtask::odoo::{Access, Odoo, Options};

/// How to reach an Odoo.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub url: String,
    pub database: String,
    pub login: String,
    /// What the connection's secret reference leads to.
    pub key: String,
}

impl From<&Sim> for Endpoint {
    fn from(sim: &Sim) -> Self {
        let admin = sim.admin();
        Self {
            url: sim.url(),
            database: sim.database().to_owned(),
            login: admin.login,
            key: admin.keys[0].key.clone(),
        }
    }
}

impl From<&Access> for Endpoint {
    fn from(access: &Access) -> Self {
        Self {
            url: access.url.clone(),
            database: access.database.clone(),
            login: access.login.clone(),
            key: access.api_key.clone(),
        }
    }
}

/// The real Odoo of this test program, started by the first test that asks and shared by all: records need names of their own.
///
/// # Panics
/// Without `PG_ETL_ODOO=1`: a test that did not run must not look as if it had passed.
pub fn real_odoo() -> &'static Odoo {
    static ODOO: OnceLock<Odoo> = OnceLock::new();
    assert!(
        xtask::suite::odoo_takes_part(),
        "this test needs a real Odoo: run it with `cargo xtask test --tier odoo`, or with PG_ETL_ODOO=1 in the environment"
    );
    ODOO.get_or_init(|| Odoo::start(&Options::default()).expect("a real Odoo starts"))
}
