//! The launcher: sees that every database that has the extension has a worker, and nobody else has one.
//!
//! It is connected to no database, so it stands in nobody's way. Whether a database has the extension only a worker inside it
//! can tell: each database is tried once, and again when CREATE EXTENSION commits there.

use std::collections::HashMap;
use std::ffi::CStr;
use std::time::{Duration, Instant};

use pgrx::bgworkers::{
    BackgroundWorkerBuilder, BackgroundWorkerStatus, BgWorkerStartTime, DynamicBackgroundWorker,
};
use pgrx::prelude::*;

use super::roster;
use super::session;

/// How often the list of databases is read: a worker that is missing for any reason is back within 5 s, its start included.
const ROUND: Duration = Duration::from_secs(3);
/// Between a worker's end and the next one.
const RESTART: Duration = Duration::from_secs(1);

/// In `_PG_init`: registers the launcher, where the library is preloaded. It starts when recovery is over: never on a standby,
/// and at once on promotion.
pub fn register() {
    // SAFETY: set by the postmaster before it loads libraries.
    let binary_upgrade = unsafe { pg_sys::IsBinaryUpgrade };
    if !roster::is_preloaded() || binary_upgrade {
        return;
    }
    BackgroundWorkerBuilder::new("pg_etl launcher")
        .set_type("pg_etl launcher")
        .set_library("pg_etl")
        .set_function("launcher_main")
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

/// Entry point; runs until SIGTERM, whose FATAL makes the postmaster start it again unless it shuts down itself.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn launcher_main(_argument: pg_sys::Datum) {
    session::handle_signals_only();
    // SAFETY: no database and no user: shared catalogs can be read, nothing else.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(std::ptr::null(), std::ptr::null(), 0) };
    roster::enter_launcher();
    let mut watch = Watch::default();
    loop {
        if crate::gucs::enabled() {
            match databases() {
                Ok(databases) => watch.round(&databases),
                Err(aborted) => log!("pg_etl launcher: {}", aborted.message),
            }
        }
        session::wait(None, watch.next_round(), || {});
    }
}

/// Databases that can be connected to, with their names.
fn databases() -> Result<Vec<(pg_sys::Oid, String)>, session::Aborted> {
    session::transaction(|| {
        let mut found = Vec::new();
        // SAFETY: a scan of a shared catalog in a transaction of our own, as autovacuum's launcher does it. The names are
        // copied before the scan goes on.
        unsafe {
            let catalog =
                pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as i32);
            let scan = pg_sys::table_beginscan_catalog(catalog, 0, std::ptr::null_mut());
            loop {
                let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
                if tuple.is_null() {
                    break;
                }
                let entry = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>();
                if (*entry).datallowconn && !(*entry).datistemplate {
                    let name = CStr::from_ptr((&raw const (*entry).datname.data).cast());
                    found.push(((*entry).oid, name.to_string_lossy().into_owned()));
                }
            }
            if let Some(end) = (*(*scan).rs_rd)
                .rd_tableam
                .as_ref()
                .and_then(|methods| methods.scan_end)
            {
                end(scan);
            }
            pg_sys::table_close(catalog, pg_sys::AccessShareLock as i32);
        }
        found
    })
}

/// The workers that this launcher started.
#[derive(Default)]
struct Watch {
    started: HashMap<u32, (Instant, DynamicBackgroundWorker)>,
    waiting: bool,
}

impl Watch {
    fn round(&mut self, databases: &[(pg_sys::Oid, String)]) {
        let oids: Vec<_> = databases.iter().map(|(oid, _)| *oid).collect();
        roster::retain(&oids);
        self.started
            .retain(|oid, _| oids.iter().any(|known| known.to_u32() == *oid));
        self.waiting = false;
        for (oid, name) in databases
            .iter()
            .filter(|(_, name)| crate::gucs::serves(name))
        {
            let Some(number) = roster::assign(*oid) else {
                log!(
                    "pg_etl launcher: no room for database \"{name}\": at most {} databases of a server are served",
                    roster::SLOTS
                );
                continue;
            };
            let Some(slot) = roster::slot(number) else {
                continue;
            };
            if slot.is_alive() || slot.has_no_extension() {
                continue;
            }
            let busy = self.started.get(&oid.to_u32()).is_some_and(|(at, worker)| {
                // Under way, or ended only just now.
                matches!(
                    worker.pid(),
                    Ok(_) | Err(BackgroundWorkerStatus::NotYetStarted)
                ) || at.elapsed() < RESTART
            });
            if busy {
                self.waiting = true;
                continue;
            }
            match start(*oid, name, number) {
                Some(worker) => drop(self.started.insert(oid.to_u32(), (Instant::now(), worker))),
                None => self.waiting = true,
            }
        }
    }

    fn next_round(&self) -> Duration {
        if self.waiting { RESTART } else { ROUND }
    }
}

/// Starts a worker. It reports its end to us by a signal, and is never restarted by the postmaster: that is our decision.
fn start(database: pg_sys::Oid, name: &str, slot: usize) -> Option<DynamicBackgroundWorker> {
    let argument = (u64::from(database.to_u32()) << 32) | slot as u64;
    let started = BackgroundWorkerBuilder::new(&format!("pg_etl worker: {name}"))
        .set_type("pg_etl worker")
        .set_library("pg_etl")
        .set_function("resident_main")
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        // SAFETY: set for every process.
        .set_notify_pid(unsafe { pg_sys::MyProcPid })
        .set_argument(Some(pg_sys::Datum::from(argument)))
        .load_dynamic();
    if started.is_err() {
        log!(
            "pg_etl launcher: no free background worker for database \"{name}\"; raise max_worker_processes"
        );
    }
    started.ok()
}
