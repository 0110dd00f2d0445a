//! Values of one cell: text, numbers, booleans, dates, choices, files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Typed, temporal};
use crate::odoo::fields::Field;

/// Reads a value that is not null for a field that is no relation. The error says what is expected, as the end of
/// "… expects".
pub(super) fn read(field: &Field, value: &Value) -> Result<Typed, String> {
    let scalar = match field.kind.as_str() {
        "boolean" => boolean(value)?,
        "integer" | "many2one_reference" => integer(value)?,
        "float" | "monetary" => number(value)?,
        "char" | "text" | "html" => text(value)?,
        "date" => time(value, temporal::date, "a date as YYYY-MM-DD")?,
        "datetime" => time(
            value,
            temporal::datetime,
            "a time in ISO 8601, such as 2024-01-31T09:00:00Z",
        )?,
        "selection" => choice(field, value)?,
        "binary" | "image" => binary(value)?,
        "reference" => reference(value)?,
        "json" => return Ok(Typed::Json(value.clone())),
        "properties" => return properties(value),
        // A type this project does not know goes natively, in a write.
        _ => return Ok(Typed::Late(value.clone())),
    };
    Ok(Typed::Scalar(scalar))
}

fn boolean(value: &Value) -> Result<Value, String> {
    match value {
        Value::Bool(_) => Ok(value.clone()),
        Value::Number(number) if number.as_i64() == Some(0) => Ok(json!(false)),
        Value::Number(number) if number.as_i64() == Some(1) => Ok(json!(true)),
        _ => Err("true or false".to_owned()),
    }
}

fn integer(value: &Value) -> Result<Value, String> {
    let expected = || format!("a whole number from {} to {}", i32::MIN, i32::MAX);
    let number = match value {
        // A whole number that Postgres spelled with a fraction, such as 7.0, is one.
        Value::Number(number) => number.as_i64().or_else(|| {
            number
                .as_f64()
                .filter(|float| float.fract() == 0.0 && float.abs() < 1e15)
                .map(|float| float as i64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if i32::try_from(number).is_ok() => Ok(json!(number)),
        _ => Err(expected()),
    }
}

fn number(value: &Value) -> Result<Value, String> {
    match value {
        Value::Number(_) => Ok(value.clone()),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(json!(number)),
            _ => Err("a number".to_owned()),
        },
        _ => Err("a number".to_owned()),
    }
}

fn text(value: &Value) -> Result<Value, String> {
    match value {
        Value::String(_) => Ok(value.clone()),
        // A postal code or a reference that was stored as a number.
        Value::Number(number) => Ok(json!(number.to_string())),
        _ => Err("text".to_owned()),
    }
}

fn time(value: &Value, read: fn(&str) -> Option<String>, expected: &str) -> Result<Value, String> {
    value
        .as_str()
        .and_then(read)
        .map(Value::from)
        .ok_or_else(|| expected.to_owned())
}

fn choice(field: &Field, value: &Value) -> Result<Value, String> {
    let given = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err("one of its values, as text".to_owned()),
    };
    match &field.selection {
        Some(options) if !options.is_empty() && !options.contains(&given) => {
            let more = if options.len() > 20 { ", …" } else { "" };
            let shown: Vec<&str> = options.iter().take(20).map(String::as_str).collect();
            Err(format!("one of {}{more}", shown.join(", ")))
        }
        _ => Ok(json!(given)),
    }
}

fn binary(value: &Value) -> Result<Value, String> {
    let expected = || "base64 text, as encode(…, 'base64') gives".to_owned();
    let text = value.as_str().ok_or_else(expected)?;
    // Postgres breaks base64 into lines.
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(&text).map_err(|_| expected())?;
    Ok(json!(text))
}

fn reference(value: &Value) -> Result<Value, String> {
    let fits = |text: &str| {
        text.split_once(',').is_some_and(|(model, id)| {
            crate::odoo::guard::is_model_name(model) && id.parse::<i32>().is_ok_and(|id| id > 0)
        })
    };
    match value {
        Value::String(text) if fits(text) => Ok(value.clone()),
        _ => Err("\"model,id\", such as \"res.partner,7\"".to_owned()),
    }
}

fn properties(value: &Value) -> Result<Typed, String> {
    match value {
        Value::Object(_) | Value::Array(_) => Ok(Typed::Late(value.clone())),
        _ => Err("an object of property names and values".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: &str) -> Field {
        Field {
            kind: kind.to_owned(),
            readonly: false,
            required: false,
            store: true,
            related: false,
            computed: false,
            relation: None,
            relation_field: None,
            selection: (kind == "selection").then(|| vec!["draft".to_owned(), "done".to_owned()]),
            fixed_decimals: false,
            translated: false,
            company_dependent: false,
        }
    }

    #[test]
    fn values_by_type() {
        let table = [
            ("boolean", json!(true), Some(json!(true))),
            ("boolean", json!(0), Some(json!(false))),
            ("boolean", json!("true"), None),
            ("integer", json!(7), Some(json!(7))),
            ("integer", json!(7.0), Some(json!(7))),
            ("integer", json!("-7"), Some(json!(-7))),
            ("integer", json!(7.5), None),
            ("integer", json!("7.0"), None),
            ("integer", json!(2_147_483_648_i64), None),
            ("integer", json!(1e300), None),
            ("integer", json!(true), None),
            ("float", json!(1.5), Some(json!(1.5))),
            ("monetary", json!("12.50"), Some(json!(12.5))),
            ("float", json!("NaN"), None),
            ("float", json!("1,5"), None),
            ("char", json!("é"), Some(json!("é"))),
            ("char", json!(1000), Some(json!("1000"))),
            ("char", json!(true), None),
            ("text", json!({}), None),
            ("date", json!("2024-01-31"), Some(json!("2024-01-31"))),
            ("date", json!("31.1.2024"), None),
            (
                "datetime",
                json!("2024-01-31T09:00:00+01:00"),
                Some(json!("2024-01-31 08:00:00")),
            ),
            ("datetime", json!(1_700_000_000), None),
            ("selection", json!("draft"), Some(json!("draft"))),
            ("selection", json!("Draft"), None),
            ("binary", json!("aGVs\nbG8="), Some(json!("aGVsbG8="))),
            ("binary", json!("\\x6869"), None),
            ("binary", json!("data:image/png;base64,aGk="), None),
            (
                "reference",
                json!("res.partner,7"),
                Some(json!("res.partner,7")),
            ),
            ("reference", json!("res.partner,0"), None),
            ("reference", json!("7"), None),
        ];
        for (kind, given, expected) in table {
            assert_eq!(
                read(&field(kind), &given).ok(),
                expected.map(Typed::Scalar),
                "{kind} {given}"
            );
        }
        let refused = read(&field("selection"), &json!("sent")).unwrap_err();
        assert!(refused.contains("draft") && refused.contains("done"));
    }

    #[test]
    fn forms_that_load_cannot_carry_come_late() {
        assert_eq!(
            read(&field("properties"), &json!({"a": 1})),
            Ok(Typed::Late(json!({"a": 1})))
        );
        assert!(read(&field("properties"), &json!("x")).is_err());
        assert_eq!(
            read(&field("json"), &json!({"a": 1})),
            Ok(Typed::Json(json!({"a": 1})))
        );
        assert_eq!(
            read(&field("made_up"), &json!([1])),
            Ok(Typed::Late(json!([1])))
        );
    }
}
