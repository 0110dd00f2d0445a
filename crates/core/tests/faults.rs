//! Deliveries into an Odoo that fails: which class each row gets, and what took effect.

use std::time::Duration;

use odoo_sim::{Config, Effect, Fault, Poison, Rights, Sim};
use pg_etl_core::external_id::{Identity, external_id};
use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::odoo::{
    Client, ClientSettings, DeliverContext, Endpoint, deliver, probe, test_connection,
};
use pg_etl_core::outbox::{Batch, Operation, Outcome, Row};
use pg_etl_core::secret::Secret;
use serde_json::{Map, Value, json};

use ErrorClass::*;

const PROTOCOLS: [&str; 2] = ["json2", "jsonrpc"];

fn client(sim: &Sim, protocol: &str) -> Client {
    client_of(sim, protocol, &sim.admin().login, &sim.admin().keys[0].key)
}

fn client_of(sim: &Sim, protocol: &str, login: &str, key: &str) -> Client {
    let options = json!({
        "database": sim.database(), "login": login, "protocol": protocol, "allow_methods": ["sale.order.*", "res.partner.*"],
    });
    let settings = ClientSettings {
        max_response_bytes: 1_000_000,
        request_timeout: Duration::from_millis(700),
        ..ClientSettings::default()
    };
    Client::new(
        Endpoint::parse(&sim.url(), &options).unwrap(),
        Secret::new(key),
        settings,
    )
    .unwrap()
}

fn row(id: i64, operation: Operation, payload: Value) -> Row {
    Row {
        id,
        model: "res.partner".to_owned(),
        operation,
        payload: payload.as_object().unwrap().clone(),
        odoo_id: None,
        external_id: external_id(
            "ns",
            "odoo",
            "res.partner",
            Identity::RecordKey(&id.to_string()),
        ),
        has_record_key: true,
        changes: None,
        circle: None,
    }
}

fn creates(count: i64) -> Vec<Row> {
    (1..=count)
        .map(|id| {
            row(
                id,
                Operation::Create,
                json!({"name": format!("P{id}"), "ref": "faults"}),
            )
        })
        .collect()
}

fn send(client: &Client, rows: Vec<Row>) -> Vec<Outcome> {
    let batch = Batch {
        model: rows[0].model.clone(),
        operation: rows[0].operation,
        context: Map::new(),
        rows,
        joined: std::collections::BTreeMap::new(),
        known: std::collections::BTreeMap::new(),
    };
    let stop = || false;
    let outcomes = deliver(
        client,
        &batch,
        &DeliverContext {
            namespace: "ns",
            connection: "odoo",
            should_stop: &stop,
        },
    );
    assert_eq!(outcomes.len(), batch.rows.len());
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn failure(outcome: &Outcome) -> &Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn classes(outcomes: &[Outcome]) -> Vec<Option<ErrorClass>> {
    outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Failed(failure) => Some(failure.class),
            Outcome::Delivered { .. } => None,
        })
        .collect()
}

fn partners(sim: &Sim) -> usize {
    sim.records("res.partner")
        .iter()
        .filter(|partner| partner.get("ref") == Some(&json!("faults")))
        .count()
}

fn on(method: &str, effect: Effect) -> Fault {
    Fault {
        method: Some(method.to_owned()),
        ..Fault::new(effect)
    }
}

/// A client that knows the protocol, the uid and the fields, so that only the delivery meets the fault.
fn warm(sim: &Sim, protocol: &str) -> Client {
    let client = client(sim, protocol);
    client.fields("res.partner").unwrap();
    client
}

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
fn an_exception_without_a_verdict_is_traced_to_its_row() {
    let sim = Sim::start(Config::default()).unwrap();
    let poison = Poison {
        exception: "odoo.addons.custom.Oops".into(),
        ..Poison::new("res.partner", "city", "BAD")
    };
    sim.poison(poison);
    let client = warm(&sim, "json2");
    let ids = send(&client, creates(60));
    let mut rows: Vec<Row> = ids
        .iter()
        .zip(1..)
        .map(|(made, id)| {
            let Outcome::Delivered { odoo_id, .. } = made else {
                panic!()
            };
            Row {
                odoo_id: *odoo_id,
                ..row(id, Operation::Update, json!({"city": format!("C{id}")}))
            }
        })
        .collect();
    rows[41].payload.insert("city".to_owned(), json!("BAD"));
    let outcomes = send(&client, rows);
    let failed: Vec<usize> = (0..60)
        .filter(|place| matches!(outcomes[*place], Outcome::Failed(_)))
        .collect();
    assert_eq!(failed, [41]);
    assert_eq!(failure(&outcomes[41]).class, Server);
}

