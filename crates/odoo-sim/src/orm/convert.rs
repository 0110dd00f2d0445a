//! From what a caller writes to what a field stores (`Field.convert_to_cache` and `convert_to_column` of Odoo).

use super::clock;
use super::field::{Field, Kind};
use super::python::{self, truthy, type_name};
use super::value::Value;
use crate::exception::{Exception, Outcome};
use base64::Engine;
use serde_json::Value as Json;

/// Converts a written value. x2many fields are not converted but applied, see [`super::x2many`].
pub(crate) fn to_value(model: &str, field: &Field, json: &Json) -> Outcome<Value> {
    match field.kind {
        Kind::Char | Kind::Text => text(json),
        Kind::Html => Ok(match text(json)? {
            Value::Str(raw) => Value::str(sanitized(&raw)),
            other => other,
        }),
        Kind::Boolean => Ok(Value::Bool(truthy(json))),
        Kind::Integer => integer(json),
        Kind::Float(digits) => Ok(Value::Float(rounded(float(json)?, digits))),
        Kind::Monetary => Ok(Value::Float(rounded(float(json)?, Some(2)))),
        Kind::Date => date(json),
        Kind::Datetime => datetime(json),
        Kind::Selection(options) => selection(model, field, options, json),
        Kind::Binary => binary(json),
        Kind::Many2one { .. } => many2one(field, json),
        Kind::One2many { .. } | Kind::Many2many { .. } => Ok(Value::Null),
    }
}

fn text(json: &Json) -> Outcome<Value> {
    let text = match json {
        Json::Null | Json::Bool(false) => return Ok(Value::Null),
        other => python::text(other),
    };
    if text.contains('\0') {
        return Err(Exception::value_error(
            "A string literal cannot contain NUL (0x00) characters.",
        ));
    }
    Ok(Value::str(text))
}

/// The gist of Odoo's sanitizer: no scripts, entities where they belong, plain text in a `span`.
fn sanitized(raw: &str) -> String {
    let mut text = raw.trim().to_owned();
    while let Some(start) = text.to_lowercase().find("<script") {
        let end = text.to_lowercase()[start..]
            .find("</script>")
            .map_or(text.len(), |end| start + end + 9);
        text.replace_range(start..end.min(text.len()), "");
    }
    let mut clean = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        match c {
            '&' if !rest
                .split_once(';')
                .is_some_and(|(name, _)| is_entity(name)) =>
            {
                clean.push_str("&amp;")
            }
            '<' if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!') => {
                clean.push_str("&lt;")
            }
            c => clean.push(c),
        }
    }
    let clean = clean.replace("<br/>", "<br>");
    if clean.starts_with('<') || clean.is_empty() {
        clean
    } else {
        format!("<span>{clean}</span>")
    }
}

fn is_entity(name: &str) -> bool {
    !name.is_empty()
        && name.len() < 10
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '#')
}

fn integer(json: &Json) -> Outcome<Value> {
    let number = match json {
        _ if !truthy(json) => 0,
        Json::Bool(_) => 1,
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole,
            (None, Some(float)) if float.abs() < 9e18 => float.trunc() as i64,
            _ => return Err(out_of_range()),
        },
        Json::String(text) => match python::parse_int(text) {
            Some(number) => number,
            None => {
                let message = format!(
                    "invalid literal for int() with base 10: {}",
                    python::quoted(text)
                );
                return Err(Exception::value_error(message));
            }
        },
        Json::Object(map) => map.get("id").and_then(Json::as_i64).unwrap_or_default(),
        other => {
            return Err(Exception::type_error(format!(
                "int() argument must be a string, a bytes-like object or a real number, not '{}'",
                type_name(other)
            )));
        }
    };
    if i32::try_from(number).is_err() {
        return Err(out_of_range());
    }
    Ok(Value::Int(number))
}

fn out_of_range() -> Exception {
    Exception::database("NumericValueOutOfRange", "integer out of range\n")
}

fn float(json: &Json) -> Outcome<f64> {
    match json {
        _ if !truthy(json) => Ok(0.0),
        Json::Bool(_) => Ok(1.0),
        Json::Number(number) => Ok(number.as_f64().unwrap_or_default()),
        Json::String(text) => python::parse_float(text).ok_or_else(|| {
            Exception::value_error(format!(
                "could not convert string to float: {}",
                python::quoted(text)
            ))
        }),
        other => Err(Exception::type_error(format!(
            "float() argument must be a string or a real number, not '{}'",
            type_name(other)
        ))),
    }
}

/// Rounds half away from zero, as Odoo's `float_round` does.
pub(crate) fn rounded(number: f64, digits: Option<i32>) -> f64 {
    let Some(digits) = digits else { return number };
    let factor = 10f64.powi(digits);
    let scaled = number * factor;
    if !scaled.is_finite() {
        return number;
    }
    // The nudge is Odoo's: 2.675 is stored a little below itself and must still round up.
    let nudge = scaled.abs() * f64::EPSILON;
    (scaled + nudge.copysign(scaled)).round() / factor
}

