//! External ids: rows of `ir.model.data` that name records.

use super::env::Env;
use super::model::{Model, Row, registry};
use super::value::Value;
use crate::exception::{Exception, Outcome};
use serde_json::{Value as Json, json};

/// One row of `ir.model.data`.
pub(crate) struct ExternalId {
    pub row: i64,
    pub model: String,
    pub target: i64,
    pub no_update: bool,
    /// The commit that last changed it.
    pub commit: u64,
}

impl Env<'_> {
    /// Looks `module.name` up.
    pub fn external_id(&self, full_name: &str) -> Option<ExternalId> {
        let data = registry().model("ir.model.data");
        let row_id = self.store.external(full_name)?;
        let record = self.store.get(data.index, row_id)?;
        let row = &record.row;
        Some(ExternalId {
            row: row_id,
            model: row[data.at("model")]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            target: match row[data.at("res_id")] {
                Value::Int(id) => id,
                _ => 0,
            },
            no_update: row[data.at("noupdate")].as_bool(),
            commit: record.commit,
        })
    }

    /// Names a record; a name that exists moves to it, unless it is protected and `update` is on.
    pub fn set_external_id(
        &mut self,
        full: &str,
        model: &Model,
        id: i64,
        no_update: bool,
        update: bool,
    ) -> Outcome<()> {
        let data = registry().model("ir.model.data");
        let (module, name) = full.split_once('.').unwrap_or(("", full));
        let row_id = match self.external_id(full) {
            // Postgres: INSERT … ON CONFLICT under REPEATABLE READ refuses a row it cannot see.
            Some(known) if known.commit > self.snapshot && known.commit <= self.store.commits() => {
                return Err(Exception::conflict());
            }
            Some(known)
                if (known.target == id && known.model == model.name)
                    || (update && known.no_update) =>
            {
                return Ok(());
            }
            Some(known) => {
                self.store.lookups.invalidate();
                known.row
            }
            None => self.store.next_id(data.index),
        };
        let mut row: Row = match self.store.get(data.index, row_id) {
            Some(record) => (*record.row).clone(),
            None => vec![Value::Null; data.fields.len()],
        };
        let new = row[0].is_null();
        row[0] = Value::Int(row_id);
        row[data.at("module")] = Value::str(module);
        row[data.at("name")] = Value::str(name);
        row[data.at("model")] = Value::str(model.name);
        row[data.at("res_id")] = Value::Int(id);
        if new {
            row[data.at("noupdate")] = Value::Bool(no_update);
            row[data.at("create_date")] = Value::str(&self.now);
            row[data.at("create_uid")] = Value::Ref(self.uid());
        }
        row[data.at("write_date")] = Value::str(&self.now);
        row[data.at("write_uid")] = Value::Ref(self.uid());
        self.save(data, row_id, row)?;
        self.store.lookups.remember(full, model.name, id);
        Ok(())
    }

    /// Deletes a row of `ir.model.data`.
    pub fn drop_external_id(&mut self, row: i64) {
        self.store
            .put(registry().model("ir.model.data").index, row, None);
        self.store.lookups.invalidate();
    }

    /// Looks an external id up as `ir.model.data` itself does: what the process remembers comes first.
    fn remembered(&mut self, full: &str) -> Option<(String, i64)> {
        if let Some(known) = self.store.lookups.get(full) {
            return Some(known.clone());
        }
        let known = self.external_id(full).filter(|known| known.target != 0)?;
        self.store
            .lookups
            .remember(full, &known.model, known.target);
        Some((known.model, known.target))
    }

    /// `ir.model.data.check_object_reference`: the model and id behind an external id, without rights on `ir.model.data`.
    /// A record that a search does not find (archived, forbidden) gives `false` for its id.
    pub fn check_object_reference(&mut self, module: &str, name: &str) -> Outcome<Json> {
        let full = format!("{module}.{name}");
        let Some((model_name, target)) = self.remembered(&full) else {
            return Err(Exception::value_error(format!(
                "External ID not found in the system: {full}"
            )));
        };
        let Some(model) = registry().find(&model_name) else {
            return Err(Exception::new(
                crate::exception::Class::Builtin("KeyError"),
                model_name,
            ));
        };
        self.check_access(model, "read")?;
        let found = self.search(model, &json!([["id", "=", target]]), 0, None, None)?;
        Ok(json!([
            model_name,
            if found.is_empty() {
                json!(false)
            } else {
                json!(target)
            }
        ]))
    }

    /// `get_metadata`: who made and changed each record, and its external ids, oldest first.
    pub fn metadata(&self, model: &'static Model, ids: &[i64]) -> Outcome<Json> {
        let columns = ["create_uid", "create_date", "write_uid", "write_date"].map(String::from);
        let mut found = self.read(model, ids, &columns, true)?;
        for entry in &mut found {
            let id = entry["id"].as_i64().unwrap_or_default();
            let data = registry().model("ir.model.data");
            let names: Vec<Json> = self
                .store
                .externals_of(model.name, id)
                .into_iter()
                .filter_map(|row_id| self.store.get(data.index, row_id))
                .map(|record| {
                    let text = |field: &str| {
                        record.row[data.at(field)]
                            .as_str()
                            .unwrap_or_default()
                            .to_owned()
                    };
                    json!({
                        "xmlid": format!("{}.{}", text("module"), text("name")),
                        "noupdate": record.row[data.at("noupdate")].as_bool(),
                    })
                })
                .collect();
            let first = names.first().cloned();
            let of_first = |key: &str| {
                first
                    .as_ref()
                    .map_or(json!(false), |entry| entry[key].clone())
            };
            entry.insert("xmlid".into(), of_first("xmlid"));
            entry.insert("noupdate".into(), of_first("noupdate"));
            entry.insert("xmlids".into(), Json::Array(names));
        }
        Ok(found.into_iter().map(Json::Object).collect())
    }
}
