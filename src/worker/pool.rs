//! Threads that speak HTTP. Everything else of the worker is on its main thread.

use std::any::Any;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

type Job<T> = Box<dyn FnOnce() -> T + Send>;

/// A fixed number of threads. A finished job makes [`Pool::readable`] readable.
pub struct Pool<T> {
    jobs: Sender<Job<T>>,
    results: Receiver<Result<T, String>>,
    done: Arc<OwnedFd>,
    threads: usize,
}

impl<T: Send + 'static> Pool<T> {
    /// Starts `threads` threads.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        // SAFETY: a plain system call; the result is checked.
        let done = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if done < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: just opened, and owned by nobody else.
        let done = Arc::new(unsafe { OwnedFd::from_raw_fd(done) });
        let (jobs, waiting) = channel::<Job<T>>();
        let (finished, results) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let blocked = BlockedSignals::all();
        for number in 0..threads {
            let (waiting, finished, done) =
                (Arc::clone(&waiting), finished.clone(), Arc::clone(&done));
            thread::Builder::new()
                .name(format!("pg_etl http {number}"))
                .spawn(move || {
                    loop {
                        let job = match waiting.lock() {
                            Ok(waiting) => waiting.recv(),
                            Err(_) => return,
                        };
                        // The pool is gone: so is its thread.
                        let Ok(job) = job else { return };
                        let result = catch_unwind(AssertUnwindSafe(job)).map_err(panic_message);
                        if finished.send(result).is_err() {
                            return;
                        }
                        ring(&done);
                    }
                })?;
        }
        drop(blocked);
        Ok(Self {
            jobs,
            results,
            done,
            threads,
        })
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Gives a job to the next free thread.
    pub fn submit(&self, job: impl FnOnce() -> T + Send + 'static) {
        // Fails only when every thread is gone, which none does while the pool lives.
        if self.jobs.send(Box::new(job)).is_err() {
            pgrx::error!("pg_etl: the HTTP threads are gone");
        }
    }

    /// What to wait on for a finished job.
    pub fn readable(&self) -> RawFd {
        self.done.as_raw_fd()
    }

    /// The finished jobs since the last call; `Err` is the message of a job that panicked.
    pub fn take(&self) -> Vec<Result<T, String>> {
        let mut count = [0_u8; 8];
        // SAFETY: reads eight bytes into eight bytes; non-blocking. Read before the results, so that none is missed.
        unsafe {
            libc::read(
                self.done.as_raw_fd(),
                count.as_mut_ptr().cast(),
                count.len(),
            )
        };
        self.results.try_iter().collect()
    }
}

fn ring(done: &OwnedFd) {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: writes eight bytes from eight bytes. A full counter (2^64 - 2) is readable all the same.
    unsafe { libc::write(done.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a thread panicked".to_owned())
}

/// While it lives, this thread's signals are blocked, and so are those of the threads it spawns: Postgres' handlers must run on
/// the main thread and nowhere else. (Threads that these spawn, such as a DNS look-up, inherit the mask.)
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn all() -> Self {
        // SAFETY: plain system calls on sets of our own.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self(before)
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: restores what was there before.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut())
        };
    }
}
