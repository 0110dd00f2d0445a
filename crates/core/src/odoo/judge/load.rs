//! The answer of `load`, which reports failures with status 200 and as text.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{fault, remedy};
use crate::failure::{ErrorClass, Failure};
use crate::odoo::call::Call;

/// What `load` did with a matrix. It is all or nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Loaded {
    /// One database id per record, in the order of the records.
    Ids(Vec<i64>),
    /// Nothing took effect.
    Refused {
        /// The first error: the verdict on the whole.
        failure: Failure,
        /// Every error, with the matrix rows it names (from, to). Some of them may be innocent.
        named: Vec<Named>,
    },
}

/// One error message of `load`.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// First and last row of the matrix, where the message has them.
    pub rows: Option<(usize, usize)>,
    pub failure: Failure,
}

/// Reads the answer to `call`, a `load` of `records` records.
#[must_use]
pub fn judge(call: &Call, answer: &Value, records: usize) -> Loaded {
    let messages = answer
        .get("messages")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if let Some(ids) = answer.get("ids").and_then(Value::as_array) {
        let ids: Vec<i64> = ids
            .iter()
            .filter_map(Value::as_i64)
            .filter(|id| *id > 0)
            .collect();
        // Odoo reads a row without anything of its own as more lines of the record before it; every record of ours has
        // an external id, so that the counts agree. If they do not, nobody can say which id belongs to which row.
        if ids.len() == records {
            return Loaded::Ids(ids);
        }
        let failure = Failure::new(
            ErrorClass::Unknown,
            format!("load answered {} ids for {records} records", ids.len()),
        );
        return Loaded::Refused {
            failure: remedy::add(failure, Some(call)),
            named: Vec::new(),
        };
    }
    let mut named: Vec<Named> = Vec::new();
    let mut seen = BTreeSet::new();
    for message in messages {
        if message.get("type").and_then(Value::as_str) != Some("error") {
            continue;
        }
        let error = one(call, message);
        // One text per row is enough, and a hostile answer may hold a million.
        if named.len() < 1_000 && seen.insert((error.rows, error.failure.message.clone())) {
            named.push(error);
        }
    }
    // A lost race rolls everything back and says so in one message among others that follow from it.
    let conflict = named
        .iter()
        .find(|error| error.failure.class == ErrorClass::Conflict);
    let failure = match conflict.or(named.first()) {
        Some(error) => error.failure.clone(),
        None => remedy::add(
            Failure::new(
                ErrorClass::Server,
                "load refused the records without a reason",
            ),
            Some(call),
        ),
    };
    Loaded::Refused { failure, named }
}

fn one(call: &Call, message: &Value) -> Named {
    let text = message
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let field = message
        .get("field")
        .and_then(Value::as_str)
        .filter(|field| !field.is_empty());
    let mut words: String = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .take(3)
        .collect::<Vec<_>>()
        .join(" ");
    if words.is_empty() {
        words.push_str("no message");
    }
    if let Some(field) = field {
        words = format!("{words} (field {field})");
    }
    let mut class = class(text);
    if class == ErrorClass::Invalid
        && field.is_some_and(|field| is_unknown_reference(call, message, field))
    {
        class = ErrorClass::Dependency;
    }
    let failure = remedy::add(Failure::new(class, words), Some(call));
    let row = |key: &str| {
        message
            .get("rows")?
            .get(key)?
            .as_u64()
            .and_then(|row| usize::try_from(row).ok())
    };
    Named {
        rows: row("from").zip(row("to")),
        failure,
    }
}

/// Whether a message in any language says that an external id is unknown: it then offers to choose another one, and the
/// column of the field holds external ids.
fn is_unknown_reference(call: &Call, message: &Value, field: &str) -> bool {
    let offers = message
        .get("moreinfo")
        .and_then(|info| info.get("res_model"))
        .is_some_and(|model| model == "ir.model.data");
    let columns = call
        .args
        .get("fields")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let by_external_id = |column: &Value| {
        let below = column
            .as_str()
            .and_then(|column| column.strip_prefix(field)?.strip_prefix('/'));
        // `id` alone is the line's own identity where the field has other columns, and the reference where it has none.
        below.is_some_and(|below| below.ends_with("/id"))
            || (below == Some("id") && !has_lines(columns, field))
    };
    offers && columns.iter().any(by_external_id)
}

