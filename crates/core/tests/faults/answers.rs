//! Answers that do not come, or come wrong: the class of each row, and what took effect.

use std::time::Duration;

use odoo_sim::{Config, Effect, Fault, Sim};
use pg_etl_core::failure::ErrorClass::*;
use pg_etl_core::odoo::probe;
use pg_etl_core::outbox::{Operation, Outcome, Row};
use serde_json::{Value, json};

use crate::failing::*;

#[test]
fn every_fault_has_its_class_and_a_resend_makes_no_second_record() {
    let status = |status, retry_after| Effect::Status {
        status,
        retry_after,
    };
    let table = [
        (Effect::AnswerLost, Unknown, 3),
        (Effect::RequestLost, Unknown, 0),
        (Effect::Reset, Unknown, 0),
        (Effect::Truncated { bytes: 5 }, Unknown, 3),
        (Effect::Html, Unknown, 0),
        (Effect::Unreadable, Unknown, 0),
        (Effect::Hang, Unknown, 0),
        (Effect::SlowLoris { byte_ms: 200 }, Unknown, 3),
        (Effect::Giant { bytes: 2_000_000 }, Unknown, 0),
        (Effect::GzipBomb { bytes: 50_000_000 }, Unknown, 0),
        (status(502, None), Unknown, 0),
        (status(504, None), Unknown, 0),
        (status(503, None), Conflict, 0),
        (status(409, None), Conflict, 0),
        (status(429, Some(7)), Throttled, 0),
        (status(500, None), Server, 0),
        (status(403, None), Misconfigured, 0),
        (Effect::Conflict, Conflict, 0),
        (
            Effect::Redirect {
                location: "http://127.0.0.1:9/".to_owned(),
            },
            Misconfigured,
            0,
        ),
        (
            Effect::Raise {
                exception: "psycopg2.errors.DeadlockDetected".into(),
                message: "deadlock detected".into(),
            },
            Conflict,
            0,
        ),
        (
            Effect::Raise {
                exception: "builtins.MemoryError".into(),
                message: String::new(),
            },
            Server,
            0,
        ),
    ];
    for protocol in PROTOCOLS {
        for (effect, class, made) in &table {
            let sim = Sim::start(Config::default()).unwrap();
            let client = warm(&sim, protocol);
            sim.clear_requests();
            let committed = *made > 0;
            sim.inject(Fault {
                committed,
                ..on("load", effect.clone())
            });
            let outcomes = send(&client, creates(3));
            assert_eq!(
                classes(&outcomes),
                [Some(*class); 3],
                "{protocol} {effect:?}: {outcomes:?}"
            );
            // Only a failure that one row may be to blame for is looked into.
            let calls = if *class == Server { 5 } else { 1 };
            assert_eq!(
                sim.requests().len(),
                calls,
                "{protocol} {effect:?}: more was sent"
            );
            assert_eq!(partners(&sim), *made, "{protocol} {effect:?}");
            let waits = (*class == Throttled).then_some(Duration::from_secs(7));
            assert_eq!(failure(&outcomes[0]).retry_after, waits);
            sim.clear_faults();
            assert_eq!(
                classes(&send(&client, creates(3))),
                [None; 3],
                "{protocol} {effect:?}"
            );
            assert_eq!(partners(&sim), 3, "{protocol} {effect:?}: a second record");
        }
    }
}

#[test]
fn a_server_that_is_gone_burns_nothing() {
    for protocol in PROTOCOLS {
        let sim = Sim::start(Config::default()).unwrap();
        let warm = warm(&sim, protocol);
        let cold = client(&sim, protocol);
        sim.stop();
        for client in [&warm, &cold] {
            assert_eq!(classes(&send(client, creates(3))), [Some(Unreachable); 3]);
            assert_eq!(probe(client).unwrap_err().class, Unreachable);
        }
        sim.restart().unwrap();
        for client in [&warm, &cold] {
            probe(client).unwrap();
            assert_eq!(classes(&send(client, creates(3))), [None; 3]);
        }
        assert_eq!(partners(&sim), 3);
    }
}

