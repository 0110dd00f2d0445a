//! What comes from proxies, broken servers and rare exceptions.

use std::time::Duration;

use pg_etl_core::failure::ErrorClass::*;
use pg_etl_core::http::{Response, TransportError};
use pg_etl_core::odoo::judge;
use serde_json::json;

use crate::fixture::*;

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
