//! How many calls a batch takes. Only the simulator counts them.

use serde_json::{Value, json};

use pg_etl_core::odoo::Client;
use pg_etl_core::outbox::{Operation, Outcome, Row};

use crate::target::*;

fn simulated(test: impl Fn(&Target)) {
    let mut targets = targets();
    targets.retain(|target| target.sim.is_some());
    each_of(&targets, test);
}

fn made(t: &Target, client: &Client, count: usize) -> Vec<i64> {
    let rows = (0..count)
        .map(|n| {
            t.row(
                "res.partner",
                Operation::Create,
                &format!("p{n}"),
                json!({"name": format!("P{n}")}),
            )
        })
        .collect();
    t.deliver(client, rows).iter().map(id).collect()
}

fn rows(
    t: &Target,
    operation: Operation,
    ids: &[i64],
    values: impl Fn(usize) -> Value,
) -> Vec<Row> {
    ids.iter()
        .enumerate()
        .map(|(n, id)| Row {
            odoo_id: Some(*id),
            ..t.row("res.partner", operation, &format!("p{n}"), values(n))
        })
        .collect()
}

/// The methods that were called since this was asked last.
fn called(t: &Target) -> Vec<String> {
    let sim = t.sim.as_ref().unwrap();
    let called = sim.requests().into_iter().map(|request| request.method);
    let called = called.collect();
    sim.clear_requests();
    called
}

#[test]
fn updates_travel_together() {
    simulated(|t| {
        let client = t.client();
        let ids = made(t, &client, 60);
        let send = |values: &dyn Fn(usize) -> Value| {
            called(t);
            let outcomes = t.deliver(&client, rows(t, Operation::Update, &ids, values));
            assert!(
                outcomes
                    .iter()
                    .all(|outcome| matches!(outcome, Outcome::Delivered { .. }))
            );
            for n in [0, 29, 30, 59] {
                let read = t.read(&client, "res.partner", &[ids[n]], &["ref", "city"]);
                let expected = values(n);
                assert_eq!(
                    [&read[0]["ref"], &read[0]["city"]],
                    [&expected["ref"], &expected["city"]]
                );
            }
            let mut called = called(t);
            called.retain(|method| method != "read");
            called
        };
        assert_eq!(send(&|_| json!({"ref": "same", "city": "same"})), ["write"]);
        let different = |n: usize| json!({"ref": format!("R{n}"), "city": "Namur"});
        let also_different = |n: usize| json!({"ref": format!("S{n}"), "city": "Liège"});
        // Two sets of equal values, and some that are like no other.
        let mixed = |n: usize| match n {
            0..30 => json!({"ref": "first half", "city": "A"}),
            30..55 => json!({"ref": "second half", "city": "B"}),
            _ => json!({"ref": format!("T{n}"), "city": "C"}),
        };
        if t.version == "19.0" {
            assert_eq!(send(&different), ["web_save_multi"]);
            assert_eq!(send(&also_different), ["web_save_multi"]);
            assert_eq!(send(&mixed), ["web_save_multi"]);
        } else {
            assert_eq!(send(&different), ["web_save_multi", "load"]);
            assert_eq!(send(&also_different), ["load"], "found out once");
            assert_eq!(send(&mixed), ["write", "write", "load"]);
        }
    });
}

#[test]
fn what_one_load_does_not_find_is_written() {
    // An archived record, which `load` by `.id` does not find, and one that is gone.
    simulated(|t| {
        let client = t.client();
        let mut ids = made(t, &client, 8);
        let archive = rows(
            t,
            Operation::Update,
            &ids[2..3],
            |_| json!({"active": false}),
        );
        id(&t.deliver(&client, archive)[0]);
        ids[5] = 99_999_999;
        let mut updates = rows(
            t,
            Operation::Update,
            &ids,
            |n| json!({"ref": format!("R{n}")}),
        );
        updates[5].has_record_key = false;
        let outcomes = t.deliver(&client, updates);
        for (n, outcome) in outcomes.iter().enumerate() {
            if n == 5 {
                assert_eq!(failure(outcome).class.name(), "missing");
            } else {
                assert_eq!(id(outcome), ids[n]);
                assert_eq!(
                    t.read(&client, "res.partner", &[ids[n]], &["ref"])[0]["ref"],
                    format!("R{n}")
                );
            }
        }
    });
}

#[test]
fn deletes_go_in_one_call_however_many_are_gone() {
    simulated(|t| {
        let client = t.client();
        let mut ids = made(t, &client, 40);
        let first = rows(t, Operation::Delete, &ids, |_| json!({}));
        called(t);
        let outcomes = t.deliver(&client, first[..20].to_vec());
        assert_eq!(outcomes.iter().map(id).collect::<Vec<_>>(), &ids[..20]);
        assert_eq!(called(t), ["search", "unlink"]);
        // Twenty are gone now.
        let outcomes = t.deliver(&client, first);
        assert_eq!(called(t), ["search", "unlink", "read"]);
        let gone = |outcome: &Outcome| *outcome == Outcome::delivered(None);
        assert!(outcomes[..20].iter().all(gone), "{outcomes:?}");
        assert_eq!(
            outcomes[20..].iter().map(id).collect::<Vec<_>>(),
            &ids[20..]
        );
        // And one that was never there.
        ids.truncate(1);
        let outcomes = t.deliver(&client, rows(t, Operation::Delete, &ids, |_| json!({})));
        assert!(outcomes.iter().all(gone));
        assert_eq!(called(t), ["search", "unlink"]);
    });
}
