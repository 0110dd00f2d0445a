//! What Odoo says about a model's fields, and what follows for a payload.

mod catalog;
mod check;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::call::Call;
use crate::outbox::Nature;

pub use catalog::Catalog;
pub use check::{Purpose, check};

/// The attributes asked for: enough to check and convert a value, and no more.
const ATTRIBUTES: [&str; 13] = [
    "type",
    "string",
    "required",
    "readonly",
    "store",
    "relation",
    "relation_field",
    "selection",
    "related",
    "depends",
    "digits",
    "translate",
    "company_dependent",
];

/// One field, as far as it matters for writing and mirroring.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Odoo's name of the type, e.g. `many2one`.
    pub kind: String,
    pub readonly: bool,
    /// A record cannot be without it.
    pub required: bool,
    pub store: bool,
    /// Has a `related` path: its value is another record's.
    pub related: bool,
    /// Depends on other fields: Odoo computes it, at least as a default.
    pub computed: bool,
    /// The model of a relation.
    pub relation: Option<String>,
    /// The many2one of the lines that points back, for one2many.
    pub relation_field: Option<String>,
    /// The values of a selection.
    pub selection: Option<Vec<String>>,
    /// A number with a fixed count of decimals.
    pub fixed_decimals: bool,
    /// Has a value per language.
    pub translated: bool,
    /// Has a value per company.
    pub company_dependent: bool,
}

/// The fields of one model, by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelFields {
    fields: BTreeMap<String, Field>,
}

/// Longest model description kept; the largest models of Odoo have a few hundred fields.
const MOST_FIELDS: usize = 5_000;

impl ModelFields {
    /// The call that asks for them.
    #[must_use]
    pub fn request(model: &str) -> Call {
        Call::new(model, "fields_get").with("attributes", json!(ATTRIBUTES))
    }

    /// Reads the answer of `fields_get`, or what [`ModelFields::to_json`] made of it. `None` where it describes no field.
    #[must_use]
    pub fn from_json(json: &Value) -> Option<Self> {
        let described = json.as_object()?;
        let fields: BTreeMap<String, Field> = described
            .iter()
            .take(MOST_FIELDS)
            .filter_map(|(name, field)| Some((name.clone(), Field::from_json(field.as_object()?)?)))
            .collect();
        (!fields.is_empty()).then_some(Self { fields })
    }

    /// Those of these fields that there are, in the form of `fields_get`, and whether they can be written: `writable` is
    /// "always", "once" (when the record is made), or "never".
    #[must_use]
    pub fn some_to_json(&self, names: &[String]) -> Value {
        let named = names.iter().filter_map(|name| {
            let field = self.get(name)?;
            let mut json = field.to_json();
            json["writable"] = json!(check::writable(name, field));
            Some((name.clone(), json))
        });
        Value::Object(named.collect())
    }

    /// In the form of `fields_get`, reduced to what is used.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Object(
            self.fields
                .iter()
                .map(|(name, field)| (name.clone(), field.to_json()))
                .collect(),
        )
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.fields.get(name)
    }

    /// The names of all fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }
}

impl Field {
    /// What joining several changes of a record must know of the field.
    #[must_use]
    pub fn nature(&self) -> Nature {
        match self.kind.as_str() {
            "one2many" => Nature::Lines,
            "properties" | "json" => Nature::Partial,
            _ if self.computed || self.related || !self.store => Nature::Computed,
            _ if self.readonly => Nature::Fixed,
            _ => Nature::Plain,
        }
    }

    fn from_json(field: &Map<String, Value>) -> Option<Self> {
        let text = |key: &str| field.get(key).and_then(Value::as_str).map(str::to_owned);
        let is = |key: &str| field.get(key).and_then(Value::as_bool).unwrap_or(false);
        let filled = |key: &str| match field.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Array(items)) => !items.is_empty(),
            Some(Value::String(text)) => !text.is_empty(),
            Some(_) => true,
        };
        Some(Self {
            kind: text("type")?,
            readonly: is("readonly"),
            required: is("required"),
            store: field.get("store").and_then(Value::as_bool).unwrap_or(true),
            related: filled("related"),
            computed: filled("depends"),
            relation: text("relation"),
            relation_field: text("relation_field"),
            selection: field
                .get("selection")
                .and_then(Value::as_array)
                .map(|options| {
                    // Each option is [value, label]; a kept description holds the bare values.
                    options
                        .iter()
                        .filter_map(|option| {
                            option.get(0).unwrap_or(option).as_str().map(str::to_owned)
                        })
                        .collect()
                }),
            fixed_decimals: filled("digits"),
            translated: filled("translate"),
            company_dependent: filled("company_dependent"),
        })
    }

    fn to_json(&self) -> Value {
        let mut json = Map::new();
        json.insert("type".to_owned(), json!(self.kind));
        for (key, value) in [
            ("readonly", self.readonly),
            ("required", self.required),
            ("related", self.related),
            ("depends", self.computed),
            ("digits", self.fixed_decimals),
            ("translate", self.translated),
            ("company_dependent", self.company_dependent),
        ] {
            if value {
                json.insert(key.to_owned(), json!(true));
            }
        }
        if !self.store {
            json.insert("store".to_owned(), json!(false));
        }
        for (key, value) in [
            ("relation", &self.relation),
            ("relation_field", &self.relation_field),
        ] {
            if let Some(value) = value {
                json.insert(key.to_owned(), json!(value));
            }
        }
        if let Some(selection) = &self.selection {
            json.insert("selection".to_owned(), json!(selection));
        }
        Value::Object(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_survives_being_kept() {
        let described = json!({
            "name": {"type": "char", "string": "Name", "required": true, "readonly": false, "store": true},
            "state": {"type": "selection", "selection": [["draft", "Draft"], ["done", "Done"]], "readonly": true},
            "line_ids": {"type": "one2many", "relation": "x.line", "relation_field": "x_id", "depends": ["a"]},
            "city": {"type": "char", "related": "partner_id.city", "store": false, "depends": ["partner_id.city"]},
        });
        let fields = ModelFields::from_json(&described).unwrap();
        assert_eq!(
            fields.get("state").unwrap().selection.as_deref(),
            Some(&["draft".to_owned(), "done".to_owned()][..])
        );
        assert!(fields.get("city").unwrap().related && fields.get("city").unwrap().computed);
        assert_eq!(ModelFields::from_json(&fields.to_json()), Some(fields));
    }

    #[test]
    fn what_describes_no_field_is_refused() {
        for odd in [
            json!(null),
            json!([]),
            json!({}),
            json!({"a": 1}),
            json!({"a": {"type": 1}}),
        ] {
            assert_eq!(ModelFields::from_json(&odd), None, "{odd}");
        }
    }
}
