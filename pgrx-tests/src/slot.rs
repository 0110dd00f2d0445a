//! How many tests work at the same time: few machines bear a dozen servers at once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Servers side by side. More than processors, because tests wait more than they work.
const MOST: usize = 3;

static FREE: Mutex<usize> = Mutex::new(MOST);
static FREED: Condvar = Condvar::new();

/// A place among the tests that run now, given back when dropped.
#[derive(Debug)]
pub struct Slot {
    weight: usize,
}

impl Slot {
    /// Waits for a place beside others.
    pub fn shared() -> Self {
        Self::take(1)
    }

    /// Waits until no other test runs: for what measures time, or stops what others use.
    pub fn alone() -> Self {
        Self::take(MOST)
    }

    fn take(weight: usize) -> Self {
        let mut free = locked();
        while *free < weight {
            free = FREED.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= weight;
        Self { weight }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *locked() += self.weight;
        FREED.notify_all();
    }
}

fn locked() -> MutexGuard<'static, usize> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}
