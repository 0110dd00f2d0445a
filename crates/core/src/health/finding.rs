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
    threshold: impl Into<String>,
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
        threshold: threshold.into(),
        detail: detail.into(),
        remedy,
    }
}

pub(super) fn age(seconds: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped"
    )]
    let whole = seconds.clamp(0.0, 1e12) as u64;
    let two = |first: u64, unit: &str, rest: u64, of: &str| match rest {
        0 => format!("{first} {unit}"),
        _ => format!("{first} {unit} {rest} {of}"),
    };
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => two(whole / 60, "min", whole % 60, "s"),
        3_600..86_400 => two(whole / 3_600, "h", whole % 3_600 / 60, "min"),
        _ => two(whole / 86_400, "d", whole % 86_400 / 3_600, "h"),
    }
}
