mod mail;

use std::collections::BTreeMap;

use odoo_sim::ear::Ear;
use serde_json::{Map, json};

use super::*;
use crate::alerts::{Event, Line};
use crate::health::Status;
use crate::outbox::{Operation, Row};

fn channel(kind: Kind, url: &str, options: Value, secret: Option<&str>) -> Channel {
    let options = Options::parse(kind, url, &options).unwrap();
    Channel::new(options, secret.map(Secret::new)).unwrap()
}

fn line(event: Event, component: &str, status: Status) -> Line {
    Line {
        event,
        component: component.to_owned(),
        status,
        value: "1001 <queued>".to_owned(),
        threshold: "warn 100".to_owned(),
        remedy: "SELECT 1;".to_owned(),
    }
}

/// A batch of messages, each with one alert.
fn batch(lines: &[Line]) -> Batch {
    let rows = lines.iter().enumerate().map(|(place, line)| {
        let message = Message {
            id: "0-1-2".to_owned(),
            database: "shop".to_owned(),
            at: "2026-01-02T03:04:05Z".to_owned(),
            alerts: vec![line.clone()],
        };
        let message = serde_json::to_string(&message).unwrap();
        Row {
            id: 10 + i64::try_from(place).unwrap(),
            model: "alert".to_owned(),
            operation: Operation::Create,
            payload: Map::from_iter([("message".to_owned(), json!(message))]),
            odoo_id: None,
            external_id: String::new(),
            has_record_key: false,
            changes: None,
            circle: None,
            seen: None,
        }
    });
    Batch {
        model: "alert".to_owned(),
        operation: Operation::Create,
        context: Map::new(),
        rows: rows.collect(),
        joined: BTreeMap::new(),
        known: BTreeMap::new(),
    }
}

fn classes(outcomes: &[(i64, Outcome)]) -> Vec<(i64, Option<ErrorClass>)> {
    let class = |outcome: &Outcome| match outcome {
        Outcome::Delivered { .. } => None,
        Outcome::Failed(failure) => Some(failure.class),
    };
    outcomes
        .iter()
        .map(|(id, outcome)| (*id, class(outcome)))
        .collect()
}

fn outbox() -> Line {
    line(Event::Opened, "outbox", Status::Fail)
}

#[test]
fn slack_gets_blocks_at_the_secret_path_and_one_a_second() {
    let ear = Ear::new(&[]).unwrap();
    let slack = channel(
        Kind::Slack,
        ear.url(),
        json!({}),
        Some("/services/T0/B0/k3y"),
    );
    let begun = Instant::now();
    let outcomes = slack.deliver(
        &batch(&[outbox(), line(Event::Resolved, "outbox", Status::Pass)]),
        &|| false,
    );
    assert_eq!(classes(&outcomes), [(10, None), (11, None)]);
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "Slack takes one a second"
    );
    let heard = ear.heard();
    assert_eq!(
        (heard[0].method.as_str(), heard[0].path.as_str()),
        ("POST", "/services/T0/B0/k3y")
    );
    let body: Value = serde_json::from_str(&heard[0].body).unwrap();
    assert_eq!(body["text"], "shop: outbox: fail (1001 &lt;queued&gt;)");
    assert_eq!(body["blocks"][0]["type"], "header");
    let section = body["blocks"][1]["text"]["text"].as_str().unwrap();
    assert!(
        section.contains("SELECT 1;") && section.contains("warn 100"),
        "{section}"
    );
    let over: Value = serde_json::from_str(&heard[1].body).unwrap();
    assert_eq!(over["text"], "shop: outbox: well again");
}

#[test]
fn a_webhook_is_signed_and_says_which_message_it_is() {
    let ear = Ear::new(&[]).unwrap();
    let hook = channel(
        Kind::Webhook,
        &format!("{}/hook?x=1", ear.url()),
        json!({}),
        Some("k3y9"),
    );
    hook.deliver(&batch(&[outbox()]), &|| false);
    let heard = ear.heard().remove(0);
    assert_eq!(heard.path, "/hook?x=1");
    assert_eq!(heard.headers["idempotency-key"], "0-1-2");
    let (at, signed) = heard.headers["x-pg-etl-signature"]
        .strip_prefix("t=")
        .unwrap()
        .split_once(",v1=")
        .unwrap();
    assert_eq!(
        webhook::signature("k3y9", at.parse().unwrap(), &heard.body).unwrap(),
        signed
    );
    let body: Value = serde_json::from_str(&heard.body).unwrap();
    assert_eq!(
        (
            &body["status"],
            &body["alerts"][0]["component"],
            &body["alerts"][0]["event"]
        ),
        (&json!("fail"), &json!("outbox"), &json!("opened"))
    );
    // As others compute it: printf '1.{}' | openssl dgst -sha256 -hmac key
    assert_eq!(
        webhook::signature("key", 1, "{}").unwrap(),
        "1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224"
    );
}

