//! Errands: a worker that does one thing for a caller who waits. This is how `etl.drain_outbox()` works inside any transaction:
//! the worker has transactions of its own, and the caller waits with a deadline, open to cancellation.
//!
//! Request and reply go through a piece of shared memory, so that a caller in REPEATABLE READ gets its answer too. The worker has
//! a lock timeout and the caller a deadline, so that a lock that the caller holds and the worker needs ends in an answer.

mod pull;

use std::os::raw::c_char;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pgrx::prelude::*;
use serde_json::{Value, json};

use super::asking::{describe, test};
use super::engine::{Engine, Limits};
use super::ground::{self, Ground};
use super::intake::Duties;
use super::{roster, session};
use crate::error::complain;

/// Bytes of the shared piece: header and text.
const SIZE: usize = 64 * 1024;
/// Longest that a caller may wait.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// How much longer than the errand the caller waits before it leaves the worker alone.
const PATIENCE: Duration = Duration::from_secs(3);
/// Turns that end at a lock before the errand says so and stops.
const LOCKED_OUT: u32 = 2;

const ASKED: u32 = 0;
const ANSWERED: u32 = 1;

/// What to do.
pub enum Errand {
    Drain {
        max_rows: Option<usize>,
        max_time: Duration,
    },
    /// Pulls these mirrors, by connection and model.
    Pull {
        mirrors: Vec<(String, String)>,
        /// As `etl.request_pull()` takes it, or `verify`.
        mode: &'static str,
        max_time: Duration,
    },
    /// Asks what a mirror of a model would consist of.
    Describe {
        connection: String,
        model: String,
        fields: Option<Vec<String>>,
        /// Of the mirror: languages and companies among them.
        options: serde_json::Value,
        max_time: Duration,
    },
    /// Asks the endpoint of this connection.
    Test {
        connection: String,
        max_time: Duration,
    },
}

/// The shared piece; text follows.
#[repr(C)]
struct Shared {
    state: AtomicU32,
    /// Bytes of text.
    length: AtomicU32,
    claimed: AtomicI64,
    done: AtomicI64,
    retried: AtomicI64,
    failed: AtomicI64,
    calls: AtomicI64,
}

impl Shared {
    /// # Safety
    /// `segment` is mapped, at least [`SIZE`] bytes, and stays mapped for `'a`.
    unsafe fn at<'a>(segment: *mut pg_sys::dsm_segment) -> &'a Self {
        // SAFETY: a new segment is zeroed and page-aligned; zeros are valid atomics.
        unsafe { &*pg_sys::dsm_segment_address(segment).cast::<Self>() }
    }

    fn text_start(&self) -> *mut u8 {
        // SAFETY: stays inside the segment, which is larger than the header.
        unsafe { (&raw const *self).cast_mut().add(1).cast::<u8>() }
    }

    fn write(&self, value: &Value) {
        let text = value.to_string();
        let bytes = if text.len() > SIZE - size_of::<Self>() {
            b"{\"error\":\"the answer is too long\"}"
        } else {
            text.as_bytes()
        };
        // SAFETY: bounded by the line above. Caller and worker write in turns: before the worker starts, and before `state` says answered.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.text_start(), bytes.len()) };
        self.length
            .store(u32::try_from(bytes.len()).unwrap_or(0), Ordering::Release);
    }

