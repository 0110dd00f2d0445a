//! What a worker does beside delivering, in rounds that something else has woken it for: an idle one is not woken by it, but to tell
//! people what has turned.

use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::session::{Aborted, transaction};
use crate::connections::secret;
use crate::connections::store as connections;

/// How often differences are added up.
const FOLD_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked what is over and old.
const RETAIN_EVERY: Duration = Duration::from_secs(600);
/// How often it is tried whether secrets can be read.
const SECRETS_EVERY: Duration = Duration::from_secs(600);
/// How often alerts are looked at, where there are rules; a worker that is busy looks more often.
const ALERTS_EVERY: Duration = Duration::from_secs(30);
const ALERTS_AT_LEAST: Duration = Duration::from_secs(10);
/// How often the outbox is counted anew, which reads all of it, if nobody waits; and first.
const RECOUNT_EVERY: Duration = Duration::from_secs(3_600);
const RECOUNT_FIRST: Duration = Duration::from_secs(300);
/// Rows of each kind that are deleted in one transaction.
const MOST_DELETED: i32 = 5_000;

/// When each is due.
pub struct Upkeep {
    fold_at: Instant,
    /// Whether there may be something to add up.
    has_news: bool,
    retain_at: Instant,
    /// Where the next look at what is over and old begins.
    retain_after: i64,
    recount_at: Instant,
    secrets_at: Instant,
    alerted_at: Option<Instant>,
    /// Whether somebody waits to be told.
    has_alerts: bool,
}

impl Upkeep {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            fold_at: now,
            has_news: true,
            retain_at: now,
            retain_after: 0,
            recount_at: now + RECOUNT_FIRST,
            secrets_at: now,
            alerted_at: None,
            has_alerts: false,
        }
    }

    /// Whether there are rules, or something whose end is to be told.
    pub fn expect_alerts(&mut self, has_alerts: bool) {
        self.has_alerts = has_alerts;
    }

    /// How long until it must be woken for this. `None`: nobody waits to be told.
    pub fn next(&self) -> Option<Duration> {
        let at = self.alerted_at.filter(|_| self.has_alerts)? + ALERTS_EVERY;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Does what is due, each by itself: what fails is tried again when it is due again, and stops nothing else. `is_idle`: nobody waits for
    /// this worker. `has_news`: rows came or went. `true`: there is more to delete.
    pub fn round(&mut self, is_idle: bool, has_news: bool) -> Result<bool, Aborted> {
        let now = Instant::now();
        let mut failed = None;
        let mut attempt = |result: Result<(), Aborted>| failed = result.err().or(failed.take());
        self.has_news |= has_news;
        if self.has_news && self.fold_at <= now {
            self.fold_at = now + FOLD_EVERY;
            self.has_news = false;
            attempt(transaction(|| call("SELECT etl._fold_counts()")));
        }
        if self.secrets_at <= now {
            self.secrets_at = now + SECRETS_EVERY;
            attempt(try_secrets());
        }
        if self.has_alerts && self.alerted_at.is_none_or(|at| at + ALERTS_AT_LEAST <= now) {
            self.alerted_at = Some(now);
            attempt(transaction(|| crate::alerts::check(false)).map(drop));
        }
        if is_idle && self.recount_at <= now {
            self.recount_at = now + RECOUNT_EVERY;
            attempt(transaction(|| call("SELECT etl._recount()")));
        }
        if self.retain_at <= now {
            self.retain_at = now + RETAIN_EVERY;
            let after = self.retain_after;
            attempt(transaction(|| apply_retention(after)).map(|(more, next)| {
                self.retain_after = next;
                if more {
                    self.retain_at = now;
                }
            }));
        }
        failed.map_or(Ok(self.retain_at <= now), Err)
    }
}

/// Tries whether the secret of each connection can be read, and writes down why not: each by itself, for a vault may raise at one of them.
fn try_secrets() -> Result<(), Aborted> {
    for (name, reference) in transaction(connections::secrets)? {
        let error = match transaction(|| secret::read(&reference)) {
            Ok(read) => read.err(),
            Err(aborted) => Some(aborted.message),
        };
        transaction(|| connections::keep_secret_error(&name, error))?;
    }
    Ok(())
}

fn call(query: &str) {
    Spi::run(query).unwrap_or_else(|error| crate::error::spi_failed(error));
}

/// Whether there is more of it now, and where the next call begins.
fn apply_retention(after: i64) -> (bool, i64) {
    let said = Spi::get_two_with_args::<bool, i64>(
        "SELECT (r -> 'more')::bool, coalesce((r -> 'next')::bigint, 0) FROM etl.apply_retention($1, $2) r",
        &[MOST_DELETED.into(), after.into()],
    );
    let (more, next) = said.unwrap_or_else(|error| crate::error::spi_failed(error));
    (more == Some(true), next.unwrap_or(0))
}
