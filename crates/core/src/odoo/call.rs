//! One method call on Odoo, before any protocol.

use serde_json::{Map, Value};

/// What is asked of Odoo. Arguments have names, as JSON-2 wants them; [`super::protocol`] makes positions of them where
/// JSON-RPC needs positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub model: String,
    pub method: String,
    /// The records the method runs on; `None` for a method of the model. Never 0 or negative, and empty only for
    /// `has_access`.
    pub ids: Option<Vec<i64>>,
    /// Arguments by name.
    pub args: Map<String, Value>,
    /// Arguments by position, after the ids. Only JSON-RPC can carry them.
    pub positional: Vec<Value>,
    pub context: Map<String, Value>,
    /// The row named method and arguments itself: it may not run twice, so it takes a connection of its own, and
    /// arguments that do not fit the method are the row's fault and not ours.
    pub by_row: bool,
}

impl Call {
    /// A call of `model.method` without records, arguments or context.
    #[must_use]
    pub fn new(model: &str, method: &str) -> Self {
        Self {
            model: model.to_owned(),
            method: method.to_owned(),
            ids: None,
            args: Map::new(),
            positional: Vec::new(),
            context: Map::new(),
            by_row: false,
        }
    }

    /// The same call on these records.
    #[must_use]
    pub fn on(mut self, ids: &[i64]) -> Self {
        self.ids = Some(ids.to_vec());
        self
    }

    /// The same call with one more argument.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.args.insert(name.to_owned(), value.into());
        self
    }

    /// The same call in this context.
    #[must_use]
    pub fn in_context(mut self, context: &Map<String, Value>) -> Self {
        for (key, value) in context {
            self.context.insert(key.clone(), value.clone());
        }
        self
    }
}
