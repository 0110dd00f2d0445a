//! Records that were deleted or merged in Odoo while rows for them waited.

use serde_json::{Map, Value, json};

use pg_etl_core::failure::ErrorClass;
use pg_etl_core::odoo::{Client, ModelPolicy};
use pg_etl_core::outbox::{Operation, Outcome, Row};

use crate::target::*;

fn row(t: &Target, operation: Operation, key: &str, known: Option<i64>, payload: Value) -> Row {
    Row {
        odoo_id: known,
        ..t.row("res.partner", operation, key, payload)
    }
}

fn made(t: &Target, client: &Client, keys: &[&str]) -> Vec<i64> {
    let rows = keys
        .iter()
        .map(|key| row(t, Operation::Create, key, None, json!({"name": key})))
        .collect();
    t.deliver(client, rows).iter().map(id).collect()
}

fn unlink(client: &Client, id: i64) {
    client
        .call(
            "res.partner",
            "unlink",
            Some(&[id]),
            Map::new(),
            &Map::new(),
        )
        .unwrap();
}

fn name(t: &Target, client: &Client, id: i64) -> Value {
    t.read(client, "res.partner", &[id], &["name"])[0]["name"].clone()
}

fn configured(config: Value) -> ModelPolicy {
    let policy = ModelPolicy::from_config(&config);
    assert_eq!(policy.mistake, None);
    policy
}

#[test]
fn an_upsert_makes_again_what_was_deleted_unless_told_otherwise() {
    for mut t in targets() {
        let client = t.client();
        let ids = made(&t, &client, &["a", "b"]);
        unlink(&client, ids[0]);
        let upserts = |name: &str| {
            vec![
                row(
                    &t,
                    Operation::Upsert,
                    "a",
                    Some(ids[0]),
                    json!({"name": format!("{name} a")}),
                ),
                row(
                    &t,
                    Operation::Upsert,
                    "b",
                    Some(ids[1]),
                    json!({"name": format!("{name} b")}),
                ),
            ]
        };
        let rows = [upserts("first"), upserts("again"), upserts("never")];
        let [first, again, never] = rows;
        let outcomes = t.deliver(&client, first);
        let new = id(&outcomes[0]);
        assert!(new > ids[1], "a new record, whose id comes back");
        assert_eq!(id(&outcomes[1]), ids[1]);
        assert_eq!(name(&t, &client, new), "first a");
        assert_eq!(name(&t, &client, ids[1]), "first b");
        // The same rows with the same old id: the record is found, not made a third time.
        let outcomes = t.deliver(&client, again);
        assert_eq!(id(&outcomes[0]), new);
        assert_eq!(name(&t, &client, new), "again a");
        unlink(&client, new);
        t.policy = configured(json!({"on_missing": "dead_letter"}));
        let outcomes = t.deliver(&client, never);
        assert_eq!(failure(&outcomes[0]).class, ErrorClass::Missing);
        assert_eq!(id(&outcomes[1]), ids[1]);
    }
}

