//! Of many rows that were refused together, the bad ones are found, and in few calls.

use odoo_sim::{Config, Poison, Sim};
use pg_etl_core::failure::ErrorClass::*;
use pg_etl_core::odoo::Client;
use pg_etl_core::outbox::{Operation, Outcome, Row};
use serde_json::{Map, Value, json};

use crate::failing::*;

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

/// Partners that are there, each with an order that keeps it from being deleted where `bad` has it.
fn standing(sim: &Sim, client: &Client, count: i64, bad: &[i64]) -> Vec<Option<i64>> {
    let made = send(client, creates(count));
    let ids: Vec<Option<i64>> = made
        .into_iter()
        .map(|outcome| match outcome {
            Outcome::Delivered { odoo_id, .. } => odoo_id,
            Outcome::Failed(failure) => panic!("{failure:?}"),
        })
        .collect();
    let orders: Vec<Value> = bad
        .iter()
        .map(|id| json!({"partner_id": ids[usize::try_from(id - 1).unwrap()]}))
        .collect();
    let orders = json!({"vals_list": orders}).as_object().unwrap().clone();
    client
        .call("sale.order", "create", None, orders, &Map::new())
        .unwrap();
    sim.clear_requests();
    ids
}

#[test]
fn few_bad_rows_among_many_take_few_calls() {
    for (count, bad_ones) in [(100, 1), (100, 10), (300, 4), (1_000, 1), (1_000, 10)] {
        // Far from each other, so that halves help least.
        let bad: Vec<i64> = (0..bad_ones)
            .map(|n| 1 + n * count / bad_ones + count / (3 * bad_ones))
            .collect();
        for operation in [Operation::Create, Operation::Update, Operation::Delete] {
            let sim = Sim::start(Config::default()).unwrap();
            let client = warm(&sim, "json2");
            let ids = match operation {
                Operation::Create => vec![None; usize::try_from(count).unwrap()],
                _ => standing(&sim, &client, count, &bad),
            };
            sim.poison(Poison::new("res.partner", "name", "BAD"));
            let rows = ids.iter().zip(1..).map(|(known, id)| {
                let name = if bad.contains(&id) { "BAD" } else { "good" };
                Row {
                    odoo_id: *known,
                    ..row(id, operation, json!({"name": format!("{name} {id}")}))
                }
            });
            let outcomes = send(&client, rows.collect());
            for (outcome, id) in outcomes.iter().zip(1..) {
                let expected = bad.contains(&id).then_some(Invalid);
                assert_eq!(
                    classes(std::slice::from_ref(outcome)),
                    [expected],
                    "{operation:?} {id}: {outcome:?}"
                );
            }
            let halvings = (count as f64).log2() + 1.0;
            // Besides: the names that `load` gives, and the search before a delete.
            let most = 2.0 * bad_ones as f64 * halvings + 12.0;
            let calls = sim.requests().len();
            eprintln!("{operation:?}: {calls} calls for {bad_ones} bad of {count}, allowed {most}");
            assert!(calls as f64 <= most, "{operation:?}: {calls} calls");
        }
    }
}
