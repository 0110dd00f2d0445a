//! Issues of a GitHub repository: one for each alert, commented when it gets worse, closed when it is over.

use std::time::Duration;

use serde_json::{Value, json};

use super::Channel;
use crate::alerts::{Event, Line, Message};
use crate::failure::{ErrorClass, Failure};
use crate::http::{self, Method};

/// Our issues, and nobody else's.
const LABEL: &str = "pg_etl";

/// Longest title, in characters; GitHub takes 256.
const LONGEST_TITLE: usize = 250;

/// An issue that is open.
struct Issue {
    number: u64,
    title: String,
    /// What it begins with, which names the message that opened it.
    body: String,
}

/// A message for GitHub has one alert: what is done of it is not done again when the rest failed.
pub(super) fn say(channel: &Channel, message: &Message) -> Result<(), Failure> {
    let base = channel.options.url.as_str().trim_end_matches('/');
    let repository = channel.options.repository.as_deref().unwrap_or_default();
    let issues = format!("{base}/repos/{repository}/issues");
    let mut open = open_issues(channel, &issues)?;
    for line in &message.alerts {
        let title = format!("pg_etl: {} ({})", line.component, message.database);
        let title: String = title.chars().take(LONGEST_TITLE).collect();
        let known = open.iter().position(|known| known.title == title.trim());
        match (line.event, known) {
            // Nobody is called for a test: that we may read the issues was seen.
            (Event::Test, _) | (Event::Resolved, None) => {}
            (Event::Resolved, Some(known)) => {
                let number = open.remove(known).number;
                comment(channel, &issues, number, line, message)?;
                let body = json!({"state": "closed", "state_reason": "completed"});
                call(
                    channel,
                    Method::Patch,
                    &format!("{issues}/{number}"),
                    Some(&body),
                )?;
            }
            // The answer was lost after it had been opened.
            (_, Some(known)) if open[known].body.starts_with(&marker(message)) => {}
            (_, Some(known)) => comment(channel, &issues, open[known].number, line, message)?,
            (_, None) => {
                let body = json!({"title": title, "body": words(line, message), "labels": [LABEL]});
                let made = call(channel, Method::Post, &issues, Some(&body))?;
                has_label(&made)?;
            }
        }
    }
    Ok(())
}

/// GitHub leaves labels out, and says nothing, where the token may open issues and no more: then none of ours would be found again.
fn has_label(made: &Value) -> Result<(), Failure> {
    let labels = made["labels"].as_array();
    if labels.is_none_or(|labels| labels.iter().any(|label| label["name"] == LABEL)) {
        return Ok(());
    }
    Err(Failure::new(
        ErrorClass::Misconfigured,
        format!("GitHub did not give an issue its label {LABEL}: the token may not write labels"),
    )
    .with_remedy(
        "Give the token write access to the repository's issues, then SELECT etl.resume(…).",
    ))
}

/// Those that are open; at most a hundred, newest first.
fn open_issues(channel: &Channel, issues: &str) -> Result<Vec<Issue>, Failure> {
    let answer = call(
        channel,
        Method::Get,
        &format!("{issues}?labels={LABEL}&state=open&per_page=100"),
        None,
    )?;
    let list = answer
        .as_array()
        .ok_or_else(|| Failure::new(ErrorClass::Server, "GitHub gave no list of issues"))?;
    let known = list.iter().filter_map(|issue| {
        let body = issue.get("body").and_then(Value::as_str);
        Some(Issue {
            number: issue.get("number")?.as_u64()?,
            title: issue.get("title")?.as_str()?.trim().to_owned(),
            body: body.unwrap_or_default().chars().take(200).collect(),
        })
    });
    Ok(known.collect())
}

/// What an issue begins with, unseen: the message that opened it.
fn marker(message: &Message) -> String {
    format!("<!-- pg_etl {} -->", message.id)
}

fn comment(
    channel: &Channel,
    issues: &str,
    number: u64,
    line: &Line,
    message: &Message,
) -> Result<(), Failure> {
    let body = json!({"body": words(line, message)});
    call(
        channel,
        Method::Post,
        &format!("{issues}/{number}/comments"),
        Some(&body),
    )
    .map(drop)
}

fn words(line: &Line, message: &Message) -> String {
    let mut text = format!(
        "{}\n**{}**\n\n{} · {}",
        marker(message),
        line.headline(),
        message.database,
        message.at
    );
    if matches!(line.event, Event::Opened | Event::Worse | Event::Still) {
        text.push_str(&format!(
            "\n\nLimits: {}\n\nWhat to do: {}\n\nMore: `SELECT * FROM etl.health_report();`",
            line.threshold, line.remedy
        ));
    }
    text
}

fn call(
    channel: &Channel,
    method: Method,
    url: &str,
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let headers = vec![
        ("authorization", format!("Bearer {}", channel.secret())),
        ("accept", "application/vnd.github+json".to_owned()),
        ("x-github-api-version", "2022-11-28".to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    let body = body
        .map(|body| body.to_string().into_bytes())
        .unwrap_or_default();
    let response = channel.exchange(method, url, headers, body)?;
    // Its limits are a 403, of which only one says when to come again.
    let is_limit = response.retry_after.is_some()
        || String::from_utf8_lossy(&response.body).contains("rate limit");
    if response.status == 403 && is_limit {
        let mut failure = Failure::new(ErrorClass::Throttled, "GitHub asks for fewer requests");
        failure.retry_after = response.retry_after.or(Some(Duration::from_secs(60)));
        return Err(failure);
    }
    channel.judge(&response)?;
    http::json::parse(&response.body).map_err(|error| {
        Failure::new(
            ErrorClass::Server,
            format!("GitHub's answer could not be read: {error}"),
        )
    })
}
