//! Transactions that overlap.

use crate::caller::{call, load, partners};
use odoo_sim::{Config, Effect, Fault, Sim};
use serde_json::json;
use std::time::Duration;

#[test]
fn the_loser_of_a_race_for_an_external_id_is_told_in_a_message() {
    let sim = Sim::start(Config::default()).expect("a free port");
    // The first transaction begins, then waits while the second one commits.
    sim.inject(
        Fault::new(Effect::Delay {
            before_ms: 300,
            after_ms: 0,
        })
        .on("res.partner", "load")
        .times(1),
    );
    std::thread::scope(|scope| {
        let loser = scope.spawn(|| load(&sim, "a"));
        std::thread::sleep(Duration::from_millis(100));
        assert!(load(&sim, "a").expect("an answer").json()["ids"].is_array());
        let answer = loser.join().expect("no panic").expect("an answer");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["ids"], false);
        let message = answer.json()["messages"][0]["message"].clone();
        assert_eq!(
            message,
            "could not serialize access due to concurrent update\n"
        );
    });
    assert_eq!(partners(&sim, "a"), 1);
}

#[test]
fn a_write_that_lost_is_tried_again_by_odoo_itself() {
    let sim = Sim::start(Config::default()).expect("a free port");
    let write = |name: &str| {
        call(
            &sim,
            "res.partner",
            "write",
            json!({"ids": [1], "vals": {"name": name}}),
        )
    };
    sim.inject(
        Fault::new(Effect::Delay {
            before_ms: 200,
            after_ms: 0,
        })
        .on("res.partner", "write")
        .times(1),
    );
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| write("slow"));
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(write("fast").expect("an answer").status, 200);
        assert_eq!(
            slow.join().expect("no panic").expect("an answer").status,
            200
        );
    });
    assert_eq!(partners(&sim, "slow"), 1);
}

#[test]
fn many_callers_at_once() {
    let sim = Sim::start(Config::default()).expect("a free port");
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let sim = &sim;
            scope.spawn(move || {
                for n in 0..25 {
                    let ids = load(sim, &format!("{caller}-{n}"))
                        .expect("an answer")
                        .json()["ids"]
                        .clone();
                    assert!(ids.is_array());
                }
            });
        }
    });
    assert_eq!(sim.totals().committed, 200);
    assert_eq!(sim.totals().records, 200);
}
