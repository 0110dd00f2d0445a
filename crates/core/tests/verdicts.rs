//! The verdict table, for generated members of each of its rows: whatever the message says, whatever the status that goes with a name, and
//! over either protocol, the class is that of the row.

use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::http::{Response, TransportError};
use pg_etl_core::odoo::judge::load::Loaded;
use pg_etl_core::odoo::{Call, judge};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use ErrorClass::*;

const UID: i64 = 2;

fn response(status: u16, html: bool, body: impl Into<Vec<u8>>) -> Response {
    Response {
        status,
        content_type: if html {
            "text/html"
        } else {
            "application/json"
        }
        .to_owned(),
        retry_after: None,
        date: None,
        body: body.into(),
    }
}

/// What both protocols make of an exception that Odoo wrote down with such a status.
fn of_exception(call: &Call, status: u16, name: &str, message: &str) -> [Failure; 2] {
    let exception =
        json!({"name": name, "message": message, "debug": "Traceback (most recent call last)"});
    let json2 = response(status, false, exception.to_string());
    let envelope = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": 200, "message": "Odoo Server Error", "data": exception}});
    let jsonrpc = response(200, false, envelope.to_string());
    [
        judge::json2(call, &json2).expect_err("an exception"),
        judge::jsonrpc(call, &jsonrpc, Some(UID)).expect_err("an exception"),
    ]
}

/// What both protocols make of a body that Odoo did not write.
fn of_page(call: &Call, status: u16, html: bool, body: &[u8]) -> [Failure; 2] {
    let page = response(status, html, body);
    [
        judge::json2(call, &page).expect_err("no success"),
        judge::jsonrpc(call, &page, Some(UID)).expect_err("no success"),
    ]
}

fn all(failures: [Failure; 2], class: ErrorClass) -> Result<(), TestCaseError> {
    for failure in failures {
        prop_assert_eq!(failure.class, class, "{:?}", failure);
        prop_assert!(!failure.message.contains("Traceback"));
    }
    Ok(())
}

fn call() -> impl Strategy<Value = Call> {
    select(vec![
        "load",
        "create",
        "write",
        "web_save_multi",
        "unlink",
        "search",
    ])
    .prop_map(|method| {
        let call = Call::new("res.partner", method);
        if method == "load" || method == "create" || method == "search" {
            call
        } else {
            call.on(&[7, 9])
        }
    })
}

/// Words of no meaning to anybody.
fn words() -> &'static str {
    "[b-df-hj-np-tv-z]{1,12}( [b-df-hj-np-tv-z]{1,12}){0,6}"
}