    fn read(&self) -> Value {
        let length = (self.length.load(Ordering::Acquire) as usize).min(SIZE - size_of::<Self>());
        // SAFETY: bounded; nobody writes meanwhile.
        let bytes = unsafe { std::slice::from_raw_parts(self.text_start(), length) };
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    fn publish(&self, engine: &Engine) {
        let totals = engine.totals();
        self.claimed.store(totals.claimed, Ordering::Release);
        self.done.store(totals.tally.done, Ordering::Release);
        self.retried.store(totals.tally.retried, Ordering::Release);
        self.failed.store(totals.tally.failed, Ordering::Release);
        self.calls.store(totals.calls, Ordering::Release);
    }
}

/// How long a caller waits: what its argument `max_time` says, within reason.
pub fn checked_max_time(given: Option<&pgrx::datum::Interval>, default: Duration) -> Duration {
    let Some(given) = given else { return default };
    let time = u64::try_from(given.as_micros()).map(Duration::from_micros);
    match time {
        Ok(time) if time <= LONGEST => time,
        _ => complain(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "max_time is out of range",
        )
        .hint("Give an interval between 0 and 24 hours, such as '15 s'.")
        .raise(),
    }
}

/// Runs an errand and waits for it, interruptibly. Returns the worker's answer; `{"running": true}` among it where the caller's
/// deadline came first and the worker still finishes what is on the wire.
pub fn run(errand: &Errand) -> Value {
    // SAFETY: reads shared state. Without the check the wait for a start-up that cannot happen would never end.
    if unsafe { pg_sys::RecoveryInProgress() } {
        complain(
            PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            "a standby delivers nothing",
        )
        .hint("Call this on the primary.")
        .raise();
    }
    // SAFETY: the segment belongs to this transaction and is unmapped with it, also on ERROR.
    let (segment, shared) = unsafe {
        let segment = pg_sys::dsm_create(SIZE, 0);
        (segment, Shared::at(segment))
    };
    shared.write(&request(errand));
    // SAFETY: a segment of our own.
    let handle = start(unsafe { pg_sys::dsm_segment_handle(segment) });
    let max_time = match errand {
        Errand::Drain { max_time, .. }
        | Errand::Pull { max_time, .. }
        | Errand::Describe { max_time, .. }
        | Errand::Test { max_time, .. } => *max_time,
    };
    let answer = wait_for(handle, shared, max_time + PATIENCE);
    // SAFETY: mapped above; nothing refers to it from here on.
    unsafe { pg_sys::dsm_detach(segment) };
    answer
}

fn request(errand: &Errand) -> Value {
    // SAFETY: set for every backend.
    let database = unsafe { pg_sys::MyDatabaseId.to_u32() };
    let millis = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    match errand {
        Errand::Drain { max_rows, max_time } => {
            json!({"database": database, "max_rows": max_rows, "max_ms": millis(max_time)})
        }
        Errand::Pull {
            mirrors,
            mode,
            max_time,
        } => {
            json!({"database": database, "pull": mirrors, "mode": mode, "max_ms": millis(max_time)})
        }
        Errand::Describe {
            connection,
            model,
            fields,
            options,
            max_time,
        } => json!({
            "database": database, "describe": connection, "model": model, "fields": fields, "options": options, "max_ms": millis(max_time),
        }),
        Errand::Test {
            connection,
            max_time,
        } => json!({"database": database, "test": connection, "max_ms": millis(max_time)}),
    }
}

fn start(segment: pg_sys::dsm_handle) -> *mut pg_sys::BackgroundWorkerHandle {
    let mut worker = pg_sys::BackgroundWorker {
        bgw_flags: (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION)
            as i32,
        bgw_start_time: pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
        bgw_restart_time: pg_sys::BGW_NEVER_RESTART,
        bgw_main_arg: pg_sys::Datum::from(segment),
        // SAFETY: set for every backend.
        bgw_notify_pid: unsafe { pg_sys::MyProcPid },
        ..Default::default()
    };
    put(&mut worker.bgw_name, "pg_etl errand");
    put(&mut worker.bgw_type, "pg_etl errand");
    put(&mut worker.bgw_library_name, "pg_etl");
    put(&mut worker.bgw_function_name, "errand_main");
    let mut handle = std::ptr::null_mut();
    // SAFETY: a filled-in registration; the handle is allocated in the caller's memory context.
    if !unsafe { pg_sys::RegisterDynamicBackgroundWorker(&raw mut worker, &raw mut handle) } {
        complain(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_RESOURCES,
            "no free background worker",
        )
        .hint("Raise max_worker_processes, or try again when others are done.")
        .raise();
    }
    handle
}

fn put(field: &mut [c_char], text: &str) {
    for (place, byte) in field.iter_mut().zip(text.bytes()) {
        *place = byte.cast_signed();
    }
}

/// Stops a worker whose caller is gone. Runs while the backend exits; must not raise.
#[pg_guard]
unsafe extern "C-unwind" fn abandon(_code: i32, handle: pg_sys::Datum) {
    // SAFETY: registered with a handle of this backend, and taken back before that goes away.
    unsafe { pg_sys::TerminateBackgroundWorker(handle.cast_mut_ptr()) };
}

fn wait_for(
    handle: *mut pg_sys::BackgroundWorkerHandle,
    shared: &Shared,
    max_time: Duration,
) -> Value {
    let give_up = Instant::now() + max_time;
    let argument = pg_sys::Datum::from(handle);
    // SAFETY: taken back below on every way out but the exit of the process, for which it is.
    unsafe { pg_sys::before_shmem_exit(Some(abandon), argument) };
    let waited = PgTryBuilder::new(AssertUnwindSafe(|| {
        wait_until_answered(handle, shared, give_up)
    }))
    .finally(|| {
        // SAFETY: the last one registered.
        unsafe { pg_sys::cancel_before_shmem_exit(Some(abandon), argument) };
    })
    .catch_others(|cause| {
        // SAFETY: the handle lives in the caller's memory context, which outlives this call. Cancelled: so is the worker.
        unsafe { pg_sys::TerminateBackgroundWorker(handle) };
        cause.rethrow()
    })
    .execute();
    let mut answer = if shared.state.load(Ordering::Acquire) == ANSWERED {
        shared.read()
    } else {
        json!({})
    };
    if let Some(fields) = answer.as_object_mut() {
        for (name, counter) in [
            ("claimed", &shared.claimed),
            ("done", &shared.done),
            ("retried", &shared.retried),
            ("failed", &shared.failed),
            ("calls", &shared.calls),
        ] {
            fields.insert(name.to_owned(), json!(counter.load(Ordering::Acquire)));
        }
        if !waited {
            fields.insert("running".to_owned(), json!(true));
        } else if shared.state.load(Ordering::Acquire) != ANSWERED {
            fields.insert(
                "error".to_owned(),
                json!("its background worker ended before it was done"),
            );
        }
    }
    answer
}

/// `true`: the worker is done, or gone. `false`: the deadline came first.
fn wait_until_answered(
    handle: *mut pg_sys::BackgroundWorkerHandle,
    shared: &Shared,
    give_up: Instant,
) -> bool {
    loop {
        if shared.state.load(Ordering::Acquire) == ANSWERED {
            return true;
        }
        let mut pid = 0;
        // SAFETY: our handle.
        let status = unsafe { pg_sys::GetBackgroundWorkerPid(handle, &raw mut pid) };
        if status == pg_sys::BgwHandleStatus::BGWH_STOPPED {
            return true;
        }
        if Instant::now() >= give_up {
            if status == pg_sys::BgwHandleStatus::BGWH_NOT_YET_STARTED {
                // SAFETY: our handle. It would find nobody to answer.
                unsafe { pg_sys::TerminateBackgroundWorker(handle) };
            }
            return false;
        }
        session::wait_interruptibly(
            Duration::from_millis(100).min(give_up.saturating_duration_since(Instant::now())),
        );
    }
}

/// Entry point of an errand. The argument is the handle of the shared piece.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn errand_main(argument: pg_sys::Datum) {
    // SAFETY: maps the caller's segment; null where the caller is gone. It stays mapped until the process ends.
    let segment = unsafe { pg_sys::dsm_attach(argument.value() as pg_sys::dsm_handle) };
    if segment.is_null() {
        return;
    }
    // SAFETY: mapped, and made by `run`.
    let shared = unsafe {
        pg_sys::dsm_pin_mapping(segment);
        Shared::at(segment)
    };
    let request = shared.read();
    let number = |name: &str| request.get(name).and_then(Value::as_u64);
    let Some(database) = number("database").and_then(|oid| u32::try_from(oid).ok()) else {
        return;
    };
    session::connect(pg_sys::Oid::from(database));
    roster::wake_at_exit();
    let deadline = Instant::now() + Duration::from_millis(number("max_ms").unwrap_or(0));
    let answer = if !session::become_worker() {
        json!({"error": "the role etl_worker does not exist"})
    } else if let Some(connection) = request.get("test").and_then(Value::as_str) {
        test(connection)
    } else if let Some(connection) = request.get("describe").and_then(Value::as_str) {
        describe(connection, &request)
    } else if let Some(mirrors) = request.get("pull") {
        pull::pull(mirrors, &request, deadline)
    } else {
        drain(
            shared,
            Limits {
                max_rows: number("max_rows").and_then(|rows| usize::try_from(rows).ok()),
                deadline: Some(deadline),
            },
        )
    };
    shared.write(&answer);
    shared.state.store(ANSWERED, Ordering::Release);
    debug_assert_ne!(ASKED, ANSWERED);
}

