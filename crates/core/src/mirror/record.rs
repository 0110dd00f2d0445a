//! What Odoo answered about records, in a form that Postgres reads in one statement.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use jiff::civil::DateTime;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::columns::{Column, Form};
use crate::failure::{ErrorClass, Failure};

/// Records of one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// A JSON list of objects; each has every column, written as Postgres reads it.
    pub rows: String,
    /// Ids of the records, in the order of the answer.
    pub ids: Vec<i64>,
    /// The newest `write_date` among them, as Odoo writes it.
    pub newest: Option<String>,
}

/// Reads the answer of `search_read`, a JSON text, to a question for the records `asked`. Each is answered once or not at all, and no
/// other is: an answer that is otherwise, or that has a value of another type than its field, is the server's failure, and nothing of it
/// is taken. Values go from text to text, without a tree in between: of a wide model that would be most of the work.
///
/// `variants` are the columns that have several values, written already, by record: `,"name":{…}`.
pub fn page(
    columns: &[Column],
    asked: &[i64],
    variants: Option<&HashMap<i64, String>>,
    answer: &[u8],
) -> Result<Page, Failure> {
    let mut seen = Seen {
        columns,
        variants,
        asked: asked.iter().copied().collect(),
        read: BTreeSet::new(),
        values: vec![None; columns.len()],
        odd: None,
        page: Page {
            rows: String::with_capacity(answer.len() + answer.len() / 8 + 2),
            ids: Vec::with_capacity(asked.len()),
            newest: None,
        },
    };
    let mut deserializer = serde_json::Deserializer::from_slice(answer);
    let read = deserializer
        .deserialize_any(&mut seen)
        .and_then(|()| deserializer.end());
    match (read, seen.odd) {
        (_, Some(odd)) => Err(odd),
        (Err(error), None) => Err(self::odd(format!(
            "what cannot be read as a list of records: {error}"
        ))),
        (Ok(()), None) => Ok(seen.page),
    }
}

/// What of an answer was read so far.
struct Seen<'c, 'a> {
    columns: &'c [Column],
    variants: Option<&'c HashMap<i64, String>>,
    asked: BTreeSet<i64>,
    read: BTreeSet<i64>,
    /// Of the record that is being read, by column.
    values: Vec<Option<&'a RawValue>>,
    /// Why the answer is refused.
    odd: Option<Failure>,
    page: Page,
}

impl<'a> Seen<'_, 'a> {
    /// Takes the record whose values were read.
    fn record(&mut self) -> Result<(), Failure> {
        let id = self
            .value("id")
            .and_then(|id| id.get().parse().ok())
            .ok_or_else(|| odd("a record without an id".to_owned()))?;
        if !self.asked.contains(&id) {
            return Err(odd(format!("record {id}, which was not asked for")));
        }
        if !self.read.insert(id) {
            return Err(odd(format!("record {id} twice")));
        }
        if let Some(date) = self.value("write_date").and_then(text)
            && self
                .page
                .newest
                .as_deref()
                .is_none_or(|newest| newest < date)
        {
            self.page.newest = Some(date.to_owned());
        }
        let out = &mut self.page.rows;
        out.push(if self.page.ids.is_empty() { '[' } else { ',' });
        out.push('{');
        let mut first = true;
        for (column, value) in self.columns.iter().zip(&mut self.values) {
            let value = value
                .take()
                .ok_or_else(|| odd(format!("a record without the field {:?}", column.name)))?;
            let before = out.len();
            if !first {
                out.push(',');
            }
            push_text(out, &column.name);
            out.push(':');
            match write(out, column.form, value.get()) {
                Ok(true) => first = false,
                Ok(false) => out.truncate(before),
                Err(expected) => {
                    let kind = kind(value.get());
                    return Err(odd(format!(
                        "{kind} where the field {:?} has {expected}",
                        column.name
                    )));
                }
            }
        }
        if let Some(variants) = self.variants {
            let of_record = variants.get(&id).ok_or_else(|| {
                odd(format!(
                    "record {id} in one language or company and not in another"
                ))
            })?;
            out.push_str(of_record);
        }
        out.push('}');
        self.page.ids.push(id);
        Ok(())
    }

    fn value(&self, name: &str) -> Option<&'a RawValue> {
        let place = self.columns.iter().position(|column| column.name == name)?;
        self.values[place]
    }
}

impl<'de> Visitor<'de> for &mut Seen<'_, 'de> {
    type Value = ();

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<(), A::Error> {
        while records.next_element_seed(Record(self))?.is_some() {
            if self.odd.is_some() {
                return Err(serde::de::Error::custom("refused"));
            }
        }
        if self.page.ids.is_empty() {
            self.page.rows.push('[');
        }
        self.page.rows.push(']');
        Ok(())
    }
}

