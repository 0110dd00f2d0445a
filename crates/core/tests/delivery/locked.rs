//! Records that a policy protects: `editable_when`. Sent quotations stand for documents, which every Odoo here has.

use serde_json::{Map, Value, json};

use pg_etl_core::failure::ErrorClass;
use pg_etl_core::odoo::{Client, ModelPolicy};
use pg_etl_core::outbox::{Operation, Outcome, Row};

use crate::target::*;

fn policy(t: &mut Target, config: Value) {
    t.policy = ModelPolicy::from_config(&config);
    assert_eq!(t.policy.mistake, None);
}

/// Orders by the keys `o0`, `o1`, …; those at odd places are sent.
fn orders(t: &Target, client: &Client, count: usize) -> Vec<i64> {
    let partner = t.row(
        "res.partner",
        Operation::Create,
        "buyer",
        json!({"name": "Buyer"}),
    );
    let partner = id(&t.deliver(client, vec![partner])[0]);
    let rows = (0..count)
        .map(|n| {
            t.row(
                "sale.order",
                Operation::Create,
                &format!("o{n}"),
                json!({"partner_id": partner, "client_order_ref": "first"}),
            )
        })
        .collect();
    let ids: Vec<i64> = t.deliver(client, rows).iter().map(id).collect();
    let sent: Vec<i64> = ids.iter().skip(1).step_by(2).copied().collect();
    client
        .call(
            "sale.order",
            "action_quotation_sent",
            Some(&sent),
            Map::new(),
            &Map::new(),
        )
        .unwrap();
    ids
}

fn updates(t: &Target, operation: Operation, ids: &[i64], text: &str) -> Vec<Row> {
    ids.iter()
        .enumerate()
        .map(|(n, id)| Row {
            odoo_id: Some(*id),
            ..t.row(
                "sale.order",
                operation,
                &format!("o{n}"),
                json!({"client_order_ref": format!("{text} {n}")}),
            )
        })
        .collect()
}

fn references(t: &Target, client: &Client, ids: &[i64]) -> Vec<Value> {
    let read = t.read(client, "sale.order", ids, &["client_order_ref"]);
    read.into_iter()
        .map(|order| order["client_order_ref"].clone())
        .collect()
}

/// The note of a row that was done without effect.
fn note(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Delivered {
            note: Some(note), ..
        } => note,
        other => panic!("no note: {other:?}"),
    }
}

const DRAFT: &str = r#"["|", ["state", "=", "draft"], ["state", "=", "cancel"]]"#;

fn draft() -> Value {
    serde_json::from_str(DRAFT).unwrap()
}

#[test]
fn what_is_locked_becomes_a_dead_letter_and_the_rest_goes() {
    for mut t in targets() {
        let client = t.client();
        let ids = orders(&t, &client, 4);
        policy(&mut t, json!({"editable_when": draft()}));
        for operation in [Operation::Update, Operation::Upsert] {
            let before = references(&t, &client, &ids);
            if let Some(sim) = &t.sim {
                sim.clear_requests();
            }
            let outcomes = t.deliver(&client, updates(&t, operation, &ids, operation.name()));
            if let Some(sim) = &t.sim {
                let searches = sim
                    .requests()
                    .iter()
                    .filter(|request| request.method == "search")
                    .count();
                assert_eq!(
                    searches, 2,
                    "one for the domain, one for what is left of it"
                );
            }
            for n in [1, 3] {
                let failure = failure(&outcomes[n]);
                assert_eq!(failure.class, ErrorClass::Invalid);
                assert!(failure.message.contains("editable_when"), "{failure:?}");
                let remedy = failure.remedy.as_deref().unwrap();
                assert!(remedy.contains("sb_to_odoo:sale.order"), "{remedy}");
            }
            assert_eq!([id(&outcomes[0]), id(&outcomes[2])], [ids[0], ids[2]]);
            let after = references(&t, &client, &ids);
            assert_eq!([&after[1], &after[3]], [&before[1], &before[3]]);
            assert_eq!(after[2], format!("{} 2", operation.name()));
        }
        // Found by record key, the same; and so is a delete.
        let mut by_key = updates(&t, Operation::Update, &ids, "by key");
        by_key.iter_mut().for_each(|row| row.odoo_id = None);
        let outcomes = t.deliver(&client, by_key);
        assert_eq!(failure(&outcomes[3]).class, ErrorClass::Invalid);
        let outcomes = t.deliver(&client, updates(&t, Operation::Delete, &ids, ""));
        assert_eq!(failure(&outcomes[1]).class, ErrorClass::Invalid);
        assert!(failure(&outcomes[1]).message.contains("editable_when"));
        assert_eq!(id(&outcomes[0]), ids[0]);
        assert_eq!(
            t.count(&client, "sale.order", json!([["id", "in", ids]])),
            2
        );
    }
}

