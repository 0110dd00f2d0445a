//! Input that nobody sane would give: no panic, and every text that comes out stays bounded.

use std::sync::Arc;

use pg_etl_core::failure::Failure;
use pg_etl_core::http::{Response, http_date, retry_after};
use pg_etl_core::odoo::fields::{ModelFields, Purpose};
use pg_etl_core::odoo::values::{FieldSource, Naming, Reader, read_payload};
use pg_etl_core::odoo::{Call, Endpoint, judge};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[0-9TZ:+. -]{0,30}".prop_map(Value::from),
        "[a-z_.]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(
                "(key|id|ids|name|message|rows|from|to|type|error|data|jsonrpc|result|.{0,4})",
                inner,
                0..6
            )
            .prop_map(|object| Value::Object(object.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

struct Every;

impl FieldSource for Every {
    fn fields(&self, _: &str) -> Result<Arc<ModelFields>, Failure> {
        let kinds = [
            "boolean",
            "integer",
            "float",
            "monetary",
            "char",
            "text",
            "html",
            "date",
            "datetime",
            "selection",
            "binary",
            "reference",
            "many2one_reference",
            "json",
            "properties",
            "unheard_of",
            "many2one",
            "many2many",
            "one2many",
        ];
        let described: Map<String, Value> = kinds
            .iter()
            .map(|kind| ((*kind).to_owned(), json!({"type": kind, "relation": "x.y", "relation_field": "z", "selection": [["a", "A"]]})))
            .collect();
        Ok(Arc::new(
            ModelFields::from_json(&Value::Object(described)).unwrap(),
        ))
    }
}

fn checked(failure: &Failure) {
    assert!(failure.message.len() <= Failure::MAX_MESSAGE && !failure.message.contains('\0'));
    assert!(
        failure
            .remedy
            .as_ref()
            .is_none_or(|remedy| remedy.len() < 4_000)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_answer_is_judged(status in 0u16..1000, body in any_json(), html in any::<bool>(), uid in prop::option::of(any::<i64>())) {
        let response = Response {
            status,
            content_type: if html { "text/html" } else { "application/json" }.to_owned(),
            retry_after: None,
            date: None,
            body: body.to_string().into_bytes(),
        };
        for call in [Call::new("x.y", "load"), Call::new("x.y", "write").on(&[i64::MAX])] {
            for judged in [judge::json2(&call, &response), judge::jsonrpc(&call, &response, uid)] {
                if let Err(failure) = judged {
                    checked(&failure);
                }
            }
            if let judge::load::Loaded::Refused { failure, .. } = judge::load::judge(&call, &body, 2) {
                checked(&failure);
            }
        }
    }

    #[test]
    fn any_bytes_are_judged(status in 0u16..1000, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let response = Response { status, content_type: String::new(), retry_after: None, date: None, body };
        let call = Call::new("x.y", "write").on(&[1]);
        for judged in [judge::json2(&call, &response), judge::jsonrpc(&call, &response, Some(1))] {
            if let Err(failure) = judged {
                checked(&failure);
            }
        }
    }

    #[test]
    fn any_endpoint_is_parsed_or_refused(url in ".{0,60}", options in any_json()) {
        let _ = Endpoint::parse(&url, &options);
        let _ = Endpoint::parse(&format!("https://{url}"), &options);
    }

    #[test]
    fn any_value_is_read_or_refused(value in any_json(), field in 0usize..19, purpose in 0usize..3) {
        let endpoint = Endpoint::parse("https://h", &Value::Null).unwrap();
        let reader = Reader { endpoint: &endpoint, naming: Naming { namespace: "n", connection: "c" }, source: &Every };
        let fields = Every.fields("x.y").unwrap();
        let name = fields.names().nth(field).unwrap().to_owned();
        let payload = Map::from_iter([(name, value)]);
        let purpose = [Purpose::Create, Purpose::Upsert, Purpose::Update][purpose];
        if let Err(failure) = read_payload(reader, "x.y", &payload, purpose, "n.x") {
            checked(&failure);
        }
    }

    #[test]
    fn any_header_is_read(value in ".{0,40}") {
        let _ = http_date(&value);
        let _ = retry_after(&value, std::time::UNIX_EPOCH);
    }

    #[test]
    fn any_description_of_fields_is_read(described in any_json()) {
        if let Some(fields) = ModelFields::from_json(&described) {
            prop_assert_eq!(ModelFields::from_json(&fields.to_json()), Some(fields));
        }
    }
}
