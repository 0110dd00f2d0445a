//! Outbound rows: what one row asks for, which of them travel together, and what their outcome means.
//!
//! The way is always forward: `enqueue → claim → plan → send → judge → settle`. `plan` and `settle` are pure and live
//! here; `send` is [`crate::odoo::deliver`]; `claim` is one SQL statement of the extension.

pub mod admission;
pub mod join;
pub mod order;
pub mod pace;
pub mod plan;
pub mod row;
pub mod settle;

pub use admission::{Admitted, Refusal, admit};
pub use join::Nature;
pub use order::After;
pub use pace::{Answer, Pace};
pub use plan::{Batch, Claimed, Planned, Reference, plan};
pub use row::{Circle, Operation, Outcome, Row};
pub use settle::{Patience, Settlement, Tried, settle};