/// One record of the list.
struct Record<'s, 'c, 'a>(&'s mut Seen<'c, 'a>);

impl<'de> DeserializeSeed<'de> for Record<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Record<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut record: A) -> Result<(), A::Error> {
        let seen = self.0;
        seen.values.fill(None);
        // Fields come in the order in which they were asked for.
        let mut next = 0;
        while let Some(name) = record.next_key::<Cow<'de, str>>()? {
            let value: &RawValue = record.next_value()?;
            let is = |column: &Column| column.name == name;
            let place = match seen.columns.get(next) {
                Some(column) if is(column) => Some(next),
                _ => seen.columns.iter().position(is),
            };
            if let Some(place) = place {
                seen.values[place] = Some(value);
                next = place + 1;
            }
        }
        seen.odd = seen.record().err();
        Ok(())
    }
}

/// Writes a value as its column takes it. `false`: it is NULL, and nothing is written. The error names what was expected.
pub(super) fn write(out: &mut String, form: Form, value: &str) -> Result<bool, &'static str> {
    // Odoo's null, everywhere but where it is a value.
    if value == "null" || (value == "false" && form != Form::Boolean) {
        return Ok(false);
    }
    let is_text = value.starts_with('"');
    let is_number = value.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    match form {
        Form::Boolean if value == "true" || value == "false" => out.push_str(value),
        Form::Boolean => return Err("true or false"),
        Form::Integer if value.parse::<i32>().is_ok() => out.push_str(value),
        Form::Integer => return Err("a whole number"),
        Form::Number if is_number => out.push_str(value),
        Form::Number => return Err("a number"),
        Form::Text if is_text => push_json(out, value),
        Form::Text => return Err("text"),
        Form::Date => match unquoted(value) {
            Some(date) if jiff::civil::Date::strptime("%Y-%m-%d", date).is_ok() => {
                out.push_str(value)
            }
            _ => return Err("a date"),
        },
        Form::Datetime => match unquoted(value) {
            Some(time) if DateTime::strptime("%Y-%m-%d %H:%M:%S", time).is_ok() => {
                out.push('"');
                out.push_str(time);
                out.push_str("+00\"");
            }
            _ => return Err("a time"),
        },
        // The bare id, or `[id, "its name"]`. 0 is no record.
        Form::One => {
            let id = value.strip_prefix('[').map_or(value, |pair| {
                pair.split([',', ']']).next().unwrap_or_default().trim()
            });
            match id.parse::<i64>() {
                Ok(0) => return Ok(false),
                Ok(id) if id > 0 => out.push_str(&id.to_string()),
                _ => return Err("a record's id"),
            }
        }
        Form::Many if serde_json::from_str::<Vec<i64>>(value).is_ok() => out.push_str(value),
        Form::Many => return Err("a list of ids"),
        Form::Json => push_json(out, value),
    }
    Ok(true)
}

/// A JSON text without escapes, such as a date has.
fn unquoted(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"')
}

fn text(value: &RawValue) -> Option<&str> {
    unquoted(value.get())
}

/// JSON without NUL, which Postgres' text cannot hold (nor can the text of Odoo's own Postgres; its jsonb neither).
fn push_json(out: &mut String, value: &str) {
    if !value.contains("\\u0000") {
        out.push_str(value);
    } else if let Ok(parsed) = serde_json::from_str(value) {
        out.push_str(&without_nul(&parsed).to_string());
    } else {
        // Deeper than what is parsed here.
        out.push_str("null");
    }
}

pub(super) fn push_text(out: &mut String, text: &str) {
    out.push_str(&Value::from(text).to_string());
}

