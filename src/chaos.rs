//! What the crash suite needs inside the worker: named points at which it can be made to die, and bugs planted on purpose, so
//! that the suite proves that it would see them. Everything but empty shells exists only with the feature `chaos`, which no
//! build for users has.
//!
//! Threads that speak HTTP pass through points too, and may not ask Postgres for a setting: what the settings say is kept in
//! plain memory, read again whenever the main thread passes a point.

#[cfg(feature = "chaos")]
mod bugs;
#[cfg(feature = "chaos")]
mod points;

/// A place on the way of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The claim is committed, nothing of it is sent.
    AfterClaim,
    /// A request has left, its answer was not read. Only [`pg_etl_core`] knows this moment.
    #[cfg(feature = "chaos")]
    AfterSend,
    /// The answers of a batch were read, nothing of them is known to the main thread.
    AfterAnswer,
    /// The settle is written and not committed.
    BeforeSettleCommits,
    /// A page is merged, and taken into two-way tables, and not committed.
    BeforeMergeCommits,
}

#[cfg(feature = "chaos")]
pub use bugs::{claim_sql, recover_sql, settle_sql};
#[cfg(feature = "chaos")]
pub use points::point;

/// Defines the settings and reads the planted bug; once per process, after the other settings.
#[cfg(feature = "chaos")]
pub fn define() {
    points::define();
    bugs::define();
}

#[cfg(not(feature = "chaos"))]
pub use absent::{claim_sql, define, point, recover_sql, settle_sql};

/// What every other build has instead.
#[cfg(not(feature = "chaos"))]
mod absent {
    use super::Point;

    #[inline(always)]
    pub fn define() {}

    #[inline(always)]
    pub fn point(_: Point) {}

    #[inline(always)]
    pub const fn claim_sql(text: &'static str) -> &'static str {
        text
    }

    #[inline(always)]
    pub const fn settle_sql(text: &'static str) -> &'static str {
        text
    }

    #[inline(always)]
    pub const fn recover_sql(text: &'static str) -> &'static str {
        text
    }
}