#[test]
fn poisoned_rows_fail_alone_in_few_calls() {
    for protocol in PROTOCOLS {
        for (count, bad) in [
            (100, vec![50]),
            (100, vec![1, 100]),
            (64, vec![10, 11, 12]),
            (1, vec![1]),
            (20, (1..=20).collect()),
        ] {
            let sim = Sim::start(Config::default()).unwrap();
            sim.poison(Poison::new("res.partner", "name", "BAD"));
            let client = warm(&sim, protocol);
            for operation in [Operation::Create, Operation::Update] {
                let mut rows: Vec<Row> = (1..=count)
                    .map(|id| {
                        row(
                            id,
                            operation,
                            json!({"name": format!("{operation:?} {id}"), "ref": "faults"}),
                        )
                    })
                    .collect();
                if operation == Operation::Update {
                    sim.clear_poison();
                    assert!(
                        send(&client, creates(count))
                            .iter()
                            .all(|outcome| matches!(outcome, Outcome::Delivered { .. }))
                    );
                    sim.poison(Poison::new("res.partner", "name", "BAD"));
                    let ids = send(&client, creates(count));
                    for (row, made) in rows.iter_mut().zip(ids) {
                        let Outcome::Delivered { odoo_id, .. } = made else {
                            panic!()
                        };
                        row.odoo_id = odoo_id;
                    }
                }
                for id in &bad {
                    let place = usize::try_from(id - 1).unwrap();
                    rows[place]
                        .payload
                        .insert("name".to_owned(), json!(format!("BAD {id}")));
                }
                sim.clear_requests();
                let outcomes = send(&client, rows);
                for (place, outcome) in outcomes.iter().enumerate() {
                    let is_bad = bad.contains(&i64::try_from(place + 1).unwrap());
                    assert_eq!(
                        classes(std::slice::from_ref(outcome)),
                        [is_bad.then_some(Invalid)],
                        "{operation:?} {place}"
                    );
                }
                let log = f64::from(u32::try_from(count).unwrap()).log2().ceil();
                let most = 2.0 + 2.0 * bad.len() as f64 * (log + 1.0);
                assert!(
                    (sim.requests().len() as f64) <= most,
                    "{operation:?}: {} calls",
                    sim.requests().len()
                );
            }
        }
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

#[test]
fn a_user_that_is_gone_is_no_reason_to_settle_a_delete() {
    for protocol in PROTOCOLS {
        let sim =
            Sim::start(Config::default().with_account(7, "sync", "key-of-sync", vec![])).unwrap();
        let client = client_of(&sim, protocol, "sync", "key-of-sync");
        client.fields("res.partner").unwrap();
        let Outcome::Delivered { odoo_id, .. } = send(&client, creates(1))[0] else {
            panic!()
        };
        sim.remove_account(7);
        let delete = Row {
            odoo_id,
            ..row(1, Operation::Delete, json!({}))
        };
        assert_eq!(
            classes(&send(&client, vec![delete])),
            [Some(Misconfigured)],
            "{protocol}"
        );
        assert_eq!(partners(&sim), 1);
    }
}

#[test]
fn rights_that_are_missing_are_named() {
    for protocol in PROTOCOLS {
        let rights = vec![
            Rights::only("res.partner", &["read"]),
            Rights::full("res.users"),
        ];
        let sim =
            Sim::start(Config::default().with_account(7, "sync", "key-of-sync", rights)).unwrap();
        let client = client_of(&sim, protocol, "sync", "key-of-sync");
        let outcomes = send(&client, creates(2));
        assert_eq!(
            classes(&outcomes),
            [Some(Forbidden); 2],
            "{protocol}: {outcomes:?}"
        );
        assert!(
            failure(&outcomes[0])
                .remedy
                .as_deref()
                .is_some_and(|remedy| remedy.contains("res.partner"))
        );
        sim.clear_requests();
        assert_eq!(
            classes(&send(&client, creates(50))),
            [Some(Forbidden); 50],
            "{protocol}"
        );
        assert_eq!(
            sim.requests().len(),
            2,
            "{protocol}: a right on the model is asked for once"
        );
        let tested = test_connection(&client, &["res.partner"]);
        assert_eq!(
            tested["missing_rights"],
            json!([
                "create on res.partner",
                "write on res.partner",
                "unlink on res.partner"
            ])
        );
        assert_eq!(
            [&tested["ok"], &tested["uid"]],
            [&json!(true), &json!(7)],
            "{tested}"
        );
    }
}
