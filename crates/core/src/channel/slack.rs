//! A Slack incoming webhook: blocks for people, a text for notifications.

use serde_json::{Value, json};

use super::Channel;
use crate::alerts::{Event, Line, Message};
use crate::failure::{ErrorClass, Failure};
use crate::health::Status;

/// Most blocks of a message, says Slack, are 50; each alert takes one.
const MOST: usize = 40;

pub(super) fn say(channel: &Channel, message: &Message) -> Result<(), Failure> {
    let path = channel.secret();
    // Somebody stored the whole address.
    let path = path.strip_prefix(&channel.options.origin()).unwrap_or(path);
    if !path.starts_with('/')
        || path
            .chars()
            .any(|character| character.is_control() || character.is_whitespace())
    {
        let failure = Failure::new(
            ErrorClass::Misconfigured,
            "the secret of this channel is no path of a webhook",
        );
        return Err(failure.with_remedy(channel.options.kind.secret()));
    }
    let url = format!("{}{path}", channel.options.origin());
    channel.post(&url, Vec::new(), &body(message)).map(drop)
}

/// What Slack reads.
fn body(message: &Message) -> Value {
    let mut blocks = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": cut(&format!("{} {}: {}", mark(message.status()), message.database, message.headline()), 150)}}),
    ];
    for line in message.alerts.iter().take(MOST) {
        blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": section(line)}}));
    }
    if message.alerts.len() > MOST {
        blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": format!("and {} more: `SELECT * FROM etl.open_alerts;`", message.alerts.len() - MOST)}}));
    }
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": format!("pg_etl · {} · {}", escaped(&message.database), message.at)}]}));
    json!({"text": escaped(&format!("{}: {}", message.database, message.headline())), "blocks": blocks})
}

fn section(line: &Line) -> String {
    let head = format!("{} *{}*", mark(line.status), escaped(&line.headline()));
    let text = match line.event {
        Event::Resolved | Event::Test => head,
        Event::Opened | Event::Worse | Event::Still => format!(
            "{head}\nlimits: {}\n{}",
            escaped(&line.threshold),
            escaped(&line.remedy)
        ),
    };
    cut(&text, 2_900)
}

fn mark(status: Status) -> &'static str {
    match status {
        Status::Pass => ":white_check_mark:",
        Status::Warn => ":warning:",
        Status::Fail => ":red_circle:",
    }
}

/// What Slack would read as a link or a mention.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}