#[test]
fn github_has_one_issue_for_an_alert_and_closes_it() {
    let open = "200 OK\r\n\r\n[{\"title\": \"pg_etl: worker (shop)\", \"number\": 7}]";
    let ear = Ear::new(&[
        open,
        "201 Created\r\n\r\n{}",
        open,
        "201 Created\r\n\r\n{}",
        open,
        "201 Created\r\n\r\n{}",
        "200 OK\r\n\r\n{}",
    ])
    .unwrap();
    let github = channel(
        Kind::Github,
        ear.url(),
        json!({"repository": "acme/ops"}),
        Some("t0ken"),
    );
    let lines = [
        outbox(),
        line(Event::Worse, "worker", Status::Fail),
        line(Event::Resolved, "worker", Status::Pass),
    ];
    let outcomes = github.deliver(&batch(&lines), &|| false);
    assert_eq!(classes(&outcomes), [(10, None), (11, None), (12, None)]);
    let heard = ear.heard();
    let calls: Vec<String> = heard
        .iter()
        .map(|heard| format!("{} {}", heard.method, heard.path))
        .collect();
    let list = "GET /repos/acme/ops/issues?labels=pg_etl&state=open&per_page=100";
    assert_eq!(
        calls,
        [
            list,
            "POST /repos/acme/ops/issues",
            list,
            "POST /repos/acme/ops/issues/7/comments",
            list,
            "POST /repos/acme/ops/issues/7/comments",
            "PATCH /repos/acme/ops/issues/7"
        ]
    );
    assert!(
        heard
            .iter()
            .all(|heard| heard.headers["authorization"] == "Bearer t0ken")
    );
    let made: Value = serde_json::from_str(&heard[1].body).unwrap();
    assert_eq!(
        (&made["title"], &made["labels"]),
        (&json!("pg_etl: outbox (shop)"), &json!(["pg_etl"]))
    );
}

#[test]
fn what_a_channel_answers_says_what_becomes_of_the_rows() {
    let cases = [
        (
            "429 Too Many Requests\r\nretry-after: 7\r\n\r\n",
            ErrorClass::Throttled,
        ),
        (
            "404 Not Found\r\n\r\nno_service k3y9",
            ErrorClass::Misconfigured,
        ),
        (
            "301 Moved\r\nlocation: /x\r\n\r\n",
            ErrorClass::Misconfigured,
        ),
        ("500 Oh\r\n\r\n", ErrorClass::Server),
        ("400 Bad\r\n\r\ninvalid_payload", ErrorClass::Invalid),
    ];
    for (answer, class) in cases {
        let ear = Ear::new(&[answer]).unwrap();
        let hook = channel(Kind::Webhook, ear.url(), json!({}), Some("k3y9"));
        let outcomes = hook.deliver(&batch(&[outbox(), outbox()]), &|| false);
        let expected = match class {
            ErrorClass::Invalid => None,
            // Not sent: it loses no attempt for its neighbour.
            ErrorClass::Server => Some(ErrorClass::Unreachable),
            class => Some(class),
        };
        assert_eq!(
            classes(&outcomes),
            [(10, Some(class)), (11, expected)],
            "{answer}"
        );
        let Outcome::Failed(failure) = &outcomes[0].1 else {
            panic!("{answer}")
        };
        assert!(!failure.message.contains("k3y9"), "{}", failure.message);
        assert_eq!(
            failure.retry_after,
            (class == ErrorClass::Throttled).then(|| Duration::from_secs(7))
        );
        // What the channel refused is not tried with the next row.
        assert_eq!(
            ear.heard().len(),
            if class == ErrorClass::Invalid { 2 } else { 1 },
            "{answer}"
        );
    }
    let nobody = channel(Kind::Webhook, "http://127.0.0.1:9", json!({}), None);
    assert_eq!(
        classes(&nobody.deliver(&batch(&[outbox()]), &|| false)),
        [(10, Some(ErrorClass::Unreachable))]
    );
    assert!(nobody.probe().is_err());
    // What answers is there, but a proxy alone is not.
    for (answer, is_well) in [
        ("404 Not Found\r\n\r\n", true),
        ("501 Not Implemented\r\n\r\n", true),
        ("502 Bad Gateway\r\n\r\n", false),
    ] {
        let ear = Ear::new(&[answer]).unwrap();
        let hook = channel(Kind::Webhook, ear.url(), json!({}), None);
        assert_eq!(hook.probe().is_ok(), is_well, "{answer}");
    }
}

/// The words of an answer are cut, and half a secret is a secret too.
#[test]
fn a_secret_is_masked_before_words_are_cut() {
    let answer = format!(
        "404 Not Found\r\n\r\n{}/services/T0/B0/k3yk3yk3y",
        "x".repeat(110)
    );
    let ear = Ear::new(&[&answer]).unwrap();
    let slack = channel(
        Kind::Slack,
        ear.url(),
        json!({}),
        Some("/services/T0/B0/k3yk3yk3y"),
    );
    let outcomes = slack.deliver(&batch(&[outbox()]), &|| false);
    let Outcome::Failed(failure) = &outcomes[0].1 else {
        panic!("{outcomes:?}")
    };
    assert!(!failure.message.contains("/serv"), "{}", failure.message);
}

