//! `load()`: Odoo's import, with the semantics that delivery builds on.
//!
//! The way of a call: `extract` turns the matrix into nested records, `cell` and `reference` turn cells into values,
//! `flush` creates and updates in batches. One transaction: any error message undoes everything. With context
//! `{"mode": "update", "noupdate": true}` it is "create-once": an external id that exists is left alone.

mod cell;
mod extract;
mod flush;
mod reference;

use crate::exception::{Exception, Outcome};
use crate::orm::env::Env;
use crate::orm::model::Model;
use crate::orm::python;
use serde_json::{Map, Value as Json, json};
use std::collections::HashSet;

/// A converted row that waits to be created or updated.
pub(crate) struct Pending {
    /// Full external id, if the row has one.
    external: Option<String>,
    /// Values, with the database id under `id` when the row names one.
    vals: Map<String, Json>,
    /// `rows` and `record` of messages about this row.
    place: Map<String, Json>,
}

/// A running import.
pub(crate) struct Import<'e, 'a> {
    env: &'e mut Env<'a>,
    model: &'static Model,
    /// Where everything is undone to.
    savepoint: usize,
    /// Module of external ids without one.
    module: String,
    /// Context `mode` is `update`.
    update: bool,
    no_update: bool,
    batch: Vec<Pending>,
    batch_externals: HashSet<String>,
    /// Models that pending rows may create records of.
    creatable: HashSet<&'static str>,
    ids: Vec<i64>,
    messages: Vec<Json>,
}

/// Runs `load(fields, data)`.
pub(crate) fn load(
    env: &mut Env,
    model: &'static Model,
    fields: &Json,
    data: &Json,
) -> Outcome<Json> {
    let (fields, rows) = matrix(fields, data)?;
    let paths: Vec<extract::Path> = fields.iter().map(|name| extract::path(name)).collect();
    let module = env
        .context_text("module")
        .unwrap_or("__import__")
        .to_owned();
    env.context
        .insert("_import_current_module".into(), json!(module));
    let mut import = Import {
        savepoint: env.store.savepoint(),
        update: env.context_text("mode") == Some("update"),
        no_update: env.context_flag("noupdate"),
        creatable: extract::creatable(model, &paths),
        env,
        model,
        module,
        batch: vec![],
        batch_externals: HashSet::new(),
        ids: vec![],
        messages: vec![],
    };
    for (index, (record, span)) in extract::records(model, &paths, &rows)?
        .into_iter()
        .enumerate()
    {
        import.take(index, &record, span)?;
    }
    import.flush();
    Ok(import.finish())
}

/// The arguments as lists, or Python's complaint.
fn matrix<'j>(fields: &'j Json, data: &'j Json) -> Outcome<(Vec<&'j str>, Vec<Vec<&'j Json>>)> {
    let list = |json: &'j Json| match json {
        Json::Array(items) => Ok(items),
        other => Err(Exception::type_error(format!(
            "'{}' object is not iterable",
            python::type_name(other)
        ))),
    };
    let mut names = vec![];
    for field in list(fields)? {
        names.push(field.as_str().ok_or_else(|| {
            let name = python::type_name(field);
            Exception::type_error(format!(
                "expected string or bytes-like object, got '{name}'"
            ))
        })?);
    }
    let mut rows = vec![];
    let Json::Array(data) = data else {
        return Err(Exception::type_error(format!(
            "object of type '{}' has no len()",
            python::type_name(data)
        )));
    };
    for row in data {
        rows.push(list(row)?.iter().collect());
    }
    Ok((names, rows))
}

impl Import<'_, '_> {
    /// Converts one extracted record and puts it into the batch.
    fn take(
        &mut self,
        index: usize,
        record: &extract::Record,
        span: (usize, usize),
    ) -> Outcome<()> {
        let place = Map::from_iter([
            ("rows".into(), json!({"from": span.0, "to": span.1})),
            ("record".into(), json!(index)),
        ]);
        let external = match extract::raw(record, "id") {
            Some(value) if python::truthy(value) => match value {
                Json::String(name) if name.contains('.') => Some(name.clone()),
                Json::String(name) => Some(format!("{}.{name}", self.module)),
                other => {
                    let name = python::type_name(other);
                    return Err(Exception::type_error(format!(
                        "argument of type '{name}' is not iterable"
                    )));
                }
            },
            _ => None,
        };
        let database_id = self.database_id(record, &place)?;
        let mut vals = self.convert_record(record, &place)?;
        match (&external, database_id) {
            (Some(external), _) => {
                self.batch_externals.insert(external.clone());
            }
            (None, Some(id)) => {
                vals.insert("id".into(), json!(id));
            }
            (None, None) => {}
        }
        self.batch.push(Pending {
            external,
            vals,
            place,
        });
        Ok(())
    }

    /// The `.id` column. An id that a search does not find is an error message, and the row counts as new.
    fn database_id(
        &mut self,
        record: &extract::Record,
        place: &Map<String, Json>,
    ) -> Outcome<Option<i64>> {
        let Some(value) = extract::raw(record, ".id").filter(|value| python::truthy(value)) else {
            return Ok(None);
        };
        let id = match value {
            Json::String(text) => python::parse_int(text),
            other => other.as_i64(),
        };
        let Some(id) = id else {
            return Err(Exception::not_an_id(value));
        };
        if !self
            .env
            .search(
                self.model,
                &json!([["id", "=", id]]),
                0,
                Some(1),
                Some("id"),
            )?
            .is_empty()
        {
            return Ok(Some(id));
        }
        let shown = python::text(value);
        self.report(
            place,
            "error",
            format!("Unknown database identifier '{shown}'"),
            |message| {
                message.insert("field".into(), json!(".id"));
            },
        );
        Ok(None)
    }

    fn report(
        &mut self,
        place: &Map<String, Json>,
        kind: &str,
        text: impl Into<String>,
        more: impl FnOnce(&mut Map<String, Json>),
    ) {
        let mut message = place.clone();
        message.insert("type".into(), json!(kind));
        message.insert("message".into(), json!(text.into()));
        more(&mut message);
        self.messages.push(Json::Object(message));
    }

    fn finish(self) -> Json {
        let failed = self
            .messages
            .iter()
            .any(|message| message["type"] == "error");
        if failed {
            self.env.store.rollback_to(self.savepoint);
            self.env.store.lookups.rolled_back();
        }
        let ids = if failed {
            json!(false)
        } else {
            json!(self.ids)
        };
        json!({"ids": ids, "messages": self.messages, "nextrow": 0})
    }
}
