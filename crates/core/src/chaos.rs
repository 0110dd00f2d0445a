//! What the crash suite needs here; only with the feature `chaos`, which no build for users has.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static SENT: OnceLock<fn()> = OnceLock::new();
static PLAINLY: AtomicBool = AtomicBool::new(false);

/// Calls `hook` whenever a request has left and its answer is waited for; the first one named counts.
pub fn when_sent(hook: fn()) {
    let _ = SENT.set(hook);
}

pub(crate) fn sent() {
    if let Some(hook) = SENT.get() {
        hook();
    }
}

/// Plants a bug: `load` without what makes it create-once.
pub fn load_plainly(plainly: bool) {
    PLAINLY.store(plainly, Ordering::Relaxed);
}

pub(crate) fn loads_plainly() -> bool {
    PLAINLY.load(Ordering::Relaxed)
}