fn has_lines(columns: &[Value], field: &str) -> bool {
    columns
        .iter()
        .filter_map(Value::as_str)
        .filter(|column| column.split('/').next() == Some(field))
        .count()
        > 1
}

/// The class of a text. Odoo answers in the language of the context, which is English unless the connection says
/// otherwise.
fn class(text: &str) -> ErrorClass {
    if fault::is_conflict(text) || text.contains("ir_model_data_module_name_uniq") {
        ErrorClass::Conflict
    } else if text.starts_with("No matching record found for external id") {
        ErrorClass::Dependency
    } else if text.starts_with("You are not allowed to")
        || text.starts_with("Access Denied")
        || text.contains("due to security restrictions")
        || text.contains("You do not have enough rights to access the field")
        || text.contains("odoo.exceptions.AccessError")
    {
        ErrorClass::Forbidden
    } else if text.contains("current transaction is aborted")
        || text.starts_with("Unknown database error")
    {
        ErrorClass::Server
    } else {
        ErrorClass::Invalid
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_many_ids_as_records_or_nobody_knows() {
        let call = Call::new("res.partner", "load");
        assert_eq!(
            judge(&call, &json!({"ids": [3, 4], "messages": []}), 2),
            Loaded::Ids(vec![3, 4])
        );
        for odd in [
            json!({"ids": [3]}),
            json!({"ids": [3, 0]}),
            json!({"ids": [3, 4, 5]}),
            json!({"ids": ["3", "4"]}),
        ] {
            let Loaded::Refused { failure, .. } = judge(&call, &odd, 2) else {
                panic!("{odd}")
            };
            assert_eq!(failure.class, ErrorClass::Unknown, "{odd}");
        }
    }

    #[test]
    fn an_answer_of_any_form_is_judged() {
        let call = Call::new("res.partner", "load");
        for odd in [
            json!(null),
            json!(7),
            json!({}),
            json!({"messages": 1}),
            json!({"ids": false, "messages": [1, {}, null]}),
        ] {
            let Loaded::Refused { failure, .. } = judge(&call, &odd, 1) else {
                panic!("{odd}")
            };
            assert_eq!(failure.class, ErrorClass::Server, "{odd}");
        }
    }

    #[test]
    fn an_unknown_reference_is_known_in_every_language() {
        let said = |columns: Value, field: &str, info: Value| {
            let call = Call::new("sale.order", "load").with("fields", columns);
            let answer = json!({"ids": false, "messages": [
                {"type": "error", "message": "Kein Datensatz gefunden", "field": field, "moreinfo": info},
            ]});
            let Loaded::Refused { failure, .. } = judge(&call, &answer, 1) else {
                panic!()
            };
            failure.class
        };
        let offer = || json!({"res_model": "ir.model.data"});
        assert_eq!(
            said(json!(["id", "partner_id/id"]), "partner_id", offer()),
            ErrorClass::Dependency
        );
        assert_eq!(
            said(json!(["id", "partner_id/.id"]), "partner_id", offer()),
            ErrorClass::Invalid
        );
        assert_eq!(
            said(json!(["id", "partner_id/id"]), "partner_id", json!("Use 1")),
            ErrorClass::Invalid
        );
        let lines = |column: &str| json!(["id", "order_line/id", column]);
        assert_eq!(
            said(lines("order_line/product_id/id"), "order_line", offer()),
            ErrorClass::Dependency
        );
        assert_eq!(
            said(lines("order_line/product_id/.id"), "order_line", offer()),
            ErrorClass::Invalid
        );
    }

    #[test]
    fn a_conflict_goes_before_the_errors_that_follow_from_it() {
        let call = Call::new("res.partner", "load");
        let answer = json!({"ids": false, "messages": [
            {"type": "warning", "message": "could not serialize access"},
            {"type": "error", "message": "Invalid", "rows": {"from": 0, "to": 0}},
            {"type": "error", "message": "could not serialize access due to concurrent update", "rows": {"from": 1, "to": 2}},
        ]});
        let Loaded::Refused { failure, named } = judge(&call, &answer, 2) else {
            panic!()
        };
        assert_eq!(failure.class, ErrorClass::Conflict);
        assert_eq!(
            named.iter().map(|error| error.rows).collect::<Vec<_>>(),
            [Some((0, 0)), Some((1, 2))]
        );
    }
}
