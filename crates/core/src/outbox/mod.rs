//! Outbound rows: what one row asks for, which of them travel together, and what their outcome means.
//!
//! The way is always forward: `enqueue → claim → plan → send → judge → settle`. All but the edges is pure and lives here: [`check`]
//! reads what was claimed, [`Claim`] plans it and knows what of it may go, [`decide`] says what becomes of the rows when an answer is
//! there. `send` is [`crate::odoo::deliver`]; claiming and writing down are one SQL statement each, of the extension.

pub mod admission;
pub mod claim;
pub mod config;
pub mod cursor;
pub mod decide;
pub mod join;
pub mod order;
pub mod pace;
pub mod plan;
pub mod references;
pub mod round;
pub mod row;
pub mod settle;
pub mod stored;
pub mod walk;

pub use admission::{Admitted, Refusal, admit};
pub use claim::{Claim, Held, Remaining, Stopped};
pub use config::{Defaults, ModelConfig, OutboundConfig, Terms};
pub use cursor::Cursor;
pub use decide::{Decided, Settled, Status, decide};
pub use join::Nature;
pub use order::After;
pub use pace::{Answer, Pace};
pub use plan::{Batch, Claimed, Planned, Reference, plan};
pub use references::{BETWEEN_RECORDS, record_name};
pub use row::{Circle, Operation, Outcome, Row};
pub use settle::{Patience, Settlement, Tried, settle};
pub use stored::{ClaimedRows, RawRow, check};
pub use walk::{Found, Walk};
