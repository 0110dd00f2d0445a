//! Users that are gone, and users that may not.

use odoo_sim::{Config, Rights, Sim};
use pg_etl_core::failure::ErrorClass::*;
use pg_etl_core::odoo::test_connection;
use pg_etl_core::outbox::{Operation, Outcome, Row};
use serde_json::json;

use crate::failing::*;

#[test]
fn a_user_that_is_gone_is_no_reason_to_settle_a_delete() {
    for protocol in PROTOCOLS {
        let sim =
            Sim::start(Config::default().with_account(7, "sync", "key-of-sync", vec![])).unwrap();
        let client = client_of(&sim, protocol, "sync", "key-of-sync");
        client.fields("res.partner").unwrap();
        let Outcome::Delivered { odoo_id, .. } = send(&client, creates(1))[0] else {
            panic!()
        };
        sim.remove_account(7);
        let delete = Row {
            odoo_id,
            ..row(1, Operation::Delete, json!({}))
        };
        assert_eq!(
            classes(&send(&client, vec![delete])),
            [Some(Misconfigured)],
            "{protocol}"
        );
        assert_eq!(partners(&sim), 1);
    }
}

#[test]
fn rights_that_are_missing_are_named() {
    for protocol in PROTOCOLS {
        let rights = vec![
            Rights::only("res.partner", &["read"]),
            Rights::full("res.users"),
        ];
        let sim =
            Sim::start(Config::default().with_account(7, "sync", "key-of-sync", rights)).unwrap();
        let client = client_of(&sim, protocol, "sync", "key-of-sync");
        let outcomes = send(&client, creates(2));
        assert_eq!(
            classes(&outcomes),
            [Some(Forbidden); 2],
            "{protocol}: {outcomes:?}"
        );
        assert!(
            failure(&outcomes[0])
                .remedy
                .as_deref()
                .is_some_and(|remedy| remedy.contains("res.partner"))
        );
        sim.clear_requests();
        assert_eq!(
            classes(&send(&client, creates(50))),
            [Some(Forbidden); 50],
            "{protocol}"
        );
        assert_eq!(
            sim.requests().len(),
            2,
            "{protocol}: a right on the model is asked for once"
        );
        let tested = test_connection(&client, &["res.partner"]);
        assert_eq!(
            tested["missing_rights"],
            json!([
                "create on res.partner",
                "write on res.partner",
                "unlink on res.partner"
            ])
        );
        assert_eq!(
            [&tested["ok"], &tested["uid"]],
            [&json!(true), &json!(7)],
            "{tested}"
        );
    }
}
