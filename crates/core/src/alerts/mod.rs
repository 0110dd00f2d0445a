//! Alerts: `findings + rules + what is open → what changes, and who is told`. Pure; the tables are in `sql/schema/alerts.sql`.

mod message;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::health::{Finding, Status};

pub use message::{Event, Line, Message};

/// A component that has passed for so many seconds is well again: one that wavers, with a job of every minute, is no news.
pub const CALM: f64 = 120.0;

/// For so many seconds after a message a component that turns from a failure to a warning and back is no news either.
pub const SETTLED: f64 = 600.0;
/// Most alerts in one message: what has no room is told at the next look.
const MOST: usize = 100;

/// Who is told of what: a row of `etl.alert_rules`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Rule {
    /// A component, the words that several begin with, or `*`.
    pub component: String,
    /// From which status on.
    pub status: Status,
    /// Names of connections.
    pub channels: Vec<String>,
    /// After how many seconds it is said again; `None`: never.
    pub renotify_seconds: Option<f64>,
    /// It is a time at which nobody is to be told.
    #[serde(default)]
    pub is_quiet: bool,
}

impl Rule {
    fn is_about(&self, component: &str, status: Status) -> bool {
        let names = self.component == "*"
            || component
                .strip_prefix(self.component.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
        names && status >= self.status
    }
}

/// What a channel was told last of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub status: Status,
    /// Seconds since 1970.
    pub at: f64,
}

/// An alert that is not resolved, or whose end not everybody knows: a row of `etl.alerts`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Open {
    pub id: i64,
    pub component: String,
    pub status: Status,
    /// Somebody has said that he knows.
    pub is_acknowledged: bool,
    pub is_resolved: bool,
    /// When its component was last seen not to pass, in seconds since 1970.
    pub seen_at: f64,
    /// By channel.
    pub told: BTreeMap<String, Told>,
}

/// What a look begins with: what `etl._alert_state()` gives.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct State {
    /// Seconds since 1970.
    pub now: f64,
    pub rules: Vec<Rule>,
    pub open: Vec<Open>,
}

/// What one look changes.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Step {
    /// Alerts that are new; their ids are not known yet.
    pub opened: Vec<Opened>,
    /// Alerts as they are now.
    pub changed: Vec<Changed>,
    /// By channel: what it is told, in one message.
    pub messages: BTreeMap<String, Vec<Line>>,
}

/// An alert that is new.
#[derive(Debug, PartialEq, Serialize)]
pub struct Opened {
    pub component: String,
    pub status: Status,
    pub value: String,
    pub threshold: String,
    pub remedy: String,
    pub told: BTreeMap<String, Told>,
}

/// An alert as it is now.
#[derive(Debug, PartialEq, Serialize)]
pub struct Changed {
    pub id: i64,
    pub status: Status,
    pub value: Option<String>,
    pub is_resolved: bool,
    /// Its component does not pass now.
    pub is_seen: bool,
    pub told: BTreeMap<String, Told>,
}

/// What a look at the findings changes. `now` in seconds since 1970.
#[must_use]
pub fn step(rules: &[Rule], open: &[Open], findings: &[Finding], now: f64) -> Step {
    let mut step = Step::default();
    let bad = |finding: &&Finding| {
        finding.status > Status::Pass
            && rules
                .iter()
                .any(|rule| rule.is_about(&finding.component, finding.status))
    };
    for alert in open {
        let found = findings
            .iter()
            .find(|finding| finding.component == alert.component && finding.status > Status::Pass);
        let mut told = alert.told.clone();
        // What has got better and stayed so may get worse again: that is news.
        let better = found.map(|finding| finding.status);
        for before in told.values_mut() {
            if better.is_some_and(|status| status < before.status) && now - before.at >= SETTLED {
                before.status = better.unwrap_or(before.status);
            }
        }
        let is_resolved = alert.is_resolved || (found.is_none() && now - alert.seen_at >= CALM);
        // One that was resolved has a successor if its component is bad again; this one only has its end to tell.
        let found = found.filter(|_| !is_resolved);
        if is_resolved {
            tell_the_end(rules, alert, &mut told, &mut step.messages);
        } else if let Some(finding) = found {
            tell(
                rules,
                finding,
                alert.is_acknowledged,
                now,
                &mut told,
                &mut step.messages,
            );
        }
        let status = found.map_or(alert.status, |finding| finding.status);
        step.changed.push(Changed {
            id: alert.id,
            status,
            value: found.map(|finding| finding.value.clone()),
            is_resolved,
            is_seen: found.is_some(),
            told,
        });
    }
    for finding in findings.iter().filter(bad) {
        let is_known = |alert: &Open| alert.component == finding.component && !alert.is_resolved;
        if open.iter().any(is_known)
            || step
                .opened
                .iter()
                .any(|new| new.component == finding.component)
        {
            continue;
        }
        let mut told = BTreeMap::new();
        tell(rules, finding, false, now, &mut told, &mut step.messages);
        step.opened.push(Opened {
            component: finding.component.clone(),
            status: finding.status,
            value: finding.value.clone(),
            threshold: finding.threshold.clone(),
            remedy: finding.remedy.clone(),
            told,
        });
    }
    step.messages.retain(|_, lines| !lines.is_empty());
    step
}

/// Tells each channel what it does not know yet.
fn tell(
    rules: &[Rule],
    finding: &Finding,
    is_acknowledged: bool,
    now: f64,
    told: &mut BTreeMap<String, Told>,
    messages: &mut BTreeMap<String, Vec<Line>>,
) {
    let about = rules
        .iter()
        .filter(|rule| !rule.is_quiet && rule.is_about(&finding.component, finding.status));
    for rule in about {
        for channel in &rule.channels {
            // Of its own trouble it would hear when that is over.
            if finding.component == format!("connection {channel}") {
                continue;
            }
            let event = match told.get(channel) {
                None => Event::Opened,
                Some(before) if finding.status > before.status => Event::Worse,
                Some(before) => {
                    let is_due = rule
                        .renotify_seconds
                        .is_some_and(|after| now - before.at >= after);
                    if is_acknowledged || !is_due {
                        continue;
                    }
                    Event::Still
                }
            };
            let lines = messages.entry(channel.clone()).or_default();
            if lines.len() < MOST {
                let status = finding.status;
                told.insert(channel.clone(), Told { status, at: now });
                lines.push(Line::of(event, finding));
            }
        }
    }
}

/// Tells those who know of an alert that it is over; whoever is not to be told now is told later.
fn tell_the_end(
    rules: &[Rule],
    alert: &Open,
    told: &mut BTreeMap<String, Told>,
    messages: &mut BTreeMap<String, Vec<Line>>,
) {
    told.retain(|channel, _| {
        let mut of = rules
            .iter()
            .filter(|rule| {
                rule.channels.contains(channel) && rule.is_about(&alert.component, Status::Fail)
            })
            .peekable();
        // Of a rule that is gone nobody waits for the end.
        let is_quiet = of.peek().is_some() && of.all(|rule| rule.is_quiet);
        let lines = messages.entry(channel.clone()).or_default();
        let waits = is_quiet || lines.len() >= MOST;
        if !waits {
            lines.push(Line::resolved(&alert.component));
        }
        waits
    });
}

#[cfg(test)]
mod tests;
