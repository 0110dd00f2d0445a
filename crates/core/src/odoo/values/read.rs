//! A payload, field by field.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::relation::{self, Naming};
use super::{FieldSource, Line, Reference, Typed, Values, scalar};
use crate::external_id::line_external_id;
use crate::failure::{ErrorClass, Failure};
use crate::odoo::endpoint::Endpoint;
use crate::odoo::fields::{Field, ModelFields, Purpose, check};
use crate::odoo::guard::check_model;

/// Most lines of one record.
const MOST_LINES: usize = 10_000;

/// What reading a payload needs to know.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub endpoint: &'a Endpoint,
    pub naming: Naming<'a>,
    pub source: &'a dyn FieldSource,
}

/// Reads the payload of one row.
///
/// `parent` is the record's own external id, from which those of its lines are made. On [`Purpose::Create`] a line
/// without a key is named by its position: the same payload sent again names the same lines. Otherwise positions say
/// nothing about lines that exist, so a key is needed. A refusal names the field, is [`ErrorClass::Invalid`], and means
/// that nothing was sent; a failure of `source` comes back as it is.
pub fn read_payload(
    reader: Reader<'_>,
    model: &str,
    payload: &Map<String, Value>,
    purpose: Purpose,
    parent: &str,
) -> Result<Values, Failure> {
    let fields = reader.source.fields(model)?;
    let mut values = Values::new();
    for (name, value) in payload {
        let field = check(&fields, model, name, purpose)?;
        let typed = match field.kind.as_str() {
            "one2many" => lines(reader, model, name, field, value, purpose, parent)?,
            _ => plain(reader, model, name, field, value)?,
        };
        values.insert(name.clone(), typed);
    }
    Ok(values)
}

fn plain(
    reader: Reader<'_>,
    model: &str,
    name: &str,
    field: &Field,
    value: &Value,
) -> Result<Typed, Failure> {
    if holds_nul(value) {
        return Err(invalid(
            format!("{model}.{name} holds a NUL character"),
            "Odoo's PostgreSQL cannot store it; take it out.",
        ));
    }
    let relation = field.relation.as_deref().unwrap_or_default();
    let typed = match (field.kind.as_str(), value) {
        ("many2one", value) => relation::one(reader.naming, relation, value).map(Typed::One),
        ("many2many", value) => relation::many(reader.naming, relation, value).map(Typed::Many),
        ("boolean", Value::Null) => Ok(Typed::Scalar(Value::Bool(false))),
        (_, Value::Null) => Ok(Typed::Null),
        // Odoo's own null, as a read gives it back.
        (kind, Value::Bool(false)) if kind != "boolean" && kind != "json" => Ok(Typed::Null),
        (_, value) => scalar::read(field, value),
    };
    typed.map_err(|expected| {
        invalid(
            format!(
                "{model}.{name} ({}) expects {expected}, not {}",
                field.kind,
                shown(value)
            ),
            "Correct the value; times are UTC unless they carry an offset.",
        )
    })
}

