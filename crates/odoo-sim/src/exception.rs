//! The exceptions an Odoo raises, and how each protocol words them.

use serde_json::{Value as Json, json};

/// The Python class of an exception, as far as it decides the HTTP status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Class {
    User,
    Validation,
    Access,
    AccessDenied,
    Missing,
    NotFound,
    Unauthorized,
    BadRequest,
    Unprocessable,
    TooLarge,
    /// `builtins.<name>`
    Builtin(&'static str),
    /// A violated constraint of the database, with the field it concerns. It reaches the caller as a
    /// `ValidationError`, but `load` reports it with its bare message and its field.
    Integrity(Option<String>),
    /// Another transaction was faster.
    Serialization,
    /// Any other name.
    Named(String),
}

/// A raised exception.
#[derive(Debug, Clone)]
pub(crate) struct Exception {
    pub class: Class,
    pub message: String,
}

pub(crate) type Outcome<T> = Result<T, Exception>;

impl Exception {
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
        }
    }

    pub fn user(message: impl Into<String>) -> Self {
        Self::new(Class::User, message)
    }

    pub fn validation(message: impl Into<String>) -> Self {
        Self::new(Class::Validation, message)
    }

    pub fn value_error(message: impl Into<String>) -> Self {
        Self::new(Class::Builtin("ValueError"), message)
    }

    pub fn type_error(message: impl Into<String>) -> Self {
        Self::new(Class::Builtin("TypeError"), message)
    }

    pub fn attribute_error(message: impl Into<String>) -> Self {
        Self::new(Class::Builtin("AttributeError"), message)
    }

    pub fn integrity(field: Option<&str>, message: impl Into<String>) -> Self {
        Self::new(Class::Integrity(field.map(Into::into)), message)
    }

    pub fn conflict() -> Self {
        Self::new(
            Class::Serialization,
            "could not serialize access due to concurrent update\n",
        )
    }

    /// Odoo's words for a record that is gone.
    pub fn missing(model: &str, ids: &[i64], uid: i64) -> Self {
        Self::new(
            Class::Missing,
            format!(
                "Record does not exist or has been deleted.\n(Record: {}, User: {uid})",
                record_repr(model, ids)
            ),
        )
    }

    /// What `psycopg2` says when the database refuses a value.
    pub fn database(name: &str, message: impl Into<String>) -> Self {
        Self::new(Class::Named(format!("psycopg2.errors.{name}")), message)
    }

    /// What Postgres says to something that is no integer, in place of an id.
    pub fn not_an_id(value: &Json) -> Self {
        let shown = crate::orm::python::text(value);
        Self::database(
            "InvalidTextRepresentation",
            format!("invalid input syntax for type integer: \"{shown}\"\n"),
        )
    }

    /// An exception of any Python name, known ones with their own status.
    pub fn named(name: &str, message: impl Into<String>) -> Self {
        let class = match name {
            "odoo.exceptions.UserError" => Class::User,
            "odoo.exceptions.ValidationError" => Class::Validation,
            "odoo.exceptions.AccessError" => Class::Access,
            "odoo.exceptions.AccessDenied" => Class::AccessDenied,
            "odoo.exceptions.MissingError" => Class::Missing,
            "psycopg2.errors.SerializationFailure" => Class::Serialization,
            other => Class::Named(other.to_owned()),
        };
        Self::new(class, message)
    }

    /// True for what `load` catches as `UserError`, of which most Odoo exceptions are subclasses.
    pub fn is_user_error(&self) -> bool {
        matches!(
            self.class,
            Class::User | Class::Validation | Class::Access | Class::AccessDenied | Class::Missing
        )
    }

    /// The full Python name.
    pub fn name(&self) -> String {
        match &self.class {
            Class::User => "odoo.exceptions.UserError".into(),
            Class::Validation | Class::Integrity(_) => "odoo.exceptions.ValidationError".into(),
            Class::Access => "odoo.exceptions.AccessError".into(),
            Class::AccessDenied => "odoo.exceptions.AccessDenied".into(),
            Class::Missing => "odoo.exceptions.MissingError".into(),
            Class::NotFound => "werkzeug.exceptions.NotFound".into(),
            Class::Unauthorized => "werkzeug.exceptions.Unauthorized".into(),
            Class::BadRequest => "werkzeug.exceptions.BadRequest".into(),
            Class::Unprocessable => "werkzeug.exceptions.UnprocessableEntity".into(),
            Class::TooLarge => "werkzeug.exceptions.RequestEntityTooLarge".into(),
            Class::Builtin(name) => format!("builtins.{name}"),
            Class::Serialization => "psycopg2.errors.SerializationFailure".into(),
            Class::Named(name) => name.clone(),
        }
    }

    /// HTTP status under JSON-2; JSON-RPC answers 200 whatever happens.
    pub fn status(&self) -> u16 {
        match &self.class {
            Class::User | Class::Validation | Class::Integrity(_) | Class::Unprocessable => 422,
            Class::Access | Class::AccessDenied => 403,
            Class::Missing | Class::NotFound => 404,
            Class::Unauthorized => 401,
            Class::BadRequest => 400,
            Class::TooLarge => 413,
            Class::Named(name) if name == "odoo.exceptions.LockError" => 409,
            Class::Builtin(_) | Class::Serialization | Class::Named(_) => 500,
        }
    }

    /// The message as the caller sees it.
    pub fn text(&self) -> String {
        match &self.class {
            Class::Integrity(_) => format!("The operation cannot be completed: {}", self.message),
            _ => self.message.clone(),
        }
    }

    /// The body of JSON-2, and `error.data` of JSON-RPC.
    pub fn body(&self) -> Json {
        let text = self.text();
        let arguments = match self.class {
            Class::NotFound
            | Class::Unauthorized
            | Class::BadRequest
            | Class::Unprocessable
            | Class::TooLarge => {
                json!([text, self.status()])
            }
            _ => json!([text]),
        };
        json!({
            "name": self.name(),
            "message": text,
            "arguments": arguments,
            "context": {},
            "debug": self.traceback(),
        })
    }

    /// A text of a traceback's shape: clients must not store it, and tests search for it where it must not be.
    fn traceback(&self) -> String {
        let name = self.name();
        let shown = name.strip_prefix("builtins.").unwrap_or(&name);
        format!(
            "Traceback (most recent call last):\n  File \"/usr/lib/python3/dist-packages/odoo/http.py\", line 2273, in \
             _serve_db\n    return service_model.retrying(serve_func, env=self.env)\n{shown}: {}\n",
            self.text()
        )
    }
}

/// A recordset as Python prints it: `res.partner(7,)`.
pub(crate) fn record_repr(model: &str, ids: &[i64]) -> String {
    match ids {
        [one] => format!("{model}({one},)"),
        many => format!(
            "{model}({})",
            many.iter()
                .map(i64::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}
