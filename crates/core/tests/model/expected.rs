//! What must come of the rows: each applied when all before it are, and nothing ever fails but for what the row holds.

use std::collections::{BTreeMap, BTreeSet};

use pg_etl_core::failure::ErrorClass;
use pg_etl_core::outbox::{Operation, record_name};
use serde_json::{Value, json};

use crate::case::{Bad, CATEGORY, MODELS, ORDER, PARTNER, Record, Row};

/// Fields by name. Lines are fields too, as `line 1.name`.
pub type Fields = BTreeMap<String, Value>;

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Expected {
    pub records: BTreeMap<Record, Fields>,
    /// By row: what it may end as; `None` is done, a class is that of a dead letter.
    pub outcomes: BTreeMap<i64, Vec<Option<ErrorClass>>>,
    /// Records that Odoo has begun to make and gave up: see [`Expected::gone`].
    refused: BTreeSet<Record>,
}

/// The fields that are compared.
pub fn compared(model: usize) -> &'static [&'static str] {
    match model {
        PARTNER => &["name", "ref", "city", "color", "parent_id"],
        CATEGORY => &["name", "parent_id"],
        _ => &["client_order_ref", "partner_id", "state"],
    }
}

pub fn expected(rows: &[Row]) -> Expected {
    let mut expected = Expected::default();
    for row in rows {
        let outcome = expected.apply(row);
        expected.outcomes.insert(row.id, outcome);
    }
    expected
}

impl Expected {
    fn apply(&mut self, row: &Row) -> Vec<Option<ErrorClass>> {
        let refused = row.bad.map(classes);
        let there = self.records.get_mut(&row.record);
        match (row.operation, there) {
            // Nothing is saved, so that nothing is refused by what saves.
            (Operation::Create, Some(_)) => match row.bad {
                None | Some(Bad::Value | Bad::Server) => DONE.to_vec(),
                Some(bad) => classes(bad),
            },
            (Operation::Update, None) => {
                let mut may = self.gone(row.record, Some(ErrorClass::Missing));
                may.extend(refused.unwrap_or_default());
                may
            }
            (Operation::Create | Operation::Upsert | Operation::Update, there) => {
                if let Some(refused) = refused {
                    self.refused.insert(row.record);
                    return refused;
                }
                let known = there.map(|fields| fields.clone());
                let mut fields = known.unwrap_or_else(|| fresh(row.record.model));
                let written = written(row);
                for name in written
                    .keys()
                    .filter_map(|field| field.strip_suffix(".name"))
                {
                    fields
                        .entry(format!("{name}.price_unit"))
                        .or_insert(json!(0.0));
                }
                fields.extend(written);
                self.records.insert(row.record, fields);
                DONE.to_vec()
            }
            (Operation::Delete, None) => self.gone(row.record, None),
            (Operation::Delete, Some(fields)) => {
                if fields.get("state") == Some(&json!("sale")) {
                    return vec![Some(ErrorClass::Invalid)];
                }
                self.records.remove(&row.record);
                DONE.to_vec()
            }
            (Operation::Call, None) => vec![Some(ErrorClass::Dependency)],
            (Operation::Call, Some(fields)) => {
                let state = fields.entry("state".to_owned()).or_default();
                let next = match (row.payload["method"].as_str(), state.as_str()) {
                    (Some("action_confirm"), Some("cancel")) => {
                        return vec![Some(ErrorClass::Invalid)];
                    }
                    (Some("action_confirm"), _) => "sale",
                    (Some("action_cancel"), _) => "cancel",
                    // Only what was cancelled becomes a draft again.
                    (_, Some("sale")) => "sale",
                    (_, _) => "draft",
                };
                *state = json!(next);
                DONE.to_vec()
            }
        }
    }

    /// What a row may end as whose record is not there. A process of Odoo that began to make it goes on to say that it is there and
    /// cannot be shown, which may be a right that is missing: that is asked again, in the end for nothing.
    fn gone(&self, record: Record, class: Option<ErrorClass>) -> Vec<Option<ErrorClass>> {
        let mut may = vec![class];
        if self.refused.contains(&record) {
            may.push(Some(ErrorClass::Dependency));
        }
        may
    }
}

const DONE: [Option<ErrorClass>; 1] = [None];

fn classes(bad: Bad) -> Vec<Option<ErrorClass>> {
    match bad {
        Bad::Value | Bad::Field => vec![Some(ErrorClass::Invalid)],
        Bad::Reference => vec![Some(ErrorClass::Dependency)],
        // `load` answers what it does not understand as any other message about a row.
        Bad::Server => vec![Some(ErrorClass::Server), Some(ErrorClass::Invalid)],
    }
}

/// What Odoo gives a record by itself.
fn fresh(model: usize) -> Fields {
    let mut fields: Fields = compared(model)
        .iter()
        .map(|field| ((*field).to_owned(), Value::Null))
        .collect();
    match model {
        PARTNER => fields.insert("color".to_owned(), json!(0.0)),
        ORDER => fields.insert("state".to_owned(), json!("draft")),
        _ => None,
    };
    fields
}

/// The values of a row as they are read back.
pub fn written(row: &Row) -> Fields {
    let mut fields = Fields::new();
    for (field, value) in &row.payload {
        match (field.as_str(), value) {
            ("order_line", Value::Array(lines)) => {
                for line in lines {
                    let key = line["key"].as_str().unwrap_or_default();
                    for name in ["name", "product_uom_qty", "price_unit"] {
                        if let Some(value) = line.get(name) {
                            fields.insert(format!("line {key}.{name}"), plain(value));
                        }
                    }
                }
            }
            ("parent_id" | "partner_id", Value::Object(target)) => {
                let model = MODELS[crate::case::refers_to(row.record.model)];
                let key = target["key"].as_str().unwrap_or_default();
                let name = record_name(model, key);
                fields.insert(field.clone(), json!(name));
            }
            (field, value) => {
                fields.insert(field.to_owned(), plain(value));
            }
        }
    }
    fields
}

/// A value in the form in which values are compared: a number is a number.
pub fn plain(value: &Value) -> Value {
    value
        .as_f64()
        .map_or_else(|| value.clone(), |number| json!(number))
}
