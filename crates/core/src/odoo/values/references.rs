//! Which records a payload refers to by external id, found without reading it: what a plan needs to put rows in order.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Naming;
use super::relation::reference;
use crate::odoo::fields::ModelFields;
use crate::outbox;

/// Lines below lines are not looked into any deeper.
const DEPTH: usize = 2;

/// Whether a payload may refer to anything: a cheap look that spares most rows the thorough one.
#[must_use]
pub fn may_refer(payload: &Map<String, Value>, namespace: &str) -> bool {
    payload.values().any(|value| match value {
        Value::Object(_) | Value::Array(_) => true,
        Value::String(text) => text.starts_with(namespace),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    })
}

/// The references of `payload`, a row of `model`; `fields` tells what is known of a model. A model that is not described yet, and a
/// value that cannot be read, give none: sending such a row says what is wrong with it.
#[must_use]
pub fn references(
    naming: Naming<'_>,
    model: &str,
    payload: &Map<String, Value>,
    fields: &dyn Fn(&str) -> Option<Arc<ModelFields>>,
) -> Vec<outbox::Reference> {
    let mut found = Vec::new();
    if let Some(known) = fields(model) {
        for (field, value) in payload {
            let mut walk = Walk {
                naming,
                fields,
                field,
                required: known.get(field).is_some_and(|field| field.required),
                found: &mut found,
            };
            walk.value(&known, field, value, DEPTH);
        }
    }
    found
}

/// The references of a row whose model is not described yet: whatever reads as one, to any of `records` (by record key: model and
/// external id). One too many costs a wait, one too few an attempt.
#[must_use]
pub fn guessed_references(
    payload: &Map<String, Value>,
    records: &HashMap<String, Vec<(String, String)>>,
) -> Vec<outbox::Reference> {
    let mut found = Vec::new();
    for (field, value) in payload {
        guess(field, value, records, DEPTH + 1, &mut found);
    }
    found
}

fn guess(
    field: &str,
    value: &Value,
    records: &HashMap<String, Vec<(String, String)>>,
    depth: usize,
    found: &mut Vec<outbox::Reference>,
) {
    match value {
        Value::Object(object) => {
            let key = object.get("key").and_then(Value::as_str);
            if let Some(key) = key.filter(|_| object.len() == 1) {
                for (model, external_id) in records.get(key).into_iter().flatten() {
                    found.push(outbox::Reference {
                        field: field.to_owned(),
                        external_id: external_id.clone(),
                        required: false,
                        record: Some((model.clone(), key.to_owned())),
                    });
                }
            } else if depth > 0 {
                for value in object.values() {
                    guess(field, value, records, depth - 1, found);
                }
            }
        }
        Value::Array(items) if depth > 0 => {
            for item in items {
                guess(field, item, records, depth - 1, found);
            }
        }
        _ => {}
    }
}

struct Walk<'a> {
    naming: Naming<'a>,
    fields: &'a dyn Fn(&str) -> Option<Arc<ModelFields>>,
    /// The field of the payload that everything below belongs to.
    field: &'a str,
    required: bool,
    found: &'a mut Vec<outbox::Reference>,
}

impl Walk<'_> {
    fn value(&mut self, fields: &ModelFields, name: &str, value: &Value, depth: usize) {
        let Some(field) = fields.get(name) else {
            return;
        };
        let Some(relation) = field.relation.as_deref() else {
            return;
        };
        match (field.kind.as_str(), value) {
            ("many2one", value) => self.one(relation, value),
            ("many2many", Value::Array(items)) => {
                for item in items {
                    self.one(relation, item);
                }
            }
            ("many2many", value) => self.one(relation, value),
            ("one2many", Value::Array(lines)) if depth > 0 => {
                let Some(of_lines) = (self.fields)(relation) else {
                    return;
                };
                for line in lines.iter().filter_map(line) {
                    for (name, value) in line {
                        self.value(&of_lines, name, value, depth - 1);
                    }
                }
            }
            _ => {}
        }
    }

    fn one(&mut self, model: &str, value: &Value) {
        if let Ok(super::Reference::External(external_id)) = reference(self.naming, model, value) {
            let key = value.get("key").and_then(Value::as_str);
            self.found.push(outbox::Reference {
                field: self.field.to_owned(),
                external_id,
                required: self.required,
                record: key.map(|key| (model.to_owned(), key.to_owned())),
            });
        }
    }
}

