//! Two sides of a field: what becomes of Odoo's value where the local row may have changed too.
//!
//! A three-way merge. The base is what both sides had when they last agreed; what was sent since is known by the outbox. So a value
//! that comes back from Odoo is told apart from one that somebody wrote there, and an old one from a new one.

/// Who wins a field that both sides changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wins {
    Odoo,
    Local,
    /// Whoever wrote last: Odoo's `write_date`, or the time when the local change was enqueued.
    Newest,
}

impl Wins {
    /// By the name that `etl.track(two_way => …)` takes.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "odoo" => Some(Self::Odoo),
            "local" => Some(Self::Local),
            "newest" => Some(Self::Newest),
            _ => None,
        }
    }
}

/// How the youngest local change of a field stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Nothing was sent since both sides agreed, or Odoo had it before it was asked.
    Before,
    /// Odoo got it while, or after, it was asked.
    Late,
    /// It is on its way.
    Waits,
    /// Odoo refused it.
    Refused,
}

impl Sent {
    /// By the name that `etl._look_in()` gives it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "before" => Some(Self::Before),
            "late" => Some(Self::Late),
            "waits" => Some(Self::Waits),
            "refused" => Some(Self::Refused),
            _ => None,
        }
    }
}

/// What is known of a field whose value in Odoo was just read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Odoo's value is another than the last one that it is known to have had: what it was sent before it was asked, else what both
    /// sides agreed on.
    pub moved: bool,
    /// The local value is another than Odoo's.
    pub differs: bool,
    pub sent: Sent,
    /// Odoo's value is one that it was sent while it was asked, or is being sent.
    pub is_ours: bool,
    /// Odoo's record was written after the youngest local change.
    pub odoo_is_newer: bool,
    /// What was sent last is what Odoo itself had, sent again after a conflict: nobody here changed the field since.
    pub is_resent: bool,
    /// This very value was taken from Odoo before, and what the local side made of it was sent.
    pub again: bool,
    /// While Odoo was asked it was sent more values than are still known: the record changes all the time.
    pub is_unclear: bool,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing new from Odoo.
    Same,
    /// Both sides have the same.
    Agreed,
    /// What was sent came back, while something younger is on its way.
    Ours,
    /// What was read is older than what was sent: the next pull tells.
    Later,
    /// Only Odoo changed it: the local row takes it. `resend`: something older is on its way, so it is sent again after that.
    Take {
        resend: bool,
    },
    /// Both changed it. `resend`: what is on its way would overwrite it in Odoo, so it is sent again after that.
    OdooWins {
        resend: bool,
    },
    LocalWins,
    /// Each side rewrites what the other one wrote: it is left as it is.
    Quarrel,
}

impl Fate {
    /// The name that `etl._apply_in()` knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Agreed => "agreed",
            Self::Ours => "ours",
            Self::Later => "later",
            Self::Take { resend: false } => "take",
            Self::Take { resend: true } => "take, resend",
            Self::OdooWins { resend: false } => "odoo",
            Self::OdooWins { resend: true } => "odoo, resend",
            Self::LocalWins => "local",
            Self::Quarrel => "quarrel",
        }
    }
}

/// Decides on one field.
pub fn decide(facts: Facts, wins: Wins) -> Fate {
    if !facts.moved {
        return Fate::Same;
    }
    if !facts.differs {
        return Fate::Agreed;
    }
    if facts.is_unclear && !facts.is_ours {
        return Fate::Later;
    }
    let odoo_wins = match wins {
        Wins::Odoo => true,
        Wins::Local => false,
        Wins::Newest => facts.odoo_is_newer,
    };
    match facts.sent {
        Sent::Before if facts.again => Fate::Quarrel,
        Sent::Before => Fate::Take { resend: false },
        _ if facts.is_ours => Fate::Ours,
        sent if facts.is_resent => Fate::Take {
            resend: sent != Sent::Refused,
        },
        sent if odoo_wins => Fate::OdooWins {
            resend: sent != Sent::Refused,
        },
        // Whether Odoo still has what was read, nobody knows.
        Sent::Late => Fate::Later,
        Sent::Waits | Sent::Refused => Fate::LocalWins,
    }
}

#[cfg(test)]
mod tests;
