//! The workers: so many calls at the same time, further ones in line.

use crate::sim::locked;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

#[derive(Default)]
struct State {
    free: usize,
    inside: usize,
}

/// Counts calls in and out.
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

/// A worker's place, given back when dropped.
pub(crate) struct Place<'g>(&'g Gate);

impl Gate {
    pub fn new(workers: usize) -> Self {
        Self {
            state: Mutex::new(State {
                free: workers.max(1),
                inside: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits for a free worker, for as long as `alive` holds.
    pub fn enter(&self, alive: impl Fn() -> bool) -> Option<Place<'_>> {
        let mut state = locked(&self.state);
        state.inside += 1;
        while state.free == 0 {
            if !alive() {
                state.inside -= 1;
                self.changed.notify_all();
                return None;
            }
            state = self
                .changed
                .wait_timeout(state, Duration::from_millis(100))
                .map_or_else(|e| e.into_inner().0, |r| r.0);
        }
        state.free -= 1;
        Some(Place(self))
    }

    /// Lets everyone in line look whether the server still lives.
    pub fn wake(&self) {
        self.changed.notify_all();
    }

    pub fn inside(&self) -> usize {
        locked(&self.state).inside
    }

    pub fn wait_idle(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = locked(&self.state);
        while state.inside > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .map_or_else(|e| e.into_inner().0, |r| r.0);
        }
        true
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = locked(&self.0.state);
        state.free += 1;
        state.inside -= 1;
        self.0.changed.notify_all();
    }
}