#[test]
fn what_is_locked_may_be_skipped_and_says_so() {
    for mut t in targets() {
        let client = t.client();
        let ids = orders(&t, &client, 3);
        policy(
            &mut t,
            json!({"editable_when": draft(), "when_locked": "skip"}),
        );
        let outcomes = t.deliver(&client, updates(&t, Operation::Update, &ids, "new"));
        assert_eq!(outcomes.iter().map(id).collect::<Vec<_>>(), ids);
        assert!(note(&outcomes[1]).contains("left as it is"));
        assert_eq!(outcomes[0], Outcome::delivered(Some(ids[0])));
        assert_eq!(
            references(&t, &client, &ids),
            [json!("new 0"), json!("first"), json!("new 2")]
        );
        // An upsert that finds the record by its key, and a delete.
        let mut upserts = updates(&t, Operation::Upsert, &ids, "upsert");
        upserts.iter_mut().for_each(|row| row.odoo_id = None);
        let outcomes = t.deliver(&client, upserts);
        assert_eq!(id(&outcomes[1]), ids[1]);
        assert!(note(&outcomes[1]).contains("left as it is"));
        let delete = updates(&t, Operation::Delete, &ids, "").remove(1);
        assert!(note(&t.deliver(&client, vec![delete])[0]).contains("left as it is"));
        assert_eq!(
            references(&t, &client, &ids),
            [json!("upsert 0"), json!("first"), json!("upsert 2")]
        );
    }
}

#[test]
fn what_is_locked_may_be_reset_first_by_a_method_that_is_allowed() {
    for mut t in targets() {
        let allowed = t.client_with(
            json!({"allow_methods": ["sale.order.action_draft", "sale.order.action_confirm"]}),
            &t.key,
        );
        let ids = orders(&t, &allowed, 4);
        let config = json!({"editable_when": draft(), "when_locked": "reset", "reset_method": "action_draft"});
        policy(&mut t, config);
        // Not allowed: nothing is touched.
        let outcomes = t.deliver(&t.client(), updates(&t, Operation::Update, &ids, "new"));
        assert_eq!(failure(&outcomes[1]).class, ErrorClass::Forbidden);
        let remedy = failure(&outcomes[1]).remedy.as_deref().unwrap();
        assert!(
            remedy.contains("allow_methods") && remedy.contains("sale.order.action_draft"),
            "{remedy}"
        );
        assert_eq!(references(&t, &allowed, &ids)[1], "first");
        // Allowed: the sent one is reset. A confirmed one is not, for the method does nothing to it.
        allowed
            .call(
                "sale.order",
                "action_confirm",
                Some(&[ids[3]]),
                Map::new(),
                &Map::new(),
            )
            .unwrap();
        let outcomes = t.deliver(&allowed, updates(&t, Operation::Update, &ids, "new"));
        assert_eq!(id(&outcomes[1]), ids[1]);
        assert_eq!(failure(&outcomes[3]).class, ErrorClass::Invalid);
        let read = t.read(&allowed, "sale.order", &ids, &["client_order_ref", "state"]);
        assert_eq!(
            [&read[1]["client_order_ref"], &read[1]["state"]],
            ["new 1", "draft"]
        );
        assert_eq!(
            [&read[3]["client_order_ref"], &read[3]["state"]],
            ["first", "sale"]
        );
    }
}

