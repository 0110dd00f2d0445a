//! A simulator that fails, and what deliveries into it look like.

use std::cell::Cell;
use std::time::Duration;

use odoo_sim::{Effect, Fault, Sim};
use pg_etl_core::external_id::{Identity, external_id};
use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::odoo::{Client, ClientSettings, DeliverContext, Endpoint, ModelPolicy, deliver};
use pg_etl_core::outbox::{Batch, Operation, Outcome, Row};
use pg_etl_core::secret::Secret;
use serde_json::{Map, Value, json};

pub const PROTOCOLS: [&str; 2] = ["json2", "jsonrpc"];

pub fn client(sim: &Sim, protocol: &str) -> Client {
    client_of(sim, protocol, &sim.admin().login, &sim.admin().keys[0].key)
}

pub fn client_of(sim: &Sim, protocol: &str, login: &str, key: &str) -> Client {
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

pub fn row(id: i64, operation: Operation, payload: Value) -> Row {
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
        seen: None,
    }
}

pub fn creates(count: i64) -> Vec<Row> {
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

pub fn send(client: &Client, rows: Vec<Row>) -> Vec<Outcome> {
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
            policy: &ModelPolicy::NONE,
            should_stop: &stop,
            divided: &Cell::default(),
        },
    );
    assert_eq!(outcomes.len(), batch.rows.len());
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

pub fn failure(outcome: &Outcome) -> &Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

pub fn classes(outcomes: &[Outcome]) -> Vec<Option<ErrorClass>> {
    outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Failed(failure) => Some(failure.class),
            Outcome::Delivered { .. } => None,
        })
        .collect()
}

pub fn partners(sim: &Sim) -> usize {
    sim.records("res.partner")
        .iter()
        .filter(|partner| partner.get("ref") == Some(&json!("faults")))
        .count()
}

pub fn on(method: &str, effect: Effect) -> Fault {
    Fault {
        method: Some(method.to_owned()),
        ..Fault::new(effect)
    }
}

/// A client that knows the protocol, the uid and the fields, so that only the delivery meets the fault.
pub fn warm(sim: &Sim, protocol: &str) -> Client {
    let client = client(sim, protocol);
    client.fields("res.partner").unwrap();
    client
}
