//! A connection that works, and one that does not.

use serde_json::{Map, json};
use std::cell::Cell;

use pg_etl_core::failure::ErrorClass;
use pg_etl_core::odoo::{
    Client, ClientSettings, DeliverContext, Endpoint, ModelPolicy, ProtocolKind, explain, key_ends,
    probe, test_connection,
};
use pg_etl_core::outbox::{Batch, Operation, Row};
use pg_etl_core::secret::Secret;

use crate::target::*;

#[test]
fn a_connection_that_is_wrong_says_so_and_leaves_rows_alone() {
    each(|t| {
        let delete = || Row {
            odoo_id: Some(1),
            ..t.row("res.partner", Operation::Delete, "x", json!({}))
        };
        let wrong = [
            t.client_with(json!({}), "0000000000000000000000000000000000000000"),
            t.client_with(json!({"database": "nosuchdb"}), &t.key),
        ];
        for client in wrong {
            assert_eq!(probe(&client).unwrap_err().class, ErrorClass::Misconfigured);
            let failed = t.deliver(&client, vec![delete(), delete()]);
            assert!(
                failed
                    .iter()
                    .all(|outcome| failure(outcome).class == ErrorClass::Misconfigured),
                "{failed:?}"
            );
            let tested = test_connection(&client, &[]);
            assert_eq!(
                [&tested["ok"], &tested["error"]["class"]],
                [&json!(false), &json!("misconfigured")],
                "{tested}"
            );
        }
        let endpoint = Endpoint::parse("http://127.0.0.1:9", &t.options()).unwrap();
        let dead = Client::new(endpoint, Secret::new(&t.key), ClientSettings::default()).unwrap();
        assert_eq!(probe(&dead).unwrap_err().class, ErrorClass::Unreachable);
        let failed = t.deliver(&dead, vec![delete()]);
        assert_eq!(failure(&failed[0]).class, ErrorClass::Unreachable);
        let stopped = t.deliver_while(&t.client(), vec![delete()], &Map::new(), &|| true);
        assert_eq!(failure(&stopped[0]).class, ErrorClass::Unreachable);
    });
}

#[test]
fn a_good_connection_is_reported() {
    each(|t| {
        let client = t.client();
        probe(&client).unwrap();
        // The administrator's key has no end; that we may ask is what this shows.
        assert_eq!(key_ends(&client).unwrap(), Vec::<String>::new());
        let tested = test_connection(&client, &["res.partner", "sale.order", "no.such.model"]);
        assert_eq!(tested["ok"], true, "{tested}");
        assert_eq!(tested["version"], t.version);
        assert_eq!(tested["protocol"], t.kind.name());
        assert_eq!(tested["uid"], 2, "{tested}");
        assert_eq!(
            tested["missing_rights"],
            json!(["no.such.model: no such model in this Odoo"])
        );
        let auto = t.client_with(json!({"protocol": "auto"}), &t.key);
        probe(&auto).unwrap();
        let expected = if t.version == "18.0" {
            ProtocolKind::JsonRpc
        } else {
            ProtocolKind::Json2
        };
        assert_eq!(auto.known_protocol(), Some(expected));
        let row = t.row("res.partner", Operation::Create, "e", json!({"name": "e"}));
        let batch = Batch {
            model: row.model.clone(),
            operation: row.operation,
            context: Map::new(),
            rows: vec![row],
            joined: std::collections::BTreeMap::new(),
            known: std::collections::BTreeMap::new(),
        };
        let stop = || false;
        let cx = DeliverContext {
            namespace: &t.namespace,
            connection: "odoo",
            policy: &ModelPolicy::NONE,
            should_stop: &stop,
            divided: &Cell::default(),
        };
        let shown = explain(&client, &batch, &cx).to_string();
        assert!(shown.contains("load") && !shown.contains(&t.key), "{shown}");
    });
}
