//! Requests whose outcome nobody knows: what is safe is sent again, what is not becomes a dead letter (G4, G5, G7).

use pg_etl_tests::prelude::*;

/// Odoo did the work and the answer was spoilt, in every way that was seen: one record each.
#[test]
fn a_create_whose_answer_is_lost_is_made_once() {
    let bench = Bench::builder().setting("etl.max_attempts", "20").start();
    let (mut db, sim) = (bench.client(), bench.sim());
    let spoilt = [
        ("answer lost", Effect::AnswerLost),
        ("reset", Effect::Reset),
        ("truncated", Effect::Truncated { bytes: 5 }),
        ("html", Effect::Html),
        ("unreadable", Effect::Unreadable),
        (
            "bad gateway",
            Effect::Status {
                status: 502,
                retry_after: None,
            },
        ),
        (
            "gateway timeout",
            Effect::Status {
                status: 504,
                retry_after: None,
            },
        ),
        ("runs later", Effect::RunsLater { after_ms: 700 }),
    ];
    for (name, effect) in spoilt {
        sim.inject(
            Fault::new(effect)
                .on("res.partner", "load")
                .times(1)
                .committed(),
        );
        let id = db.enqueue("res.partner", "create", json!({"name": name}), Some(name));
        let done = db.await_status(id, "done");
        assert!(
            done.attempts >= 2,
            "{name}: the fault did not strike: {done:?}"
        );
        let upsert = db.enqueue(
            "res.partner",
            "upsert",
            json!({"name": name, "city": "Known"}),
            Some(name),
        );
        assert_eq!(
            db.await_status(upsert, "done").odoo_id,
            done.odoo_id,
            "{name}"
        );
        assert_eq!(sim.partner(name)["city"], "Known");
        sim.clear_faults();
    }
    assert!(sim.wait_idle(PATIENCE));
    for (name, _) in [("runs later", ()), ("answer lost", ())] {
        sim.partner(name);
    }
}

/// A client that gives up is not a request that stops: Odoo works on, and the create that is sent again finds its record.
#[test]
fn a_request_that_times_out_still_runs_and_makes_one_record() {
    let bench = Bench::builder().option("timeout", json!(1)).start();
    let (mut db, sim) = (bench.client(), bench.sim());
    sim.inject(
        Fault::new(Effect::Delay {
            before_ms: 2_500,
            after_ms: 0,
        })
        .on("res.partner", "load")
        .times(1),
    );
    let id = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Late"}),
        Some("partner:late"),
    );
    let done = db.await_status(id, "done");
    assert!(done.attempts >= 2, "{done:?}");
    assert!(sim.wait_idle(PATIENCE), "the abandoned call ends");
    assert_eq!(sim.partner("Late")["id"].as_i64(), done.odoo_id);
}

/// G5: an update that Odoo runs late does not undo what a later row did, because that row waited.
#[test]
fn later_rows_of_a_record_wait_for_the_grace() {
    const GRACE: Duration = Duration::from_secs(7);
    let bench = Bench::builder().setting("etl.unknown_grace", "7s").start();
    let (mut db, sim) = (bench.client(), bench.sim());
    let create = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Twice", "city": "None"}),
        Some("partner:twice"),
    );
    db.await_status(create, "done");
    sim.clear_requests();
    // The connection breaks at once; Odoo does the work after everything else could long have been done.
    for method in ["write", "web_save_multi"] {
        sim.inject(
            Fault::new(Effect::RunsLater { after_ms: 5_000 })
                .on("res.partner", method)
                .times(1),
        );
    }
    let old = db.enqueue(
        "res.partner",
        "update",
        json!({"city": "Old"}),
        Some("partner:twice"),
    );
    eventually(PATIENCE, "the first change to be on its way", || {
        db.row(old).attempts == 1
    });
    let new = db.enqueue(
        "res.partner",
        "update",
        json!({"city": "New", "phone": "1"}),
        Some("partner:twice"),
    );
    let other = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Other"}),
        Some("partner:other"),
    );
    db.await_status(other, "done");
    assert_eq!(db.row(new).status, "queued", "it waits for the grace");
    assert_eq!(db.await_status(new, "done").attempts, 1);
    assert_eq!(db.row(old).status, "done");
    assert!(sim.wait_idle(PATIENCE));
    assert_eq!(
        sim.partner("Twice")["city"],
        "New",
        "the late request undid the later row"
    );
    let writes = sim
        .changes()
        .into_iter()
        .filter(|call| call.method != "load");
    let times: Vec<_> = writes.map(|call| call.at).collect();
    let waited = times[times.len() - 1].duration_since(times[0]).unwrap();
    println!(
        "measured: the later row went {waited:.1?} after the unknown outcome (grace {GRACE:?})"
    );
    assert!(
        waited >= GRACE - Duration::from_millis(500),
        "only {waited:?}"
    );
}

