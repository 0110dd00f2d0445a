//! `read`: stored values as Odoo shows them.

use super::clock;
use super::env::Env;
use super::field::{Field, Kind};
use super::model::{Model, Row, registry};
use super::python::quoted;
use super::value::Value;
use crate::exception::{Exception, Outcome};
use serde_json::{Map, Value as Json, json};

impl Env<'_> {
    /// Reads fields, all when `fields` is empty. Missing records are left out without a word.
    /// `names` adds the display name to every many2one.
    pub fn read(
        &self,
        model: &'static Model,
        ids: &[i64],
        fields: &[String],
        names: bool,
    ) -> Outcome<Vec<Map<String, Json>>> {
        self.check_access(model, "read")?;
        let wanted = self.fields_to_read(model, fields)?;
        let mut out = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(record) = self.store.get(model.index, *id) else {
                continue;
            };
            let mut entry = Map::new();
            entry.insert("id".into(), json!(id));
            for field in &wanted {
                entry.insert(
                    field.name.into(),
                    self.shown(model, *id, &record.row, field, names),
                );
            }
            out.push(entry);
        }
        Ok(out)
    }

    /// The named fields, or all of them.
    pub fn fields_to_read(
        &self,
        model: &'static Model,
        fields: &[String],
    ) -> Outcome<Vec<&'static Field>> {
        if fields.is_empty() {
            return Ok(model.fields.iter().collect());
        }
        fields
            .iter()
            .map(|name| {
                model.field(name).ok_or_else(|| {
                    Exception::value_error(format!(
                        "Invalid field {} on {}",
                        quoted(name),
                        quoted(model.name)
                    ))
                })
            })
            .collect()
    }

    /// One value as `read` gives it.
    pub fn shown(
        &self,
        model: &'static Model,
        id: i64,
        row: &Row,
        field: &Field,
        names: bool,
    ) -> Json {
        if field.name == "display_name" {
            return json!(self.display_name(model, id));
        }
        if field.name == "password" {
            return json!("");
        }
        if let Kind::One2many { comodel, inverse } = field.kind {
            return self.one2many_ids(registry().model(comodel), inverse, id);
        }
        if !field.stored && field.through.is_none() {
            return model.hooks.compute.map_or(Json::Bool(false), |compute| {
                compute(self, id, row, field.name)
            });
        }
        let value = self.field_value(model, row, field);
        match (field.kind, value) {
            (Kind::Boolean, value) => json!(value.as_bool()),
            (Kind::Integer, Value::Null) => json!(0),
            (Kind::Float(_) | Kind::Monetary, value) => json!(value.as_f64()),
            (Kind::Datetime, Value::Str(text)) => json!(clock::whole_seconds(&text)),
            (Kind::Many2one { comodel, .. }, Value::Ref(target)) if names => {
                json!([target, self.display_name(registry().model(comodel), target)])
            }
            (Kind::Many2many { comodel }, value) => {
                json!(self.visible(registry().model(comodel), value.as_ids()))
            }
            (_, value) => value.to_json(),
        }
    }

    fn one2many_ids(&self, comodel: &'static Model, inverse: &str, id: i64) -> Json {
        let mut lines = self.visible(comodel, &self.pointing(comodel, inverse, id));
        self.sort(comodel, &mut lines, comodel.order);
        json!(lines)
    }

    /// Without the archived ones, unless the context turns `active_test` off.
    fn visible(&self, model: &Model, ids: &[i64]) -> Vec<i64> {
        if !model.has_active() || !self.active_test() {
            return ids.to_vec();
        }
        let at = model.at("active");
        let active = |id: &i64| {
            self.store
                .get(model.index, *id)
                .is_some_and(|record| record.row[at].as_bool())
        };
        ids.iter().copied().filter(active).collect()
    }
}
