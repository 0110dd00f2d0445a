//! The verdict table, row by row, from bodies that a real Odoo 19 gave (`fixtures/`; only tracebacks were shortened).

use std::time::Duration;

use pg_etl_core::failure::{ErrorClass, Failure};
use pg_etl_core::http::{Response, TransportError};
use pg_etl_core::odoo::judge::load::Loaded;
use pg_etl_core::odoo::{Call, judge};
use serde_json::{Value, json};

use ErrorClass::*;

#[derive(Clone, Copy, PartialEq)]
enum Wire {
    Json2,
    JsonRpc,
}

fn fixture(wire: Wire, case: &str) -> Response {
    let text = match wire {
        Wire::Json2 => include_str!("fixtures/json2.json"),
        Wire::JsonRpc => include_str!("fixtures/jsonrpc.json"),
    };
    let all: Value = serde_json::from_str(text).unwrap();
    let answer = &all[case];
    assert!(answer.is_object(), "no fixture {case}");
    let body = match answer.get("json") {
        Some(json) => json.to_string(),
        None => answer["text"].as_str().unwrap().to_owned(),
    };
    Response {
        status: u16::try_from(answer["status"].as_u64().unwrap()).unwrap(),
        content_type: answer["content_type"].as_str().unwrap().to_owned(),
        retry_after: None,
        date: None,
        body: body.into_bytes(),
    }
}

/// As the fixtures were taken: by user 2, except where the case says otherwise.
fn judged(wire: Wire, case: &str, call: &Call, uid: i64) -> Result<Value, Failure> {
    match wire {
        Wire::Json2 => judge::json2(call, &fixture(wire, case)),
        Wire::JsonRpc => judge::jsonrpc(call, &fixture(wire, case), Some(uid)),
    }
}

fn write(ids: &[i64]) -> Call {
    Call::new("res.partner", "write").on(ids)
}

#[test]
fn refusals_of_both_protocols() {
    let search = || Call::new("res.partner", "search");
    let create = || Call::new("res.partner", "create");
    // Case, call, class, and a part of Odoo's own message that must have been kept.
    let table: Vec<(&str, Call, ErrorClass, &str)> = vec![
        ("wrong_database", search(), Misconfigured, ""),
        ("bad_key", search(), Misconfigured, ""),
        (
            "private_method",
            Call::new("res.partner", "_compute_display_name").on(&[8]),
            Forbidden,
            "Private methods",
        ),
        (
            "access_company",
            write(&[8]),
            Forbidden,
            "unauthorized or invalid companies",
        ),
        (
            "missing_record",
            write(&[999_999]),
            Missing,
            "res.partner(999999,)",
        ),
        (
            "missing_unlink",
            Call::new("res.partner", "unlink").on(&[999_999]),
            Missing,
            "deleted",
        ),
        (
            "web_save_multi_missing",
            Call::new("res.partner", "web_save_multi").on(&[8, 999_999]),
            Missing,
            "999999",
        ),
        // The same answer to a call on other records speaks of a record that a value refers to.
        (
            "missing_record",
            write(&[8]),
            Invalid,
            "res.partner(999999,)",
        ),
        (
            "unknown_model",
            Call::new("no.such.model", "search"),
            UnknownModel,
            "no.such.model",
        ),
        (
            "unknown_method",
            Call::new("res.partner", "no_such_method").on(&[8]),
            UnknownModel,
            "no_such_method",
        ),
        (
            "unknown_method_model",
            Call::new("res.partner", "no_such_method"),
            UnknownModel,
            "no_such_method",
        ),
        (
            "validation_error",
            write(&[8]),
            Invalid,
            "You cannot create recursive Partner hierarchies.",
        ),
        ("user_error", create(), Invalid, "Contacts require a name"),
        (
            "unknown_field_create",
            create(),
            Invalid,
            "Invalid field 'nosuch' in 'res.partner'",
        ),
        (
            "unknown_field_write",
            write(&[8]),
            Invalid,
            "KeyError: nosuch",
        ),
        (
            "bad_selection",
            write(&[8]),
            Invalid,
            "Wrong value for res.partner.type: 'nosuch'",
        ),
        ("bad_argument", write(&[8]), Bug, "argument"),
        ("missing_argument", write(&[8]), Bug, "'vals'"),
        (
            "ids_on_model_method",
            Call::new("res.partner", "fields_get").on(&[8]),
            Bug,
            "fields_get",
        ),
        ("dangling_many2one", create(), Invalid, "(country_id)"),
        ("nul", write(&[8]), Invalid, "NUL"),
        (
            "bad_date",
            Call::new("sale.order", "create"),
            Invalid,
            "2024-01-01T00:00:00Z",
        ),
        ("malformed", search(), Bug, ""),
        ("wrong_content_type", search(), Bug, ""),
        ("list_body", search(), Bug, ""),
        (
            "check_reference_absent",
            Call::new("ir.model.data", "check_object_reference"),
            Dependency,
            "pg_etl_x.absent",
        ),
        (
            "conflict",
            write(&[8]),
            Conflict,
            "could not serialize access",
        ),
        (
            "load_unknown_field",
            Call::new("res.partner", "load"),
            Invalid,
            "Invalid field name 'nosuch'",
        ),
        ("too_large", search(), TooLarge, ""),
    ];
    for (case, call, class, part) in table {
        for wire in [Wire::Json2, Wire::JsonRpc] {
            let name = if wire == Wire::Json2 {
                "json2"
            } else {
                "jsonrpc"
            };
            let failure = judged(wire, case, &call, 2).expect_err(case);
            assert_eq!(failure.class, class, "{name} {case}: {failure:?}");
            assert!(failure.message.contains(part), "{name} {case}: {failure:?}");
            assert!(
                !failure.message.contains("TRACEBACK"),
                "{name} {case}: {failure:?}"
            );
            assert!(
                !failure.message.contains("<html"),
                "{name} {case}: {failure:?}"
            );
            assert!(failure.remedy.is_some(), "{name} {case} has no remedy");
        }
    }
}

