//! References in an import: by external id, by database id, by name; and lines.

use super::Import;
use super::cell::{Converted, Notes, Refusal, boolean, named};
use super::extract::{Cell, Record};
use crate::exception::Exception;
use crate::orm::field::Field;
use crate::orm::model::{Model, registry};
use crate::orm::python::{self, quoted};
use crate::orm::web::names_matching;
use serde_json::{Map, Value as Json, json};

impl Import<'_, '_> {
    pub(super) fn many2one(
        &mut self,
        _model: &'static Model,
        field: &'static Field,
        records: &[Record],
        notes: &mut Notes,
    ) -> Converted<Json> {
        let [record] = records else {
            return Err(Refusal::Bare(
                "too many values to unpack (expected 1)".into(),
            ));
        };
        let (by, value) = reference(record)?;
        Ok(self
            .find(field, &by, value, notes)?
            .map_or(json!(false), Json::from))
    }

    pub(super) fn many2many(
        &mut self,
        _model: &'static Model,
        field: &'static Field,
        records: &[Record],
        notes: &mut Notes,
    ) -> Converted<Json> {
        let [record] = records else {
            return Err(Refusal::Bare(
                "too many values to unpack (expected 1)".into(),
            ));
        };
        let (by, value) = reference(record)?;
        let text = value
            .as_str()
            .ok_or_else(|| Refusal::no_attribute(value, "split"))?;
        let mut ids = vec![];
        for part in text.split(',') {
            ids.extend(self.find(field, &by, &json!(part), notes)?);
        }
        Ok(if self.env.context_flag("update_many2many") {
            ids.iter().map(|id| json!([4, id, 0])).collect()
        } else {
            json!([[6, 0, ids]])
        })
    }

    pub(super) fn one2many(
        &mut self,
        field: &'static Field,
        records: &[Record],
        notes: &mut Notes,
    ) -> Converted<Json> {
        let comodel = registry().model(field.kind.comodel().unwrap_or_default());
        let split;
        let records = match records {
            // One row with nothing but references is a list of records that exist.
            [only] if only.iter().all(|(name, _)| is_reference(name)) => {
                let (by, value) = reference(only)?;
                let text = value
                    .as_str()
                    .ok_or_else(|| Refusal::no_attribute(value, "split"))?;
                split = text
                    .split(',')
                    .map(|part| vec![(by.clone(), Cell::Raw(json!(part)))])
                    .collect::<Vec<_>>();
                &split[..]
            }
            records => records,
        };
        let mut commands = vec![];
        for record in records {
            let mut vals = self.line(comodel, record, notes)?;
            let keys: Record = record
                .iter()
                .filter(|(name, _)| is_reference(name))
                .cloned()
                .collect();
            let mut found = None;
            if !keys.is_empty() {
                let (by, value) = reference(&keys)?;
                match self.find(field, &by, value, notes) {
                    Ok(id) => found = id,
                    // A line with an external id that does not exist yet is created under that id.
                    Err(Refusal::Message { .. } | Refusal::Bare(_)) if by == "id" => {
                        vals.insert("id".into(), value.clone());
                    }
                    Err(refusal) => return Err(refusal),
                }
            }
            match found {
                Some(id) => {
                    commands.push(json!([4, id, 0]));
                    commands.push(json!([1, id, vals]));
                }
                None => commands.push(json!([0, 0, vals])),
            }
        }
        Ok(Json::Array(commands))
    }

    /// The values of one line. A bad cell is a message about the one2many field.
    fn line(
        &mut self,
        comodel: &'static Model,
        record: &Record,
        notes: &mut Notes,
    ) -> Converted<Map<String, Json>> {
        let mut vals = Map::new();
        for (name, cell) in record {
            let Some(field) = named(comodel, name) else {
                continue;
            };
            let under =
                |text: String| text.replace("%(field)s", &format!("%(field)s/{}", field.label));
            let mut own = vec![];
            match self.convert(comodel, field, cell, &mut own) {
                Ok(value) => {
                    vals.insert(name.clone(), value);
                }
                Err(Refusal::Message { text, more }) => {
                    return Err(Refusal::Message {
                        text: under(text),
                        more,
                    });
                }
                Err(Refusal::Bare(text)) => return Err(Refusal::Bare(under(text))),
                Err(raised) => return Err(raised),
            }
            for (is_error, text, more) in own {
                if is_error {
                    return Err(Refusal::Message {
                        text: under(text),
                        more,
                    });
                }
                notes.push((false, text, more));
            }
        }
        Ok(vals)
    }