fn without_nul(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::from(text.replace('\0', "\u{fffd}")),
        Value::Array(items) => items.iter().map(without_nul).collect(),
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| (key.replace('\0', "\u{fffd}"), without_nul(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn kind(value: &str) -> &'static str {
    match value.as_bytes().first() {
        Some(b'n') => "null",
        Some(b't' | b'f') => "true or false",
        Some(b'"') => "text",
        Some(b'[') => "a list",
        Some(b'{') => "an object",
        _ => "a number",
    }
}

fn odd(what: String) -> Failure {
    Failure::new(ErrorClass::Server, format!("Odoo answered {what}"))
        .with_remedy("Nothing of this answer was taken. If it comes again, look for an override of search_read in Odoo.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::columns;
    use super::*;
    use crate::odoo::fields::ModelFields;

    fn partner() -> Vec<Column> {
        let fields = ModelFields::from_json(&json!({
            "id": {"type": "integer"}, "name": {"type": "char"}, "active": {"type": "boolean"}, "color": {"type": "integer"},
            "amount": {"type": "monetary"}, "parent_id": {"type": "many2one"}, "write_date": {"type": "datetime"},
            "birthday": {"type": "date"}, "category_id": {"type": "many2many"}, "props": {"type": "properties"},
        }))
        .unwrap();
        let chosen: Vec<String> = fields.names().map(str::to_owned).collect();
        columns(&fields, Some(&chosen), &Default::default()).columns
    }

    fn record() -> Value {
        json!({
            "id": 7, "name": "Azure", "active": true, "color": 3, "amount": 12.50, "parent_id": [9, "Parent"],
            "write_date": "2026-07-26 10:00:00", "birthday": "2000-02-29", "category_id": [1, 2], "props": {"a": [1]},
        })
    }

    fn changed(field: &str, value: Value) -> Value {
        let mut record = record();
        record[field] = value;
        record
    }

    fn rows(answer: &Value) -> Value {
        let page = page(&partner(), &[7, 8], None, answer.to_string().as_bytes()).unwrap();
        serde_json::from_str(&page.rows).unwrap()
    }

    #[test]
    fn values_are_written_as_postgres_reads_them() {
        assert_eq!(
            rows(&json!([record()])),
            json!([{
                "id": 7, "name": "Azure", "active": true, "color": 3, "amount": 12.5, "parent_id": 9,
                "write_date": "2026-07-26 10:00:00+00", "birthday": "2000-02-29", "category_id": [1, 2], "props": {"a": [1]},
            }])
        );
    }

    #[test]
    fn false_is_null_but_for_booleans() {
        let empty = json!({
            "id": 7, "name": false, "active": false, "color": 0, "amount": 0.0, "parent_id": false,
            "write_date": false, "birthday": false, "category_id": [], "props": false,
        });
        assert_eq!(
            rows(&json!([empty])),
            json!([{"id": 7, "active": false, "color": 0, "amount": 0.0, "category_id": []}])
        );
    }

    #[test]
    fn a_bare_id_is_a_reference_too() {
        assert_eq!(
            rows(&json!([changed("parent_id", json!(9))]))[0]["parent_id"],
            json!(9)
        );
        assert_eq!(
            rows(&json!([changed("parent_id", json!(0))]))[0].get("parent_id"),
            None
        );
    }

    #[test]
    fn nul_is_replaced_wherever_it_stands() {
        let mut other = changed("props", json!({"\0": ["\0"]}));
        other["id"] = json!(8);
        let rows = rows(&json!([changed("name", json!("a\0b")), other]));
        assert_eq!(rows[0]["name"], json!("a\u{fffd}b"));
        assert_eq!(rows[1]["props"], json!({"\u{fffd}": ["\u{fffd}"]}));
    }

    #[test]
    fn an_answer_that_is_not_what_was_asked_is_refused_whole() {
        let mut half = record();
        half.as_object_mut().unwrap().remove("name");
        for odd in [
            json!(null),
            json!({"error": 1}),
            json!([1]),
            json!([{}]),
            json!([record(), record()]),
            json!([changed("id", json!(99))]),
            json!([half]),
            json!([changed("name", json!(1))]),
            json!([changed("active", json!("x"))]),
            json!([changed("color", json!(1.5))]),
            json!([changed("color", json!(3_000_000_000_i64))]),
            json!([changed("amount", json!("1"))]),
            json!([changed("parent_id", json!(-1))]),
            json!([changed("parent_id", json!("x"))]),
            json!([changed("write_date", json!("2026-07-26T10:00:00Z"))]),
            json!([changed("birthday", json!("2026-02-30"))]),
            json!([changed("category_id", json!(["x"]))]),
        ] {
            let refused = page(&partner(), &[7, 8], None, odd.to_string().as_bytes()).unwrap_err();
            assert_eq!(refused.class, ErrorClass::Server, "{odd}");
        }
    }

    #[test]
    fn the_newest_change_is_told() {
        let older = changed("write_date", json!("2026-07-26 09:00:00"));
        let mut newer = record();
        newer["id"] = json!(8);
        let page = page(
            &partner(),
            &[7, 8],
            None,
            json!([older, newer]).to_string().as_bytes(),
        )
        .unwrap();
        assert_eq!(page.newest.as_deref(), Some("2026-07-26 10:00:00"));
        assert_eq!(page.ids, [7, 8]);
    }
}
