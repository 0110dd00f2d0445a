//! What Odoo itself says.

use pg_etl_core::failure::ErrorClass::{self, *};
use pg_etl_core::odoo::judge::load::Loaded;
use pg_etl_core::odoo::{Call, judge};
use serde_json::{Value, json};

use crate::fixture::*;

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
