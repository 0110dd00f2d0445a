//! Threads that speak HTTP. Everything else of the worker is on its main thread.

use std::any::Any;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// Gives a result to the main thread; a job may have several.
type Emit<'a, T> = &'a dyn Fn(T);

type Job<T> = Box<dyn FnOnce(Emit<'_, T>) + Send>;

/// Most threads of a worker. A connection has as many calls on the wire as it may have, whatever others have: none takes a thread
/// away from another before there are so many.
const MOST_THREADS: usize = 256;

/// Threads, started when there is a job for them. A finished job makes [`Pool::readable`] readable.
pub struct Pool<T> {
    jobs: Sender<Job<T>>,
    waiting: Arc<Mutex<Receiver<Job<T>>>>,
    finished: Sender<Result<T, String>>,
    results: Receiver<Result<T, String>>,
    done: Arc<OwnedFd>,
    threads: usize,
    /// Jobs that were given and are not over.
    open: Arc<AtomicUsize>,
}

impl<T: Send + 'static> Pool<T> {
    /// Starts without threads.
    pub fn start() -> std::io::Result<Self> {
        // SAFETY: a plain system call; the result is checked.
        let done = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if done < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: just opened, and owned by nobody else.
        let done = Arc::new(unsafe { OwnedFd::from_raw_fd(done) });
        let (jobs, waiting) = channel::<Job<T>>();
        let (finished, results) = channel();
        Ok(Self {
            jobs,
            waiting: Arc::new(Mutex::new(waiting)),
            finished,
            results,
            done,
            threads: 0,
            open: Arc::default(),
        })
    }

    /// Gives a job to a thread that is free, or to a new one.
    pub fn submit(&mut self, job: impl FnOnce(Emit<'_, T>) + Send + 'static) {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        if open > self.threads && self.threads < MOST_THREADS {
            match self.add_thread() {
                Ok(()) => self.threads += 1,
                // The system has none left: those that are there do the job in their turn.
                Err(error) if self.threads > 0 => {
                    pgrx::log!("pg_etl: no further HTTP thread: {error}");
                }
                Err(error) => pgrx::error!("pg_etl: cannot start an HTTP thread: {error}"),
            }
        }
        // Fails only when the receiver is gone, which this keeps.
        if self.jobs.send(Box::new(job)).is_err() {
            pgrx::error!("pg_etl: the HTTP threads are gone");
        }
    }

    fn add_thread(&self) -> std::io::Result<()> {
        let (waiting, finished) = (Arc::clone(&self.waiting), self.finished.clone());
        let (done, open) = (Arc::clone(&self.done), Arc::clone(&self.open));
        let _blocked = BlockedSignals::all();
        thread::Builder::new()
            .name(format!("pg_etl http {}", self.threads))
            .spawn(move || {
                loop {
                    let job = match waiting.lock() {
                        Ok(waiting) => waiting.recv(),
                        Err(_) => return,
                    };
                    // The pool is gone: so is its thread.
                    let Ok(job) = job else { return };
                    let emit = |result| {
                        // Fails where the pool is gone, and with it whoever would want the result.
                        if finished.send(result).is_ok() {
                            ring(&done);
                        }
                    };
                    let ran = catch_unwind(AssertUnwindSafe(|| job(&|result| emit(Ok(result)))));
                    open.fetch_sub(1, Ordering::Relaxed);
                    if let Err(panicked) = ran {
                        emit(Err(panic_message(panicked)));
                    }
                }
            })
            .map(drop)
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