#[test]
fn refusals_of_jsonrpc_alone() {
    let table = [
        (
            "uid_gone",
            Call::new("res.partner", "search"),
            99,
            Misconfigured,
            "res.users(99,)",
        ),
        (
            "authenticate_wrong_database",
            Call::new("common", "authenticate"),
            2,
            Misconfigured,
            "nosuchdb",
        ),
        (
            "access_model",
            Call::new("account.move", "create"),
            5,
            Forbidden,
            "'Journal Entry' (account.move)",
        ),
        (
            "access_unlink",
            Call::new("res.partner", "unlink").on(&[8]),
            5,
            Forbidden,
            "(res.partner)",
        ),
        (
            "access_read",
            Call::new("account.move", "search"),
            5,
            Forbidden,
            "(account.move)",
        ),
    ];
    for (case, call, uid, class, part) in table {
        let failure = judged(Wire::JsonRpc, case, &call, uid).expect_err(case);
        assert_eq!(failure.class, class, "{case}: {failure:?}");
        assert!(failure.message.contains(part), "{case}: {failure:?}");
    }
}

#[test]
fn a_row_that_names_its_own_arguments_is_to_blame_for_them() {
    let call = Call {
        by_row: true,
        ..Call::new("res.partner", "write").on(&[8])
    };
    for wire in [Wire::Json2, Wire::JsonRpc] {
        for case in ["bad_argument", "missing_argument"] {
            assert_eq!(
                judged(wire, case, &call, 2).unwrap_err().class,
                Invalid,
                "{case}"
            );
        }
    }
}