#[test]
fn an_update_of_what_was_deleted_is_a_dead_letter_or_makes_it_again() {
    for mut t in targets() {
        let client = t.client();
        let ids = made(&t, &client, &["a", "b", "c"]);
        unlink(&client, ids[0]);
        unlink(&client, ids[1]);
        let rows = |t: &Target| {
            vec![
                row(
                    t,
                    Operation::Update,
                    "a",
                    Some(ids[0]),
                    json!({"name": "new a"}),
                ),
                // By its key alone.
                row(t, Operation::Update, "b", None, json!({"name": "new b"})),
                row(
                    t,
                    Operation::Update,
                    "c",
                    Some(ids[2]),
                    json!({"name": "new c"}),
                ),
            ]
        };
        let outcomes = t.deliver(&client, rows(&t));
        assert_eq!(failure(&outcomes[0]).class, ErrorClass::Missing);
        assert_eq!(failure(&outcomes[1]).class, ErrorClass::Missing);
        assert_eq!(id(&outcomes[2]), ids[2]);
        t.policy = configured(json!({"on_missing": "recreate"}));
        let outcomes = t.deliver(&client, rows(&t));
        for n in [0, 1] {
            let new = id(&outcomes[n]);
            assert!(new > ids[2]);
            assert_eq!(name(&t, &client, new), ["new a", "new b"][n]);
        }
        // Without a record key nobody could find it again, were it made twice.
        let gone = Row {
            has_record_key: false,
            ..row(
                &t,
                Operation::Update,
                "x",
                Some(ids[0]),
                json!({"name": "x"}),
            )
        };
        assert_eq!(
            failure(&t.deliver(&client, vec![gone])[0]).class,
            ErrorClass::Missing
        );
        // What the update leaves out is missed.
        unlink(&client, id(&outcomes[0]));
        let part = row(
            &t,
            Operation::Update,
            "a",
            Some(ids[0]),
            json!({"comment": "no name"}),
        );
        let outcomes = t.deliver(&client, vec![part]);
        let failure = failure(&outcomes[0]);
        assert_eq!(failure.class, ErrorClass::Invalid, "{failure:?}");
        assert!(
            failure.message.contains("cannot be made again"),
            "{failure:?}"
        );
        assert!(failure.remedy.as_deref().unwrap().contains("upsert"));
    }
}

/// Merges the partner `from` into `into`, as Odoo's own wizard does.
fn merge(t: &Target, client: &Client, from: i64, into: i64, key: &str) {
    let call = |model: &str, method: &str, ids: Option<&[i64]>, args: Value| {
        let args = args.as_object().unwrap().clone();
        client.call(model, method, ids, args, &Map::new()).unwrap()
    };
    if t.sim.is_none() {
        let wizard = call(
            "base.partner.merge.automatic.wizard",
            "create",
            None,
            json!({"vals_list": [{"partner_ids": [[6, 0, [from, into]]], "dst_partner_id": into, "state": "selection"}]}),
        );
        let wizard = wizard[0].as_i64().unwrap();
        call(
            "base.partner.merge.automatic.wizard",
            "action_merge",
            Some(&[wizard]),
            json!({}),
        );
        return;
    }
    // The simulator has no wizard: what it does is that the external id follows, and the record goes.
    let row = row(t, Operation::Update, key, None, json!({}));
    let name = row.external_id.split_once('.').unwrap().1;
    let data = call(
        "ir.model.data",
        "search",
        None,
        json!({"domain": [["name", "=", name]]}),
    );
    let data = data[0].as_i64().unwrap();
    call(
        "ir.model.data",
        "write",
        Some(&[data]),
        json!({"vals": {"res_id": into}}),
    );
    unlink(client, from);
}

#[test]
fn rows_follow_a_record_that_was_merged_into_another() {
    each(|t| {
        let client = t.client();
        let ids = made(t, &client, &["from", "into"]);
        merge(t, &client, ids[0], ids[1], "from");
        let update = |key: &str, known: i64, name: &str| {
            row(
                t,
                Operation::Update,
                key,
                Some(known),
                json!({"name": name}),
            )
        };
        // Alone, it goes to the record that is left.
        let outcomes = t.deliver(&client, vec![update("from", ids[0], "by from")]);
        assert_eq!(id(&outcomes[0]), ids[1]);
        assert_eq!(name(t, &client, ids[1]), "by from");
        // Both keys in one batch: in order, and not without a word.
        for operation in [Operation::Update, Operation::Upsert] {
            for keys in [["from", "into"], ["into", "from"]] {
                let rows = keys
                    .iter()
                    .map(|key| {
                        let name = json!({"name": format!("{operation:?} {key}")});
                        row(t, operation, key, None, name)
                    })
                    .collect();
                let outcomes = t.deliver(&client, rows);
                for outcome in &outcomes {
                    assert_eq!(id(outcome), ids[1]);
                    let Outcome::Delivered { note, .. } = outcome else {
                        panic!()
                    };
                    let note = note.as_deref().unwrap_or_default();
                    assert!(note.contains("2 record keys"), "{outcome:?}");
                }
                assert_eq!(
                    name(t, &client, ids[1]),
                    format!("{operation:?} {}", keys[1])
                );
            }
        }
        // The delete of what was merged leaves the other one alone.
        let delete = row(t, Operation::Delete, "from", Some(ids[0]), json!({}));
        assert_eq!(t.deliver(&client, vec![delete]), [Outcome::delivered(None)]);
        assert_eq!(
            t.count(&client, "res.partner", json!([["id", "=", ids[1]]])),
            1
        );
    });
}