    /// The record that a cell refers to; `None` for a cell that says there is none.
    fn find(
        &mut self,
        field: &'static Field,
        by: &str,
        value: &Json,
        notes: &mut Notes,
    ) -> Converted<Option<i64>> {
        let comodel = registry().model(field.kind.comodel().unwrap_or_default());
        let (how, found) = match by {
            ".id" => {
                if value.is_string() && boolean("", value, &mut vec![])? == json!(false) {
                    return Ok(None);
                }
                let id = match value {
                    Json::String(text) => python::parse_int(text),
                    other => other.as_i64(),
                };
                let Some(id) = id else {
                    let text = format!(
                        "Invalid database id '{}' for the field '%(field)s'",
                        python::text(value)
                    );
                    return Err(Refusal::with(text, possible_values(comodel, by)));
                };
                ("database id", self.env.exists(comodel, id).then_some(id))
            }
            "id" => {
                if boolean("", value, &mut vec![])? == json!(false) {
                    return Ok(None);
                }
                let name = value.as_str().unwrap_or_default();
                let full = if name.contains('.') {
                    name.to_owned()
                } else {
                    format!("{}.{name}", self.module)
                };
                if self.batch_externals.contains(&full) {
                    self.flush();
                }
                ("external id", self.by_external_id(&full, comodel)?)
            }
            _ => {
                let name = python::text(value);
                if self.creatable.contains(comodel.name) {
                    self.flush();
                }
                let ids = names_matching(self.env, comodel, &name, "=", &Json::Null)
                    .map_err(Refusal::Raised)?;
                if ids.len() > 1 {
                    let count = ids.len();
                    let text = format!(
                        "Found multiple matches for value \"{name}\" in field \"%(field)s\" ({count} matches)"
                    );
                    notes.push((false, text, Map::new()));
                }
                ("name", ids.first().copied())
            }
        };
        found.map(Some).ok_or_else(|| {
            let text = format!(
                "No matching record found for {how} '{}' in field '%(field)s'",
                python::text(value)
            );
            Refusal::with(text, possible_values(comodel, by))
        })
    }

    fn by_external_id(&self, full: &str, comodel: &Model) -> Converted<Option<i64>> {
        let known = match self.env.external_id(full) {
            Some(known) if self.sees(known.commit) && self.env.exists(comodel, known.target) => {
                known
            }
            _ => return Ok(None),
        };
        if known.model != comodel.name {
            return Err(Refusal::Bare(format!(
                "Invalid external ID {full}: expected model {}, found {}",
                quoted(comodel.name),
                quoted(&known.model)
            )));
        }
        Ok(Some(known.target))
    }

    /// True for what was committed before this transaction began, or changed by itself.
    pub(super) fn sees(&self, commit: u64) -> bool {
        commit <= self.env.snapshot || commit > self.env.store.commits()
    }
}

fn is_reference(name: &str) -> bool {
    matches!(name, "" | "id" | ".id")
}

/// The one column that says which record is meant, and its cell.
fn reference(record: &Record) -> Converted<(String, &Json)> {
    if record.iter().any(|(name, _)| !is_reference(name)) {
        let text = "Can not create Many-To-One records indirectly, import the field separately";
        return Err(Refusal::Bare(text.into()));
    }
    match record.as_slice() {
        [(by, Cell::Raw(value))] => Ok((by.clone(), value)),
        [_, _, ..] => Err(Refusal::Bare(
            "Ambiguous specification for field '%(field)s', only provide one of name, external id or database id".into(),
        )),
        _ => Err(Refusal::Raised(Exception::value_error("not enough values to unpack (expected 1, got 0)"))),
    }
}

/// The action Odoo's import dialogue opens to show what could have been meant.
fn possible_values(comodel: &Model, by: &str) -> Json {
    let mut action = json!({
        "name": "Possible Values",
        "type": "ir.actions.act_window",
        "target": "new",
        "view_mode": "list,form",
        "views": [[false, "list"], [false, "form"]],
        "context": {"create": false},
        "help": "See all possible values",
    });
    if by.is_empty() {
        action["res_model"] = json!(comodel.name);
    } else {
        action["res_model"] = json!("ir.model.data");
        action["domain"] = json!([["model", "=", comodel.name]]);
    }
    action
}
