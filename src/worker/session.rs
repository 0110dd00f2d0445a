//! A worker's session: its signals, its identity, its settings, its transactions, its waits.

use std::ffi::CStr;
use std::os::fd::RawFd;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

unsafe extern "C-unwind" {
    // Postgres' own signal handlers, bare: pgrx wraps them in a guard, and a guard has no place in a signal handler.
    fn die(signal: i32);
    fn SignalHandlerForConfigReload(signal: i32);
}

/// A transaction that was aborted, for the log and for deciding what to do next.
#[derive(Debug, Clone)]
pub struct Aborted {
    pub code: PgSqlErrorCode,
    pub message: String,
}

/// Connects to `database` as the worker. Does not return where that is impossible: FATAL ends the process.
pub fn connect(database: pg_sys::Oid) {
    super::memory::goes_back();
    hold_cancels(true);
    // SAFETY: handlers of Postgres itself, set before signals are unblocked. `die` only sets flags; the next
    // CHECK_FOR_INTERRUPTS, also one inside a wait for a lock, ends the process.
    unsafe {
        handle(pg_sys::SIGTERM, die);
        handle(pg_sys::SIGHUP, SignalHandlerForConfigReload);
        pg_sys::BackgroundWorkerUnblockSignals();
        // No user: a NOLOGIN role, or a database without CONNECT for it, would be refused. Rights are given up next.
        pg_sys::BackgroundWorkerInitializeConnectionByOid(database, pg_sys::InvalidOid, 0);
    }
}

