//! A faithful small Odoo 19.
//!
//! It answers over JSON-2 and JSON-RPC as a real Odoo does, down to its error names, its quirks and the exact
//! semantics of `load()`, and it fails on demand in every way a real one was seen to fail. The demo talks to it when no
//! Odoo is given; the tests use it as their fault injector. What keeps it honest is the conformance suite of
//! `pg_etl_core`, which runs unchanged against this simulator and against a real Odoo.
//!
//! ```no_run
//! use odoo_sim::{Config, Effect, Fault, Sim};
//!
//! let sim = Sim::start(Config::default()).expect("a free loopback port");
//! sim.inject(Fault::new(Effect::AnswerLost).on("res.partner", "load").times(1));
//! println!("{} holds {} partners", sim.url(), sim.records("res.partner").len());
//! ```

mod config;
mod control;
pub mod ear;
mod exception;
mod fault;
mod journal;
mod load;
mod models;
mod orm;
mod protocol;
mod server;
mod sim;

pub use config::{Account, ApiKey, Config, Poison, Rights};
pub use fault::{Effect, Fault};
pub use journal::{Logged, Totals};
pub use orm::history::Change;
pub use sim::Sim;
