//! A real Odoo 19 from Debian's package, on a Postgres of its own. The prepared database is kept and copied for each
//! start, so every start begins from the same clean state and takes seconds.

mod access;
mod colleague;
mod install;
mod prepare;
mod server;
pub mod standing;

pub use access::Access;
pub use colleague::Colleague;
pub use server::{Odoo, Options};

use crate::pg::PgVersion;

/// What is installed in the prepared database.
pub const MODULES: &[&str] = &[
    "base",
    "contacts",
    "account",
    "sale_management",
    "purchase",
    "stock",
    "hr_expense",
];

/// The prepared database's name.
pub const DATABASE: &str = "odoo";

/// Login and password of the administrator.
pub const ADMIN: &str = "admin";

/// Where Odoo keeps its own data; what pg_etl runs on is chosen elsewhere.
fn postgres() -> PgVersion {
    PgVersion::preferred()
}
