//! The resident worker of one database: delivers what commits, for as long as the database has the extension.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::engine::{Engine, Limits};
use super::roster::{self, Doing, Slot};
use super::session;
use crate::gucs;

/// How often an idle worker looks whether it stands in somebody's way; no query.
const TICK: Duration = Duration::from_secs(1);

/// What a transaction finds before any work is done.
enum Ground {
    /// With the extension's OID: another one is another extension, whose claims are not ours.
    Ready(pg_sys::Oid),
    NotSetUp,
    OtherVersion,
    Gone,
}

/// Entry point. The argument holds the database's OID and the number of our slot.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn resident_main(argument: pg_sys::Datum) {
    let argument = argument.value() as u64;
    let Some(slot) = roster::slot((argument & 0xffff_ffff) as usize) else {
        return;
    };
    slot.enter();
    session::connect(pg_sys::Oid::from((argument >> 32) as u32));
    serve(slot);
}

/// Returns when the worker must leave; the launcher reads from the slot why.
fn serve(slot: &'static Slot) {
    let mut engine: Option<Engine> = None;
    let mut look_at = Instant::now();
    let mut is_worker = false;
    let mut serving = None;
    loop {
        if !session::database_is_free() {
            slot.set(Doing::MadeRoom);
            return;
        }
        let now = Instant::now();
        if now >= look_at {
            match ground() {
                Ok(Ground::Ready(extension)) if *serving.get_or_insert(extension) != extension => {
                    slot.set(Doing::MadeRoom);
                    return;
                }
                Ok(Ground::Ready(_)) if !gucs::enabled() => {
                    slot.set(Doing::Disabled);
                    look_at = now + gucs::poll_interval();
                }
                Ok(Ground::Ready(_)) => {
                    if !is_worker {
                        is_worker = session::become_worker();
                    }
                    let wait = if is_worker {
                        work(&mut engine, slot)
                    } else {
                        gucs::poll_interval()
                    };
                    look_at = Instant::now() + wait;
                }
                Ok(Ground::NotSetUp) => {
                    slot.set(Doing::NotSetUp);
                    engine = None;
                    look_at = now + gucs::poll_interval();
                }
                Ok(Ground::OtherVersion) => {
                    slot.set(Doing::OtherVersion);
                    look_at = now + gucs::poll_interval();
                }
                Ok(Ground::Gone) => {
                    slot.set(Doing::NoExtension);
                    return;
                }
                Err(aborted) => {
                    slot.set(Doing::Trouble);
                    log!("pg_etl worker: {}", aborted.message);
                    look_at = now + TICK;
                }
            }
        }
        let timeout = look_at.saturating_duration_since(Instant::now()).min(TICK);
        if session::wait(engine.as_ref().map(Engine::readable), timeout) {
            look_at = Instant::now();
        }
    }
}

fn ground() -> Result<Ground, session::Aborted> {
    session::transaction(|| {
        // SAFETY: a catalog look-up inside a transaction.
        let extension = unsafe { pg_sys::get_extension_oid(c"pg_etl".as_ptr(), true) };
        if extension == pg_sys::InvalidOid {
            return Ground::Gone;
        }
        let version = Spi::get_one::<String>(
            "SELECT extversion::text FROM pg_catalog.pg_extension WHERE extname = 'pg_etl'",
        );
        if version
            .unwrap_or_else(|error| crate::error::spi_failed(error))
            .as_deref()
            != Some(env!("CARGO_PKG_VERSION"))
        {
            return Ground::OtherVersion;
        }
        if crate::setup::is_set_up() {
            Ground::Ready(extension)
        } else {
            Ground::NotSetUp
        }
    })
}

/// One turn of the engine; returns how long until the next one if nothing happens.
fn work(engine: &mut Option<Engine>, slot: &'static Slot) -> Duration {
    let running = match engine {
        Some(running) => running,
        None => match Engine::start(Limits::none()) {
            Ok(started) => engine.insert(started),
            Err(message) => {
                slot.set(Doing::Trouble);
                log!("pg_etl worker: {message}");
                return TICK;
            }
        },
    };
    session::show_activity(Some(c"pg_etl: delivering"));
    let turn = running.turn();
    session::show_activity(None);
    match turn {
        Ok(next) => {
            slot.count_delivered(running.take_delivered());
            slot.set(if running.is_busy() {
                Doing::Working
            } else {
                Doing::Idle
            });
            next
        }
        Err(aborted) => {
            slot.set(Doing::Trouble);
            log!("pg_etl worker: {}", aborted.message);
            TICK
        }
    }
}
