//! Exceptions that Odoo wrote down: name and message, the same for both protocols.

use serde_json::{Map, Value};

use crate::failure::{ErrorClass, Failure};
use crate::odoo::call::Call;

/// One exception of Odoo. Of its traceback (`debug`) nothing is ever kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Module and class, e.g. `odoo.exceptions.ValidationError`.
    pub name: String,
    /// What was raised, as text; whole.
    pub message: String,
    /// The HTTP status it came with; 200 over JSON-RPC.
    pub status: u16,
}

impl Fault {
    pub(super) fn from_json(body: &Map<String, Value>, status: u16) -> Self {
        let text = |key: &str| {
            body.get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            name: text("name"),
            message: text("message"),
            status,
        }
    }

    /// `ValidationError` of `odoo.exceptions.ValidationError`.
    fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    fn says(&self, part: &str) -> bool {
        self.message.contains(part)
    }
}

/// The verdict on `fault`, which answers `call`; `uid` is the user we called as, where it is known.
pub(super) fn judge(call: &Call, fault: &Fault, uid: Option<i64>) -> Failure {
    Failure::new(class(call, fault, uid), words(fault))
}

fn class(call: &Call, fault: &Fault, uid: Option<i64>) -> ErrorClass {
    // The texts of PostgreSQL reach us through several exceptions; whichever carries them, nothing took effect.
    if is_conflict(&fault.message) {
        return ErrorClass::Conflict;
    }
    if let Some(class) = by_status(call, fault) {
        return class;
    }
    let (module, short) = fault.name.rsplit_once('.').unwrap_or(("", &fault.name));
    match module {
        "odoo.exceptions" => odoo(call, fault, short, uid),
        "odoo.http" => match short {
            "SessionExpiredException" => ErrorClass::Misconfigured,
            _ => ErrorClass::Server,
        },
        "psycopg2" | "psycopg2.errors" | "psycopg2.pool" | "psycopg2.extensions" => {
            postgres(fault, short)
        }
        "builtins" => builtin(call, fault, short),
        _ if module.starts_with("werkzeug") => werkzeug(call, short),
        _ if module.is_empty() => bare(fault),
        // Python's own libraries, when they are fed a value they cannot read.
        "binascii" | "decimal" | "json.decoder" | "struct" | "zipfile" | "PIL" | "lxml.etree"
        | "xml.parsers.expat" | "zoneinfo" | "pytz.exceptions" | "babel.core" | "ast" | "re" => {
            ErrorClass::Invalid
        }
        _ => ErrorClass::Server,
    }
}

/// Statuses whose meaning no name changes.
fn by_status(call: &Call, fault: &Fault) -> Option<ErrorClass> {
    match fault.status {
        401 => Some(ErrorClass::Misconfigured),
        409 | 503 => Some(ErrorClass::Conflict),
        413 => Some(ErrorClass::TooLarge),
        429 => Some(ErrorClass::Throttled),
        400 | 415 => Some(argument(call)),
        502 | 504 => Some(ErrorClass::Unknown),
        _ => None,
    }
}

fn odoo(call: &Call, fault: &Fault, short: &str, uid: Option<i64>) -> ErrorClass {
    match short {
        "AccessDenied" => ErrorClass::Misconfigured,
        "AccessError" => ErrorClass::Forbidden,
        "MissingError" => missing(call, fault, uid),
        "LockError" | "ConcurrencyError" => ErrorClass::Conflict,
        // JSON-RPC, and only there: `execute_cr` of odoo/service/model.py, not translated.
        "UserError" if fault.message == format!("Object {} doesn't exist", call.model) => {
            ErrorClass::UnknownModel
        }
        "UserError" | "ValidationError" | "RedirectWarning" | "Warning" | "except_orm" => {
            ErrorClass::Invalid
        }
        "CacheMiss" => ErrorClass::Server,
        _ => ErrorClass::Server,
    }
}

/// A record that is gone: ours, our user, or one that a value refers to.
fn missing(call: &Call, fault: &Fault, uid: Option<i64>) -> ErrorClass {
    let named = |model: &str, id: i64| fault.says(&format!("{model}({id},"));
    if call.model != "res.users" && uid.is_some_and(|uid| named("res.users", uid)) {
        return ErrorClass::Misconfigured;
    }
    let ours = call.ids.as_ref().is_some_and(|ids| {
        ids.iter()
            .any(|id| names_record(&fault.message, &call.model, *id))
    });
    if ours {
        ErrorClass::Missing
    } else {
        ErrorClass::Invalid
    }
}

/// Whether a text of the form `(Record: res.partner(7, 9), User: 2)` names the record.
pub(crate) fn names_record(message: &str, model: &str, id: i64) -> bool {
    let mut rest = message;
    let open = format!("{model}(");
    while let Some(at) = rest.find(&open) {
        // `x.res.partner(` is another model.
        let own = !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '.' || c == '_');
        rest = &rest[at + open.len()..];
        let inside = rest.split(')').next().unwrap_or_default();
        if own && inside.split(',').any(|part| part.trim().parse() == Ok(id)) {
            return true;
        }
    }
    false
}

