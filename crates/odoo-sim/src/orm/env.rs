//! The environment of one call: who calls, in which context, on which transaction.

use super::clock;
use super::model::{Model, Row, registry};
use super::python;
use super::store::Store;
use super::value::Value;
use crate::config::{Account, Poison};
use crate::exception::{Class, Exception, Outcome};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

pub(crate) struct Env<'a> {
    pub store: &'a mut Store,
    pub account: &'a Account,
    pub context: Map<String, Json>,
    pub poisons: &'a [Poison],
    pub languages: &'a [String],
    /// The last commit this transaction can see.
    pub snapshot: u64,
    /// The transaction's start.
    pub now: String,
}

impl Env<'_> {
    pub fn uid(&self) -> i64 {
        self.account.uid
    }

    pub fn context_flag(&self, name: &str) -> bool {
        self.context.get(name).is_some_and(python::truthy)
    }

    pub fn context_text(&self, name: &str) -> Option<&str> {
        self.context.get(name).and_then(Json::as_str)
    }

    /// `active_test` is on unless the context turns it off.
    pub fn active_test(&self) -> bool {
        self.context.get("active_test").is_none_or(python::truthy)
    }

    pub fn lang(&self) -> &str {
        self.context_text("lang").unwrap_or("en_US")
    }

    /// The first of `allowed_company_ids`, else the user's company.
    pub fn company(&self) -> i64 {
        self.context
            .get("allowed_company_ids")
            .and_then(|ids| ids.get(0))
            .and_then(Json::as_i64)
            .unwrap_or(1)
    }

    /// Key of the current value of a field with one value per language or company.
    pub fn key_of(&self, translated: bool) -> String {
        if translated {
            self.lang().to_owned()
        } else {
            self.company().to_string()
        }
    }

    /// Raises for a language that is not installed.
    pub fn check_language(&self) -> Outcome<()> {
        match self.context.get("lang") {
            Some(Json::String(lang)) if !lang.is_empty() && !self.languages.contains(lang) => {
                Err(Exception::user(format!("Invalid language code: {lang}")))
            }
            _ => Ok(()),
        }
    }

    /// Raises for companies in the context that the user is not in. Here every user is in every company.
    pub fn check_companies(&self) -> Outcome<()> {
        let companies = registry().model("res.company");
        let asked = self
            .context
            .get("allowed_company_ids")
            .and_then(Json::as_array);
        let unknown = |id: &Json| !id.as_i64().is_some_and(|id| self.exists(companies, id));
        if asked.is_some_and(|ids| ids.iter().any(unknown)) {
            return Err(Exception::new(
                Class::Access,
                "Access to unauthorized or invalid companies.",
            ));
        }
        Ok(())
    }

    pub fn exists(&self, model: &Model, id: i64) -> bool {
        self.store.get(model.index, id).is_some()
    }

    /// The row of a record, or Odoo's MissingError.
    pub fn row(&self, model: &Model, id: i64) -> Outcome<Arc<Row>> {
        match self.store.get(model.index, id) {
            Some(record) => Ok(Arc::clone(&record.row)),
            None => Err(Exception::missing(model.name, &[id], self.uid())),
        }
    }

    /// Saves a row. Fails when another transaction committed a change of the record since this one began.
    pub fn save(&mut self, model: &Model, id: i64, row: Row) -> Outcome<()> {
        if let Some(record) = self.store.get(model.index, id)
            && record.commit > self.snapshot
            && record.commit <= self.store.commits()
        {
            return Err(Exception::conflict());
        }
        self.store.put(model.index, id, Some(Arc::new(row)));
        Ok(())
    }

    /// Changes some stored values of a record, without access checks or recomputation.
    pub fn set(&mut self, model: &Model, id: i64, values: &[(&str, Value)]) -> Outcome<()> {
        let current = self.row(model, id)?;
        if values
            .iter()
            .all(|(name, value)| current[model.at(name)] == *value)
        {
            return Ok(());
        }
        let mut row = (*current).clone();
        for (name, value) in values {
            row[model.at(name)] = value.clone();
        }
        self.save(model, id, row)
    }

    /// Records that point to `id` through `field` of `model`.
    pub fn pointing(&self, model: &Model, field: &str, id: i64) -> Vec<i64> {
        self.store.pointing(model.index, model.at(field), id)
    }

    pub fn display_name(&self, model: &Model, id: i64) -> String {
        let Some(record) = self.store.get(model.index, id) else {
            return String::new();
        };
        let row = &record.row;
        if let Some(make) = model.hooks.display_name {
            return make(self, id, row);
        }
        let shown = match model.field(model.rec_name) {
            Some(field) => match self.field_value(model, row, field) {
                Value::Str(text) => text.to_string(),
                Value::Int(number) => number.to_string(),
                Value::Ref(target) => field.kind.comodel().map_or_else(String::new, |name| {
                    self.display_name(registry().model(name), target)
                }),
                _ => String::new(),
            },
            None => String::new(),
        };
        if shown.is_empty() {
            format!("{},{id}", model.name)
        } else {
            shown
        }
    }

    /// The value of a field in the current language and company, following `_inherits`.
    pub fn field_value(&self, model: &Model, row: &Row, field: &super::field::Field) -> Value {
        if let Some(parent_field) = field.through
            && let (Some((parent_model, _)), Some(parent)) =
                (model.inherits, row[model.at(parent_field)].as_ref_id())
        {
            let parent_model = registry().model(parent_model);
            return match (
                self.store.get(parent_model.index, parent),
                parent_model.field(field.name),
            ) {
                (Some(record), Some(field)) => self.field_value(parent_model, &record.row, field),
                _ => Value::Null,
            };
        }
        let value = &row[model.at(field.name)];
        if field.keyed() {
            return value.keyed(&self.key_of(field.translated), "en_US").clone();
        }
        value.clone()
    }

    /// A default for datetime fields: the transaction's start in whole seconds.
    pub fn now_seconds(&self) -> Value {
        Value::str(clock::whole_seconds(&self.now))
    }
}
