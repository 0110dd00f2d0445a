//! The private memory of a worker, as the kernel counts it.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::arena::Arena;

/// How often it is looked at.
const PACE: Duration = Duration::from_millis(20);

/// Private memory of a process in kB. Shared buffers, which every process of Postgres maps, do not count.
pub fn private_kb(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Keeps the largest value of whatever worker there is, as long as `on`.
pub fn watch(arena: &Arena, peak: &AtomicU64, on: impl Fn() -> bool) {
    while on() {
        let Ok(pid) = arena.worker() else { continue };
        while let Some(kb) = private_kb(pid).filter(|_| on()) {
            peak.fetch_max(kb, Ordering::AcqRel);
            std::thread::sleep(PACE);
        }
    }
}
