//! The rooms of `cargo xtask`. The binary is a thin command line over them; the outside-in tests use them to start
//! clusters, the simulator and a real Odoo.

pub mod bench;
pub mod chaos;
pub mod command;
pub mod daemon;
pub mod demo;
pub mod deps;
pub mod ext;
pub mod lint;
pub mod odoo;
pub mod pg;
pub mod place;
pub mod progress;
pub mod sim;
pub mod standing;
pub mod suite;
pub mod superset;