#[test]
fn what_comes_before_the_first_call_is_never_an_unknown_outcome() {
    for protocol in ["auto", "jsonrpc"] {
        let sim = Sim::start(Config {
            version: 18,
            ..Config::default()
        })
        .unwrap();
        for method in ["version", "authenticate"] {
            sim.clear_faults();
            sim.inject(on(method, Effect::Hang));
            if protocol == "jsonrpc" && method == "version" {
                continue; // It is not asked where the protocol is fixed.
            }
            let outcomes = send(&client(&sim, protocol), creates(1));
            assert_eq!(
                classes(&outcomes),
                [Some(Unreachable)],
                "{protocol} {method}: {outcomes:?}"
            );
        }
    }
}

#[test]
fn after_an_unknown_outcome_nothing_more_is_sent() {
    let sim = Sim::start(Config::default()).unwrap();
    let client = warm(&sim, "json2");
    sim.inject(on("load", Effect::AnswerLost));
    // Two sets of columns make two calls.
    let mut rows = creates(4);
    rows[2].payload.insert("city".to_owned(), json!("Namur"));
    rows[3].payload.insert("city".to_owned(), json!("Liège"));
    let outcomes = send(&client, rows);
    assert_eq!(
        classes(&outcomes),
        [
            Some(Unknown),
            Some(Unknown),
            Some(Unreachable),
            Some(Unreachable)
        ]
    );
    assert!(failure(&outcomes[3]).message.starts_with("not sent"));
    assert_eq!(partners(&sim), 2);
}

#[test]
fn a_question_without_an_answer_sent_nothing() {
    for method in ["fields_get", "search", "check_object_reference"] {
        let sim = Sim::start(Config::default()).unwrap();
        let client = client(&sim, "json2");
        sim.inject(on(method, Effect::Hang));
        let operation = if method == "search" {
            Operation::Upsert
        } else {
            Operation::Update
        };
        let outcomes = send(
            &client,
            vec![
                row(1, operation, json!({"name": "A"})),
                row(2, operation, json!({"name": "B"})),
            ],
        );
        assert_eq!(
            classes(&outcomes),
            [Some(Unreachable); 2],
            "{method}: {outcomes:?}"
        );
    }
}

#[test]
fn a_call_is_sent_once_and_checked_where_it_can_be() {
    for protocol in PROTOCOLS {
        let sim = Sim::start(Config::default()).unwrap();
        let client = warm(&sim, protocol);
        let ids: Vec<Option<i64>> = send(&client, creates(4))
            .into_iter()
            .map(|outcome| match outcome {
                Outcome::Delivered { odoo_id, .. } => odoo_id,
                Outcome::Failed(failure) => panic!("{failure:?}"),
            })
            .collect();
        let call = |place: usize, payload: Value| Row {
            odoo_id: ids[place],
            ..row(9, Operation::Call, payload)
        };
        let unless = json!({"method": "action_archive", "unless": [["active", "=", false]]});
        let bare = json!({"method": "action_archive"});
        let archived = || {
            sim.requests()
                .iter()
                .filter(|request| request.method.contains("action_archive"))
                .count()
        };
        sim.clear_requests();
        sim.inject(on("action_archive", Effect::AnswerLost));
        assert_eq!(
            classes(&send(&client, vec![call(0, unless.clone())])),
            [None],
            "{protocol}: it happened"
        );
        assert_eq!(
            classes(&send(&client, vec![call(1, bare.clone())])),
            [Some(Unknown)],
            "{protocol}"
        );
        assert_eq!(archived(), 2);
        sim.clear_faults();
        sim.inject(on("action_archive", Effect::RequestLost));
        assert_eq!(
            classes(&send(&client, vec![call(2, unless.clone())])),
            [Some(Unknown)],
            "{protocol}: it did not happen"
        );
        assert_eq!(archived(), 3);
        sim.clear_faults();
        assert_eq!(
            classes(&send(&client, vec![call(2, unless.clone())])),
            [None]
        );
        assert_eq!(archived(), 4);
        assert_eq!(classes(&send(&client, vec![call(2, unless)])), [None]);
        assert_eq!(archived(), 4, "{protocol}: it had happened already");
    }
}
