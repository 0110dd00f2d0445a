//! The way of a batch into Odoo and back, over both protocols.
//!
//! The same tests run against the simulator, as Odoo 19 and as an Odoo 18, and against the real Odoo that
//! `PG_ETL_ODOO_URL`, `_DB`, `_LOGIN` and `_KEY` name, where they are set.

mod calls;
mod connection;
mod documents;
mod gone;
mod locked;
mod records;
mod refusals;
mod target;
mod trip;
mod values;
