//! Values as `write` and its like take them.

use serde_json::{Map, Value, json};

use super::{Reference, Typed, Values};

/// `values` for a write, without lines, which are records of their own. `resolve` gives the id of an external id; the
/// error is the first external id that it does not know.
pub fn native(
    values: &Values,
    resolve: &dyn Fn(&str) -> Option<i64>,
) -> Result<Map<String, Value>, String> {
    let mut written = Map::new();
    for (name, value) in values {
        let value = match value {
            Typed::Null | Typed::One(None) => json!(false),
            Typed::Scalar(value) | Typed::Json(value) | Typed::Late(value) => value.clone(),
            Typed::One(Some(reference)) => json!(id(reference, resolve)?),
            Typed::Many(references) => {
                let ids = references
                    .iter()
                    .map(|reference| id(reference, resolve))
                    .collect::<Result<Vec<_>, _>>()?;
                json!([[6, 0, ids]])
            }
            Typed::Lines(_) => continue,
        };
        written.insert(name.clone(), value);
    }
    Ok(written)
}

fn id(reference: &Reference, resolve: &dyn Fn(&str) -> Option<i64>) -> Result<i64, String> {
    match reference {
        Reference::Id(id) => Ok(*id),
        Reference::External(name) => resolve(name).ok_or_else(|| name.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_by_type() {
        let values: Values = [
            ("a", Typed::Null),
            ("b", Typed::Scalar(json!(true))),
            ("c", Typed::One(None)),
            (
                "d",
                Typed::One(Some(Reference::External("base.be".to_owned()))),
            ),
            (
                "e",
                Typed::Many(vec![
                    Reference::Id(1),
                    Reference::External("base.be".to_owned()),
                ]),
            ),
            ("f", Typed::Many(vec![])),
            ("g", Typed::Late(json!({"p": 1}))),
            ("h", Typed::Lines(vec![])),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let known = |name: &str| (name == "base.be").then_some(20);
        assert_eq!(
            Value::Object(native(&values, &known).unwrap()),
            json!({"a": false, "b": true, "c": false, "d": 20, "e": [[6, 0, [1, 20]]], "f": [[6, 0, []]], "g": {"p": 1}})
        );
        assert_eq!(native(&values, &|_| None), Err("base.be".to_owned()));
    }
}
