//! Outbound changes: the SQL API. What the worker does with them is in [`store`] (SQL) and [`crate::worker`] (the way itself).

pub mod config;
mod drain;
mod enqueue;
mod explain;
pub mod store;
