//! The typed values a record holds.

use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A stored value. Dates and times are text in Odoo's own format, which sorts as time does.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    /// The target of a many2one.
    Ref(i64),
    /// The targets of a many2many.
    Ids(Vec<i64>),
    /// One value per language or company.
    Keyed(BTreeMap<Arc<str>, Value>),
}

impl Value {
    pub fn str(text: impl AsRef<str>) -> Self {
        Value::Str(Arc::from(text.as_ref()))
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_ref_id(&self) -> Option<i64> {
        match self {
            Value::Ref(id) => Some(*id),
            _ => None,
        }
    }

    pub fn as_ids(&self) -> &[i64] {
        match self {
            Value::Ids(ids) => ids,
            _ => &[],
        }
    }

    pub fn as_f64(&self) -> f64 {
        match self {
            Value::Float(number) => *number,
            Value::Int(number) => *number as f64,
            _ => 0.0,
        }
    }

    pub fn as_bool(&self) -> bool {
        matches!(self, Value::Bool(true))
    }

    /// The value for `key` of a field with one value per language or company.
    pub fn keyed(&self, key: &str, fallback: &str) -> &Value {
        match self {
            Value::Keyed(map) => map
                .get(key)
                .or_else(|| map.get(fallback))
                .unwrap_or(&Value::Null),
            other => other,
        }
    }

    /// Plain JSON, without what only a field knows (display names, seconds).
    pub fn to_json(&self) -> Json {
        match self {
            Value::Null => Json::Bool(false),
            Value::Bool(b) => Json::Bool(*b),
            Value::Int(n) => Json::from(*n),
            Value::Float(n) => Json::from(*n),
            Value::Str(s) => Json::from(&**s),
            Value::Ref(id) => Json::from(*id),
            Value::Ids(ids) => Json::from(ids.clone()),
            Value::Keyed(map) => map
                .values()
                .next()
                .map_or(Json::Bool(false), Value::to_json),
        }
    }
}