fn postgres(fault: &Fault, short: &str) -> ErrorClass {
    match short {
        "SerializationFailure"
        | "DeadlockDetected"
        | "LockNotAvailable"
        | "TransactionRollback"
        | "TransactionRollbackError"
        | "PoolError" => ErrorClass::Conflict,
        // libpq's own text while Odoo connects: the database, its role or its server. A database that is not there is
        // ours to name; anything else is Odoo's trouble with its PostgreSQL.
        "OperationalError" if fault.says("database") && fault.says("does not exist") => {
            ErrorClass::Misconfigured
        }
        "IntegrityError"
        | "DataError"
        | "NumericValueOutOfRange"
        | "StringDataRightTruncation"
        | "InvalidTextRepresentation"
        | "InvalidDatetimeFormat"
        | "DatetimeFieldOverflow"
        | "UntranslatableCharacter"
        | "CharacterNotInRepertoire"
        | "InvalidParameterValue"
        | "DivisionByZero" => ErrorClass::Invalid,
        _ if short.ends_with("Violation") => ErrorClass::Invalid,
        _ => ErrorClass::Server,
    }
}

fn builtin(call: &Call, fault: &Fault, short: &str) -> ErrorClass {
    match short {
        // JSON-RPC, and only there: `get_public_method` of odoo/service/model.py.
        "AttributeError"
            if fault.says(&format!("'{}.{}' does not exist", call.model, call.method)) =>
        {
            ErrorClass::UnknownModel
        }
        "AttributeError"
            if fault.says("object has no attribute")
                && fault.says(&format!("'{}'", call.method)) =>
        {
            ErrorClass::UnknownModel
        }
        "TypeError" if fault.says("argument") && fault.says(&call.method) => argument(call),
        "ValueError" if fault.says("External ID not found in the system") => ErrorClass::Dependency,
        "KeyError" | "ValueError" | "TypeError" | "AttributeError" | "IndexError"
        | "AssertionError" | "UnicodeEncodeError" | "UnicodeDecodeError" | "OverflowError"
        | "ZeroDivisionError" | "ArithmeticError" | "LookupError" => ErrorClass::Invalid,
        // The machine Odoo runs on, not the values: memory, files, sockets, a bug of a module.
        _ => ErrorClass::Server,
    }
}

fn werkzeug(call: &Call, short: &str) -> ErrorClass {
    match short {
        "Unauthorized" => ErrorClass::Misconfigured,
        "Forbidden" => ErrorClass::Forbidden,
        "NotFound" => ErrorClass::UnknownModel,
        "UnprocessableEntity" | "BadRequest" | "UnsupportedMediaType" | "MethodNotAllowed" => {
            argument(call)
        }
        "RequestEntityTooLarge" => ErrorClass::TooLarge,
        "TooManyRequests" => ErrorClass::Throttled,
        "ServiceUnavailable" | "Conflict" => ErrorClass::Conflict,
        "BadGateway" | "GatewayTimeout" => ErrorClass::Unknown,
        _ => ErrorClass::Server,
    }
}

/// The JSON-RPC dispatcher's own errors have a code and a message, and no exception's name.
fn bare(fault: &Fault) -> ErrorClass {
    if fault.says("Session") && (fault.says("Expired") || fault.says("expired")) {
        ErrorClass::Misconfigured
    } else {
        ErrorClass::Server
    }
}

/// Arguments that do not fit the method: the row's fault where it named them, else ours.
fn argument(call: &Call) -> ErrorClass {
    if call.by_row {
        ErrorClass::Invalid
    } else {
        ErrorClass::Bug
    }
}

/// Whether a text is PostgreSQL's on a lost race. The server's messages may be in any language, but Odoo's own role runs
/// with the default, English, unless someone changed `lc_messages`; the exception's name decides in the other cases.
pub(super) fn is_conflict(message: &str) -> bool {
    [
        "could not serialize access",
        "deadlock detected",
        "could not obtain lock on",
        "canceling statement due to lock timeout",
    ]
    .iter()
    .any(|text| message.contains(text))
}

/// Odoo's message for a person: its first lines, after the exception's name where that says more than the message.
fn words(fault: &Fault) -> String {
    let postgres = fault.name.starts_with("psycopg2");
    // PostgreSQL adds the row's values in a DETAIL line; Odoo's own later lines name records and rights.
    let lines = fault
        .message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .take(if postgres { 1 } else { 3 });
    let mut text = String::new();
    for line in lines {
        if !text.is_empty() {
            text.push(' ');
        }
        text.extend(line.chars().take(500));
    }
    if text.is_empty() {
        text.push_str("no message");
    }
    if fault.name.starts_with("odoo.exceptions.") {
        text
    } else if fault.name.is_empty() {
        format!("Odoo: {text}")
    } else {
        format!("{}: {text}", fault.short_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_in_a_message_only_where_it_is_named() {
        let message =
            "Record does not exist or has been deleted.\n(Record: res.partner(7, 19), User: 2)";
        assert!(names_record(message, "res.partner", 7));
        assert!(names_record(message, "res.partner", 19));
        assert!(!names_record(message, "res.partner", 1));
        assert!(!names_record(message, "partner", 7));
        assert!(!names_record("res.partner(", "res.partner", 7));
        assert!(!names_record("", "res.partner", 7));
    }

    #[test]
    fn words_keep_no_detail_of_postgres_and_at_most_three_lines() {
        let fault = |name: &str, message: &str| Fault {
            name: name.to_owned(),
            message: message.to_owned(),
            status: 500,
        };
        assert_eq!(
            words(&fault(
                "psycopg2.errors.X",
                "bad\nDETAIL: Failing row contains (1, s)"
            )),
            "X: bad"
        );
        assert_eq!(
            words(&fault("odoo.exceptions.UserError", "a\n\n b\nc\nd")),
            "a b c"
        );
        assert_eq!(
            words(&fault("builtins.KeyError", "'foo'")),
            "KeyError: 'foo'"
        );
        assert_eq!(words(&fault("", "")), "Odoo: no message");
    }
}
