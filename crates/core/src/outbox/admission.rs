//! What a row must be before anything is done with it: checked by `etl.enqueue()` and again for every claimed row, since a
//! plain INSERT is a valid enqueue.

use serde_json::{Map, Value};

use super::row::Operation;

/// Longest model name taken.
pub const MAX_MODEL: usize = 128;
/// Longest idempotency key taken, in bytes: more does not fit the index behind its UNIQUE.
pub const MAX_IDEMPOTENCY_KEY: usize = 2_000;
/// Largest payload taken, in bytes of JSON text. Odoo refuses requests over 128 MiB.
pub const MAX_PAYLOAD: usize = 100 * 1024 * 1024;

/// A row that can never be delivered, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub message: String,
    pub hint: String,
}

impl Refusal {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// What a payload says once it is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    pub operation: Operation,
    /// The payload without `odoo_id`, and without an `id` that names the Odoo record.
    pub fields: Map<String, Value>,
    /// Always > 0.
    pub odoo_id: Option<i64>,
    /// The Odoo context of this row alone: `_context` of its payload.
    pub context: Map<String, Value>,
}

/// Checks a row that asks for `operation` on `model`. `knows_record`: a record key or an earlier delivery names the record.
pub fn admit(
    model: &str,
    operation: &str,
    payload: Value,
    knows_record: bool,
) -> Result<Admitted, Refusal> {
    if model.is_empty()
        || model.len() > MAX_MODEL
        || !model
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'_')
    {
        return Err(Refusal::new(
            format!("\"{}\" is not the name of an Odoo model", shortened(model)),
            "Use Odoo's technical name, such as res.partner or sale.order.",
        ));
    }
    let Some(kind) = Operation::from_name(operation) else {
        let names = Operation::ALL.map(Operation::name).join(", ");
        return Err(Refusal::new(
            format!("operation \"{}\" is not known", shortened(operation)),
            format!("Use one of: {names}."),
        ));
    };
    let mut fields = match payload {
        Value::Object(fields) => fields,
        other => {
            return Err(Refusal::new(
                format!("the payload is {}, not an object", kind_of(&other)),
                "Give an object of field names and values, such as {\"name\": \"Ada\"}.",
            ));
        }
    };
    if fields.keys().any(|name| name.contains('\0')) {
        return Err(Refusal::new(
            "a field name holds a NUL character",
            "Remove it: neither Odoo nor Postgres can store one.",
        ));
    }
    let by_odoo_id = fields
        .remove("odoo_id")
        .map(|value| named_id("odoo_id", &value))
        .transpose()?
        .flatten();
    let by_id = fields
        .remove("id")
        .map(|value| named_id("id", &value))
        .transpose()?
        .flatten();
    let odoo_id = by_odoo_id.or(by_id);
    let context = match fields.remove("_context") {
        Some(Value::Object(context)) if kind != Operation::Call => context,
        None | Some(Value::Null) => Map::new(),
        Some(_) => {
            return Err(Refusal::new(
                "\"_context\" is no object, or of a call",
                "Give a context such as {\"lang\": \"de_DE\", \"allowed_company_ids\": [2]}; a call has its own in \"kwargs\".",
            ));
        }
    };
    let known = odoo_id.is_some() || knows_record;
    match kind {
        Operation::Create | Operation::Upsert => {}
        Operation::Update if !known => {
            return Err(Refusal::new(
                "an update must name its record",
                "Give the payload a positive \"odoo_id\", or the row the record_key that it was created with. To make the record where it is missing, use upsert.",
            ));
        }
        Operation::Delete if !known => {
            return Err(Refusal::new(
                "a delete must name its record",
                "Give the payload a positive \"odoo_id\", or the row the record_key that it was created with.",
            ));
        }
        Operation::Update | Operation::Delete => {}
        Operation::Call => admit_call(&fields)?,
    }
    if matches!(kind, Operation::Update) && fields.is_empty() {
        return Err(Refusal::new(
            "an update without a field changes nothing",
            "Name at least one field and its value.",
        ));
    }
    Ok(Admitted {
        operation: kind,
        fields,
        odoo_id,
        context,
    })
}

