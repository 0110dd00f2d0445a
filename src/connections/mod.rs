//! Endpoints: making, testing and knowing them, and reading their secrets.

mod api;
pub mod secret;
pub mod store;