fn lines(
    reader: Reader<'_>,
    model: &str,
    name: &str,
    field: &Field,
    value: &Value,
    purpose: Purpose,
    parent: &str,
) -> Result<Typed, Failure> {
    const REMEDY: &str = "For example [{\"key\": \"1\", \"name\": \"…\"}]; \"key\" tells the lines of one record apart.";
    let expects = || {
        invalid(
            format!("{model}.{name} (one2many) expects a list of objects, one per line"),
            REMEDY,
        )
    };
    let items = match value {
        Value::Null | Value::Bool(false) => return Ok(Typed::Lines(Vec::new())),
        Value::Array(items) if items.len() <= MOST_LINES => items,
        _ => return Err(expects()),
    };
    let Some(relation) = field.relation.as_deref() else {
        return Err(expects());
    };
    check_model(reader.endpoint, relation)?;
    let fields = reader.source.fields(relation)?;
    let mut found: Vec<Line> = Vec::with_capacity(items.len());
    let mut seen: BTreeSet<Reference> = BTreeSet::new();
    for (position, item) in items.iter().enumerate() {
        let (object, id) = line_object(item).ok_or_else(expects)?;
        let place = format!("{name}[{position}]");
        let identity = match (id, object.get("key")) {
            (Some(id), None) => Reference::Id(id),
            (None, Some(Value::String(key))) if !key.is_empty() => {
                External(parent, name, key).into()
            }
            (None, Some(Value::Number(key))) => External(parent, name, &key.to_string()).into(),
            (None, None) if purpose == Purpose::Create => {
                External(parent, name, &format!("position {position}")).into()
            }
            (None, None) => {
                return Err(invalid(
                    format!(
                        "{model}.{place} has no \"key\", so that nobody can tell which line of the record it is"
                    ),
                    "Give every line a \"key\" that stays the same, in the create and in every update.",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(invalid(
                    format!("{model}.{place} has both a \"key\" and an Odoo id"),
                    "Name a line by its \"key\" where it came through this connection, else by its id alone.",
                ));
            }
            _ => {
                return Err(invalid(
                    format!("{model}.{place}: \"key\" must be text that is not empty"),
                    REMEDY,
                ));
            }
        };
        if !seen.insert(identity.clone()) {
            return Err(invalid(
                format!("{model}.{place} has the same key as a line before it"),
                REMEDY,
            ));
        }
        if purpose == Purpose::Create && matches!(identity, Reference::Id(_)) {
            return Err(invalid(
                format!(
                    "{model}.{place} names a line of Odoo below a record that is yet to be made"
                ),
                REMEDY,
            ));
        }
        if let Some(removed) = object.get("_delete") {
            if removed != &Value::Bool(true)
                || object.keys().any(|key| key != "_delete" && key != "key")
            {
                return Err(invalid(
                    format!(
                        "{model}.{place}: a line with \"_delete\" is deleted, and has no values"
                    ),
                    "Send {\"key\": \"…\", \"_delete\": true}.",
                ));
            }
            found.push(Line {
                identity,
                values: Values::new(),
                removed: true,
            });
            continue;
        }
        // A line of an update may be a new one.
        let purpose = if purpose == Purpose::Update {
            Purpose::Upsert
        } else {
            purpose
        };
        let values = line_values(
            reader,
            relation,
            &fields,
            &object,
            purpose,
            field.relation_field.as_deref(),
        )?;
        if values.is_empty() {
            return Err(invalid(
                format!("{model}.{place} has no values"),
                "Leave lines out that do not change.",
            ));
        }
        found.push(Line {
            identity,
            values,
            removed: false,
        });
    }
    Ok(Typed::Lines(found))
}

/// Makes a line's external id from its record's.
struct External<'a>(&'a str, &'a str, &'a str);

impl From<External<'_>> for Reference {
    fn from(External(parent, field, key): External<'_>) -> Self {
        Self::External(line_external_id(parent, field, key))
    }
}

/// The object of a line and its Odoo id where it has one, also from Odoo's own commands `[0, 0, {…}]` and `[1, id, {…}]`. As in the
/// record itself, an `id` of 0, null or false means that it is not known.
fn line_object(item: &Value) -> Option<(Map<String, Value>, Option<i64>)> {
    match item {
        Value::Object(object) => {
            let mut object = object.clone();
            let id = match object.remove("id") {
                None | Some(Value::Null | Value::Bool(false)) => None,
                Some(id) => match id.as_i64()? {
                    0 => None,
                    id if id > 0 && i32::try_from(id).is_ok() => Some(id),
                    _ => return None,
                },
            };
            Some((object, id))
        }
        Value::Array(parts) => match (
            parts.first()?.as_i64()?,
            parts.get(1)?.as_i64(),
            parts.get(2)?,
        ) {
            (0, _, Value::Object(object)) => Some((object.clone(), None)),
            (1, Some(id), Value::Object(object)) if id > 0 => Some((object.clone(), Some(id))),
            _ => None,
        },
        _ => None,
    }
}

fn line_values(
    reader: Reader<'_>,
    model: &str,
    fields: &ModelFields,
    object: &Map<String, Value>,
    purpose: Purpose,
    back: Option<&str>,
) -> Result<Values, Failure> {
    let mut values = Values::new();
    for (name, value) in object {
        // The record the line belongs to is the one it stands in.
        if name == "key" || Some(name.as_str()) == back {
            continue;
        }
        let field = check(fields, model, name, purpose)?;
        if field.kind == "one2many" {
            return Err(invalid(
                format!("{model}.{name}: lines below lines are not written"),
                "Send them in a row of their own that names its record.",
            ));
        }
        values.insert(name.clone(), plain(reader, model, name, field, value)?);
    }
    Ok(values)
}

fn invalid(message: String, remedy: &str) -> Failure {
    Failure::new(ErrorClass::Invalid, message).with_remedy(remedy)
}

/// The kind of a value, and its beginning where it is short and simple: enough to find it, no payload in a message.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.chars().count() <= 40 => format!("{text:?}"),
        Value::String(text) => format!("a text of {} characters", text.chars().count()),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(object) => object
            .iter()
            .any(|(key, value)| key.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests;
