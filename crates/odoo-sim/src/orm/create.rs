//! `create`: defaults, conversion, constraints of the database, x2many commands, recomputation, model rules.

use super::convert;
use super::env::Env;
use super::field::{Dangling, Field, Kind};
use super::model::{Changed, MAGIC, Model, Row, registry};
use super::python::quoted;
use super::value::Value;
use crate::exception::{Exception, Outcome};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Env<'_> {
    /// Creates records; all or none, once the caller rolls back on an error.
    pub fn create(
        &mut self,
        model: &'static Model,
        vals_list: &[Map<String, Json>],
    ) -> Outcome<Vec<i64>> {
        if vals_list.is_empty() {
            return Ok(vec![]);
        }
        self.check_access(model, "create")?;
        check_field_names(model, vals_list.iter().flat_map(|vals| vals.keys()))?;
        let mut ids = Vec::with_capacity(vals_list.len());
        for vals in vals_list {
            ids.push(self.create_one(model, vals)?);
        }
        // During an import, `id` among the values is the external id of the new record.
        if let Some(module) = self
            .context_text("_import_current_module")
            .map(str::to_owned)
        {
            let no_update = self.context_flag("noupdate");
            for (id, vals) in ids.iter().zip(vals_list) {
                if let Some(Json::String(name)) = vals.get("id")
                    && !name.is_empty()
                {
                    let full = if name.contains('.') {
                        name.clone()
                    } else {
                        format!("{module}.{name}")
                    };
                    self.set_external_id(&full, model, *id, no_update, false)?;
                }
            }
        }
        Ok(ids)
    }

    fn create_one(&mut self, model: &'static Model, vals: &Map<String, Json>) -> Outcome<i64> {
        let id = self.store.next_id(model.index);
        let mut row: Row = vec![Value::Null; model.fields.len()];
        row[0] = Value::Int(id);
        let (uid, now) = (Value::Ref(self.uid()), Value::str(&self.now));
        for (name, value) in [
            ("create_uid", &uid),
            ("create_date", &now),
            ("write_uid", &uid),
            ("write_date", &now),
        ] {
            row[model.at(name)] = value.clone();
        }
        self.create_parent(model, vals, &mut row)?;
        for field in &model.fields {
            if !field.stored || field.kind.is_x2many() || MAGIC.contains(&field.name) {
                continue;
            }
            let at = model.at(field.name);
            row[at] = match self.given(vals, field.name) {
                Some(json) => self.stored_value(model, field, json, &Value::Null)?,
                None if !row[at].is_null() => continue,
                None => {
                    let value = field.default.map_or(Value::Null, |make| make(self));
                    if field.keyed() && !value.is_null() {
                        self.keyed_value(field, value, &Value::Null)
                    } else {
                        value
                    }
                }
            };
        }
        if let Some(complete) = model.hooks.complete {
            complete(self, id, &mut row, vals)?;
        }
        self.check_row(model, id, &row, true)?;
        self.save(model, id, row)?;
        self.apply_relations(model, id, vals, true)?;
        self.settle(model, id, &Changed::Everything)?;
        Ok(id)
    }

    /// The value a caller gave for a field, or the context's `default_<field>`.
    fn given<'v>(&'v self, vals: &'v Map<String, Json>, name: &str) -> Option<&'v Json> {
        vals.get(name)
            .or_else(|| self.context.get(&format!("default_{name}")))
    }

    /// Creates or updates the parent record of a model that `_inherits` another.
    fn create_parent(
        &mut self,
        model: &Model,
        vals: &Map<String, Json>,
        row: &mut Row,
    ) -> Outcome<()> {
        let Some((parent_model, link)) = model.inherits else {
            return Ok(());
        };
        let inherited: Map<String, Json> = vals
            .iter()
            .filter(|(name, _)| {
                model
                    .field(name)
                    .is_some_and(|field| field.through.is_some())
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let parent_model = registry().model(parent_model);
        let parent = match vals.get(link).and_then(Json::as_i64).filter(|id| *id != 0) {
            Some(parent) => {
                if !inherited.is_empty() {
                    self.write(parent_model, &[parent], &inherited)?;
                }
                parent
            }
            None => {
                let outer = self
                    .context
                    .insert("create_product_product".into(), Json::Bool(false));
                let created = self.create(parent_model, &[inherited]);
                match outer {
                    Some(value) => self.context.insert("create_product_product".into(), value),
                    None => self.context.remove("create_product_product"),
                };
                created?[0]
            }
        };
        row[model.at(link)] = Value::Ref(parent);
        Ok(())
    }

    /// A converted value in the shape the record stores: wrapped by language or company where the field has several.
    pub(super) fn stored_value(
        &self,
        model: &Model,
        field: &Field,
        json: &Json,
        old: &Value,
    ) -> Outcome<Value> {
        let value = convert::to_value(model.name, field, json)?;
        Ok(if field.keyed() {
            self.keyed_value(field, value, old)
        } else {
            value
        })
    }

    fn keyed_value(&self, field: &Field, value: Value, old: &Value) -> Value {
        if field.translated && value.is_null() {
            return Value::Null;
        }
        let mut map = match old {
            Value::Keyed(map) => map.clone(),
            _ => BTreeMap::new(),
        };
        if field.translated && !map.contains_key("en_US") {
            map.insert(Arc::from("en_US"), value.clone());
        }
        map.insert(Arc::from(self.key_of(field.translated)), value);
        Value::Keyed(map)
    }

    /// The constraints a Postgres table would enforce, and the poison rules of the test.
    pub(super) fn check_row(
        &self,
        model: &'static Model,
        id: i64,
        row: &Row,
        new: bool,
    ) -> Outcome<()> {
        self.check_followed(model, row, new)?;
        for (field, value) in model
            .fields
            .iter()
            .zip(row)
            .filter(|(field, _)| !MAGIC.contains(&field.name))
        {
            match (field.kind, value) {
                (kind, Value::Null) if field.required && field.stored && !kind.is_x2many() => {
                    return Err(missing_value(model, field));
                }
                (Kind::Many2one { comodel, .. }, Value::Ref(target)) => {
                    let comodel = registry().model(comodel);
                    let is_itself = comodel.index == model.index && *target == id;
                    if !is_itself && !self.exists(comodel, *target) {
                        return Err(in_use(model, field));
                    }
                }
                _ => {}
            }
        }
        for (name, message) in &model.unique {
            let at = model.at(name);
            if !row[at].is_null()
                && self.store.ids(model.index).any(|other| {
                    other != id
                        && self
                            .store
                            .get(model.index, other)
                            .is_some_and(|record| record.row[at] == row[at])
                })
            {
                return Err(Exception::integrity(Some(name), *message));
            }
        }
        self.check_poison(model, row)
    }

    /// References that Odoo's computations follow fail before any constraint does.
    fn check_followed(&self, model: &Model, row: &Row, new: bool) -> Outcome<()> {
        for (field, value) in model.fields.iter().zip(row) {
            let followed = match field.dangling {
                Dangling::ForeignKey => false,
                Dangling::Followed => true,
                Dangling::FollowedOnWrite => !new,
            };
            if let (true, Some(comodel), Value::Ref(target)) =
                (followed, field.kind.comodel(), value)
                && !self.exists(registry().model(comodel), *target)
            {
                return Err(Exception::missing(comodel, &[*target], self.uid()));
            }
        }
        Ok(())
    }

    fn check_poison(&self, model: &Model, row: &Row) -> Outcome<()> {
        for poison in self
            .poisons
            .iter()
            .filter(|poison| poison.model == model.name)
        {
            let Some(field) = model.fields.iter().find(|field| field.name == poison.field) else {
                continue;
            };
            let value = self.field_value(model, row, field).to_json();
            let hit = match (&value, &poison.value) {
                (Json::String(have), Json::String(bad)) => have.contains(bad.as_str()),
                (have, bad) => have == bad,
            };
            if hit {
                return Err(Exception::named(&poison.exception, poison.message.clone()));
            }
        }
        Ok(())
    }

    /// Recomputes what depends on the change, then lets the model's rules judge.
    pub(super) fn settle(&mut self, model: &Model, id: i64, changed: &Changed) -> Outcome<()> {
        if let Some(recompute) = model.hooks.recompute {
            recompute(self, id, changed)?;
        }
        if let Some(constrain) = model.hooks.constrain {
            constrain(self, id, changed)?;
        }
        Ok(())
    }
}

pub(super) fn check_field_names<'v>(
    model: &'static Model,
    names: impl Iterator<Item = &'v String>,
) -> Outcome<()> {
    for name in names {
        if model.position(name).is_none() {
            let message = format!("Invalid field {} in {}", quoted(name), quoted(model.name));
            return Err(Exception::value_error(message));
        }
    }
    Ok(())
}

fn missing_value(model: &Model, field: &Field) -> Exception {
    Exception::integrity(
        Some(field.name),
        format!(
            "Missing required value for the field '{}' ({}).\nModel: '{}' ({})\n- create/update: a mandatory field is not \
             set\n- delete: another model requires the record being deleted, you can archive it instead\n",
            field.label, field.name, model.label, model.name
        ),
    )
}

/// The words for a broken foreign key, from whichever side it was broken.
pub(super) fn in_use(model: &Model, field: &Field) -> Exception {
    Exception::integrity(
        Some(field.name),
        format!(
            "Another model is using the record you are trying to delete.\n\nThe troublemaker is: '{}' ({})\nThanks to the \
             following constraint: '{}' ({})\nHow about archiving the record instead?",
            model.label, model.name, field.label, field.name
        ),
    )
}
