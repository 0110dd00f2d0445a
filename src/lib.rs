//! pg_etl: keeps Postgres and Odoo in step, from inside Postgres.
//!
//! The rooms: [`outbox`] (what goes to Odoo), [`mirror`] (what comes from there), [`connections`] (where to, and with which
//! secret), [`runs`] (bookkeeping), [`health`] (is everything in step), [`setup`] (state and its versions), [`worker`] (who does it). Decisions are in
//! `pg_etl_core`; here Postgres is touched. SQL is declared in `sql/schema`, one file per room.

use pgrx::prelude::*;

mod alerts;
mod as_owner;
mod chaos;
mod connections;
mod drop_extension;
mod error;
mod gucs;
mod health;
mod mirror;
mod outbox;
mod reading;
mod runs;
mod schema;
mod setup;
mod track;
mod two_way;
mod worker;

#[cfg(any(test, feature = "pg_test"))]
mod tests;

::pgrx::pg_module_magic!(name, version);

/// Called once per process that loads the library; in the postmaster when it is preloaded.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // First: what follows makes unknown settings of our prefix errors.
    chaos::define();
    gucs::define();
    worker::register();
}

/// Required by `cargo pgrx test`.
#[cfg(test)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    #[must_use]
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec!["shared_preload_libraries = 'pg_etl'"]
    }
}
