//! Who delivers: a launcher per server, a resident worker per database that has the extension, and errands (a worker that
//! does one thing for a caller who waits).
//!
//! What must stay true:
//! * Postgres is called on the main thread only. Threads of the pool are born with every signal blocked.
//! * No transaction is open while the worker waits, whatever for.
//! * An ERROR inside a transaction aborts it and the worker goes on; a FATAL ends the process, and the launcher starts another.
//! * State that matters is in tables: a worker that dies at any point loses nothing.

mod asking;
mod claiming;
mod engine;
mod errand;
mod ground;
mod intake;
mod job;
pub mod lane;
mod launcher;
mod learning;
mod line;
mod memory;
mod owner;
mod pool;
mod question;
mod resident;
mod roster;
pub mod session;
mod settling;
mod upkeep;

pub use errand::{Errand, checked_max_time, run as run_errand};
pub use lane::client_settings;
pub use owner::become_claimer;
pub use roster::{is_preloaded, wake_at_commit};

/// In `_PG_init`: shared memory and the launcher, where the library is preloaded.
pub fn register() {
    roster::reserve();
    launcher::register();
}
