//! From cells to values: what each field type accepts in an import, and the messages about what it does not.

use super::extract::{Cell, Record};
use super::{Import, Pending};
use crate::exception::{Exception, Outcome};
use crate::orm::clock;
use crate::orm::field::{Field, Kind};
use crate::orm::model::Model;
use crate::orm::python::{self, truthy, type_name};
use serde_json::{Map, Value as Json, json};

/// Why a cell has no value.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A message about the row. `%(field)s` in the text stands for the field's label.
    Message {
        text: String,
        more: Map<String, Json>,
    },
    /// A message that was raised without Odoo's formatting, and so comes without `field_name`.
    Bare(String),
    /// Python failed in a way that the import does not catch: the whole call fails.
    Raised(Exception),
}

impl Refusal {
    pub fn new(text: impl Into<String>) -> Self {
        Refusal::Message {
            text: text.into(),
            more: Map::new(),
        }
    }

    pub fn with(text: impl Into<String>, more: Json) -> Self {
        Refusal::Message {
            text: text.into(),
            more: Map::from_iter([("moreinfo".to_owned(), more)]),
        }
    }

    /// `value.lower()` and the like on something that is not text.
    pub fn no_attribute(value: &Json, attribute: &str) -> Self {
        let message = format!(
            "'{}' object has no attribute '{attribute}'",
            type_name(value)
        );
        Refusal::Raised(Exception::attribute_error(message))
    }
}

pub(super) type Converted<T> = Result<T, Refusal>;

/// Messages that a cell causes although it has a value; true marks an error.
pub(super) type Notes = Vec<(bool, String, Map<String, Json>)>;

impl Import<'_, '_> {
    /// Converts all cells of a record, reporting what is wrong with them.
    pub(super) fn convert_record(
        &mut self,
        record: &Record,
        place: &Map<String, Json>,
    ) -> Outcome<Map<String, Json>> {
        let model = self.model;
        let mut vals = Map::new();
        for (name, cell) in record {
            let Some(field) = named(model, name) else {
                continue;
            };
            let mut notes = vec![];
            match self.convert(model, field, cell, &mut notes) {
                Ok(value) => {
                    vals.insert(name.clone(), value);
                }
                Err(Refusal::Message { text, mut more }) => {
                    more.insert("field_name".into(), json!(field.label));
                    notes.push((true, text, more));
                }
                Err(Refusal::Bare(text)) => notes.push((true, text, Map::new())),
                Err(Refusal::Raised(error)) => return Err(error),
            }
            for (is_error, text, more) in notes {
                let text = text.replace("%(field)s", field.label);
                self.report(
                    place,
                    if is_error { "error" } else { "warning" },
                    text,
                    |message| {
                        message.insert("field".into(), json!(name));
                        message.extend(more);
                    },
                );
            }
        }
        Ok(vals)
    }

    /// Converts one cell. A blank one is `false`, whatever its type.
    pub(super) fn convert(
        &mut self,
        model: &'static Model,
        field: &'static Field,
        cell: &Cell,
        notes: &mut Notes,
    ) -> Converted<Json> {
        match cell {
            Cell::Raw(json) if !truthy(json) => Ok(json!(false)),
            Cell::Records(records) if records.is_empty() => Ok(json!(false)),
            Cell::Raw(json) => plain(self.zone(), field, json, notes),
            Cell::Records(records) => match field.kind {
                Kind::Many2one { .. } => self.many2one(model, field, records, notes),
                Kind::Many2many { .. } => self.many2many(model, field, records, notes),
                _ => self.one2many(field, records, notes),
            },
        }
    }

    /// The time zone in which datetime cells are read.
    fn zone(&self) -> &str {
        self.env.context_text("tz").unwrap_or("UTC")
    }

    /// Forgets what was collected. The caller takes it over.
    pub(super) fn take_batch(&mut self) -> Vec<Pending> {
        self.batch_externals.clear();
        std::mem::take(&mut self.batch)
    }
}

