//! Bugs planted on purpose: what the engine would do without one of its promises. The crash suite must notice each.
//!
//! `etl.planted_bug` names one; it is fixed when the server starts, and the server does not start when the statement that it
//! changes no longer holds the piece that it changes: a bug that is planted nowhere would prove nothing.

use std::ffi::CString;
use std::sync::OnceLock;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

static PLANTED: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

static BUG: OnceLock<Option<Bug>> = OnceLock::new();

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// The row is marked done when it is claimed.
    SettleBeforeSend,
    /// A settle overwrites whatever became of the row meanwhile.
    NoFencing,
    /// The attempt is counted when the answer is written down, and not when the row is claimed.
    AttemptAfterSend,
    /// `load` without the context that makes it create-once.
    PlainLoad,
    /// A row does not wait for the older ones of its record.
    OrderIgnored,
    /// Later rows of a record go at once after an unknown outcome.
    NoGrace,
}

impl Bug {
    const ALL: [Self; 6] = [
        Self::SettleBeforeSend,
        Self::NoFencing,
        Self::AttemptAfterSend,
        Self::PlainLoad,
        Self::OrderIgnored,
        Self::NoGrace,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::SettleBeforeSend => "settle_before_send",
            Self::NoFencing => "no_fencing",
            Self::AttemptAfterSend => "attempt_after_send",
            Self::PlainLoad => "plain_load",
            Self::OrderIgnored => "order_ignored",
            Self::NoGrace => "no_grace",
        }
    }
}

pub(super) fn define() {
    GucRegistry::define_string_guc(
        c"etl.planted_bug",
        c"Crash suite: the bug that this server has.",
        c"",
        &PLANTED,
        GucContext::Postmaster,
        GucFlags::default(),
    );
    let name = PLANTED.get().unwrap_or_default();
    let name = name.to_string_lossy();
    let bug = Bug::ALL.into_iter().find(|bug| bug.name() == name);
    if bug.is_none() && !name.is_empty() {
        pgrx::error!("etl.planted_bug: there is no bug {name:?}");
    }
    pg_etl_core::chaos::load_plainly(bug == Some(Bug::PlainLoad));
    let _ = BUG.set(bug);
    // Now, so that a piece that is not found keeps the server from starting.
    claim_sql(include_str!("../../sql/queries/claim.sql"));
    settle_sql(include_str!("../../sql/queries/settle.sql"));
    recover_sql(include_str!("../../sql/queries/recover.sql"));
}

fn planted(bug: Bug) -> bool {
    BUG.get() == Some(&Some(bug))
}

/// The claim statement, with the planted bug in it where it belongs there.
pub fn claim_sql(text: &'static str) -> &'static str {
    if planted(Bug::SettleBeforeSend) {
        return with(
            text,
            &[("'processing'", "'done'"), ("claim = $5,", "claim = -$5,")],
        );
    }
    if planted(Bug::AttemptAfterSend) {
        return with(
            text,
            &[("coalesce(o.attempts, 0) + 1", "coalesce(o.attempts, 0)")],
        );
    }
    if planted(Bug::OrderIgnored) {
        return with(
            text,
            &[(
                "WHERE b.id IS NULL OR w.id < b.id",
                "WHERE true OR b.id > 0",
            )],
        );
    }
    text
}

/// The settle statement, likewise.
pub fn settle_sql(text: &'static str) -> &'static str {
    if planted(Bug::NoFencing) {
        return with(text, &[(" AND o.claim = v.claim", "")]);
    }
    if planted(Bug::AttemptAfterSend) {
        return with(
            text,
            &[("attempts = o.attempts - v", "attempts = o.attempts + 1 - v")],
        );
    }
    if planted(Bug::NoGrace) {
        return with(
            text,
            &[("WHERE s.hold <> 0", "WHERE false AND s.hold <> 0")],
        );
    }
    text
}

/// The statement that takes rows back from the dead, likewise.
pub fn recover_sql(text: &'static str) -> &'static str {
    if planted(Bug::NoGrace) {
        return with(text, &[("AND $3 > 0", "AND $3 < 0")]);
    }
    text
}

/// `text` with each piece replaced. Each must be there exactly once.
fn with(text: &'static str, pieces: &[(&str, &str)]) -> &'static str {
    let mut patched = text.to_owned();
    for (piece, instead) in pieces {
        if patched.matches(piece).count() != 1 {
            pgrx::error!(
                "etl.planted_bug: {piece:?} is not exactly once in the statement that it belongs to"
            );
        }
        patched = patched.replace(piece, instead);
    }
    // A worker asks once in its life.
    patched.leak()
}
