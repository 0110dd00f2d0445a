//! Records are made once, changed, deleted.

use serde_json::{Map, json};

use pg_etl_core::failure::ErrorClass;
use pg_etl_core::outbox::{Operation, Outcome, Row};

use crate::target::*;

#[test]
fn partners_are_created_once_updated_and_deleted() {
    each(|t| {
        let client = t.client();
        let rows = |operation, name: &str| {
            (0..5)
                .map(|n| {
                    t.row(
                        "res.partner",
                        operation,
                        &format!("p{n}"),
                        json!({"name": format!("{name} {n}"), "is_company": true}),
                    )
                })
                .collect::<Vec<_>>()
        };
        let ids: Vec<i64> = t
            .deliver(&client, rows(Operation::Create, "A"))
            .iter()
            .map(id)
            .collect();
        let again: Vec<i64> = t
            .deliver(&client, rows(Operation::Create, "B"))
            .iter()
            .map(id)
            .collect();
        assert_eq!(ids, again);
        let read = t.read(&client, "res.partner", &ids, &["name", "is_company"]);
        assert_eq!(read[0]["name"], "A 0");
        assert_eq!(read[0]["is_company"], true);
        // By record key, different values, in one call.
        let updated: Vec<i64> = t
            .deliver(&client, rows(Operation::Update, "C"))
            .iter()
            .map(id)
            .collect();
        assert_eq!(ids, updated);
        assert_eq!(
            t.read(&client, "res.partner", &ids, &["name"])[4]["name"],
            "C 4"
        );
        // Equal values, by id.
        let mut same = rows(Operation::Update, "x");
        for (row, id) in same.iter_mut().zip(&ids) {
            row.odoo_id = Some(*id);
            row.payload = json!({"ref": "same", "comment": null})
                .as_object()
                .unwrap()
                .clone();
        }
        t.deliver(&client, same).iter().for_each(|outcome| {
            id(outcome);
        });
        assert_eq!(
            t.count(
                &client,
                "res.partner",
                json!([["ref", "=", "same"], ["id", "in", ids]])
            ),
            5
        );
        let deleted = t.deliver(
            &client,
            rows(Operation::Delete, "x")
                .into_iter()
                .map(|row| Row {
                    payload: Map::new(),
                    ..row
                })
                .collect(),
        );
        assert!(
            deleted
                .iter()
                .all(|outcome| matches!(outcome, Outcome::Delivered { .. })),
            "{deleted:?}"
        );
        assert_eq!(
            t.count(&client, "res.partner", json!([["id", "in", ids]])),
            0
        );
        let gone = t.deliver(&client, rows(Operation::Delete, "x"));
        assert!(
            gone.iter()
                .all(|outcome| *outcome == Outcome::delivered(None)),
            "{gone:?}"
        );
    });
}

#[test]
fn an_upsert_makes_and_changes_in_one_batch() {
    each(|t| {
        let client = t.client();
        let upsert = |key: &str, name: &str| {
            t.row("res.partner", Operation::Upsert, key, json!({"name": name}))
        };
        let first: Vec<i64> = t
            .deliver(&client, vec![upsert("u1", "one"), upsert("u2", "two")])
            .iter()
            .map(id)
            .collect();
        let second: Vec<i64> = t
            .deliver(
                &client,
                vec![
                    upsert("u2", "two changed"),
                    upsert("u3", "three"),
                    upsert("u1", "one changed"),
                ],
            )
            .iter()
            .map(id)
            .collect();
        assert_eq!([second[2], second[0]], [first[0], first[1]]);
        let names = t.read(
            &client,
            "res.partner",
            &[first[0], first[1], second[1]],
            &["name"],
        );
        assert_eq!(
            names
                .iter()
                .map(|read| read["name"].as_str().unwrap())
                .collect::<Vec<_>>(),
            ["one changed", "two changed", "three"]
        );
        // An archived record is found, too.
        let mut archive = t.row(
            "res.partner",
            Operation::Update,
            "u1",
            json!({"active": false}),
        );
        archive.odoo_id = Some(first[0]);
        id(&t.deliver(&client, vec![archive])[0]);
        assert_eq!(
            id(&t.deliver(&client, vec![upsert("u1", "one again")])[0]),
            first[0]
        );
    });
}

#[test]
fn racing_creates_make_one_record_each() {
    each(|t| {
        let client = t.client();
        client.fields("res.partner").unwrap();
        let race = |n: usize| {
            let rows: Vec<Row> = (0..15)
                .map(|k| {
                    t.row(
                        "res.partner",
                        Operation::Create,
                        &format!("race{k}"),
                        json!({"name": format!("race {k} {n}"), "ref": t.namespace}),
                    )
                })
                .collect();
            t.deliver(&client, rows)
        };
        let outcomes: Vec<Vec<Outcome>> = std::thread::scope(|scope| {
            (0..6)
                .map(|n| scope.spawn(move || race(n)))
                .collect::<Vec<_>>()
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let mut ids = std::collections::BTreeSet::new();
        for outcome in outcomes.iter().flatten() {
            match outcome {
                Outcome::Delivered { odoo_id, .. } => {
                    ids.insert(odoo_id.unwrap());
                }
                Outcome::Failed(failure) => {
                    assert_eq!(failure.class, ErrorClass::Conflict, "{failure:?}")
                }
            }
        }
        assert_eq!(ids.len(), 15);
        assert_eq!(
            t.count(&client, "res.partner", json!([["ref", "=", t.namespace]])),
            15
        );
    });
}