fn date(json: &Json) -> Outcome<Value> {
    match json {
        _ if !truthy(json) => Ok(Value::Null),
        Json::String(text) => clock::parse_date(text)
            .map(Value::str)
            .map_err(Exception::value_error),
        other => Err(Exception::type_error(format!(
            "'{}' object is not subscriptable",
            type_name(other)
        ))),
    }
}

fn datetime(json: &Json) -> Outcome<Value> {
    match json {
        _ if !truthy(json) => Ok(Value::Null),
        Json::String(text) => clock::parse_datetime(text)
            .map(Value::str)
            .map_err(Exception::value_error),
        other => Err(Exception::type_error(format!(
            "object of type '{}' has no len()",
            type_name(other)
        ))),
    }
}

fn selection(model: &str, field: &Field, options: &[(&str, &str)], json: &Json) -> Outcome<Value> {
    match json {
        Json::String(text) if options.iter().any(|(value, _)| value == text) => {
            Ok(Value::str(text))
        }
        _ if !truthy(json) => Ok(Value::Null),
        other => Err(Exception::value_error(format!(
            "Wrong value for {model}.{}: {}",
            field.name,
            python::repr(other)
        ))),
    }
}

fn binary(json: &Json) -> Outcome<Value> {
    match json {
        _ if !truthy(json) => Ok(Value::Null),
        Json::String(text) => image(text),
        _ => Err(Exception::user("Image is not encoded in base64.")),
    }
}

/// The only binary field here is an image. Like Python's decoder it passes over what is no base64.
fn image(text: &str) -> Outcome<Value> {
    const MAGIC: [&[u8]; 6] = [
        b"\x89PNG",
        b"\xff\xd8\xff",
        b"GIF8",
        b"RIFF",
        b"BM",
        b"<svg",
    ];
    let letters: String = text
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='))
        .collect();
    let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(letters) else {
        return Err(Exception::user("Image is not encoded in base64."));
    };
    if MAGIC.iter().any(|magic| bytes.starts_with(magic)) {
        return Ok(Value::str(text));
    }
    Err(Exception::user(
        "This file could not be decoded as an image file.",
    ))
}

fn many2one(field: &Field, json: &Json) -> Outcome<Value> {
    match json {
        Json::Number(number) => match number.as_i64() {
            Some(0) => Ok(Value::Null),
            Some(id) => Ok(Value::Ref(id)),
            None => Ok(Value::Null),
        },
        other if !truthy(other) => Ok(Value::Null),
        Json::Array(_) => Err(Exception::database(
            "DatatypeMismatch",
            format!(
                "column \"{}\" is of type integer but expression is of type integer[]\n",
                field.name
            ),
        )),
        Json::Bool(_) => Err(Exception::database(
            "DatatypeMismatch",
            format!(
                "column \"{}\" is of type integer but expression is of type boolean\n",
                field.name
            ),
        )),
        Json::Object(_) => Err(Exception::database(
            "ProgrammingError",
            "can't adapt type 'dict'",
        )),
        other => Err(Exception::not_an_id(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::field;
    use super::*;
    use serde_json::json;

    fn convert(field: Field, value: Json) -> Result<Value, String> {
        to_value("m", &field, &value).map_err(|e| format!("{}: {}", e.name(), e.message))
    }

    #[test]
    fn integers_truncate_numbers_and_refuse_decimal_text() {
        assert_eq!(
            convert(field::integer("n", "N"), json!(7.5)),
            Ok(Value::Int(7))
        );
        assert_eq!(
            convert(field::integer("n", "N"), json!("7")),
            Ok(Value::Int(7))
        );
        assert!(
            convert(field::integer("n", "N"), json!("7.0"))
                .unwrap_err()
                .starts_with("builtins.ValueError")
        );
        assert!(
            convert(field::integer("n", "N"), json!([1]))
                .unwrap_err()
                .starts_with("builtins.TypeError")
        );
        assert!(
            convert(field::integer("n", "N"), json!(1u64 << 40))
                .unwrap_err()
                .contains("NumericValueOutOfRange")
        );
    }

    #[test]
    fn text_takes_anything_but_nul() {
        assert_eq!(
            convert(field::char("c", "C"), json!(12)),
            Ok(Value::str("12"))
        );
        assert_eq!(
            convert(field::char("c", "C"), json!(false)),
            Ok(Value::Null)
        );
        assert_eq!(
            convert(field::char("c", "C"), json!("")),
            Ok(Value::str(""))
        );
        assert!(convert(field::char("c", "C"), json!("a\0")).is_err());
    }

    #[test]
    fn money_rounds_half_up() {
        assert_eq!(
            convert(field::monetary("m", "M"), json!(2.675)),
            Ok(Value::Float(2.68))
        );
        assert_eq!(
            convert(field::monetary("m", "M"), json!(-2.675)),
            Ok(Value::Float(-2.68))
        );
    }
}