/// A line as an object, or as the `[1, id, {…}]` that Odoo itself uses.
fn line(item: &Value) -> Option<&Map<String, Value>> {
    item.as_object()
        .or_else(|| item.as_array()?.get(2)?.as_object())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NAMING: Naming<'_> = Naming {
        namespace: "pg_etl_1",
        connection: "odoo",
    };

    fn found(payload: Value) -> Vec<(String, Option<(String, String)>)> {
        let orders = ModelFields::from_json(&json!({
            "name": {"type": "char"},
            "partner_id": {"type": "many2one", "relation": "res.partner"},
            "tag_ids": {"type": "many2many", "relation": "crm.tag"},
            "order_line": {"type": "one2many", "relation": "sale.order.line", "relation_field": "order_id"},
        }));
        let lines = ModelFields::from_json(&json!({
            "product_id": {"type": "many2one", "relation": "product.product"},
        }));
        let (orders, lines) = (orders.map(Arc::new), lines.map(Arc::new));
        let fields = |model: &str| match model {
            "sale.order" => orders.clone(),
            "sale.order.line" => lines.clone(),
            _ => None,
        };
        let Value::Object(payload) = payload else {
            panic!("payload")
        };
        let found = references(NAMING, "sale.order", &payload, &fields);
        let found = found.into_iter().map(|reference| {
            assert!(reference.external_id.contains('.'));
            (reference.field, reference.record)
        });
        found.collect()
    }

    fn record(model: &str, key: &str) -> Option<(String, String)> {
        Some((model.to_owned(), key.to_owned()))
    }

    #[test]
    fn every_form_of_a_reference_is_found() {
        let payload = json!({
            "name": "pg_etl_1.no_reference", "partner_id": {"key": "p"}, "tag_ids": [{"key": "t"}, 7, "base.x"],
            "order_line": [{"key": "1", "product_id": {"key": "a"}}, [1, 5, {"product_id": {"key": "b"}}]],
            "unknown": {"key": "x"},
        });
        let expected = vec![
            ("order_line".to_owned(), record("product.product", "a")),
            ("order_line".to_owned(), record("product.product", "b")),
            ("partner_id".to_owned(), record("res.partner", "p")),
            ("tag_ids".to_owned(), record("crm.tag", "t")),
            ("tag_ids".to_owned(), None),
        ];
        let mut found = found(payload);
        found.sort_by_key(|(field, _)| field.clone());
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_reference_is_not_taken_for_one() {
        assert_eq!(
            found(json!({"partner_id": 7, "tag_ids": [[6, 0, [1]]], "order_line": [3]})),
            []
        );
        assert_eq!(found(json!({"partner_id": null, "order_line": "x"})), []);
    }

    #[test]
    fn without_a_description_whatever_reads_as_a_reference_is_one() {
        let records = HashMap::from([(
            "p".to_owned(),
            vec![
                ("res.partner".to_owned(), "n.partner".to_owned()),
                ("res.company".to_owned(), "n.company".to_owned()),
            ],
        )]);
        let found = |payload: Value| {
            let found = guessed_references(payload.as_object().unwrap(), &records);
            let found = found
                .into_iter()
                .map(|reference| (reference.field, reference.external_id));
            found.collect::<Vec<_>>()
        };
        let both = |field: &str| {
            let to = |name: &str| (field.to_owned(), name.to_owned());
            vec![to("n.partner"), to("n.company")]
        };
        assert_eq!(
            found(json!({"a": {"key": "p"}, "b": {"key": "q"}})),
            both("a")
        );
        assert_eq!(found(json!({"a": [7, {"key": "p"}]})), both("a"));
        assert_eq!(
            found(json!({"lines": [{"key": "p", "product_id": {"key": "p"}}]})),
            both("lines")
        );
    }

    #[test]
    fn flat_rows_are_spared() {
        let is = |payload: Value| may_refer(payload.as_object().unwrap(), "pg_etl_1");
        assert!(!is(json!({"name": "a", "n": 1, "b": null, "c": true})));
        assert!(is(json!({"a": {"key": "x"}})) && is(json!({"a": [1]})));
        assert!(is(json!({"a": "pg_etl_1.res_partner_1"})));
    }
}