/// Whether a worker can begin here; the error says why not.
fn stands() -> Result<(), String> {
    match ground::look() {
        Ok(Ground::Ready(_)) => Ok(()),
        Ok(Ground::OtherVersion) => Err(
            "library and extension differ in version: ALTER EXTENSION pg_etl UPDATE;".to_owned(),
        ),
        Ok(Ground::NotSetUp | Ground::Gone) => Err(
            "etl.setup() has not been committed yet; a background worker sees committed state only"
                .to_owned(),
        ),
        Err(aborted) => Err(aborted.message),
    }
}

fn drain(shared: &Shared, limits: Limits) -> Value {
    if !crate::gucs::enabled() {
        return json!({"remaining": waiting_rows(), "note": "etl.enabled is off: nothing is delivered"});
    }
    if let Err(why) = stands() {
        return json!({"error": why});
    }
    let mut engine = match Engine::start(
        limits,
        Duties {
            mirrors: Some(Vec::new()),
            backfills: true,
            upkeep: false,
        },
    ) {
        Ok(engine) => engine,
        Err(message) => return json!({"error": message}),
    };
    let mut locked_out = 0;
    let mut tried_after_the_end = false;
    let note = loop {
        // Nothing is on the wire any more, and what is left cannot be written down: whoever comes next takes it back.
        let stuck = engine.is_over() && !engine.awaits_answers() && tried_after_the_end;
        if stuck || !session::database_is_free() {
            engine.last_words();
            break stuck
                .then(|| "some answers could not be written down: see the server log".to_owned());
        }
        tried_after_the_end = engine.is_over();
        let claimed = engine.totals().claimed;
        session::show_activity(Some(c"pg_etl: draining"));
        let turn = engine.turn();
        session::show_activity(None);
        shared.publish(&engine);
        let trouble = turn.as_ref().err().or(engine.trouble()).cloned();
        let wait = turn.unwrap_or(Duration::from_millis(200));
        match trouble {
            Some(aborted) => {
                locked_out += 1;
                if locked_out >= LOCKED_OUT
                    && !engine.is_busy()
                    && engine.totals().claimed == claimed
                {
                    let locked = aborted.code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE;
                    break Some(if locked {
                        "ops.odoo_outbox is locked by another transaction, perhaps the one that called".to_owned()
                    } else {
                        aborted.message
                    });
                }
            }
            None => {
                locked_out = 0;
                // No wait means that the lap round the queue is not over.
                if !wait.is_zero() && !engine.is_busy() && engine.totals().claimed == claimed {
                    break None;
                }
            }
        }
        let readable = Some(engine.readable());
        session::wait(readable, wait.min(Duration::from_secs(1)), || {
            engine.last_words()
        });
    };
    // Where no worker stays, nobody else adds up what has come together.
    let folded = session::transaction(|| {
        Spi::run("SELECT etl._fold_counts()")
            .unwrap_or_else(|error| crate::error::spi_failed(error));
    });
    if let Err(aborted) = folded {
        pgrx::log!("pg_etl: counts are added up later: {}", aborted.message);
    }
    let mut answer = json!({"remaining": waiting_rows()});
    if let (Some(note), Some(fields)) = (note, answer.as_object_mut()) {
        fields.insert("note".to_owned(), json!(note));
    }
    answer
}

/// Rows that wait or are on their way.
fn waiting_rows() -> Option<i64> {
    let counted = session::transaction(|| {
        let query = "SELECT (SELECT count(*) FROM etl.queue) + (SELECT coalesce(sum(cardinality(c.ids)), 0) FROM etl.claims c)::bigint";
        crate::reading::one(query, &[])
    });
    counted.ok().flatten()
}
