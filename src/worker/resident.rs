//! The resident worker of one database: delivers what commits, for as long as the database has the extension.

use std::time::{Duration, Instant};

use pg_etl_core::backoff::Backoff;
use pgrx::prelude::*;

use super::engine::{Engine, LOOK_EVERY, Limits};
use super::ground::{self, Ground};
use super::intake::Duties;
use super::roster::{self, Doing, Slot};
use super::session::{self, Ended};
use crate::gucs;

/// How often an idle worker looks whether it stands in somebody's way; no query.
const TICK: Duration = Duration::from_secs(1);
/// How often a worker looks whether it can begin: a restore sets up without waking anybody.
const NOT_YET: Duration = Duration::from_secs(4);

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
    // Before anything else: a role that the database or this user's settings ask for has no right here. Without the role there is
    // no extension either, and the first look finds that out.
    session::become_worker();
    Resident {
        slot,
        engine: None,
        extension: None,
        failures: 0,
        ground: None,
    }
    .serve();
}

struct Resident {
    slot: &'static Slot,
    engine: Option<Engine>,
    /// The extension that we serve; when it is another one, everything we know is of the old one.
    extension: Option<pg_sys::Oid>,
    /// Failures in a row, each of which waits longer.
    failures: u32,
    /// What the last look at the database found, and when.
    ground: Option<(Ground, Instant)>,
}

/// Waits after a transaction that failed.
const RETRY: Backoff = Backoff {
    base: Duration::from_secs(1),
    cap: Duration::from_secs(30),
};

impl Resident {
    /// Returns when the worker must leave; the launcher reads from the slot why. What was on the wire is taken back by the next
    /// worker, which finds our lock free.
    fn serve(mut self) {
        let mut look_at = Instant::now();
        loop {
            if !session::database_is_free() {
                self.engine.iter_mut().for_each(Engine::last_words);
                return self.slot.set(Doing::MadeRoom);
            }
            if Instant::now() >= look_at {
                match self.step() {
                    Ok(wait) => look_at = Instant::now() + wait,
                    Err(why) => {
                        self.engine.iter_mut().for_each(Engine::last_words);
                        return self.slot.set(why);
                    }
                }
            }
            let timeout = look_at.saturating_duration_since(Instant::now()).min(TICK);
            let readable = self.engine.as_ref().map(Engine::readable);
            match session::wait(readable, timeout, || {
                self.engine.iter_mut().for_each(Engine::last_words)
            }) {
                Ended::Woken => {
                    look_at = Instant::now();
                    self.engine.iter_mut().for_each(Engine::woken);
                }
                // An answer frees rows of its own connection at most, and that when it is written down.
                Ended::Readable => look_at = Instant::now(),
                Ended::TimedOut => {}
            }
        }
    }

    /// One look and what follows from it; how long until the next one, or why to leave.
    fn step(&mut self) -> Result<Duration, Doing> {
        let ground = match self.ground {
            // Each transaction sees to it that the extension is there; the rest may be noticed a moment later.
            Some((ground, at)) if self.is_busy() && at.elapsed() < LOOK_EVERY => ground,
            _ => match ground::look() {
                Ok(ground) => {
                    self.ground = Some((ground, Instant::now()));
                    ground
                }
                Err(aborted) => return Ok(self.trouble(&aborted.message)),
            },
        };
        match ground {
            Ground::Gone => Err(Doing::NoExtension),
            Ground::Ready(extension) if *self.extension.get_or_insert(extension) != extension => {
                Err(Doing::MadeRoom)
            }
            // The launcher starts another one should the setting change back.
            // The name is asked for where it matters: that is a transaction.
            Ground::Ready(_) if !gucs::serves("*") && !gucs::serves(&session::database_name()) => {
                self.engine.iter_mut().for_each(Engine::last_words);
                Err(Doing::MadeRoom)
            }
            Ground::Ready(_) if gucs::enabled() => Ok(self.work()),
            Ground::Ready(_) => Ok(self.rest(Doing::Disabled)),
            Ground::OtherVersion => Ok(self.rest(Doing::OtherVersion)),
            // The state was there and is gone, and with it what our claims refer to.
            Ground::NotSetUp if self.engine.is_some() => Err(Doing::MadeRoom),
            Ground::NotSetUp => {
                self.slot.set(Doing::NotSetUp);
                Ok(NOT_YET)
            }
        }
    }

    fn is_busy(&self) -> bool {
        self.engine.as_ref().is_some_and(Engine::is_busy)
    }

    /// One turn of the engine.
    fn work(&mut self) -> Duration {
        let engine = match &mut self.engine {
            Some(engine) => engine,
            None => match Engine::start(
                Limits::none(),
                Duties {
                    mirrors: None,
                    backfills: true,
                    upkeep: true,
                },
            ) {
                Ok(engine) => self.engine.insert(engine),
                Err(message) => return self.trouble(&message),
            },
        };
        session::show_activity(Some(c"pg_etl: delivering"));
        let turn = engine.turn();
        session::show_activity(engine.pulling().as_deref());
        self.slot.count_delivered(engine.take_delivered());
        match turn {
            Ok(next) => {
                if let Some(aborted) = engine.trouble() {
                    let message = aborted.message.clone();
                    self.note(&message);
                    return next;
                }
                self.failures = 0;
                self.slot.set(if engine.is_busy() {
                    Doing::Working
                } else {
                    Doing::Idle
                });
                next
            }
            Err(aborted) => self.trouble(&aborted.message),
        }
    }

    /// Nothing new is claimed or sent; what is on the wire is still settled.
    fn rest(&mut self, why: Doing) -> Duration {
        self.slot.set(why);
        match self.engine.as_mut().map(Engine::wind_down) {
            None | Some(Ok(())) => gucs::poll_interval(),
            Some(Err(aborted)) => {
                log!("pg_etl worker: {}", aborted.message);
                TICK
            }
        }
    }

    fn trouble(&mut self, message: &str) -> Duration {
        self.note(message);
        RETRY.ceiling(self.failures - 1)
    }

    /// Shows the trouble, and logs it ever more rarely while it lasts.
    fn note(&mut self, message: &str) {
        self.slot.set(Doing::Trouble);
        self.failures = self.failures.saturating_add(1);
        if self.failures.is_power_of_two() {
            log!("pg_etl worker: {message}");
        }
    }
}
