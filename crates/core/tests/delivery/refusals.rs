//! What is refused, by Odoo or before it, and what that leaves of the rest.

use serde_json::{Map, Value, json};

use pg_etl_core::failure::ErrorClass;
use pg_etl_core::odoo::ProtocolKind;
use pg_etl_core::outbox::{Operation, Outcome, Row};

use crate::target::*;

#[test]
fn one_bad_row_fails_alone() {
    each(|t| {
        let client = t.client();
        let belgium = json!({"module": "base", "xml_id": "be"})
            .as_object()
            .unwrap()
            .clone();
        let belgium = client
            .call(
                "ir.model.data",
                "check_object_reference",
                None,
                belgium,
                &Map::new(),
            )
            .unwrap()[1]
            .clone();
        let mut rows: Vec<Row> = (0..40)
            .map(|n| {
                t.row(
                    "res.partner",
                    Operation::Create,
                    &format!("b{n}"),
                    json!({"name": format!("B{n}"), "country_id": belgium}),
                )
            })
            .collect();
        rows[3].payload.insert("name".to_owned(), json!(null));
        rows[17]
            .payload
            .insert("country_id".to_owned(), json!(999_999));
        rows[18]
            .payload
            .insert("country_id".to_owned(), json!("base.no_such_country"));
        rows[29].payload.insert("nam".to_owned(), json!("x"));
        rows[30].payload.insert("name".to_owned(), json!("a\u{0}b"));
        let outcomes = t.deliver(&client, rows.clone());
        let class = |n: usize| failure(&outcomes[n]).class;
        assert_eq!(class(3), ErrorClass::Invalid);
        assert!(
            failure(&outcomes[3])
                .message
                .contains("Contacts require a name"),
            "{:?}",
            outcomes[3]
        );
        assert_eq!(class(17), ErrorClass::Invalid);
        assert_eq!(class(18), ErrorClass::Dependency);
        assert_eq!(class(29), ErrorClass::Invalid);
        assert_eq!(class(30), ErrorClass::Invalid);
        let delivered = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Delivered { .. }))
            .count();
        assert_eq!(delivered, 35, "{outcomes:?}");
        // The same for updates: a missing record, a recursion, and innocent neighbours.
        let ids: Vec<i64> = outcomes
            .iter()
            .enumerate()
            .filter(|(n, _)| ![3, 17, 18, 29, 30].contains(n))
            .map(|(_, o)| id(o))
            .collect();
        let mut updates: Vec<Row> = ids
            .iter()
            .enumerate()
            .map(|(n, id)| Row {
                odoo_id: Some(*id),
                ..t.row(
                    "res.partner",
                    Operation::Update,
                    &format!("x{n}"),
                    json!({"ref": format!("r{n}")}),
                )
            })
            .collect();
        updates[5].odoo_id = Some(99_999_999);
        updates[9]
            .payload
            .insert("parent_id".to_owned(), json!(ids[9]));
        let outcomes = t.deliver(&client, updates);
        assert_eq!(failure(&outcomes[5]).class, ErrorClass::Missing);
        assert_eq!(failure(&outcomes[9]).class, ErrorClass::Invalid);
        assert!(
            failure(&outcomes[9]).message.contains("recursive"),
            "{:?}",
            outcomes[9]
        );
        assert_eq!(
            outcomes
                .iter()
                .filter(|outcome| matches!(outcome, Outcome::Delivered { .. }))
                .count(),
            33
        );
        assert_eq!(
            t.read(&client, "res.partner", &[ids[33]], &["ref"])[0]["ref"],
            "r33"
        );
        // And for deletes: one is gone, one is in use.
        let mut deletes: Vec<Row> = ids[..4]
            .iter()
            .map(|id| Row {
                odoo_id: Some(*id),
                ..t.row("res.partner", Operation::Delete, "d", json!({}))
            })
            .collect();
        deletes[1].odoo_id = Some(99_999_999);
        let outcomes = t.deliver(&client, deletes);
        assert_eq!(outcomes[1], Outcome::delivered(None));
        assert_eq!(id(&outcomes[0]), ids[0]);
    });
}

#[test]
fn what_a_connection_forbids_is_not_sent() {
    each(|t| {
        let client = t.client();
        let class = |row: Row| failure(&t.deliver(&client, vec![row])[0]).class;
        assert_eq!(
            class(t.row("res.users", Operation::Create, "x", json!({"name": "x"}))),
            ErrorClass::Forbidden
        );
        assert_eq!(
            class(t.row(
                "res.partner",
                Operation::Call,
                "x",
                json!({"method": "unlink", "ids": [1]})
            )),
            ErrorClass::Forbidden
        );
        assert_eq!(
            class(t.row(
                "res.partner",
                Operation::Call,
                "x",
                json!({"method": "_write", "ids": [1]})
            )),
            ErrorClass::Invalid
        );
        assert_eq!(
            class(t.row(
                "no.such.model",
                Operation::Create,
                "x",
                json!({"name": "x"})
            )),
            ErrorClass::UnknownModel
        );
        assert_eq!(
            class(t.row(
                "res.partner",
                Operation::Update,
                "never made",
                json!({"name": "x"})
            )),
            ErrorClass::Missing
        );
        let call = |payload: Value| t.row("res.partner", Operation::Call, "x", payload);
        for bad in [
            json!({}),
            json!({"method": 1}),
            json!({"method": "action_archive", "ids": [0]}),
            json!({"method": "action_archive", "ids": [false]}),
            json!({"method": "action_archive", "ids": 7}),
            json!({"method": "action_archive", "unless": []}),
            json!({"method": "action_archive", "kwargs": {"model": "res.users"}}),
            json!({"method": "action_archive", "argz": []}),
        ] {
            assert_eq!(class(call(bad.clone())), ErrorClass::Invalid, "{bad}");
        }
        let partner = id(&t.deliver(
            &client,
            vec![t.row(
                "res.partner",
                Operation::Create,
                "arc",
                json!({"name": "arc"}),
            )],
        )[0]);
        let wrong = call(json!({"method": "write", "ids": [partner], "kwargs": {"nosuch": 1}}));
        assert_eq!(class(wrong), ErrorClass::Invalid);
        let positional =
            call(json!({"method": "write", "ids": [partner], "args": [{"ref": "by call"}]}));
        let outcome = &t.deliver(&client, vec![positional])[0];
        match t.kind {
            ProtocolKind::Json2 => assert_eq!(failure(outcome).class, ErrorClass::Invalid),
            ProtocolKind::JsonRpc => assert_eq!(id(outcome), partner),
        }
        let archive = call(
            json!({"method": "action_archive", "ids": [partner], "unless": [["active", "=", false]]}),
        );
        assert_eq!(id(&t.deliver(&client, vec![archive])[0]), partner);
    });
}
