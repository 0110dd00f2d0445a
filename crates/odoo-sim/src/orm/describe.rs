//! `fields_get`: what a model tells about its fields.

use super::env::Env;
use super::field::{Field, Kind};
use super::model::{MAGIC, Model};
use serde_json::{Map, Value as Json, json};

impl Env<'_> {
    /// Descriptions by field name, cut to `attributes` unless that is absent.
    pub fn describe(
        &self,
        model: &'static Model,
        names: &[String],
        attributes: Option<&[String]>,
    ) -> Json {
        let mut out = Map::new();
        for field in &model.fields {
            if !names.is_empty() && !names.iter().any(|name| name == field.name) {
                continue;
            }
            let mut entry = describe(model, field);
            if let Some(attributes) = attributes {
                entry.retain(|key, _| attributes.contains(key));
            }
            out.insert(field.name.into(), Json::Object(entry));
        }
        Json::Object(out)
    }
}

fn describe(model: &Model, field: &Field) -> Map<String, Json> {
    // Inherited fields report themselves as not stored, though their value is kept in the parent record.
    let searchable = field.stored || field.through.is_some() || field.name == "display_name";
    let mut entry = Map::from_iter([
        ("name".into(), json!(field.name)),
        (
            "type".into(),
            json!(if field.name == "id" {
                "integer"
            } else {
                field.kind.name()
            }),
        ),
        ("string".into(), json!(field.label)),
        ("required".into(), json!(field.required)),
        (
            "readonly".into(),
            json!(field.readonly || MAGIC.contains(&field.name)),
        ),
        ("store".into(), json!(field.stored)),
        ("searchable".into(), json!(searchable)),
        (
            "sortable".into(),
            json!(field.stored && !field.kind.is_x2many()),
        ),
        ("groupable".into(), json!(field.stored)),
        ("exportable".into(), json!(true)),
        ("manual".into(), json!(false)),
        ("company_dependent".into(), json!(field.company_dependent)),
        ("change_default".into(), json!(false)),
        ("default_export_compatible".into(), json!(false)),
        ("depends".into(), json!([])),
    ]);
    match field.kind {
        Kind::Selection(options) => {
            entry.insert("selection".into(), json!(options));
        }
        Kind::Char | Kind::Text | Kind::Html => {
            entry.insert("translate".into(), json!(field.translated));
        }
        Kind::Float(Some(digits)) => {
            entry.insert("digits".into(), json!([16, digits]));
        }
        Kind::Monetary => {
            entry.insert("currency_field".into(), json!("currency_id"));
        }
        Kind::Many2one { .. } => {
            entry.insert("allow_hierachy_operators".into(), json!(true));
        }
        _ => {}
    }
    if let Some(comodel) = field.kind.comodel() {
        entry.insert("relation".into(), json!(comodel));
        entry.insert("context".into(), json!({}));
        entry.insert("domain".into(), json!([]));
    }
    if let Kind::One2many { inverse, .. } = field.kind {
        entry.insert("relation_field".into(), json!(inverse));
    }
    if let Some(link) = field.through {
        entry.insert("related".into(), json!(format!("{link}.{}", field.name)));
    }
    if let (Some((_, link)), true) = (model.inherits, field.through.is_some()) {
        entry.insert("depends".into(), json!([format!("{link}.{}", field.name)]));
    }
    entry
}