/// Signal handlers of a process without a database.
pub fn handle_signals_only() {
    hold_cancels(true);
    // SAFETY: as in `connect`.
    unsafe {
        handle(pg_sys::SIGTERM, die);
        handle(pg_sys::SIGHUP, SignalHandlerForConfigReload);
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Whether `pg_cancel_backend()` is put off. Inside a transaction it cancels what runs there; outside of one there is nothing to
/// cancel and nobody to catch the ERROR, which would end the process.
fn hold_cancels(hold: bool) {
    // SAFETY: a counter of the main thread, which Postgres itself only changes in pairs, and clears when it raises an ERROR.
    unsafe { pg_sys::QueryCancelHoldoffCount = hold.into() };
}

/// # Safety
/// `handler` must be async-signal-safe.
unsafe fn handle(signal: u32, handler: unsafe extern "C-unwind" fn(i32)) {
    // SAFETY: the caller's promise.
    unsafe { pg_sys::pqsignal(signal as i32, Some(handler)) };
}

/// From here on this process acts as `etl_worker`, and `RESET ROLE` does not bring the rights back. `false`: no such role.
pub fn become_worker() -> bool {
    let role = transaction(|| {
        // SAFETY: a syscache look-up inside a transaction.
        unsafe { pg_sys::get_role_oid(c"etl_worker".as_ptr(), true) }
    });
    match role {
        Ok(role) if role != pg_sys::InvalidOid => {
            // SAFETY: outside any transaction, so that no abort brings the old user back.
            unsafe {
                pg_sys::SetUserIdAndSecContext(role, pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32)
            };
            true
        }
        _ => false,
    }
}

/// Settings that a worker must have whatever `ALTER DATABASE` and `ALTER ROLE` say.
const PINNED: &[(&CStr, &CStr)] = &[
    (c"search_path", c"pg_catalog, pg_temp"),
    // The attempt must be durable before its request is sent.
    (c"synchronous_commit", c"on"),
    (c"default_transaction_isolation", c"read committed"),
    (c"transaction_isolation", c"read committed"),
    (c"default_transaction_read_only", c"off"),
    (c"transaction_read_only", c"off"),
    (c"default_transaction_deferrable", c"off"),
    (c"session_replication_role", c"origin"),
    // Off would mean: refuse to read a table that has policies.
    (c"row_security", c"on"),
    #[cfg(feature = "pg17")]
    (c"transaction_timeout", c"0"),
    // On, every ERROR would end the process: a lock that somebody keeps, a trigger that raises.
    (c"exit_on_error", c"off"),
    (c"statement_timeout", c"0"),
    (c"idle_in_transaction_session_timeout", c"0"),
    (c"jit", c"off"),
    (c"max_parallel_workers_per_gather", c"0"),
    (c"plan_cache_mode", c"auto"),
    (c"application_name", c"pg_etl"),
];

fn pin_settings(lock_timeout: &CStr) {
    for (name, value) in PINNED.iter().chain(&[(c"lock_timeout", lock_timeout)]) {
        // SAFETY: constant C strings; inside a transaction. Repeated for each one, for a user's trigger that runs in the
        // worker may have changed them.
        unsafe {
            pg_sys::SetConfigOption(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_OVERRIDE,
            );
        }
    }
}

/// The extension that this process serves; 0 while it serves none.
static EXTENSION: AtomicU32 = AtomicU32::new(0);

/// From here on every transaction of this process holds off DROP EXTENSION for as long as it lasts.
pub fn serve_extension(extension: pg_sys::Oid) {
    EXTENSION.store(extension.to_u32(), Ordering::Relaxed);
}

/// The first lock of every transaction. DROP EXTENSION takes the same one first, and exclusively: so neither waits for a table
/// while the other holds one. Raises where the extension is gone by then.
fn share_extension() {
    let extension = pg_sys::Oid::from(EXTENSION.load(Ordering::Relaxed));
    if extension == pg_sys::InvalidOid {
        return;
    }
    // SAFETY: inside a transaction, whose end releases the lock; a wait ends with lock_timeout.
    let there = unsafe {
        pg_sys::LockDatabaseObject(
            pg_sys::ExtensionRelationId,
            extension,
            0,
            pg_sys::AccessShareLock as pg_sys::LOCKMODE,
        );
        pg_sys::get_extension_oid(c"pg_etl".as_ptr(), true)
    };
    if there != extension {
        crate::error::complain(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            "the extension pg_etl was dropped",
        )
        .hint("The worker leaves.")
        .raise();
    }
}

/// Runs `work` in one transaction with the pinned settings. An ERROR aborts it and comes back as [`Aborted`].
///
/// A lock that somebody keeps is waited for a second; the rows are still there later.
pub fn transaction<R>(work: impl FnOnce() -> R) -> Result<R, Aborted> {
    transaction_waiting(c"1s", work)
}

/// The same with another patience for locks: for what must not keep the others waiting.
pub fn transaction_waiting<R>(
    lock_timeout: &'static CStr,
    work: impl FnOnce() -> R,
) -> Result<R, Aborted> {
    let work = AssertUnwindSafe(work);
    let result = PgTryBuilder::new(AssertUnwindSafe(move || {
        // SAFETY: no transaction is open; each call has its counterpart below, or AbortCurrentTransaction in the catch.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            pin_settings(lock_timeout);
            share_extension();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
        hold_cancels(false);
        let value = (work.0)();
        hold_cancels(true);
        // SAFETY: as above.
        unsafe {
            pg_sys::PopActiveSnapshot();
            pg_sys::CommitTransactionCommand();
        }
        Ok(value)
    }))
    .catch_others(|cause| Err(aborted(cause)))
    .catch_rust_panic(|cause| Err(aborted(cause)))
    .execute();
    hold_cancels(true);
    if result.is_err() {
        // SAFETY: what an ERROR left behind is released: locks, snapshot, SPI. Without it the next transaction would start inside the ruins.
        unsafe { pg_sys::AbortCurrentTransaction() };
    }
    // SAFETY: outside a transaction; hands the counters to autovacuum, which else never sees our dead rows.
    unsafe { pg_sys::pgstat_report_stat(true) };
    result
}

fn aborted(cause: CaughtError) -> Aborted {
    match cause {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => Aborted {
            code: report.sql_error_code(),
            message: report.message().to_owned(),
        },
        CaughtError::RustPanic { ereport, .. } => Aborted {
            code: PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            message: ereport.message().to_owned(),
        },
    }
}

/// Says in `pg_stat_activity` what this process does; `None`: nothing.
pub fn show_activity(doing: Option<&CStr>) {
    let (state, text) = match doing {
        Some(text) => (pg_sys::BackendState::STATE_RUNNING, text.as_ptr()),
        None => (pg_sys::BackendState::STATE_IDLE, c"".as_ptr()),
    };
    // SAFETY: the text is copied.
    unsafe { pg_sys::pgstat_report_activity(state, text) };
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Somebody set our latch: a commit, a signal. Whether there is something to read as well shows in the next wait.
    Woken,
    Readable,
    TimedOut,
}

/// Waits for a wake, for `readable`, or for `timeout`; then does what signals asked for. SIGTERM ends the process here, after
/// `last_words`, which may use transactions. Never called inside a transaction.
pub fn wait(readable: Option<RawFd>, timeout: Duration, last_words: impl FnOnce()) -> Ended {
    let ended = wait_for_events(readable, timeout);
    // SAFETY: flags of our signal handler, read and written on the main thread. SIGTERM is set aside for as long as the last words
    // take (every lock in them has a timeout); a second one ends them.
    unsafe {
        // pg_cancel_backend() between transactions was for none that comes later.
        pg_sys::QueryCancelPending = 0;
        if pg_sys::ProcDiePending != 0 {
            pg_sys::ProcDiePending = 0;
            last_words();
            pg_sys::ProcDiePending = 1;
            pg_sys::InterruptPending = 1;
        }
    }
    check_for_interrupts!();
    // SAFETY: the flag is set by our SIGHUP handler and read on the main thread; outside a transaction.
    unsafe {
        if pg_sys::ConfigReloadPending != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
    ended
}

/// The same for a backend inside a transaction: open to cancellation, and settings stay as they are.
pub fn wait_interruptibly(timeout: Duration) {
    wait_for_events(None, timeout);
    check_for_interrupts!();
}

fn wait_for_events(readable: Option<RawFd>, timeout: Duration) -> Ended {
    let millis = i64::try_from(timeout.as_millis())
        .unwrap_or(i64::MAX)
        .clamp(0, 3_600_000);
    let mut events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    if readable.is_some() {
        events |= pg_sys::WL_SOCKET_READABLE;
    }
    // SAFETY: our own latch; the descriptor is open as long as the pool that owns it. The wait ends for the barrier of DROP
    // DATABASE too, and CHECK_FOR_INTERRUPTS absorbs it.
    let happened = unsafe {
        let happened = pg_sys::WaitLatchOrSocket(
            pg_sys::MyLatch,
            events as i32,
            readable.unwrap_or(-1),
            millis,
            pg_sys::PG_WAIT_EXTENSION,
        );
        // Only where it was seen set: one set after the wait ended must end the next one.
        if happened.cast_unsigned() & pg_sys::WL_LATCH_SET != 0 {
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
        happened
    };
    let happened = happened.cast_unsigned();
    if happened & pg_sys::WL_LATCH_SET != 0 {
        Ended::Woken
    } else if happened & pg_sys::WL_SOCKET_READABLE != 0 {
        Ended::Readable
    } else {
        Ended::TimedOut
    }
}

/// The name of the database, inside or outside a transaction. Empty where it is being dropped.
pub fn database_name() -> String {
    let name = transaction(|| {
        // SAFETY: a catalog look-up inside a transaction; the name is copied before it is freed with the transaction.
        unsafe {
            let name = pg_sys::get_database_name(pg_sys::MyDatabaseId);
            if name.is_null() {
                String::new()
            } else {
                CStr::from_ptr(name).to_string_lossy().into_owned()
            }
        }
    });
    name.unwrap_or_default()
}

/// Whether the database may be used now. Refused while somebody renames, copies or drops it: then a worker must leave, for
/// those wait for everyone to be gone.
pub fn database_is_free() -> bool {
    // SAFETY: set for every process with a database.
    let database = unsafe { pg_sys::MyDatabaseId };
    let tag = pg_sys::LOCKTAG {
        locktag_field1: 0,
        locktag_field2: pg_sys::DatabaseRelationId.to_u32(),
        locktag_field3: database.to_u32(),
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    super::owner::try_lock(&tag, pg_sys::RowExclusiveLock as i32)
}
