//! The roster in shared memory: which worker serves which database, so that a commit can wake it and anyone can see it.
//! Exists only where the library is preloaded; without it `etl.drain_outbox()` works all the same.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, Ordering};

use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgAtomic, pg_shmem_init};

/// Databases of one server that can have a worker.
pub const SLOTS: usize = 256;

static PRELOADED: AtomicBool = AtomicBool::new(false);
// SAFETY: the name is this library's own.
static ROSTER: PgAtomic<Roster> = unsafe { PgAtomic::new(c"pg_etl_roster") };

/// What a worker is doing, or why it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Doing {
    Starting = 1,
    Idle = 2,
    Working = 3,
    /// `etl.setup()` has not run.
    NotSetUp = 4,
    /// The loaded library and the extension's SQL are of different versions.
    OtherVersion = 5,
    /// `etl.enabled` is off.
    Disabled = 6,
    /// Left: the database has no extension.
    NoExtension = 7,
    /// Left: somebody renames, copies or drops the database.
    MadeRoom = 8,
    /// The last transaction failed; see the server log. Trying again.
    Trouble = 9,
}

impl Doing {
    fn from_number(number: u32) -> Option<Self> {
        [
            Self::Starting,
            Self::Idle,
            Self::Working,
            Self::NotSetUp,
            Self::OtherVersion,
            Self::Disabled,
            Self::NoExtension,
            Self::MadeRoom,
            Self::Trouble,
        ]
        .into_iter()
        .find(|doing| *doing as u32 == number)
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Starting => ("starting", ""),
            Self::Idle => ("idle", "waiting for a commit"),
            Self::Working => ("working", ""),
            Self::NotSetUp => ("idle", "not set up: SELECT etl.setup();"),
            Self::OtherVersion => (
                "idle",
                "library and extension differ in version: ALTER EXTENSION pg_etl UPDATE;",
            ),
            Self::Disabled => ("idle", "etl.enabled is off"),
            Self::NoExtension => ("left", "the extension is gone"),
            Self::MadeRoom => ("left", "made room for a change of the database"),
            Self::Trouble => ("trouble", "the last transaction failed: see the server log"),
        }
    }
}

/// One database's worker. `pid` is 0 while nobody serves it.
#[derive(Default)]
pub struct Slot {
    database: AtomicU32,
    pid: AtomicI32,
    doing: AtomicU32,
    /// Postgres timestamp, µs since 2000-01-01.
    started_at: AtomicI64,
    delivered: AtomicI64,
    /// How often CREATE EXTENSION or `etl.setup()` committed here, and what a worker that found no extension had seen of that.
    announced: AtomicU32,
    seen: AtomicU32,
}

struct Roster {
    launcher: AtomicI32,
    slots: [Slot; SLOTS],
}

impl Default for Roster {
    fn default() -> Self {
        Self {
            launcher: AtomicI32::new(0),
            slots: std::array::from_fn(|_| Slot::default()),
        }
    }
}

// SAFETY: nothing but atomics, no pointers, no heap.
unsafe impl PGRXSharedMemory for Roster {}

/// Asks for the shared memory; only while the postmaster preloads libraries.
pub fn reserve() {
    // SAFETY: set by the postmaster, read on the main thread.
    if unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        pg_shmem_init!(ROSTER);
        PRELOADED.store(true, Ordering::Relaxed);
    }
}

/// Whether the library is in `shared_preload_libraries`.
pub fn is_preloaded() -> bool {
    PRELOADED.load(Ordering::Relaxed)
}

fn slots() -> &'static [Slot] {
    if is_preloaded() {
        &ROSTER.get().slots
    } else {
        &[]
    }
}

/// The slot by its number, where the library is preloaded.
pub fn slot(number: usize) -> Option<&'static Slot> {
    slots().get(number)
}

/// The slot of a database, taking a free one where it has none. `None`: all are taken.
pub fn assign(database: pg_sys::Oid) -> Option<usize> {
    let mine = slots()
        .iter()
        .position(|slot| slot.database.load(Ordering::Acquire) == database.to_u32());
    mine.or_else(|| {
        let free = slots()
            .iter()
            .position(|slot| slot.database.load(Ordering::Acquire) == 0)?;
        slots()[free].reset(database.to_u32());
        Some(free)
    })
}