/// The field of a column; the columns that identify a record are none.
pub(super) fn named(model: &'static Model, name: &str) -> Option<&'static Field> {
    if matches!(name, "" | "id" | ".id") {
        None
    } else {
        model.field(name)
    }
}

fn plain(zone: &str, field: &Field, json: &Json, notes: &mut Notes) -> Converted<Json> {
    match field.kind {
        Kind::Boolean => boolean(field.label, json, notes),
        Kind::Integer => integer(json),
        Kind::Float(_) | Kind::Monetary => float(json),
        Kind::Date => {
            let text = json.as_str().ok_or_else(|| {
                Refusal::Raised(Exception::type_error(format!(
                    "'{}' object is not subscriptable",
                    type_name(json)
                )))
            })?;
            clock::parse_date(text).map(Json::from).map_err(|_| {
                Refusal::with(
                    format!("'{text}' does not seem to be a valid date for field '%(field)s'"),
                    json!("Use the format '2012-12-31'"),
                )
            })
        }
        Kind::Datetime => {
            let text = json.as_str().ok_or_else(|| {
                Refusal::Raised(Exception::type_error(format!(
                    "object of type '{}' has no len()",
                    type_name(json)
                )))
            })?;
            let parsed = clock::parse_datetime(text).map_err(|_| {
                Refusal::with(
                    format!("'{text}' does not seem to be a valid datetime for field '%(field)s'"),
                    json!("Use the format '2012-12-31 23:59:59'"),
                )
            })?;
            Ok(json!(clock::to_utc(&parsed, zone)))
        }
        Kind::Selection(options) => selection(options, json),
        _ => Ok(json.clone()),
    }
}

/// Text only: even JSON `true` has no `lower()`.
pub(super) fn boolean(label: &str, json: &Json, notes: &mut Notes) -> Converted<Json> {
    let text = json
        .as_str()
        .ok_or_else(|| Refusal::no_attribute(json, "lower"))?;
    match text.to_lowercase().as_str() {
        "1" | "true" | "yes" => Ok(json!(true)),
        "" | "0" | "false" | "no" => Ok(json!(false)),
        _ => {
            let more = Map::from_iter([
                (
                    "moreinfo".to_owned(),
                    json!("Use '1' for yes and '0' for no"),
                ),
                ("field_name".to_owned(), json!(label)),
            ]);
            notes.push((
                true,
                format!("Unknown value '{text}' for boolean field '%(field)s'"),
                more,
            ));
            Ok(json!(true))
        }
    }
}

fn integer(json: &Json) -> Converted<Json> {
    match json {
        Json::String(text) => python::parse_int(text).map(Json::from).ok_or_else(|| {
            Refusal::new(format!(
                "'{text}' does not seem to be an integer for field '%(field)s'"
            ))
        }),
        Json::Number(number) => Ok(json!(number.as_f64().unwrap_or_default().trunc() as i64)),
        Json::Bool(flag) => Ok(json!(i64::from(*flag))),
        other => Err(Refusal::Raised(Exception::type_error(format!(
            "int() argument must be a string, a bytes-like object or a real number, not '{}'",
            type_name(other)
        )))),
    }
}

fn float(json: &Json) -> Converted<Json> {
    match json {
        Json::String(text) => python::parse_float(text).map(Json::from).ok_or_else(|| {
            Refusal::new(format!(
                "'{text}' does not seem to be a number for field '%(field)s'"
            ))
        }),
        Json::Number(number) => Ok(json!(number)),
        Json::Bool(flag) => Ok(json!(f64::from(u8::from(*flag)))),
        other => Err(Refusal::Raised(Exception::type_error(format!(
            "float() argument must be a string or a real number, not '{}'",
            type_name(other)
        )))),
    }
}

/// The value or its label, in any case.
fn selection(options: &[(&str, &str)], json: &Json) -> Converted<Json> {
    let text = json
        .as_str()
        .ok_or_else(|| Refusal::no_attribute(json, "lower"))?;
    let wanted = text.to_lowercase();
    let found = options
        .iter()
        .find(|(value, label)| value.to_lowercase() == wanted || label.to_lowercase() == wanted);
    match found {
        Some((value, _)) => Ok(json!(value)),
        None => Err(Refusal::with(
            format!("Value '{text}' not found in selection field '%(field)s'"),
            json!(options.iter().map(|(_, label)| label).collect::<Vec<_>>()),
        )),
    }
}
