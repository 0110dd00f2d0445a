//! Settings. What the worker reads is `PGC_SIGHUP`: it changes with a reload, and nobody changes it for one database or role.

use std::ffi::{CStr, CString};
use std::time::Duration;

use pg_etl_core::backoff::Backoff;
use pg_etl_core::outbox::{Defaults, Patience};
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

static DATABASE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"*"));
static ENABLED: GucSetting<bool> = GucSetting::<bool>::new(true);
static INSTANCE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static POLL_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(60);
static REQUEST_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(150);
static UNKNOWN_GRACE: GucSetting<i32> = GucSetting::<i32>::new(150);
static BATCH_ROWS: GucSetting<i32> = GucSetting::<i32>::new(500);
static MAX_IN_FLIGHT: GucSetting<i32> = GucSetting::<i32>::new(8);
static MAX_ATTEMPTS: GucSetting<i32> = GucSetting::<i32>::new(10);
static BACKOFF_BASE: GucSetting<i32> = GucSetting::<i32>::new(2);
static BACKOFF_CAP: GucSetting<i32> = GucSetting::<i32>::new(900);
static SECRET_DIR: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static SECRET_ENV_PREFIX: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"ETL_"));
static MAX_RESPONSE_BYTES: GucSetting<i32> = GucSetting::<i32>::new(16 * 1024 * 1024);

/// Defines every setting; called once per process.
pub fn define() {
    let text = |name: &'static CStr,
                short: &'static CStr,
                long: &'static CStr,
                setting: &'static GucSetting<Option<CString>>| {
        GucRegistry::define_string_guc(
            name,
            short,
            long,
            setting,
            GucContext::Sighup,
            GucFlags::default(),
        );
    };
    let int = |name: &'static CStr,
               short: &'static CStr,
               setting: &'static GucSetting<i32>,
               range: (i32, i32),
               unit: GucFlags| {
        GucRegistry::define_int_guc(
            name,
            short,
            c"",
            setting,
            range.0,
            range.1,
            GucContext::Sighup,
            unit,
        );
    };
    text(
        c"etl.database",
        c"Databases that get a worker.",
        c"A comma-separated list, or * for every database that has the extension.",
        &DATABASE,
    );
    GucRegistry::define_bool_guc(
        c"etl.enabled",
        c"Whether workers deliver at all.",
        c"Off: workers stay idle; rows stay queued.",
        &ENABLED,
        GucContext::Sighup,
        GucFlags::default(),
    );
    text(
        c"etl.instance",
        c"A name that tells this server from a physical clone of it.",
        c"A database whose stored name differs starts paused, so that a clone does not send production's changes again.",
        &INSTANCE,
    );
    int(
        c"etl.poll_interval",
        c"How often an idle worker looks for work that nobody woke it for.",
        &POLL_INTERVAL,
        (5, 3_600),
        GucFlags::UNIT_S,
    );
    int(
        c"etl.request_timeout",
        c"How long one request may take. Odoo itself may work for 120 s.",
        &REQUEST_TIMEOUT,
        (1, 3_600),
        GucFlags::UNIT_S,
    );
    int(
        c"etl.unknown_grace",
        c"How long later rows of a record wait after a request with an unknown outcome.",
        &UNKNOWN_GRACE,
        (0, 86_400),
        GucFlags::UNIT_S,
    );
    int(
        c"etl.batch_rows",
        c"Most rows in one call.",
        &BATCH_ROWS,
        (1, 1_000),
        GucFlags::default(),
    );
    int(
        c"etl.max_in_flight",
        c"Most calls that one connection has on the wire.",
        &MAX_IN_FLIGHT,
        (1, 64),
        GucFlags::default(),
    );
    int(
        c"etl.max_attempts",
        c"Attempts after which a row becomes a dead letter.",
        &MAX_ATTEMPTS,
        (1, 1_000),
        GucFlags::default(),
    );
    int(
        c"etl.backoff_base",
        c"Base of the wait between attempts: random(0, min(cap, base * 2^attempt)).",
        &BACKOFF_BASE,
        (1, 3_600),
        GucFlags::UNIT_S,
    );
    int(
        c"etl.backoff_cap",
        c"Longest wait between attempts.",
        &BACKOFF_CAP,
        (1, 86_400),
        GucFlags::UNIT_S,
    );
    text(
        c"etl.secret_dir",
        c"Folder of the files that file:NAME secrets are read from.",
        c"Empty: file: references are refused.",
        &SECRET_DIR,
    );
    text(
        c"etl.secret_env_prefix",
        c"What the names of environment variables that env:NAME may read begin with.",
        c"",
        &SECRET_ENV_PREFIX,
    );
    int(
        c"etl.max_response_bytes",
        c"Largest answer that is read.",
        &MAX_RESPONSE_BYTES,
        (64 * 1024, 256 * 1024 * 1024),
        GucFlags::UNIT_BYTE,
    );
    // SAFETY: a constant C string; from here on a misspelt etl.* setting is an error instead of silence.
    unsafe { pgrx::pg_sys::MarkGUCPrefixReserved(c"etl".as_ptr()) };
}

fn text_of(setting: &GucSetting<Option<CString>>) -> String {
    setting
        .get()
        .map(|value| value.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn seconds(setting: &GucSetting<i32>) -> Duration {
    Duration::from_secs(setting.get().unsigned_abs().into())
}

/// Whether the database of that name gets a worker.
pub fn serves(database: &str) -> bool {
    let listed = text_of(&DATABASE);
    listed
        .split(',')
        .map(str::trim)
        .any(|name| name == "*" || name == database)
}

pub fn enabled() -> bool {
    ENABLED.get()
}

pub fn instance() -> String {
    text_of(&INSTANCE)
}

pub fn poll_interval() -> Duration {
    seconds(&POLL_INTERVAL)
}

pub fn request_timeout() -> Duration {
    seconds(&REQUEST_TIMEOUT)
}

pub fn unknown_grace() -> Duration {
    seconds(&UNKNOWN_GRACE)
}

/// Most rows in one call; at least 1.
pub fn batch_rows() -> usize {
    BATCH_ROWS.get().unsigned_abs() as usize
}

/// Most calls that one connection has on the wire, whatever its options say; at least 1.
pub fn max_in_flight() -> usize {
    MAX_IN_FLIGHT.get().unsigned_abs() as usize
}

/// What holds for rows of models whose configuration says nothing else.
pub fn delivery_defaults() -> Defaults {
    Defaults {
        max_batch: batch_rows(),
        patience: Patience {
            max_attempts: MAX_ATTEMPTS.get().unsigned_abs(),
            backoff: Backoff {
                base: seconds(&BACKOFF_BASE),
                cap: seconds(&BACKOFF_CAP),
            },
            unknown_grace: unknown_grace(),
        },
    }
}

/// The folder of `file:` secrets, where there is one.
pub fn secret_dir() -> Option<String> {
    Some(text_of(&SECRET_DIR)).filter(|dir| !dir.is_empty())
}

pub fn secret_env_prefix() -> String {
    text_of(&SECRET_ENV_PREFIX)
}

pub fn max_response_bytes() -> usize {
    MAX_RESPONSE_BYTES.get().unsigned_abs() as usize
}
