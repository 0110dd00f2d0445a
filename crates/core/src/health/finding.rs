//! One finding: how a component is, in words for a person.

use serde::{Deserialize, Serialize};

/// How a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Pass,
    Warn,
    Fail,
}

impl Status {
    /// The word in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// How one component is, in words for a person.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    pub component: String,
    pub status: Status,
    pub value: String,
    pub threshold: String,
    pub detail: String,
    /// Empty where nothing needs to be done.
    pub remedy: String,
}

pub(super) fn finding(
    component: impl Into<String>,
    status: Status,
    value: impl Into<String>,
    threshold: &str,
    detail: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    let remedy = if status == Status::Pass {
        String::new()
    } else {
        remedy.into()
    };
    Finding {
        component: component.into(),
        status,
        value: value.into(),
        threshold: threshold.to_owned(),
        detail: detail.into(),
        remedy,
    }
}

pub(super) fn above<T: PartialOrd>(value: T, (warn, fail): (T, T)) -> Status {
    if value >= fail {
        Status::Fail
    } else if value >= warn {
        Status::Warn
    } else {
        Status::Pass
    }
}

pub(super) fn age(seconds: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped"
    )]
    let whole = seconds.clamp(0.0, 1e12) as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}
