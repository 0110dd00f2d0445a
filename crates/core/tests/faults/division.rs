//! Of many rows that were refused together, the bad ones are found, and in few calls.

use odoo_sim::{Config, Poison, Sim};
use pg_etl_core::failure::ErrorClass::*;
use pg_etl_core::outbox::{Operation, Outcome, Row};
use serde_json::json;

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