#[test]
fn a_line_that_is_gone_is_not_taken_for_its_record() {
    each(|t| {
        let client = t.client();
        let partner = made(t, &client, &["p"])[0];
        // Not made by us: no external id would lead back to it, were it made again.
        let order = json!({"vals_list": [{"partner_id": partner}]});
        let order = order.as_object().unwrap().clone();
        let order = client.call("sale.order", "create", None, order, &Map::new());
        let order = order.unwrap()[0].as_i64().unwrap();
        let lines = json!({"partner_id": partner, "order_line": [[1, 99_999_999, {"name": "x"}]]});
        let upsert = Row {
            odoo_id: Some(order),
            ..t.row("sale.order", Operation::Upsert, "o", lines)
        };
        let outcomes = t.deliver(&client, vec![upsert]);
        assert_eq!(failure(&outcomes[0]).class, ErrorClass::Missing);
        assert!(failure(&outcomes[0]).message.contains("a line"));
        assert_eq!(
            t.count(&client, "sale.order", json!([["partner_id", "=", partner]])),
            1
        );
    });
}

#[test]
fn a_record_that_is_hidden_is_not_taken_for_deleted() {
    // The simulator hides nothing.
    let real: Vec<Target> = targets()
        .into_iter()
        .filter(|target| target.sim.is_none())
        .collect();
    each_of(&real, |t| {
        let client = t.client();
        let second = second_company(&client);
        let ids = made(t, &client, &["hidden", "seen"]);
        let move_away = row(
            t,
            Operation::Update,
            "hidden",
            Some(ids[0]),
            json!({"company_id": second}),
        );
        let both = json!({"allowed_company_ids": [1, second]});
        assert_eq!(
            id(&t.deliver_in(&client, vec![move_away], &both)[0]),
            ids[0]
        );
        let company = json!({"allowed_company_ids": [1]});
        // What is gone is made again, and its hidden neighbour, which no external id of ours names, is not made a second time.
        let upserts = [("gone", 99_999_999), ("of others", ids[0])]
            .map(|(key, known)| row(t, Operation::Upsert, key, Some(known), json!({"name": key})));
        let outcomes = t.deliver_in(&client, upserts.to_vec(), &company);
        assert!(id(&outcomes[0]) > ids[1]);
        assert_eq!(failure(&outcomes[1]).class, ErrorClass::Forbidden);
        // Two that a search does not find, and only one of them is gone.
        let known = [ids[0], 99_999_999, ids[1]];
        let deletes = known
            .iter()
            .map(|id| {
                row(
                    t,
                    Operation::Delete,
                    &format!("d{id}"),
                    Some(*id),
                    json!({}),
                )
            })
            .collect();
        let outcomes = t.deliver_in(&client, deletes, &company);
        assert_eq!(failure(&outcomes[0]).class, ErrorClass::Forbidden);
        assert_eq!(outcomes[1], Outcome::delivered(None));
        assert_eq!(id(&outcomes[2]), ids[1]);
        assert_eq!(
            t.count(&client, "res.partner", json!([["id", "=", ids[0]]])),
            1
        );
    });
}
