//! The decisions of pg_etl, free of Postgres: what to send, what an answer means, when to try again.
//!
//! Nothing here reads a clock or a random source that it was not given, and nothing but [`http`] does I/O.

pub mod alerts;
pub mod backoff;
pub mod breaker;
pub mod channel;
#[cfg(feature = "chaos")]
pub mod chaos;
pub mod external_id;
pub mod failure;
pub mod health;
pub mod http;
pub mod metrics;
pub mod mirror;
pub mod odoo;
pub mod outbox;
pub mod secret;
pub mod two_way;
