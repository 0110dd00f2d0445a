//! Values that point to other records, in every form a payload may use.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Reference;
use crate::external_id::{Identity, external_id};
use crate::odoo::guard::is_model_name;

/// What names the records of this installation.
#[derive(Debug, Clone, Copy)]
pub struct Naming<'a> {
    pub namespace: &'a str,
    pub connection: &'a str,
}

const ONE: &str = "an Odoo id, an external id \"module.name\", {\"key\": a record_key}, {\"by\": {a field: its value}}, or null";

/// One record of `model`; `false` is Odoo's own null. The error is the end of "… expects".
pub(super) fn one(
    naming: Naming<'_>,
    model: &str,
    value: &Value,
) -> Result<Option<Reference>, String> {
    match value {
        Value::Null | Value::Bool(false) => Ok(None),
        // `[7, "Name"]`, as Odoo itself answers a read.
        Value::Array(pair) if pair.len() == 2 && pair[1].is_string() && pair[0].is_number() => {
            reference(naming, model, &pair[0]).map(Some)
        }
        other => reference(naming, model, other).map(Some),
    }
}

/// A whole set of records of `model`; null and `false` are the empty set. Duplicates are dropped.
pub(super) fn many(
    naming: Naming<'_>,
    model: &str,
    value: &Value,
) -> Result<Vec<Reference>, String> {
    let expected = || format!("a list of {ONE}");
    let items: Vec<&Value> = match value {
        Value::Null | Value::Bool(false) => Vec::new(),
        Value::Array(items) => match commands(items)? {
            Some(ids) => ids,
            None => items.iter().collect(),
        },
        Value::Object(_) => vec![value],
        _ => return Err(expected()),
    };
    let mut found: Vec<Reference> = Vec::with_capacity(items.len());
    let mut seen: BTreeSet<Reference> = BTreeSet::new();
    for item in items {
        let reference = reference(naming, model, item).map_err(|_| expected())?;
        if seen.insert(reference.clone()) {
            found.push(reference);
        }
    }
    Ok(found)
}

/// The records of Odoo's own write commands, where `items` are such. Only those that name the whole set are read: the
/// others depend on what is there, and sending one twice is not sending it once.
fn commands(items: &[Value]) -> Result<Option<Vec<&Value>>, String> {
    let is_command = |item: &Value| {
        item.as_array()
            .is_some_and(|parts| parts.first().is_some_and(Value::is_number))
    };
    if items.is_empty() || !items.iter().all(is_command) {
        return Ok(None);
    }
    let refused = || {
        "the whole new set, as a list of ids or [[6, 0, [ids]]]; other commands are not idempotent"
            .to_owned()
    };
    let mut found = Vec::new();
    for item in items {
        let parts = item.as_array().ok_or_else(refused)?;
        match (parts[0].as_i64(), parts.get(2)) {
            (Some(6), Some(Value::Array(ids))) => found = ids.iter().collect(),
            (Some(5), _) => found.clear(),
            _ => return Err(refused()),
        }
    }
    Ok(Some(found))
}

pub(super) fn reference(
    naming: Naming<'_>,
    model: &str,
    value: &Value,
) -> Result<Reference, String> {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(id) if id > 0 && i32::try_from(id).is_ok() => Ok(Reference::Id(id)),
            _ => Err(ONE.to_owned()),
        },
        Value::String(name) if is_external_id(name) => Ok(Reference::External(name.clone())),
        Value::Object(object) => Ok(Reference::External(external_id(
            naming.namespace,
            naming.connection,
            model,
            Identity::RecordKey(key(object).ok_or(ONE)?),
        ))),
        _ => Err(ONE.to_owned()),
    }
}

/// The `K` of `{"key": K}`, where nothing else is in the object.
fn key(object: &Map<String, Value>) -> Option<&str> {
    let key = object
        .get("key")
        .and_then(Value::as_str)
        .filter(|key| !key.is_empty());
    if object.len() == 1 { key } else { None }
}

/// `module.name`: exactly what `ir.model.data` can hold, and nothing that `load` would split or take for a name.
fn is_external_id(name: &str) -> bool {
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && c != ',' && c != '/';
    name.len() <= 300
        && name.chars().all(fits)
        && name
            .split_once('.')
            .is_some_and(|(module, rest)| is_model_name(module) && !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NAMING: Naming<'_> = Naming {
        namespace: "pg_etl_1",
        connection: "odoo",
    };

    fn external(name: &str) -> Reference {
        Reference::External(name.to_owned())
    }

    #[test]
    fn one_record() {
        let ours = external(&external_id(
            "pg_etl_1",
            "odoo",
            "res.partner",
            Identity::RecordKey("42"),
        ));
        let table = [
            (json!(7), Some(Some(Reference::Id(7)))),
            (json!(null), Some(None)),
            (json!(false), Some(None)),
            (json!("base.be"), Some(Some(external("base.be")))),
            (json!({"key": "42"}), Some(Some(ours))),
            (json!([7, "Azure Interior"]), Some(Some(Reference::Id(7)))),
            (json!(0), None),
            (json!(-7), None),
            (json!(7.5), None),
            (json!(9_999_999_999_i64), None),
            (json!(true), None),
            (json!("Belgium"), None),
            (json!("Odoo S.A. Belgium"), None),
            (json!("base.be,base.fr"), None),
            (json!({"key": ""}), None),
            (json!({"key": 42}), None),
            (json!({"key": "42", "x": 1}), None),
            (json!([7]), None),
            (json!([[6, 0, [7]]]), None),
        ];
        for (given, expected) in table {
            assert_eq!(one(NAMING, "res.partner", &given).ok(), expected, "{given}");
        }
    }

    #[test]
    fn a_set_of_records() {
        let ids = |ids: &[i64]| Some(ids.iter().map(|id| Reference::Id(*id)).collect::<Vec<_>>());
        let table = [
            (json!([1, 2, 1]), ids(&[1, 2])),
            (json!([]), ids(&[])),
            (json!(null), ids(&[])),
            (json!(false), ids(&[])),
            (json!([[6, 0, [1, 2]]]), ids(&[1, 2])),
            (json!([[5, 0, 0]]), ids(&[])),
            (json!([[5]]), ids(&[])),
            (
                json!(["base.be", 3]),
                Some(vec![external("base.be"), Reference::Id(3)]),
            ),
            (json!([[4, 1]]), None),
            (json!([[6, 0]]), None),
            (json!([[6, 0, [0]]]), None),
            (json!("base.be"), None),
            (json!([true]), None),
            (json!([1, [6, 0, [2]]]), None),
        ];
        for (given, expected) in table {
            assert_eq!(
                many(NAMING, "res.country", &given).ok(),
                expected,
                "{given}"
            );
        }
    }
}
