//! Memory of this process that was freed goes back to the system.
//!
//! glibc keeps what a thread freed for that thread, so that many threads, each of which once had a large answer, keep as many large
//! answers; and after one large block it takes the next ones from where they leave holes.

/// Larger blocks come from the system and go back to it by themselves, and grow without being copied.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: i32 = 256 * 1024;

/// Once, before there are threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn goes_back() {
    // SAFETY: sets a number of the allocator; no other thread runs yet.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
    pg_etl_core::http::on_release(|| {
        // SAFETY: takes the allocator's own locks; may be called from any thread.
        unsafe { libc::malloc_trim(0) };
    });
}

/// Other allocators are left alone.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn goes_back() {}
