//! What a channel is told: no payload, no error text of Odoo's, no secret. Whoever wants to know more looks at the health report.

use serde::{Deserialize, Serialize};

use crate::health::{Finding, Status};

/// Longest text of a field, in characters.
const LONGEST: usize = 500;

/// What happened to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Opened,
    /// From a warning to a failure.
    Worse,
    /// As it was, for so long that it is said again.
    Still,
    Resolved,
    /// Nothing: somebody tries the channel.
    Test,
}

/// One alert in a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub event: Event,
    pub component: String,
    pub status: Status,
    pub value: String,
    pub threshold: String,
    pub remedy: String,
}

impl Line {
    pub(super) fn of(event: Event, finding: &Finding) -> Self {
        Self {
            event,
            component: short(&finding.component),
            status: finding.status,
            value: short(&finding.value),
            threshold: short(&finding.threshold),
            remedy: short(&finding.remedy),
        }
    }

    pub(super) fn resolved(component: &str) -> Self {
        Self {
            event: Event::Resolved,
            component: short(component),
            status: Status::Pass,
            value: String::new(),
            threshold: String::new(),
            remedy: String::new(),
        }
    }

    /// For people, in one line.
    #[must_use]
    pub fn headline(&self) -> String {
        match self.event {
            Event::Resolved => format!("{}: well again", self.component),
            Event::Test => "a test message: this channel works".to_owned(),
            Event::Opened | Event::Worse => {
                format!(
                    "{}: {} ({})",
                    self.component,
                    self.status.name(),
                    self.value
                )
            }
            Event::Still => format!(
                "{}: still {} ({})",
                self.component,
                self.status.name(),
                self.value
            ),
        }
    }
}

fn short(text: &str) -> String {
    let visible = text.chars().filter(|character| !character.is_control());
    visible.take(LONGEST).collect()
}

/// What a row of the outbox for a channel holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its own name: whoever gets it twice knows it by this.
    pub id: String,
    /// Which database speaks: its name, and what tells it from others of that name.
    pub database: String,
    /// ISO 8601.
    pub at: String,
    pub alerts: Vec<Line>,
}

impl Message {
    /// The gravest status in it.
    #[must_use]
    pub fn status(&self) -> Status {
        let statuses = self.alerts.iter().map(|line| line.status);
        statuses.max().unwrap_or(Status::Pass)
    }

    /// For people, in one line.
    #[must_use]
    pub fn headline(&self) -> String {
        match self.alerts.as_slice() {
            [] => "nothing".to_owned(),
            [one] => one.headline(),
            [first, rest @ ..] => format!("{}, and {} more", first.headline(), rest.len()),
        }
    }
}
