//! What Odoo answered about records, in a form that Postgres reads in one statement.

use std::collections::BTreeSet;

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

/// Reads the answer of `search_read` to a question for the records `asked`. Each is answered once or not at all, and no other is:
/// an answer that is otherwise, or that has a value of another type than its field, is the server's failure, and nothing of it is taken.
pub fn page(columns: &[Column], asked: &[i64], answer: &Value) -> Result<Page, Failure> {
    let records = answer
        .as_array()
        .ok_or_else(|| odd("no list of records".to_owned()))?;
    let asked: BTreeSet<i64> = asked.iter().copied().collect();
    let mut seen = BTreeSet::new();
    let mut page = Page {
        rows: String::from("["),
        ids: Vec::with_capacity(records.len()),
        newest: None,
    };
    for record in records {
        let record = record
            .as_object()
            .ok_or_else(|| odd("a record that is no object".to_owned()))?;
        let id = record
            .get("id")
            .and_then(Value::as_i64)
            .ok_or_else(|| odd("a record without an id".to_owned()))?;
        if !asked.contains(&id) {
            return Err(odd(format!("record {id}, which was not asked for")));
        }
        if !seen.insert(id) {
            return Err(odd(format!("record {id} twice")));
        }
        if let Some(date) = record.get("write_date").and_then(Value::as_str)
            && page.newest.as_deref().is_none_or(|newest| newest < date)
        {
            page.newest = Some(date.to_owned());
        }
        if !page.ids.is_empty() {
            page.rows.push(',');
        }
        write_record(&mut page.rows, columns, record)?;
        page.ids.push(id);
    }
    page.rows.push(']');
    Ok(page)
}

fn write_record(
    out: &mut String,
    columns: &[Column],
    record: &Map<String, Value>,
) -> Result<(), Failure> {
    let mut first = true;
    out.push('{');
    for column in columns {
        let value = record
            .get(&column.name)
            .ok_or_else(|| odd(format!("a record without the field {:?}", column.name)))?;
        let Some(value) = written(column.form, value).map_err(|expected| {
            odd(format!(
                "{} where the field {:?} has {expected}",
                kind(value),
                column.name
            ))
        })?
        else {
            continue;
        };
        if !first {
            out.push(',');
        }
        first = false;
        push_text(out, &column.name);
        out.push(':');
        match value {
            Written::As(value) => push_value(out, value),
            Written::Text(text) => push_text(out, &text),
            Written::Id(id) => out.push_str(&id.to_string()),
        }
    }
    out.push('}');
    Ok(())
}

enum Written<'a> {
    As(&'a Value),
    Text(String),
    Id(i64),
}

/// The value as its column takes it; `None` is NULL. The error names what was expected.
fn written(form: Form, value: &Value) -> Result<Option<Written<'_>>, &'static str> {
    // Odoo's null, everywhere but where it is a value.
    if value.is_null() || (value == &Value::Bool(false) && form != Form::Boolean) {
        return Ok(None);
    }
    let as_is = Ok(Some(Written::As(value)));
    match form {
        Form::Boolean if value.is_boolean() => as_is,
        Form::Boolean => Err("true or false"),
        Form::Integer
            if value
                .as_i64()
                .is_some_and(|number| i32::try_from(number).is_ok()) =>
        {
            as_is
        }
        Form::Integer => Err("a whole number"),
        Form::Number if value.is_number() => as_is,
        Form::Number => Err("a number"),
        Form::Text if value.is_string() => as_is,
        Form::Text => Err("text"),
        Form::Date => match value.as_str() {
            Some(date) if jiff::civil::Date::strptime("%Y-%m-%d", date).is_ok() => as_is,
            _ => Err("a date"),
        },
        Form::Datetime => match value.as_str() {
            Some(time) if jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", time).is_ok() => {
                Ok(Some(Written::Text(format!("{time}+00"))))
            }
            _ => Err("a time"),
        },
        // The bare id, or `[id, "its name"]`. 0 is no record.
        Form::One => match value.get(0).unwrap_or(value).as_i64() {
            Some(0) => Ok(None),
            Some(id) if id > 0 => Ok(Some(Written::Id(id))),
            _ => Err("a record's id"),
        },
        Form::Many => match value.as_array() {
            Some(ids) if ids.iter().all(Value::is_i64) => as_is,
            _ => Err("a list of ids"),
        },
        Form::Json => as_is,
    }
}

/// JSON without NUL, which Postgres' text cannot hold (nor can the text of Odoo's own Postgres; its jsonb neither).
fn push_value(out: &mut String, value: &Value) {
    let text = value.to_string();
    if text.contains("\\u0000") {
        out.push_str(&without_nul(value).to_string());
    } else {
        out.push_str(&text);
    }
}

fn push_text(out: &mut String, text: &str) {
    push_value(out, &Value::from(text));
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

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
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
        columns(&fields, Some(&chosen)).columns
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
        let page = page(&partner(), &[7, 8], answer).unwrap();
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
            let refused = page(&partner(), &[7, 8], &odd).unwrap_err();
            assert_eq!(refused.class, ErrorClass::Server, "{odd}");
        }
    }

    #[test]
    fn the_newest_change_is_told() {
        let older = changed("write_date", json!("2026-07-26 09:00:00"));
        let mut newer = record();
        newer["id"] = json!(8);
        let page = page(&partner(), &[7, 8], &json!([older, newer])).unwrap();
        assert_eq!(page.newest.as_deref(), Some("2026-07-26 10:00:00"));
        assert_eq!(page.ids, [7, 8]);
    }
}
