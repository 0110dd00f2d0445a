//! Why something was not delivered: one class per verdict of the verdict table, and the words a person reads.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The verdict on one failure. Every `match` on it is exhaustive: a new class must be decided everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Not sent: refused, DNS, TLS handshake, breaker open.
    Unreachable,
    /// The endpoint answers, but not to us: key, database or user are wrong.
    Misconfigured,
    /// The endpoint asks for fewer requests.
    Throttled,
    /// Sent, and nobody knows whether it took effect.
    Unknown,
    /// Lost against a concurrent transaction in Odoo; nothing took effect.
    Conflict,
    /// Somebody else changed the record in Odoo since it was last pulled. Not sent: it is pulled first.
    Overtaken,
    /// Refers to a record that is not there yet.
    Dependency,
    /// Odoo, or our own check before sending, refuses these values.
    Invalid,
    /// The user of the connection lacks a right on a model or record.
    Forbidden,
    /// The record to change is gone from Odoo.
    Missing,
    /// Odoo has no such model or method.
    UnknownModel,
    /// The request is larger than the endpoint takes.
    TooLarge,
    /// A request that a correct client would not have sent: ours to mend.
    Bug,
    /// Odoo failed in a way that no other class names.
    Server,
    /// The worker died every time while it held this row alone.
    Crashed,
}

impl ErrorClass {
    /// Every class, in the order of the verdict table.
    pub const ALL: [Self; 15] = [
        Self::Unreachable,
        Self::Misconfigured,
        Self::Throttled,
        Self::Unknown,
        Self::Conflict,
        Self::Overtaken,
        Self::Dependency,
        Self::Invalid,
        Self::Forbidden,
        Self::Missing,
        Self::UnknownModel,
        Self::TooLarge,
        Self::Bug,
        Self::Server,
        Self::Crashed,
    ];

    /// The name stored in `ops.odoo_outbox.error_class`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Misconfigured => "misconfigured",
            Self::Throttled => "throttled",
            Self::Unknown => "unknown",
            Self::Conflict => "conflict",
            Self::Overtaken => "overtaken",
            Self::Dependency => "dependency",
            Self::Invalid => "invalid",
            Self::Forbidden => "forbidden",
            Self::Missing => "missing",
            Self::UnknownModel => "unknown_model",
            Self::TooLarge => "too_large",
            Self::Bug => "bug",
            Self::Server => "server",
            Self::Crashed => "crashed",
        }
    }
}

/// What went wrong with a request or a row, in words fit for `last_error`: no secret, no payload, no traceback.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub class: ErrorClass,
    /// One or two sentences that keep Odoo's own message; bounded by [`Failure::MAX_MESSAGE`].
    pub message: String,
    /// What a person can do about it, when that is known.
    pub remedy: Option<String>,
    /// How long the endpoint asked us to wait (`Retry-After`).
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Longest message kept, in bytes.
    pub const MAX_MESSAGE: usize = 2_000;

    /// A failure whose message is cut at [`Failure::MAX_MESSAGE`] and holds no NUL (Postgres text cannot).
    #[must_use]
    pub fn new(class: ErrorClass, message: impl AsRef<str>) -> Self {
        Self {
            class,
            message: bounded(message.as_ref()),
            remedy: None,
            retry_after: None,
        }
    }

    /// The same failure with words on what to do.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

fn bounded(message: &str) -> String {
    let clean = message.trim().replace('\0', "\u{fffd}");
    if clean.len() <= Failure::MAX_MESSAGE {
        return clean;
    }
    let mut end = Failure::MAX_MESSAGE - '…'.len_utf8();
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &clean[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_bounded_and_free_of_nul() {
        let failure = Failure::new(ErrorClass::Invalid, format!("a\0{}", "é".repeat(3_000)));
        assert!(failure.message.len() <= Failure::MAX_MESSAGE);
        assert!(!failure.message.contains('\0'));
        assert!(failure.message.ends_with('…'));
    }

    #[test]
    fn names_are_those_of_serde() {
        for class in ErrorClass::ALL {
            assert_eq!(
                serde_json::to_value(class).unwrap(),
                serde_json::json!(class.name())
            );
        }
    }
}
