//! A copy of an Odoo model in a table: which columns it has, what to ask Odoo for, what an answer means.
//!
//! The way of an inbound record: `checkpoint → list → fetch → merge → checkpoint`. [`Pull`] decides what to ask next and
//! never asks for more than the engine can hold; `ask` is the only part that meets the network; `record` writes what
//! Odoo answered in a form that Postgres reads in one statement.
//!
//! What must stay true:
//! * A run's checkpoint moves when the run ends, and only then: rows that change or commit while it goes on are met again
//!   by the next run, which begins before this one's start by more than Odoo's longest transaction.
//! * A record counts as gone when Odoo was asked for that very record, never because an answer lacks it.

mod ask;
mod columns;
mod config;
mod floor;
mod pull;
mod record;
mod variants;

pub use ask::{Fate, Scope};
pub use columns::{Column, Columns, Form, Skipped, Varies, columns};
pub use config::{MirrorConfig, Variants};
pub use floor::next_floor;
pub use pull::{Ask, Mode, Pull, STRETCH};
pub use record::{Page, page};