/// Large answers of a channel must not take the room of Odoo's.
#[test]
fn large_answers_are_let_go() {
    let answer = format!("200 OK\r\n\r\n{}", "x".repeat(900_000));
    let answers = vec![answer.as_str(); 24];
    let ear = Ear::new(&answers).unwrap();
    let hook = channel(Kind::Webhook, ear.url(), json!({}), None);
    for _ in 0..24 {
        assert_eq!(
            classes(&hook.deliver(&batch(&[outbox()]), &|| false)),
            [(10, None)]
        );
    }
}

#[test]
fn an_issue_is_opened_once_though_the_answer_was_lost() {
    let open = "200 OK\r\n\r\n[{\"title\": \"pg_etl: outbox (shop)\", \"number\": 7, \"body\": \"<!-- pg_etl 0-1-2 -->\\n**outbox**\"}]";
    let unlabelled = "201 Created\r\n\r\n{\"number\": 8, \"labels\": []}";
    let ear = Ear::new(&[open, "200 OK\r\n\r\n[]", unlabelled]).unwrap();
    let github = channel(
        Kind::Github,
        ear.url(),
        json!({"repository": "acme/ops"}),
        Some("t0ken"),
    );
    assert_eq!(
        classes(&github.deliver(&batch(&[outbox()]), &|| false)),
        [(10, None)]
    );
    assert_eq!(
        ear.heard().len(),
        1,
        "it was looked for, and nothing written"
    );
    // An issue without its label would never be found again.
    assert_eq!(
        classes(&github.deliver(&batch(&[outbox()]), &|| false)),
        [(10, Some(ErrorClass::Misconfigured))]
    );
}

#[test]
fn a_slack_address_is_masked_however_it_was_stored() {
    let ear = Ear::new(&["404 Not Found\r\n\r\nCannot POST /services/T0/B0/k3y"]).unwrap();
    let whole = format!("{}/services/T0/B0/k3y", ear.url());
    let slack = channel(Kind::Slack, ear.url(), json!({}), Some(&whole));
    let outcomes = slack.deliver(&batch(&[outbox()]), &|| false);
    assert_eq!(ear.heard()[0].path, "/services/T0/B0/k3y");
    let Outcome::Failed(failure) = &outcomes[0].1 else {
        panic!("{outcomes:?}")
    };
    assert!(!failure.message.contains("k3y"), "{}", failure.message);
}

#[test]
fn limits_of_github_are_no_mistake() {
    let ear = Ear::new(&[
        "403 Forbidden\r\n\r\n{\"message\": \"API rate limit exceeded\"}",
        "403 Forbidden\r\n\r\n{}",
    ])
    .unwrap();
    let github = channel(
        Kind::Github,
        ear.url(),
        json!({"repository": "acme/ops"}),
        Some("t0ken"),
    );
    for class in [ErrorClass::Throttled, ErrorClass::Misconfigured] {
        assert_eq!(
            classes(&github.deliver(&batch(&[outbox()]), &|| false)),
            [(10, Some(class))]
        );
    }
}

#[test]
fn when_the_time_is_over_nothing_more_is_sent() {
    let ear = Ear::new(&[]).unwrap();
    let hook = channel(Kind::Webhook, ear.url(), json!({}), None);
    let outcomes = hook.deliver(&batch(&[outbox()]), &|| true);
    assert_eq!(classes(&outcomes), [(10, Some(ErrorClass::Unreachable))]);
    assert_eq!(hook.requests(), 0);
}

#[test]
fn options_are_checked_and_no_url_is_quoted() {
    for (kind, url, options) in [
        (
            Kind::Slack,
            "https://hooks.slack.com/services/T0/B0/s3cret",
            json!({}),
        ),
        (Kind::Slack, "ftp://hooks.slack.com", json!({})),
        (Kind::Slack, "http://hooks.slack.com", json!({})),
        (
            Kind::Github,
            "http://api.github.com",
            json!({"repository": "acme/x"}),
        ),
        (Kind::Webhook, "https://user:s3cret@host", json!({})),
        (Kind::Webhook, "https://host", json!({"repository": "a/b"})),
        (Kind::Webhook, "https://host", json!({"timeout": 0})),
        (
            Kind::Webhook,
            "https://host",
            json!({"ca_file": "relative"}),
        ),
        (Kind::Webhook, "https://host", json!([])),
        (Kind::Github, "https://api.github.com", json!({})),
        (
            Kind::Github,
            "https://api.github.com",
            json!({"repository": "acme"}),
        ),
        (
            Kind::Github,
            "https://api.github.com",
            json!({"repository": "acme/../x"}),
        ),
        (
            Kind::Github,
            "https://api.github.com?x=1",
            json!({"repository": "acme/x"}),
        ),
    ] {
        let error = Options::parse(kind, url, &options).unwrap_err();
        assert!(
            !error.hint.is_empty() && !error.message.contains("s3cret"),
            "{url}: {error}"
        );
    }
    let slack = Options::parse(Kind::Slack, "https://hooks.slack.com", &json!({})).unwrap();
    assert_eq!(
        Channel::new(slack, None).unwrap_err().class,
        ErrorClass::Misconfigured
    );
}
