//! The simulator from outside: its faults, its life, its limits. That it behaves like Odoo is the conformance suite's
//! business, in `pg_etl_core`.

mod caller;
mod control;
mod faults;
mod life;
mod limits;
mod races;