#[test]
fn a_guard_that_cannot_be_used_protects_and_is_named() {
    for mut t in targets() {
        let client = t.client();
        let ids = orders(&t, &client, 2);
        let named = |outcomes: &[Outcome]| {
            for outcome in outcomes {
                let failure = failure(outcome);
                assert_eq!(failure.class, ErrorClass::Invalid, "{failure:?}");
                assert!(
                    failure.message.contains("sb_to_odoo:sale.order"),
                    "{failure:?}"
                );
                assert!(failure.remedy.is_some());
            }
        };
        // Odoo refuses the domain: asked once, not once per row.
        policy(
            &mut t,
            json!({"editable_when": [["no_such_field", "=", 1]]}),
        );
        if let Some(sim) = &t.sim {
            sim.clear_requests();
        }
        named(&t.deliver(&client, updates(&t, Operation::Update, &ids, "new")));
        if let Some(sim) = &t.sim {
            assert_eq!(sim.requests().len(), 1);
        }
        // It cannot even be read.
        t.policy = ModelPolicy::from_config(&json!({"editable_when": "state = draft"}));
        for operation in [Operation::Update, Operation::Upsert, Operation::Delete] {
            named(&t.deliver(&client, updates(&t, operation, &ids, "new")));
        }
        assert_eq!(references(&t, &client, &ids), ["first", "first"]);
        let create = t.row(
            "sale.order",
            Operation::Create,
            "o0",
            json!({"client_order_ref": "x"}),
        );
        assert_eq!(id(&t.deliver(&client, vec![create])[0]), ids[0]);
    }
}

#[test]
fn a_posted_invoice_is_protected_or_taken_back_to_draft() {
    // The simulator has no accounting.
    for mut t in targets().into_iter().filter(|target| target.sim.is_none()) {
        let methods = json!(["account.move.action_post", "account.move.button_draft"]);
        let client = t.client_with(json!({"allow_methods": methods}), &t.key);
        let partner = t.row("res.partner", Operation::Create, "p", json!({"name": "P"}));
        let partner = id(&t.deliver(&client, vec![partner])[0]);
        let invoice = t.row("account.move", Operation::Create, "inv", json!({
            "move_type": "out_invoice", "partner_id": partner, "invoice_date": "2024-01-31",
            "invoice_line_ids": [{"key": "1", "name": "Work", "quantity": 2, "price_unit": 10, "tax_ids": []}],
        }));
        let made = id(&t.deliver(&client, vec![invoice])[0]);
        let post = json!({"method": "action_post", "unless": [["state", "=", "posted"]]});
        let post = t.row("account.move", Operation::Call, "inv", post);
        assert_eq!(id(&t.deliver(&client, vec![post.clone()])[0]), made);
        let update = |t: &Target, operation| {
            let values = json!({
                "ref": "later", "invoice_date": "2024-02-15",
                "invoice_line_ids": [{"key": "1", "price_unit": 12}],
            });
            t.deliver(
                &client,
                vec![t.row("account.move", operation, "inv", values)],
            )
        };
        let state = |t: &Target| {
            let fields = ["state", "ref", "invoice_date", "amount_untaxed"];
            t.read(&client, "account.move", &[made], &fields)[0].clone()
        };
        let posted = state(&t);
        assert_eq!(posted["state"], "posted");
        let draft = json!([["state", "=", "draft"]]);
        policy(&mut t, json!({"editable_when": draft}));
        let outcomes = update(&t, Operation::Update);
        assert!(failure(&outcomes[0]).message.contains("editable_when"));
        policy(
            &mut t,
            json!({"editable_when": draft, "when_locked": "skip"}),
        );
        assert!(note(&update(&t, Operation::Update)[0]).contains("left as it is"));
        assert_eq!(
            state(&t),
            posted,
            "its reference, too, which Odoo would have let pass"
        );
        policy(
            &mut t,
            json!({"editable_when": draft, "when_locked": "reset", "reset_method": "button_draft"}),
        );
        assert_eq!(id(&update(&t, Operation::Update)[0]), made);
        let reset = state(&t);
        assert_eq!(
            [
                &reset["state"],
                &reset["ref"],
                &reset["invoice_date"],
                &reset["amount_untaxed"]
            ],
            [
                &json!("draft"),
                &json!("later"),
                &json!("2024-02-15"),
                &json!(24.0)
            ]
        );
        // And posted again by whoever wants it so.
        assert_eq!(id(&t.deliver(&client, vec![post])[0]), made);
        assert_eq!(state(&t)["state"], "posted");
    }
}
