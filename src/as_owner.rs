//! What a tracked table's owner is to do, done with the owner's rights and no others.
//!
//! `etl.track()` makes functions that belong to the table's owner, and whoever owns a function may change it: what it returns, and with
//! whose rights it runs. And what a statement of the owner's puts off (a deferred trigger, a setting) would be done later, by the
//! worker. So the worker becomes the owner for the length of the call, inside a security-restricted operation, as for a REFRESH
//! MATERIALIZED VIEW or an index's expression.
//!
//! And whoever owns a function may let it sleep. The worker has other tables, other connections and other people's rows to serve: it
//! waits for a while, cancels what does not return, and leaves that table alone for a while.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use pgrx::{JsonB, pg_sys};

use crate::error::{complain, spi_failed};

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A chunk of a backfill is five times as large as a page, and reads what a mapping joins.
const PATIENCE_OF_A_BACKFILL: Duration = Duration::from_secs(60);
/// For how many times as long a table is left alone whose functions took longer: so much at most of a worker's time is theirs.
const REST: u32 = 10;

/// `STATEMENT_TIMEOUT` of Postgres' enum `TimeoutId`: the fourth, in every version that has it.
const STATEMENT_TIMEOUT: i32 = 3;

unsafe extern "C-unwind" {
    // Of utils/timeout.h, which pgrx does not bind.
    fn enable_timeout_after(id: i32, delay_ms: i32);
    fn disable_timeout(id: i32, keep_indicator: bool);
}

thread_local! {
    /// Tracks that are left alone, and until when.
    static RESTING: RefCell<HashMap<i32, Instant>> = RefCell::default();
}

/// Calls the function of a track for `job`, and gives back all that it returns as a list. `None`: the owner has no such function.
///
/// Nobody but `etl_worker` may execute it. It calls only what runs with the owner's rights anyway.
#[pg_extern(sql = false)]
fn as_owner(track: i32, job: &str, argument: JsonB) -> Option<JsonB> {
    let (owner, call) = found(track, job)?;
    if RESTING.with_borrow(|resting| resting.get(&track).is_some_and(|end| Instant::now() < *end)) {
        too_slow(&call);
    }
    let patience = match job {
        "backfill" => PATIENCE_OF_A_BACKFILL,
        _ => PATIENCE,
    };
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: read, changed and put back around one statement. An ERROR in between aborts the (sub)transaction, which puts back the user
    // and the settings that it began with.
    let settings = unsafe {
        pg_sys::GetUserIdAndSecContext(&raw mut user, &raw mut context);
        let restricted =
            (pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION) as i32;
        pg_sys::SetUserIdAndSecContext(owner, context | restricted);
        pg_sys::NewGUCNestLevel()
    };
    // The list is made here, so that a cast of the owner's is the owner's too.
    let answer = in_time(patience, || {
        Spi::get_one_with_args::<JsonB>(
            &format!("SELECT coalesce(jsonb_agg(to_jsonb(f)), '[]') FROM {call}($1) AS f"),
            &[argument.into()],
        )
    });
    let answer = match answer {
        Ended::Returned(answer) => Some(answer),
        Ended::TooLate => None,
        // Under a code that is handled as any other failure of this table's: no handler in SQL sees one of those two.
        Ended::Odd(words) => complain(
            PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
            format!("{call}() failed: {words}"),
        )
        .raise(),
    };
    let Some(answer) = answer else {
        let rest = patience * REST;
        RESTING.with_borrow_mut(|resting| resting.insert(track, Instant::now() + rest));
        pgrx::log!(
            "pg_etl: {call}() did not return within {} s: its table is left alone for {} s",
            patience.as_secs(),
            rest.as_secs()
        );
        too_slow(&call);
    };
    // SAFETY: as above. Settings that the call left are undone.
    unsafe {
        pg_sys::AtEOXact_GUC(false, settings);
        pg_sys::SetUserIdAndSecContext(user, context);
    }
    answer.unwrap_or_else(|error| spi_failed(error))
}

/// As one who has a lock that is needed: what was to be done is left for later, and nobody waits for it.
fn too_slow(call: &str) -> ! {
    complain(
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        format!("{call}() did not return in time"),
    )
    .hint("A trigger, a policy or an expression of the table's owner is slow, or waits for something.")
    .raise()
}

/// How a call ended. But for the first the (sub)transaction is to be aborted.
enum Ended<R> {
    Returned(R),
    /// It was cancelled because it took longer.
    TooLate,
    /// It raised what handlers in SQL let pass: a cancellation (a remote server's, or `pg_cancel_backend()`), a failed assertion.
    Odd(String),
}

fn in_time<R>(patience: Duration, work: impl FnOnce() -> R) -> Ended<R> {
    let began = Instant::now();
    let is_over = move || began.elapsed() >= patience;
    let millis = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: Postgres' own timer of a session's statements, registered in every process with a database; a worker has no other use for it
    // (its statement_timeout is pinned to 0). It sends SIGINT to this process, which every wait and loop of Postgres heeds. Raises no ERROR.
    unsafe { enable_timeout_after(STATEMENT_TIMEOUT, millis) };
    let work = AssertUnwindSafe(work);
    PgTryBuilder::new(AssertUnwindSafe(move || Ended::Returned((work.0)())))
        .catch_when(PgSqlErrorCode::ERRCODE_QUERY_CANCELED, move |cause| {
            if is_over() {
                Ended::TooLate
            } else {
                Ended::Odd(words_of(&cause))
            }
        })
        .catch_when(PgSqlErrorCode::ERRCODE_ASSERT_FAILURE, move |cause| {
            Ended::Odd(words_of(&cause))
        })
        .finally(move || {
            // SAFETY: as above, however the call ended. One that fires in the last moment was for what is over now.
            unsafe {
                disable_timeout(STATEMENT_TIMEOUT, false);
                if is_over() {
                    pg_sys::QueryCancelPending = 0;
                }
            }
        })
        .execute()
}

fn words_of(cause: &CaughtError) -> String {
    match cause {
        CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic {
            ereport: report, ..
        } => report.message().to_owned(),
    }
}

/// The table's owner and the name of the function.
fn found(track: i32, job: &str) -> Option<(pg_sys::Oid, String)> {
    let found = Spi::get_two_with_args::<pg_sys::Oid, String>(
        "SELECT c.relowner, format('%I.%I', n.nspname, p.proname)
         FROM etl.tracks k JOIN pg_class c ON c.oid = etl._table(k.tab) JOIN pg_namespace n ON n.nspname = k.home
         JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = format('etl_%s_%s', $2, k.id) AND p.proowner = c.relowner
           AND p.prosecdef AND p.prokind = 'f' AND p.proargtypes = '3802'
         WHERE k.id = $1 AND $2 IN ('look', 'apply', 'make', 'remove', 'backfill')",
        &[track.into(), job.into()],
    );
    match found {
        Ok((owner, call)) => owner.zip(call),
        Err(pgrx::spi::Error::InvalidPosition) => None,
        Err(error) => spi_failed(error),
    }
}