/// Gives back the slots of databases that are gone.
pub fn retain(databases: &[pg_sys::Oid]) {
    for slot in slots() {
        let database = slot.database.load(Ordering::Acquire);
        if database != 0 && !databases.iter().any(|oid| oid.to_u32() == database) {
            slot.reset(0);
        }
    }
}

/// The launcher makes itself known.
pub fn enter_launcher() {
    if is_preloaded() {
        // SAFETY: set for every process.
        ROSTER
            .get()
            .launcher
            .store(unsafe { pg_sys::MyProcPid }, Ordering::Release);
    }
}

impl Slot {
    fn reset(&self, database: u32) {
        self.pid.store(0, Ordering::Release);
        self.doing.store(0, Ordering::Release);
        self.delivered.store(0, Ordering::Release);
        self.database.store(database, Ordering::Release);
    }

    /// The worker makes itself known.
    pub fn enter(&self) {
        // SAFETY: set for every process; a clock reading.
        let (pid, now) = unsafe { (pg_sys::MyProcPid, pg_sys::GetCurrentTimestamp()) };
        self.started_at.store(now, Ordering::Release);
        self.doing.store(Doing::Starting as u32, Ordering::Release);
        self.seen
            .store(self.announced.load(Ordering::Acquire), Ordering::Release);
        self.pid.store(pid, Ordering::Release);
        // A pid that stayed behind could later belong to somebody else, who would pass for this worker.
        // SAFETY: registered once per process; the slot is in shared memory, which is still there at that point.
        unsafe {
            pg_sys::on_shmem_exit(
                Some(leave),
                pg_sys::Datum::from(std::ptr::from_ref(self).cast_mut()),
            )
        };
    }

    pub fn set(&self, doing: Doing) {
        self.doing.store(doing as u32, Ordering::Release);
    }

    fn doing(&self) -> Option<Doing> {
        Doing::from_number(self.doing.load(Ordering::Acquire))
    }

    /// Whether a worker looked, found no extension, and nothing has been announced since.
    pub fn has_no_extension(&self) -> bool {
        self.doing() == Some(Doing::NoExtension)
            && self.seen.load(Ordering::Acquire) == self.announced.load(Ordering::Acquire)
    }

    pub fn count_delivered(&self, rows: i64) {
        self.delivered.fetch_add(rows, Ordering::Relaxed);
    }

