//! `write`: the same values into each of some records.

use super::create::check_field_names;
use super::env::Env;
use super::field::Kind;
use super::model::{Changed, MAGIC, Model, registry};
use super::value::Value;
use crate::exception::{Exception, Outcome};
use serde_json::{Map, Value as Json};

impl Env<'_> {
    /// Writes `vals` into every record of `ids`; without ids it does nothing, successfully.
    pub fn write(
        &mut self,
        model: &'static Model,
        ids: &[i64],
        vals: &Map<String, Json>,
    ) -> Outcome<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.check_access(model, "write")?;
        if model.has_chatter()
            && let Some(name) = vals.keys().find(|name| model.position(name).is_none())
        {
            // The chatter looks the field up before the ORM gets to complain.
            return Err(Exception::new(
                crate::exception::Class::Builtin("KeyError"),
                name.as_str(),
            ));
        }
        check_field_names(model, vals.keys())?;
        for id in ids {
            self.write_one(model, *id, vals)?;
        }
        if model.name == "ir.model.data" {
            self.store.lookups.invalidate();
        }
        Ok(())
    }

    fn write_one(
        &mut self,
        model: &'static Model,
        id: i64,
        vals: &Map<String, Json>,
    ) -> Outcome<()> {
        let current = match self.row(model, id) {
            Ok(row) => row,
            // Falsy ids are records that do not exist yet: nothing happens to them.
            Err(_) if id == 0 => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut row = (*current).clone();
        let mut parent_vals = Map::new();
        for (name, json) in vals {
            if MAGIC.contains(&name.as_str()) {
                continue;
            }
            let at = model.at(name);
            let field = &model.fields[at];
            if field.through.is_some() {
                parent_vals.insert(name.clone(), json.clone());
            } else if matches!(field.kind, Kind::Many2one { .. }) && !json.is_i64() {
                // `write` takes whatever is no id for no record; `create` hands it to the database, which complains.
                row[at] = Value::Null;
            } else if field.stored && !field.kind.is_x2many() {
                row[at] = self.stored_value(model, field, json, &current[at])?;
            }
        }
        row[model.at("write_uid")] = Value::Ref(self.uid());
        row[model.at("write_date")] = Value::str(&self.now);
        self.check_row(model, id, &row, false)?;
        self.save(model, id, row)?;
        if let (Some((parent_model, link)), false) = (model.inherits, parent_vals.is_empty())
            && let Some(parent) = current[model.at(link)].as_ref_id()
        {
            self.write(registry().model(parent_model), &[parent], &parent_vals)?;
        }
        self.apply_relations(model, id, vals, false)?;
        self.settle(model, id, &Changed::Written(vals))
    }

    /// Raises when one of `ids` does not exist; falsy ids are no records at all and pass.
    pub fn check_exist(&self, model: &Model, ids: &[i64]) -> Outcome<()> {
        match ids.iter().find(|id| **id != 0 && !self.exists(model, **id)) {
            Some(id) => Err(Exception::missing(model.name, &[*id], self.uid())),
            None => Ok(()),
        }
    }
}