fn admit_call(fields: &Map<String, Value>) -> Result<(), Refusal> {
    const HINT: &str = "A call looks like {\"method\": \"action_confirm\", \"ids\": [7], \"args\": [], \"kwargs\": {}, \"unless\": [[\"state\", \"=\", \"sale\"]]}.";
    if let Some(unknown) = fields
        .keys()
        .find(|name| !["method", "ids", "args", "kwargs", "unless"].contains(&name.as_str()))
    {
        return Err(Refusal::new(
            format!("a call has no \"{}\"", shortened(unknown)),
            HINT,
        ));
    }
    match fields.get("method") {
        Some(Value::String(method)) if !method.is_empty() && !method.starts_with('_') => {}
        Some(Value::String(method)) if method.starts_with('_') => {
            return Err(Refusal::new(
                format!(
                    "\"{}\" is a private method: Odoo does not let anyone call it",
                    shortened(method)
                ),
                HINT,
            ));
        }
        _ => return Err(Refusal::new("a call must name its method", HINT)),
    }
    if let Some(ids) = fields.get("ids") {
        let Value::Array(ids) = ids else {
            return Err(Refusal::new(
                "\"ids\" of a call must be a list of Odoo ids",
                HINT,
            ));
        };
        for id in ids {
            if named_id("ids", id)?.is_none() {
                return Err(Refusal::new(
                    "\"ids\" of a call names a record that cannot exist",
                    "Every id must be a positive whole number.",
                ));
            }
        }
    }
    let wrong = |name, is: fn(&Value) -> bool| {
        fields
            .get(name)
            .is_some_and(|value| !value.is_null() && !is(value))
    };
    if wrong("args", Value::is_array) || wrong("unless", Value::is_array) {
        return Err(Refusal::new(
            "\"args\" and \"unless\" of a call must be lists",
            HINT,
        ));
    }
    if wrong("kwargs", Value::is_object) {
        return Err(Refusal::new("\"kwargs\" of a call must be an object", HINT));
    }
    Ok(())
}