#[test]
fn successes_of_both_protocols() {
    for wire in [Wire::Json2, Wire::JsonRpc] {
        assert!(
            judged(
                wire,
                "success_create",
                &Call::new("res.partner", "create"),
                2
            )
            .unwrap()[0]
                .as_i64()
                .unwrap()
                > 0
        );
        assert_eq!(
            judged(wire, "success_write", &write(&[8]), 2),
            Ok(json!(true))
        );
        // JSON-RPC leaves a None out.
        assert_eq!(
            judged(wire, "none_result", &write(&[8]), 2),
            Ok(Value::Null)
        );
    }
    assert_eq!(
        judged(
            Wire::JsonRpc,
            "authenticate",
            &Call::new("common", "authenticate"),
            2
        ),
        Ok(json!(2))
    );
    for case in ["authenticate_bad_key", "authenticate_bad_login"] {
        assert_eq!(
            judged(Wire::JsonRpc, case, &Call::new("common", "authenticate"), 2),
            Ok(json!(false))
        );
    }
}

#[test]
fn what_load_answers_with_status_200() {
    let load = Call::new("res.partner", "load");
    let table = [
        (
            "load_dangling_external",
            Dependency,
            "base.nosuch",
            Some((0, 0)),
        ),
        ("load_dangling_id", Invalid, "999999", Some((0, 0))),
        (
            "load_validation",
            Invalid,
            "Contacts require a name",
            Some((0, 0)),
        ),
        ("load_bad_date", Invalid, "(field date_order)", Some((0, 0))),
        ("load_other_model", Invalid, "different model", Some((0, 0))),
        (
            "load_access",
            Forbidden,
            "'Product' (product.template)",
            Some((0, 0)),
        ),
        (
            "load_race",
            Conflict,
            "could not serialize access",
            Some((0, 0)),
        ),
    ];
    for (case, class, part, rows) in table {
        for wire in [Wire::Json2, Wire::JsonRpc] {
            if (case == "load_access" && wire == Wire::Json2)
                || (case == "load_race" && wire == Wire::JsonRpc)
            {
                continue; // Taken over one protocol only; the text inside is the same.
            }
            let answer = judged(wire, case, &load, 2).unwrap();
            let Loaded::Refused { failure, named } = judge::load::judge(&load, &answer, 2) else {
                panic!("{case}")
            };
            assert_eq!(failure.class, class, "{case}: {failure:?}");
            assert!(failure.message.contains(part), "{case}: {failure:?}");
            assert_eq!(named[0].rows, rows, "{case}");
        }
    }
    for wire in [Wire::Json2, Wire::JsonRpc] {
        let answer = judged(wire, "load_ok", &load, 2).unwrap();
        let Loaded::Ids(ids) = judge::load::judge(&load, &answer, 2) else {
            panic!()
        };
        assert_eq!(ids.len(), 2);
    }
}

#[test]
fn no_answer_at_all() {
    let judged = |error: TransportError| judge::transport(&error).class;
    assert_eq!(
        judged(TransportError::NotSent("refused".into())),
        Unreachable
    );
    assert_eq!(judged(TransportError::Lost("reset".into())), Unknown);
    assert_eq!(judged(TransportError::TooLarge("long".into())), Unknown);
    assert_eq!(
        judged(TransportError::Unbuildable("header".into())),
        Misconfigured
    );
}

#[test]
fn answers_of_proxies_and_servers_that_are_not_odoo() {
    let page = b"<html><body>SECRET PAGE</body></html>".to_vec();
    let table = [
        (200, Unknown),
        (201, Unknown),
        (204, Unknown),
        (301, Misconfigured),
        (302, Misconfigured),
        (308, Misconfigured),
        (400, Bug),
        (401, Misconfigured),
        (403, Misconfigured),
        (404, Misconfigured),
        (405, Bug),
        (407, Misconfigured),
        (408, Unknown),
        (409, Conflict),
        (411, Bug),
        (413, TooLarge),
        (415, Bug),
        (418, Bug),
        (422, Bug),
        (429, Throttled),
        (431, Bug),
        (500, Server),
        (501, Server),
        (502, Unknown),
        (503, Conflict),
        (504, Unknown),
        (520, Unknown),
        (524, Unknown),
        (599, Server),
        (999, Unknown),
    ];
    for (status, class) in table {
        let response = Response {
            status,
            content_type: "text/html".to_owned(),
            retry_after: Some(Duration::from_secs(7)),
            date: None,
            body: page.clone(),
        };
        let call = write(&[8]);
        for failure in [
            judge::json2(&call, &response).unwrap_err(),
            judge::jsonrpc(&call, &response, None).unwrap_err(),
        ] {
            assert_eq!(failure.class, class, "{status}");
            assert!(!failure.message.contains("SECRET"), "{status}");
            let waits = matches!(class, Throttled | Conflict | Unknown | Server);
            assert_eq!(
                failure.retry_after,
                waits.then_some(Duration::from_secs(7)),
                "{status}"
            );
        }
    }
}

