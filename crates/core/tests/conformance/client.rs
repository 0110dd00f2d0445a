//! The same Odoos through the client that delivery uses: its words must fit what they really say.

use crate::target::{Target, targets};
use pg_etl_core::failure::ErrorClass;
use pg_etl_core::odoo::{Client, ClientSettings, Endpoint};
use pg_etl_core::secret::Secret;
use serde_json::{Map, Value, json};

fn client(target: &Target, protocol: &str, database: &str, key: &str) -> Client {
    let options = json!({"database": database, "login": target.login, "protocol": protocol});
    let endpoint = Endpoint::parse(&target.url, &options).expect("a good address");
    Client::new(endpoint, Secret::new(key), ClientSettings::default()).expect("a client")
}

fn arguments(json: Value) -> Map<String, Value> {
    json.as_object().cloned().unwrap_or_default()
}

fn everywhere(test: impl Fn(&Target, &str)) {
    for target in targets() {
        for protocol in ["auto", "json2", "jsonrpc"] {
            test(target, protocol);
        }
    }
}

#[test]
fn a_record_lives_and_dies() {
    everywhere(|target, protocol| {
        let place = format!("{} by {protocol}", target.label);
        let client = client(target, protocol, &target.database, &target.key);
        let none = Map::new();
        let create = arguments(json!({"vals_list": [{"name": "Through the client"}]}));
        let ids = client
            .call("res.partner", "create", None, create, &none)
            .unwrap_or_else(|e| panic!("{place}: {e:?}"));
        let id = ids[0].as_i64().expect("an id");
        client
            .call(
                "res.partner",
                "write",
                Some(&[id]),
                arguments(json!({"vals": {"ref": "R"}})),
                &none,
            )
            .expect(&place);
        let row = client
            .call(
                "res.partner",
                "read",
                Some(&[id]),
                arguments(json!({"fields": ["ref"]})),
                &none,
            )
            .expect(&place);
        assert_eq!(row[0]["ref"], "R", "{place}");
        client
            .call("res.partner", "unlink", Some(&[id]), Map::new(), &none)
            .expect(&place);
        let gone = client
            .call("res.partner", "unlink", Some(&[id]), Map::new(), &none)
            .expect_err(&place);
        assert_eq!(gone.class, ErrorClass::Missing, "{place}: {gone:?}");
    });
}

#[test]
fn refusals_have_their_class() {
    everywhere(|target, protocol| {
        let place = format!("{} by {protocol}", target.label);
        let client = client(target, protocol, &target.database, &target.key);
        for (model, method, call, class) in [
            (
                "res.partner",
                "create",
                json!({"vals_list": [{"email": "no name"}]}),
                ErrorClass::Invalid,
            ),
            (
                "res.partner",
                "create",
                json!({"vals_list": [{"name": "x", "nonsense": 1}]}),
                ErrorClass::Invalid,
            ),
            (
                "no.such.model",
                "search",
                json!({"domain": []}),
                ErrorClass::UnknownModel,
            ),
        ] {
            let failure = client
                .call(model, method, None, arguments(call), &Map::new())
                .expect_err(&place);
            assert_eq!(
                failure.class, class,
                "{place}: {model}.{method}: {failure:?}"
            );
        }
    });
}

#[test]
fn wrong_credentials_pause_a_connection() {
    everywhere(|target, protocol| {
        for (database, key) in [
            (target.database.as_str(), "wrong"),
            ("no_such_database", target.key.as_str()),
        ] {
            let client = client(target, protocol, database, key);
            let call = client.call(
                "res.partner",
                "search_count",
                None,
                arguments(json!({"domain": []})),
                &Map::new(),
            );
            let failure = call.expect_err("refused");
            assert_eq!(
                failure.class,
                ErrorClass::Misconfigured,
                "{} by {protocol}: {failure:?}",
                target.label
            );
        }
    });
}
