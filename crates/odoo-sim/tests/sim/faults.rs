//! Every effect, once.

use crate::caller::{call, load, partners};
use odoo_sim::{Config, Effect, Fault, Poison, Sim};
use serde_json::json;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

fn sim() -> Sim {
    Sim::start(Config::default()).expect("a free port")
}

fn once(effect: Effect) -> Fault {
    Fault::new(effect).on("res.partner", "load").times(1)
}

#[test]
fn a_lost_answer_leaves_the_record_and_a_lost_request_does_not() {
    let sim = sim();
    sim.inject(once(Effect::AnswerLost));
    assert!(load(&sim, "a").is_err());
    assert_eq!(partners(&sim, "a"), 1);
    sim.inject(once(Effect::RequestLost));
    assert!(load(&sim, "b").is_err());
    assert_eq!(partners(&sim, "b"), 0);
    assert_eq!(load(&sim, "b").expect("no fault left").status, 200);
    let outcomes: Vec<String> = sim
        .requests()
        .into_iter()
        .map(|request| request.outcome)
        .collect();
    assert_eq!(outcomes, ["done", "lost", "done"]);
}

#[test]
fn resets_come_before_or_after_the_work() {
    let sim = sim();
    sim.inject(once(Effect::Reset));
    assert_eq!(
        load(&sim, "a").expect_err("reset").kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(partners(&sim, "a"), 0);
    sim.inject(once(Effect::Reset).committed());
    assert_eq!(
        load(&sim, "a").expect_err("reset").kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(partners(&sim, "a"), 1);
}

#[test]
fn bodies_are_cut_garbled_or_replaced() {
    let sim = sim();
    sim.inject(once(Effect::Truncated { bytes: 5 }).committed());
    let cut = load(&sim, "a").expect("a head");
    assert_eq!((cut.status, cut.body.len()), (200, 5));
    assert!(cut.head.contains("Content-Length: ") && !cut.head.contains("Content-Length: 5\r"));
    sim.inject(once(Effect::Html));
    let page = load(&sim, "b").expect("a page");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("text/html"));
    sim.inject(once(Effect::Unreadable));
    assert!(
        serde_json::from_slice::<serde_json::Value>(&load(&sim, "b").expect("garbage").body)
            .is_err()
    );
    assert_eq!((partners(&sim, "a"), partners(&sim, "b")), (1, 0));
}

#[test]
fn proxies_answer_for_odoo() {
    let sim = sim();
    for status in [409, 429, 502, 503, 504] {
        sim.inject(once(Effect::Status {
            status,
            retry_after: Some(7),
        }));
        let answer = load(&sim, "a").expect("an answer");
        assert_eq!(answer.status, status);
        assert!(answer.head.contains("Retry-After: 7"));
    }
    sim.inject(once(Effect::Redirect {
        location: "http://127.0.0.1:1/elsewhere".into(),
    }));
    let answer = load(&sim, "a").expect("an answer");
    assert_eq!(answer.status, 303);
    assert!(
        answer
            .head
            .contains("Location: http://127.0.0.1:1/elsewhere")
    );
}

#[test]
fn exceptions_of_any_name() {
    let sim = sim();
    for (exception, status) in [
        ("psycopg2.errors.SerializationFailure", 500),
        ("odoo.exceptions.UserError", 422),
        ("odoo.exceptions.LockError", 409),
        ("some.module.Surprise", 500),
    ] {
        sim.inject(once(Effect::Raise {
            exception: exception.into(),
            message: "told".into(),
        }));
        let answer = load(&sim, "a").expect("an answer");
        assert_eq!(
            (answer.status, &answer.json()["name"]),
            (status, &json!(exception))
        );
        assert_eq!(answer.json()["message"], "told");
    }
    sim.inject(Fault::new(Effect::Conflict).times(2));
    let answer = load(&sim, "a").expect("an answer");
    assert_eq!((answer.status, &answer.json()["ids"]), (200, &json!(false)));
    let answer = call(
        &sim,
        "res.partner",
        "write",
        json!({"ids": [1], "vals": {}}),
    )
    .expect("an answer");
    assert_eq!(
        answer.json()["name"],
        "psycopg2.errors.SerializationFailure"
    );
}

#[test]
fn slow_answers_are_slow_and_hung_ones_never_come() {
    let sim = sim();
    sim.inject(once(Effect::Delay {
        before_ms: 150,
        after_ms: 150,
    }));
    let start = Instant::now();
    load(&sim, "a").expect("an answer");
    assert!(start.elapsed() >= Duration::from_millis(300));
    sim.inject(once(Effect::SlowLoris { byte_ms: 5 }).committed());
    let start = Instant::now();
    assert_eq!(load(&sim, "b").expect("an answer").json()["nextrow"], 0);
    assert!(start.elapsed() >= Duration::from_millis(150));
    sim.inject(once(Effect::Hang));
    let start = Instant::now();
    std::thread::scope(|scope| {
        let hung = scope.spawn(|| load(&sim, "c"));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!hung.is_finished());
        sim.stop();
        assert!(hung.join().expect("no panic").is_err());
    });
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_request_runs_on_after_its_client_has_gone() {
    let sim = sim();
    sim.inject(once(Effect::RunsLater { after_ms: 200 }));
    assert!(load(&sim, "a").is_err());
    assert_eq!(partners(&sim, "a"), 0);
    let end = Instant::now() + Duration::from_secs(5);
    while partners(&sim, "a") == 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(partners(&sim, "a"), 1);
}

#[test]
fn a_postponed_request_runs_when_it_is_told_to() {
    let sim = sim();
    sim.inject(once(Effect::Postponed));
    assert!(load(&sim, "a").is_err());
    assert_eq!((partners(&sim, "a"), sim.postponed()), (0, 1));
    assert_eq!(sim.run_postponed(), 1);
    assert_eq!((partners(&sim, "a"), sim.postponed()), (1, 0));
    assert_eq!(sim.requests().last().expect("one request").outcome, "done");
    assert_eq!(sim.run_postponed(), 0);
}

#[test]
fn giants_and_bombs_cost_the_simulator_nothing() {
    let sim = sim();
    sim.inject(once(Effect::Giant { bytes: 32 << 20 }));
    assert_eq!(load(&sim, "a").expect("a giant").body.len(), 32 << 20);
    sim.inject(once(Effect::GzipBomb { bytes: 64 << 20 }));
    let bomb = load(&sim, "a").expect("a bomb");
    assert!(bomb.head.contains("Content-Encoding: gzip"));
    assert!(bomb.body.len() < 1 << 20, "{}", bomb.body.len());
}

#[test]
fn poison_refuses_one_record() {
    let sim = sim();
    sim.poison(Poison::new("res.partner", "name", "bad"));
    assert_eq!(
        load(&sim, "bad apple").expect("an answer").json()["messages"][0]["message"],
        "This value is poisoned."
    );
    assert!(load(&sim, "good").expect("an answer").json()["ids"].is_array());
    let write = call(
        &sim,
        "res.partner",
        "write",
        json!({"ids": [1], "vals": {"name": "bad"}}),
    )
    .expect("an answer");
    assert_eq!(
        (write.status, &write.json()["name"]),
        (422, &json!("odoo.exceptions.ValidationError"))
    );
    sim.clear_poison();
    assert!(load(&sim, "bad apple").expect("an answer").json()["ids"].is_array());
}

#[test]
fn beyond_the_rate_it_is_429() {
    let sim = sim();
    sim.set_rate_limit(Some(2.0));
    let answers: Vec<u16> = (0..4)
        .map(|n| load(&sim, &n.to_string()).expect("an answer").status)
        .collect();
    assert_eq!(answers[..2], [200, 200]);
    assert!(answers[2..].contains(&429), "{answers:?}");
    sim.set_rate_limit(None);
    assert_eq!(load(&sim, "later").expect("an answer").status, 200);
}

#[test]
fn a_dense_body_is_json_of_the_size_asked_for_and_an_endless_one_says_no_size() {
    let sim = sim();
    sim.inject(once(Effect::Dense { bytes: 30_000 }).committed());
    let dense = load(&sim, "a").expect("an answer");
    let elements = dense.json().as_array().map(Vec::len);
    assert_eq!((dense.body.len(), elements), (29_998, Some(4_286)));
    sim.inject(once(Effect::Endless { bytes: 30_000 }));
    let endless = load(&sim, "b").expect("an answer");
    assert_eq!(endless.body.len(), 30_001);
    assert!(!endless.head.contains("Content-Length"), "{}", endless.head);
}
