//! The bench that the outside-in tests stand on: a real server with pg_etl, an Odoo, and ways to look at both.
//!
//! A test takes a [`Bench`], does what a user would do through SQL, and waits with [`eventually`] for what it promises to
//! see. It never sleeps for a fixed time and hopes.
//!
//! ```no_run
//! use pg_etl_tests::prelude::*;
//!
//! let bench = Bench::ready();
//! let mut db = bench.client();
//! let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), Some("partner:ada"));
//! db.await_status(id, "done");
//! assert_eq!(bench.sim().records("res.partner").len(), 1);
//! ```

mod bench;
mod client;
mod deployment;
mod hung;
pub mod keys;
mod odoo;
mod past_us;
mod postman;
mod processes;
mod seen;
mod slot;
pub mod told;
pub mod two_way;
mod wait;
mod waiting;

pub use bench::{Bench, Builder, DATABASE, KEY_VARIABLE};
pub use client::{OutboxRow, Sql};
pub use deployment::{OLD_DEPLOYMENT, adopted_deployment};
pub use hung::{HUNG, hang, many_threads};
pub use odoo::{Endpoint, real_odoo};
pub use past_us::PastUs;
pub use postman::Postman;
pub use processes::{Worker, is_alive, kill9, launcher, tables_locked};
pub use seen::Seen;
pub use slot::Slot;
pub use wait::{PATIENCE, eventually, eventually_some, measure};
pub use waiting::Waiting;

/// What most tests need.
pub mod prelude {
    pub use crate::{
        Bench, Endpoint, OutboxRow, PATIENCE, Seen, Sql, Worker, eventually, eventually_some,
        kill9, measure,
    };
    pub use odoo_sim::{Effect, Fault, Sim};
    pub use postgres::Client;
    pub use serde_json::{Value, json};
    pub use std::time::{Duration, Instant};
}