#[test]
fn bodies_that_are_not_what_they_should_be() {
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        b"nul",
        b"\xff\xfe",
        b"[1,2",
        b"\"",
        b"{\"jsonrpc\":\"2.0\",\"error\":7}",
        b"{\"result\":1}",
        b"<html>",
    ];
    for body in bodies {
        let response = Response {
            status: 200,
            content_type: "application/json".to_owned(),
            retry_after: None,
            date: None,
            body: body.to_vec(),
        };
        let failure = judge::jsonrpc(&write(&[8]), &response, Some(2)).unwrap_err();
        assert_eq!(failure.class, Unknown, "{}", String::from_utf8_lossy(body));
    }
    let deep = [vec![b'['; 5_000], vec![b']'; 5_000]].concat();
    let many = format!("[{}0]", "0,".repeat(2_000_000)).into_bytes();
    for body in [deep, many] {
        let response = Response {
            status: 200,
            content_type: "application/json".to_owned(),
            retry_after: None,
            date: None,
            body,
        };
        assert_eq!(
            judge::json2(&write(&[8]), &response).unwrap_err().class,
            Unknown
        );
    }
}

#[test]
fn exceptions_that_are_rare() {
    let answer = |status: u16, name: &str, message: &str| Response {
        status,
        content_type: "application/json".to_owned(),
        retry_after: None,
        date: None,
        body: json!({"name": name, "message": message, "debug": "TRACEBACK"})
            .to_string()
            .into_bytes(),
    };
    let table = [
        (
            500,
            "psycopg2.errors.DeadlockDetected",
            "deadlock detected",
            Conflict,
        ),
        (500, "psycopg2.errors.LockNotAvailable", "x", Conflict),
        (
            500,
            "psycopg2.pool.PoolError",
            "The Connection Pool Is Full",
            Conflict,
        ),
        (
            500,
            "psycopg2.OperationalError",
            "server closed the connection unexpectedly",
            Server,
        ),
        (
            500,
            "psycopg2.errors.NotNullViolation",
            "null value",
            Invalid,
        ),
        (
            500,
            "psycopg2.errors.NumericValueOutOfRange",
            "integer out of range",
            Invalid,
        ),
        (500, "psycopg2.errors.DiskFull", "no space", Server),
        (409, "odoo.exceptions.LockError", "locked", Conflict),
        (500, "odoo.exceptions.ConcurrencyError", "x", Conflict),
        (500, "odoo.exceptions.RedirectWarning", "x", Invalid),
        (
            403,
            "odoo.exceptions.AccessDenied",
            "Access Denied",
            Misconfigured,
        ),
        (
            403,
            "odoo.http.SessionExpiredException",
            "Session expired",
            Misconfigured,
        ),
        (403, "werkzeug.exceptions.Forbidden", "x", Forbidden),
        (
            422,
            "odoo.exceptions.UserError",
            "could not obtain lock on row in relation",
            Conflict,
        ),
        (500, "builtins.MemoryError", "", Server),
        (500, "builtins.OSError", "disk", Server),
        (500, "binascii.Error", "Incorrect padding", Invalid),
        (500, "requests.exceptions.ConnectionError", "x", Server),
        (500, "", "", Server),
        (500, "odoo.addons.x.models.Oops", "x", Server),
    ];
    for (status, name, message, class) in table {
        let failure = judge::json2(&write(&[8]), &answer(status, name, message)).unwrap_err();
        assert_eq!(failure.class, class, "{name}");
        assert!(!failure.message.contains("TRACEBACK"), "{name}");
    }
}