/// A page that is no JSON.
fn page() -> &'static str {
    "<[a-z]{1,8}>[^\u{0}]{0,60}"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_answer(why in ".{0,80}") {
        for (error, class) in [
            (TransportError::NotSent(why.clone()), Unreachable),
            (TransportError::Lost(why.clone()), Unknown),
            (TransportError::TooLarge(why), Unknown),
        ] {
            prop_assert_eq!(judge::transport(&error).class, class);
        }
    }

    #[test]
    fn a_page_with_a_status(call in call(), html in any::<bool>(), body in page(), row in select(vec![
        (401u16, Misconfigured), (403, Misconfigured), (404, Misconfigured), (429, Throttled), (502, Unknown), (504, Unknown),
        (200, Unknown), (409, Conflict), (503, Conflict), (413, TooLarge), (400, Bug), (415, Bug), (500, Server),
    ])) {
        all(of_page(&call, row.0, html, body.as_bytes()), row.1)?;
    }

    #[test]
    fn bytes_that_are_no_json_are_an_unknown_outcome(call in call(), html in any::<bool>(), body in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assume!(serde_json::from_slice::<Value>(&body).is_err());
        all(of_page(&call, 200, html, &body), Unknown)?;
    }

    #[test]
    fn a_lost_race_whatever_carries_it(
        call in call(), status in 200u16..600, before in words(), after in words(),
        name in select(vec!["psycopg2.errors.SerializationFailure", "odoo.exceptions.ValidationError", "builtins.ValueError", "x.y.Z", ""]),
        text in select(vec!["could not serialize access", "deadlock detected", "could not obtain lock on", "canceling statement due to lock timeout"]),
    ) {
        prop_assume!(status != 200);
        all(of_exception(&call, status, name, &format!("{before} {text} {after}")), Conflict)?;
        let answer = json!({"ids": false, "messages": [
            {"type": "error", "rows": {"from": 0, "to": 0}, "message": before},
            {"type": "error", "rows": {"from": 1, "to": 1}, "message": format!("{text} {after}")},
        ]});
        let Loaded::Refused { failure, .. } = judge::load::judge(&call, &answer, 2) else {
            return Err(TestCaseError::fail("loaded"));
        };
        prop_assert_eq!(failure.class, Conflict);
    }

    #[test]
    fn a_name_with_a_verdict(call in call(), message in words(), row in select(vec![
        ("odoo.exceptions.AccessDenied", 403u16, Misconfigured),
        ("odoo.exceptions.AccessError", 403, Forbidden),
        ("odoo.exceptions.ValidationError", 422, Invalid),
        ("odoo.exceptions.UserError", 422, Invalid),
        ("builtins.ValueError", 500, Invalid),
        ("builtins.KeyError", 500, Invalid),
        ("builtins.TypeError", 500, Invalid),
        ("builtins.AttributeError", 500, Invalid),
        ("psycopg2.errors.SerializationFailure", 500, Conflict),
        ("psycopg2.errors.DeadlockDetected", 500, Conflict),
        ("psycopg2.errors.LockNotAvailable", 500, Conflict),
        ("psycopg2.errors.NotNullViolation", 500, Invalid),
        ("psycopg2.errors.UniqueViolation", 500, Invalid),
        ("werkzeug.exceptions.NotFound", 404, UnknownModel),
        ("werkzeug.exceptions.RequestEntityTooLarge", 413, TooLarge),
    ])) {
        all(of_exception(&call, row.1, row.0, &message), row.2)?;
    }

    #[test]
    fn a_name_that_nobody_knows_is_the_servers_trouble(call in call(), message in words(), module in "[a-z]{3,9}(\\.[a-z]{3,9}){1,3}", class in "[A-Z][a-z]{3,12}") {
        let known = ["odoo.exceptions", "odoo.http", "json.decoder", "lxml.etree", "psycopg2.errors"];
        prop_assume!(!known.contains(&module.as_str()) && !module.starts_with("werkzeug"));
        all(of_exception(&call, 500, &format!("{module}.{class}"), &message), Server)?;
    }

    #[test]
    fn a_missing_record_is_ours_or_that_of_a_value(id in 1i64..100_000, other in 100_000i64..200_000, message in words()) {
        let call = Call::new("res.partner", "write").on(&[id]);
        let missing = |record: &str| format!("{message}\n(Record: {record}, User: {UID})");
        let name = "odoo.exceptions.MissingError";
        all(of_exception(&call, 404, name, &missing(&format!("res.partner({id},)"))), Missing)?;
        all(of_exception(&call, 404, name, &missing(&format!("res.partner({other},)"))), Invalid)?;
        all(of_exception(&call, 404, name, &missing(&format!("x.res.partner({id},)"))), Invalid)?;
        // The user we call as: only JSON-RPC has one that can be gone.
        let [_, jsonrpc] = of_exception(&call, 404, name, &missing(&format!("res.users({UID},)")));
        prop_assert_eq!(jsonrpc.class, Misconfigured);
    }

    #[test]
    fn a_reference_to_nothing_waits(module in "[a-z_]{1,8}", name in "[a-z_0-9]{1,12}", after in words()) {
        let call = Call::new("res.partner", "load").with("fields", json!(["id", "parent_id/id"]));
        let answer = json!({"ids": false, "messages": [{
            "type": "error", "rows": {"from": 0, "to": 0}, "field": "parent_id",
            "message": format!("No matching record found for external id '{module}.{name}' in field '{after}'"),
        }]});
        let Loaded::Refused { failure, named } = judge::load::judge(&call, &answer, 1) else {
            return Err(TestCaseError::fail("loaded"));
        };
        prop_assert_eq!((failure.class, named.len()), (Dependency, 1));
        let lookup = Call::new("ir.model.data", "check_object_reference");
        let text = format!("External ID not found in the system: {module}.{name}");
        all(of_exception(&lookup, 500, "builtins.ValueError", &text), Dependency)?;
    }

    #[test]
    fn an_argument_is_ours_unless_the_row_named_it(message in words(), status in select(vec![400u16, 415, 422]), by_row in any::<bool>()) {
        let call = Call { by_row, ..Call::new("res.partner", "write").on(&[7]) };
        let ought = if by_row { Invalid } else { Bug };
        all(of_exception(&call, status, "werkzeug.exceptions.UnprocessableEntity", &message), ought)?;
    }

    /// As many ids as records, or nobody knows which is whose.
    #[test]
    fn load_answers_for_every_record_or_for_none(ids in prop::collection::vec(-2i64..50, 0..6), records in 0usize..6) {
        let call = Call::new("res.partner", "load");
        let found = ids.iter().filter(|id| **id > 0).count();
        match judge::load::judge(&call, &json!({"ids": ids, "messages": []}), records) {
            Loaded::Ids(told) => prop_assert!(told.len() == records && found == records),
            Loaded::Refused { failure, .. } => {
                prop_assert!(found != records);
                prop_assert_eq!(failure.class, Unknown);
            }
        }
    }
}
