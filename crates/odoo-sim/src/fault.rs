//! Faults: what goes wrong, for which calls, how often.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// What goes wrong with a call.
///
/// "Committed" below is [`Fault::committed`]: whether Odoo does the work before the answer is spoilt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Effect {
    /// The call takes longer: its transaction begins, waits, works and commits, then the answer waits. A client that
    /// gives up meanwhile does not stop it, as with Odoo.
    Delay {
        /// Milliseconds between the transaction's start and its work.
        #[serde(default)]
        before_ms: u64,
        /// Milliseconds between the commit and the answer.
        #[serde(default)]
        after_ms: u64,
    },
    /// The work is done, the connection closed without an answer.
    AnswerLost,
    /// The connection is closed and nothing was done.
    RequestLost,
    /// The connection is closed at once, and the work is done later.
    RunsLater {
        /// Milliseconds until the work begins.
        after_ms: u64,
    },
    /// The connection is closed at once, and the work is done when [`crate::Sim::run_postponed`] says so.
    Postponed,
    /// The connection is reset (RST).
    Reset,
    /// The body ends early, after a `Content-Length` that promised all of it.
    Truncated {
        /// Bytes of the body that are sent.
        bytes: usize,
    },
    /// 200 with an HTML page, as a proxy's login or maintenance page.
    Html,
    /// 200 with `application/json` that is no JSON.
    Unreadable,
    /// A bare HTTP status, as a proxy sends it.
    Status {
        /// For instance 429, 502, 503, 504, 409.
        status: u16,
        /// Seconds for the `Retry-After` header.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// An exception of Odoo, in the words of either protocol. Nothing is done.
    Raise {
        /// Python name, for instance `psycopg2.errors.SerializationFailure`.
        exception: String,
        /// Its message.
        message: String,
    },
    /// Another transaction was faster: a message with HTTP 200 for `load`, a `SerializationFailure` for other methods.
    Conflict,
    /// No answer; the connection stays open until the client or [`crate::Sim::stop`] closes it.
    Hang,
    /// The answer comes, a byte at a time.
    SlowLoris {
        /// Milliseconds between two bytes.
        byte_ms: u64,
    },
    /// A body of this size, produced while it is sent.
    Giant {
        /// Size in bytes.
        bytes: u64,
    },
    /// A body without an end that is announced, of this size: the connection is closed after it.
    Endless {
        /// Size in bytes.
        bytes: u64,
    },
    /// A small gzip body that unpacks to this size.
    GzipBomb {
        /// Unpacked size in bytes.
        bytes: u64,
    },
    /// A body of this size that is JSON and needs many times as much memory once it is read: an array of small objects.
    Dense {
        /// Size in bytes.
        bytes: u64,
    },
    /// Half an answer that looks like a whole one: of a list of records only the first.
    Short {
        /// Records that are left.
        records: usize,
    },
    /// A redirect, which a client must not follow.
    Redirect {
        /// The `Location` header.
        location: String,
    },
}

/// An [`Effect`] and the calls it strikes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    pub effect: Effect,
    /// Only calls of this model. `web/version` counts as model `web`, method `version`; JSON-RPC's `common` service as
    /// model `common`.
    #[serde(default)]
    pub model: Option<String>,
    /// Only calls of this method.
    #[serde(default)]
    pub method: Option<String>,
    /// Begin with the n-th matching call, counted from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// Strike so many calls; all when absent.
    #[serde(default)]
    pub times: Option<u64>,
    /// Chance of each of them.
    #[serde(default = "certain")]
    pub probability: f64,
    /// Do the work before the answer is spoilt. Ignored by effects that say it themselves.
    #[serde(default)]
    pub committed: bool,
}

fn one() -> u64 {
    1
}

fn certain() -> f64 {
    1.0
}

impl Fault {
    /// This effect, for every call until [`crate::Sim::clear_faults`].
    pub fn new(effect: Effect) -> Self {
        Self {
            effect,
            model: None,
            method: None,
            nth: 1,
            times: None,
            probability: 1.0,
            committed: false,
        }
    }

