//! Odoo, spoken over JSON-2 or JSON-RPC.
//!
//! The way of a batch: [`deliver`] chooses the calls for an operation, [`values`] writes their cells guided by
//! [`fields`], a [`protocol`] turns a [`call::Call`] into an HTTP request, [`client`] sends it, and [`judge`] says what the
//! answer means. Only [`client`] meets the network; everything before and after it is pure.
//!
//! What must stay true:
//! * Every failure gets its class in [`judge`] (answers) or where it is refused before sending; nowhere else.
//! * No text that leaves here holds the secret, a traceback or a payload.
//! * A call is sent once. Whoever sends again decides so from the class.

pub mod call;
pub mod client;
pub mod deliver;
pub mod endpoint;
pub mod explain;
pub mod fields;
pub mod guard;
pub mod judge;
mod keys;
mod pacer;
pub mod probe;
pub mod protocol;
pub mod values;

pub use call::Call;
pub use client::{Client, ClientSettings};
pub use deliver::{DeliverContext, ModelPolicy, OnMissing, WhenLocked, deliver};
pub use endpoint::{Endpoint, OptionError, ProtocolChoice};
pub use explain::explain;
pub use keys::key_ends;
pub use probe::{probe, test_connection};
pub use protocol::ProtocolKind;