/// An order that can be confirmed.
fn order(db: &mut Client, number: i32) -> i64 {
    let partner = format!("partner:{number}");
    db.enqueue(
        "res.partner",
        "create",
        json!({"name": format!("Buyer {number}")}),
        Some(&partner),
    );
    let product = db.enqueue(
        "product.product",
        "create",
        json!({"name": format!("Thing {number}")}),
        Some(&format!("product:{number}")),
    );
    let product = db.await_status(product, "done").record();
    let order = json!({"partner_id": {"key": partner}, "order_line": [{"key": "1", "product_id": product}]});
    let order = db.enqueue(
        "sale.order",
        "create",
        order,
        Some(&format!("order:{number}")),
    );
    db.await_status(order, "done").record()
}

fn state(sim: &Sim, order: i64) -> Value {
    let orders = sim.records("sale.order");
    orders
        .iter()
        .find(|record| record["id"] == order)
        .expect("the order")["state"]
        .clone()
}

#[test]
fn a_bare_call_of_unknown_outcome_is_a_dead_letter_and_not_sent_again() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let order = order(&mut db, 1);
    sim.inject(
        Fault::new(Effect::AnswerLost)
            .on("sale.order", "action_confirm")
            .times(1),
    );
    let call = db.enqueue(
        "sale.order",
        "call",
        json!({"method": "action_confirm", "ids": [order]}),
        None,
    );
    let dead = db.await_status(call, "failed");
    assert_eq!((dead.class(), dead.attempts), ("unknown", 1), "{dead:?}");
    assert!(
        dead.error().contains("force => true"),
        "it says what to do: {}",
        dead.error()
    );
    let later = db.enqueue("res.partner", "create", json!({"name": "Later"}), None);
    db.await_status(later, "done");
    assert_eq!(
        (sim.calls("action_confirm").len(), state(sim, order)),
        (1, json!("sale"))
    );
}

#[test]
fn a_call_with_unless_is_checked_instead() {
    let bench = Bench::builder().setting("etl.unknown_grace", "1s").start();
    let (mut db, sim) = (bench.client(), bench.sim());
    let confirm = |order: i64| json!({"method": "action_confirm", "ids": [order], "unless": [["state", "=", "sale"]]});
    // It happened: found out by asking, not by confirming twice.
    let happened = order(&mut db, 1);
    sim.inject(
        Fault::new(Effect::AnswerLost)
            .on("sale.order", "action_confirm")
            .times(1),
    );
    let call = db.enqueue("sale.order", "call", confirm(happened), None);
    db.await_status(call, "done");
    assert_eq!(
        (sim.calls("action_confirm").len(), state(sim, happened)),
        (1, json!("sale"))
    );
    // It did not happen: sent again.
    let lost = order(&mut db, 2);
    sim.inject(
        Fault::new(Effect::RequestLost)
            .on("sale.order", "action_confirm")
            .times(1),
    );
    let call = db.enqueue("sale.order", "call", confirm(lost), None);
    db.await_status(call, "done");
    assert_eq!(
        (sim.calls("action_confirm").len(), state(sim, lost)),
        (3, json!("sale"))
    );
    // It had happened before: not sent at all.
    let call = db.enqueue("sale.order", "call", confirm(lost), None);
    db.await_status(call, "done");
    assert_eq!(sim.calls("action_confirm").len(), 3);
    // A method that nobody allowed is not sent either.
    let other = db.enqueue(
        "sale.order",
        "call",
        json!({"method": "action_cancel", "ids": [lost]}),
        None,
    );
    assert!(
        db.await_status(other, "failed")
            .error()
            .contains("action_cancel")
    );
    assert_eq!(
        (sim.calls("action_cancel").len(), state(sim, lost)),
        (0, json!("sale"))
    );
}