    /// Whether the process in this slot still runs.
    pub fn is_alive(&self) -> bool {
        process(self.pid.load(Ordering::Acquire)).is_some()
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn leave(_code: i32, slot: pg_sys::Datum) {
    // SAFETY: registered by `enter` with a slot of the shared roster.
    if let Some(slot) = unsafe { slot.cast_mut_ptr::<Slot>().as_ref() } {
        // SAFETY: set for every process.
        let pid = unsafe { pg_sys::MyProcPid };
        let _ = slot
            .pid
            .compare_exchange(pid, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// The entry of a running backend or worker; `None` where the pid is stale.
fn process(pid: i32) -> Option<std::ptr::NonNull<pg_sys::PGPROC>> {
    if pid == 0 {
        return None;
    }
    // SAFETY: reads the process array under its own lock; the entry is in shared memory and never freed.
    std::ptr::NonNull::new(unsafe { pg_sys::BackendPidGetProc(pid) })
}

fn poke(pid: i32) {
    if let Some(process) = process(pid) {
        // SAFETY: the entry is in shared memory for ever. Had the process ended just now, another process would wake once
        // without need, which every process must bear.
        unsafe { pg_sys::SetLatch(&raw mut (*process.as_ptr()).procLatch) };
    }
}

/// What this transaction asked for, done when it commits.
static WAKE_AT_COMMIT: AtomicBool = AtomicBool::new(false);
static ANNOUNCE_AT_COMMIT: AtomicBool = AtomicBool::new(false);
static CALLBACK_SET: AtomicBool = AtomicBool::new(false);

/// Neither raises nor allocates: an error in a commit callback would bring the server down.
#[pg_guard]
unsafe extern "C-unwind" fn at_transaction_end(
    event: pg_sys::XactEvent::Type,
    _argument: *mut std::ffi::c_void,
) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => {
            if WAKE_AT_COMMIT.swap(false, Ordering::Relaxed) {
                wake_now();
            }
            if ANNOUNCE_AT_COMMIT.swap(false, Ordering::Relaxed) && is_preloaded() {
                if let Some(slot) = my_slot() {
                    slot.announced.fetch_add(1, Ordering::AcqRel);
                }
                poke(ROSTER.get().launcher.load(Ordering::Acquire));
            }
        }
        pg_sys::XactEvent::XACT_EVENT_ABORT | pg_sys::XactEvent::XACT_EVENT_PREPARE => {
            WAKE_AT_COMMIT.store(false, Ordering::Relaxed);
            ANNOUNCE_AT_COMMIT.store(false, Ordering::Relaxed);
        }
        _ => {}
    }
}

fn at_commit(flag: &AtomicBool) {
    if !is_preloaded() {
        return;
    }
    if !CALLBACK_SET.swap(true, Ordering::Relaxed) {
        // SAFETY: registered once per process, never unregistered; the function lives as long as the library.
        unsafe { pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut()) };
    }
    flag.store(true, Ordering::Relaxed);
}

fn my_slot() -> Option<&'static Slot> {
    // SAFETY: set for every process that has a database.
    let database = unsafe { pg_sys::MyDatabaseId.to_u32() };
    slots()
        .iter()
        .find(|slot| slot.database.load(Ordering::Acquire) == database)
}

fn wake_now() {
    if let Some(slot) = my_slot() {
        poke(slot.pid.load(Ordering::Acquire));
    }
}

/// Runs when session locks are released already: whoever is woken finds this owner dead.
#[pg_guard]
unsafe extern "C-unwind" fn at_exit(_code: i32, _argument: pg_sys::Datum) {
    wake_now();
}

/// When this process ends, however it does, the resident worker looks whether it left claims behind.
pub fn wake_at_exit() {
    // SAFETY: registered once per process; the function lives as long as the library.
    unsafe { pg_sys::on_shmem_exit(Some(at_exit), pg_sys::Datum::from(0)) };
}

/// Wakes this database's worker when the transaction commits. Once per transaction, however often it is called.
pub fn wake_at_commit() {
    at_commit(&WAKE_AT_COMMIT);
}

#[pg_extern(sql = false)]
fn wake() {
    wake_at_commit();
}

/// Makes the launcher look for databases that need a worker, and this database's worker look again, when the transaction commits.
#[pg_extern(sql = false)]
fn announce() {
    at_commit(&WAKE_AT_COMMIT);
    at_commit(&ANNOUNCE_AT_COMMIT);
}

/// Whether this process is one of ours.
#[pg_extern(sql = false)]
fn is_worker() -> bool {
    // SAFETY: set for background workers before they run any code of an extension, and never changed; its text ends in itself.
    unsafe {
        pg_sys::MyBgworkerEntry.as_ref().is_some_and(|entry| {
            std::ffi::CStr::from_ptr(entry.bgw_type.as_ptr())
                .to_bytes()
                .starts_with(b"pg_etl")
        })
    }
}

/// The workers of this database that run.
#[pg_extern(sql = false)]
#[allow(
    clippy::type_complexity,
    reason = "the columns, as pgrx wants them: in place"
)]
fn workers() -> TableIterator<
    'static,
    (
        name!(pid, i32),
        name!(state, String),
        name!(detail, String),
        name!(started_at, TimestampWithTimeZone),
        name!(delivered, i64),
    ),
> {
    let mine = my_slot().filter(|slot| slot.is_alive());
    TableIterator::new(mine.into_iter().filter_map(|slot| {
        let (state, detail) = slot.doing()?.words();
        let started_at =
            TimestampWithTimeZone::try_from(slot.started_at.load(Ordering::Acquire)).ok()?;
        Some((
            slot.pid.load(Ordering::Acquire),
            state.to_owned(),
            detail.to_owned(),
            started_at,
            slot.delivered.load(Ordering::Acquire),
        ))
    }))
}