/// The Odoo id that a value names. Null, false, an empty text and 0 mean "not known"; old triggers send numbers as text.
fn named_id(name: &str, value: &Value) -> Result<Option<i64>, Refusal> {
    let refuse = |what: String| {
        Err(Refusal::new(
            format!("\"{name}\" is {what}, not the id of an Odoo record"),
            "Give a positive whole number; leave it out (or null) where Odoo's id is not known.",
        ))
    };
    match value {
        Value::Null | Value::Bool(false) => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::Number(number) => match number.as_i64() {
            Some(0) => Ok(None),
            // Odoo's ids are int4; 18 digits is what the queue's key reads, and already out of reach.
            Some(id) if id > 0 && id < 1_000_000_000_000_000_000 => Ok(Some(id)),
            _ => refuse(number.to_string()),
        },
        Value::String(text) => match text.parse::<i64>() {
            Ok(0) => Ok(None),
            Ok(id) if id > 0 && id < 1_000_000_000_000_000_000 && !text.starts_with(['+', '0']) => {
                Ok(Some(id))
            }
            _ => refuse(format!("\"{}\"", shortened(text))),
        },
        other => refuse(kind_of(other).to_owned()),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(64).filter(|c| !c.is_control()).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(operation: &str, payload: Value) -> String {
        admit("res.partner", operation, payload, false)
            .expect_err("admitted")
            .message
    }

    #[test]
    fn the_record_is_named_by_odoo_id_before_id() {
        let admitted = admit(
            "res.partner",
            "update",
            json!({"odoo_id": 7, "id": 8, "name": "Ada"}),
            false,
        )
        .unwrap();
        assert_eq!((admitted.odoo_id, admitted.fields.len()), (Some(7), 1));
        let admitted = admit(
            "res.partner",
            "upsert",
            json!({"odoo_id": 0, "id": "42", "name": "Ada"}),
            false,
        )
        .unwrap();
        assert_eq!(admitted.odoo_id, Some(42));
    }

    #[test]
    fn zero_null_and_false_mean_not_known() {
        for unknown in [json!(0), json!(null), json!(false), json!("")] {
            let admitted = admit(
                "res.partner",
                "upsert",
                json!({"odoo_id": unknown, "name": "Ada"}),
                false,
            )
            .unwrap();
            assert_eq!(admitted.odoo_id, None);
            assert_eq!(
                refusal("delete", json!({"odoo_id": unknown})),
                "a delete must name its record"
            );
        }
    }

    #[test]
    fn impossible_ids_are_refused_by_name() {
        assert_eq!(
            refusal("delete", json!({"id": -1})),
            "\"id\" is -1, not the id of an Odoo record"
        );
        assert_eq!(
            refusal("delete", json!({"odoo_id": 9_223_372_036_854_775_808_u64})),
            "\"odoo_id\" is 9223372036854775808, not the id of an Odoo record"
        );
        assert_eq!(
            refusal("delete", json!({"odoo_id": 1.5})),
            "\"odoo_id\" is 1.5, not the id of an Odoo record"
        );
        assert_eq!(
            refusal("delete", json!({"odoo_id": true})),
            "\"odoo_id\" is a boolean, not the id of an Odoo record"
        );
        assert_eq!(
            refusal("delete", json!({"odoo_id": "abc"})),
            "\"odoo_id\" is \"abc\", not the id of an Odoo record"
        );
    }

    #[test]
    fn unknown_operations_models_and_payloads_are_refused_with_a_hint() {
        assert!(
            admit("res.partner", "merge", json!({}), false)
                .unwrap_err()
                .hint
                .contains("upsert")
        );
        assert!(
            admit("res.partner; DROP", "create", json!({}), false)
                .unwrap_err()
                .hint
                .contains("res.partner")
        );
        assert_eq!(
            refusal("create", json!([1])),
            "the payload is a list, not an object"
        );
        assert_eq!(
            refusal("update", json!({"odoo_id": 3})),
            "an update without a field changes nothing"
        );
        assert_eq!(
            refusal("update", json!({"name": "x"})),
            "an update must name its record"
        );
    }

    #[test]
    fn a_row_may_have_a_context_of_its_own() {
        let payload = json!({"name": "Ada", "_context": {"lang": "de_DE"}});
        let admitted = admit("res.partner", "create", payload, false).unwrap();
        assert_eq!(admitted.context["lang"], "de_DE");
        assert!(!admitted.fields.contains_key("_context"));
        let refused = |operation, context: Value| {
            refusal(
                operation,
                json!({"odoo_id": 1, "method": "x", "_context": context}),
            )
        };
        let message = "\"_context\" is no object, or of a call";
        assert_eq!(refused("update", json!("de_DE")), message);
        assert_eq!(refused("call", json!({"lang": "de_DE"})), message);
    }

    #[test]
    fn a_record_key_is_enough_to_name_a_record() {
        assert!(admit("res.partner", "delete", json!({}), true).is_ok());
    }

    #[test]
    fn calls_are_checked() {
        assert!(
            admit(
                "sale.order",
                "call",
                json!({"method": "action_confirm", "ids": [7]}),
                false
            )
            .is_ok()
        );
        for (bad, message) in [
            (json!({}), "a call must name its method"),
            (
                json!({"method": "_x"}),
                "\"_x\" is a private method: Odoo does not let anyone call it",
            ),
            (
                json!({"method": "x", "ids": 7}),
                "\"ids\" of a call must be a list of Odoo ids",
            ),
            (
                json!({"method": "x", "ids": [0]}),
                "\"ids\" of a call names a record that cannot exist",
            ),
            (
                json!({"method": "x", "kwargs": []}),
                "\"kwargs\" of a call must be an object",
            ),
            (
                json!({"method": "x", "unless": "a"}),
                "\"args\" and \"unless\" of a call must be lists",
            ),
            (
                json!({"method": "x", "values": 1}),
                "a call has no \"values\"",
            ),
        ] {
            assert_eq!(
                admit("sale.order", "call", bad, false).unwrap_err().message,
                message
            );
        }
    }
}