    /// Only calls of `model.method`.
    pub fn on(mut self, model: &str, method: &str) -> Self {
        self.model = Some(model.into());
        self.method = Some(method.into());
        self
    }

    /// Only calls of this method, on any model.
    pub fn on_method(mut self, method: &str) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Begin with the n-th matching call, counted from 1.
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth;
        self
    }

    /// Strike so many calls.
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Strike each call with this chance.
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    /// Do the work before the answer is spoilt.
    pub fn committed(mut self) -> Self {
        self.committed = true;
        self
    }

    /// Whether the call does its work.
    pub(crate) fn works(&self) -> bool {
        match self.effect {
            Effect::Delay { .. }
            | Effect::AnswerLost
            | Effect::RunsLater { .. }
            | Effect::Short { .. }
            | Effect::Postponed => true,
            Effect::RequestLost | Effect::Raise { .. } | Effect::Conflict => false,
            _ => self.committed,
        }
    }

    fn matches(&self, model: &str, method: &str) -> bool {
        self.model.as_deref().is_none_or(|name| name == model)
            && self.method.as_deref().is_none_or(|name| name == method)
    }
}

/// The faults in force.
pub(crate) struct Plan {
    armed: Vec<Armed>,
    random: StdRng,
}

struct Armed {
    fault: Fault,
    matched: u64,
    struck: u64,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        Self {
            armed: vec![],
            random: StdRng::seed_from_u64(seed),
        }
    }

    pub fn arm(&mut self, fault: Fault) {
        self.armed.push(Armed {
            fault,
            matched: 0,
            struck: 0,
        });
    }

    pub fn clear(&mut self) {
        self.armed.clear();
    }

    pub fn faults(&self) -> Vec<Fault> {
        self.armed.iter().map(|armed| armed.fault.clone()).collect()
    }

    /// All faults that strike this call, in the order they were injected.
    pub fn strike(&mut self, model: &str, method: &str) -> Vec<Fault> {
        let mut striking = vec![];
        for armed in &mut self.armed {
            if !armed.fault.matches(model, method) {
                continue;
            }
            armed.matched += 1;
            let left = armed.fault.times.is_none_or(|times| armed.struck < times);
            if armed.matched < armed.fault.nth || !left {
                continue;
            }
            if armed.fault.probability >= 1.0
                || self.random.random::<f64>() < armed.fault.probability
            {
                armed.struck += 1;
                striking.push(armed.fault.clone());
            }
        }
        striking
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strikes_only_what_it_is_for() {
        let mut plan = Plan::new(1);
        plan.arm(
            Fault::new(Effect::Reset)
                .on("res.partner", "load")
                .nth(2)
                .times(1),
        );
        assert!(plan.strike("res.partner", "write").is_empty());
        assert!(plan.strike("res.partner", "load").is_empty());
        assert_eq!(plan.strike("res.partner", "load").len(), 1);
        assert!(plan.strike("res.partner", "load").is_empty());
    }

    #[test]
    fn half_an_answer_is_the_work_of_a_whole_one() {
        assert!(Fault::new(Effect::Short { records: 1 }).works());
    }

    #[test]
    fn a_seed_repeats_its_luck() {
        let strikes = |seed| {
            let mut plan = Plan::new(seed);
            plan.arm(Fault::new(Effect::Reset).probability(0.5));
            (0..64)
                .map(|_| plan.strike("m", "f").len())
                .collect::<Vec<_>>()
        };
        assert_eq!(strikes(7), strikes(7));
        assert!(strikes(7).contains(&0) && strikes(7).contains(&1));
    }

    #[test]
    fn faults_travel_as_json() {
        let fault: Fault =
            serde_json::from_str(r#"{"effect":{"kind":"status","status":503},"times":2}"#).unwrap();
        assert_eq!(
            fault,
            Fault::new(Effect::Status {
                status: 503,
                retry_after: None
            })
            .times(2)
        );
    }
}
