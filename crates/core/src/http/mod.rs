//! The one HTTP transport: blocking, bounded, and exact about whether a request left this machine.
//!
//! What must stay true:
//! * A request whose first byte was not handed to the socket is [`TransportError::NotSent`]; everything after that is
//!   [`TransportError::Lost`]. [`witness`] sees the difference; no error text is read for it.
//! * Nothing is sent twice: no retry, no redirect is followed.
//! * Nothing is read from the environment: no proxy, no `SSL_CERT_FILE` beyond what the system's root store honours.
//! * An answer's body takes at most `max_response_bytes` of memory, all answers together what [`room`] lends, and a request at most `timeout` of time, body included.
//!
//! ureq resolves a name on a thread of its own whenever a timeout is set, which is always; [`resolver`] keeps that rare. A caller inside a process with
//! signal handlers (a Postgres worker) blocks every signal before it calls, so that the thread inherits the mask.

mod body;
mod date;
pub mod json;
mod resolver;
mod room;
mod roots;
mod transport;
mod witness;

pub(crate) use date::days_from_civil;
pub use date::{http_date, retry_after};
pub use room::on_release;
pub(crate) use room::{release, until_end};
pub(crate) use roots::pem_file;
pub use transport::{Method, Request, Response, Transport, TransportError, TransportSettings};
