//! From what value on a component warns and fails. The defaults are here; `etl.thresholds` holds what a database has made of them.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;

use super::finding::{Status, age};

/// What a threshold counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Rows,
    Seconds,
    Percent,
    Days,
}

impl Unit {
    /// The word in `etl.thresholds`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Seconds => "seconds",
            Self::Percent => "percent",
            Self::Days => "days",
        }
    }

    fn text(self, value: f64) -> String {
        match self {
            Self::Rows => value.to_string(),
            Self::Seconds => age(value),
            Self::Percent => format!("{value} %"),
            Self::Days => format!("{value} d"),
        }
    }
}

/// From what value on a component warns and fails; `None`: never.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Limits {
    pub warn: Option<f64>,
    pub fail: Option<f64>,
}

/// A component that is judged by a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// The component's name, or the words before the name of a model or a connection.
    pub component: &'static str,
    pub limits: Limits,
    pub unit: Unit,
    /// Below a limit, and not from it on, is what warns and fails.
    pub is_floor: bool,
}

const fn ceiling(component: &'static str, warn: f64, fail: f64, unit: Unit) -> Threshold {
    let limits = Limits {
        warn: Some(warn),
        fail: Some(fail),
    };
    Threshold {
        component,
        limits,
        unit,
        is_floor: false,
    }
}

const fn floor(
    component: &'static str,
    warn: Option<f64>,
    fail: Option<f64>,
    unit: Unit,
) -> Threshold {
    Threshold {
        component,
        limits: Limits { warn, fail },
        unit,
        is_floor: true,
    }
}

const fn only_warn(component: &'static str, warn: f64, unit: Unit) -> Threshold {
    Threshold {
        component,
        limits: Limits {
            warn: Some(warn),
            fail: None,
        },
        unit,
        is_floor: false,
    }
}

/// What each is where `etl.thresholds` does not say otherwise.
pub const THRESHOLDS: [Threshold; 15] = [
    ceiling("outbox", 100.0, 1_000.0, Unit::Rows),
    ceiling("oldest due row", 60.0, 600.0, Unit::Seconds),
    ceiling("dead letters", 1.0, 1.0, Unit::Rows),
    floor("success rate", None, Some(95.0), Unit::Percent),
    // Of 95 in 100 rows of the last hour, from their insertion on.
    ceiling("delivery latency", 60.0, 600.0, Unit::Seconds),
    ceiling("runs", 3_600.0, 21_600.0, Unit::Seconds),
    // A pull comes every five minutes.
    ceiling("sync lag", 600.0, 3_600.0, Unit::Seconds),
    only_warn("schema drift", 1.0, Unit::Rows),
    only_warn("conflicts", 1.0, Unit::Rows),
    // Days that rows which are over may stay longer than they are kept.
    ceiling("retention", 1.0, 7.0, Unit::Days),
    // Dead rows for each hundred living ones.
    ceiling("bloat", 100.0, 400.0, Unit::Percent),
    // Age of a transaction for whose sake no dead row can go.
    ceiling("oldest snapshot", 1_800.0, 21_600.0, Unit::Seconds),
    // Days until an API key of the connection's user ends; those of internal users live for 90 at most.
    floor("api key", Some(14.0), Some(2.0), Unit::Days),
    // Days until an Odoo that has JSON-2 no longer answers JSON-RPC.
    floor("protocol", Some(365.0), Some(0.0), Unit::Days),
    // How long a job of pg_cron may run.
    ceiling("pg_cron", 600.0, 3_600.0, Unit::Seconds),
];

/// The threshold of a component, by its whole name or the words that it begins with.
#[must_use]
pub fn threshold_of(component: &str) -> Option<&'static Threshold> {
    THRESHOLDS.iter().find(|known| {
        component
            .strip_prefix(known.component)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    })
}

/// The thresholds of a database, by component: `etl.thresholds`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Thresholds(BTreeMap<String, Limits>);

impl Thresholds {
    /// How a value of this component is, and its limits in words. A value beyond all numbers is beyond all limits.
    pub(super) fn judge(&self, component: &str, value: f64) -> (Status, String) {
        self.judge_with(component, value, 0.0)
    }

    /// The same where no limit is below so much.
    pub(super) fn judge_with(&self, component: &str, value: f64, least: f64) -> (Status, String) {
        let Some(known) = threshold_of(component) else {
            return (Status::Pass, String::new());
        };
        let limits = [component, known.component]
            .iter()
            .find_map(|name| self.0.get(*name))
            .unwrap_or(&known.limits);
        let (warn, fail) = (
            limits.warn.map(|limit| limit.max(least)),
            limits.fail.map(|limit| limit.max(least)),
        );
        let beyond = |limit: Option<f64>| {
            limit.is_some_and(|limit| {
                if known.is_floor {
                    value < limit
                } else {
                    value >= limit
                }
            })
        };
        let status = if beyond(fail) {
            Status::Fail
        } else if beyond(warn) {
            Status::Warn
        } else {
            Status::Pass
        };
        let mut text = String::new();
        // What fails at once does not warn before.
        for (word, limit) in [("warn", warn.filter(|_| warn != fail)), ("fail", fail)] {
            let Some(limit) = limit else { continue };
            if !text.is_empty() {
                text.push_str(", ");
            }
            let below = if known.is_floor { " below" } else { "" };
            let _ = write!(text, "{word}{below} {}", known.unit.text(limit));
        }
        if text.is_empty() {
            text.push_str("none");
        }
        (status, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(component: &str, warn: Option<f64>, fail: Option<f64>) -> Thresholds {
        Thresholds([(component.to_owned(), Limits { warn, fail })].into())
    }

    #[test]
    fn a_limit_is_reached_from_its_value_on() {
        let thresholds = Thresholds::default();
        for (value, status) in [
            (99.0, Status::Pass),
            (100.0, Status::Warn),
            (999.0, Status::Warn),
            (1_000.0, Status::Fail),
        ] {
            assert_eq!(
                thresholds.judge("outbox", value),
                (status, "warn 100, fail 1000".to_owned())
            );
        }
    }

    #[test]
    fn a_floor_is_broken_below_its_value() {
        let thresholds = Thresholds::default();
        assert_eq!(
            thresholds.judge("success rate", 95.0),
            (Status::Pass, "fail below 95 %".to_owned())
        );
        assert_eq!(thresholds.judge("success rate", 94.99).0, Status::Fail);
    }

    #[test]
    fn a_database_has_its_own_limits_and_a_model_may_have_others() {
        let thresholds = set("outbox", None, Some(7.0));
        assert_eq!(
            thresholds.judge("outbox", 6.0),
            (Status::Pass, "fail 7".to_owned())
        );
        assert_eq!(thresholds.judge("outbox", 7.0).0, Status::Fail);
        assert_eq!(
            set("outbox", None, None).judge("outbox", 1e9),
            (Status::Pass, "none".to_owned())
        );
        let one = set("sync lag res.partner", Some(5.0), None);
        assert_eq!(one.judge("sync lag res.partner", 6.0).0, Status::Warn);
        assert_eq!(one.judge("sync lag sale.order", 6.0).0, Status::Pass);
        assert_eq!(
            one.judge_with("sync lag res.partner", 6.0, 60.0),
            (Status::Pass, "warn 1 min".to_owned())
        );
    }

    #[test]
    fn names_are_whole_words() {
        assert_eq!(
            threshold_of("sync lag res.partner").map(|known| known.component),
            Some("sync lag")
        );
        assert_eq!(threshold_of("outboxes"), None);
        assert_eq!(threshold_of("setup"), None);
    }
}
