//! Where an Odoo is and how to speak to it: a connection's URL and options, checked when they are set.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

use super::guard::Glob;

/// Which protocol a connection asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProtocolChoice {
    /// What `/web/version` says: JSON-2 from Odoo 19, JSON-RPC before.
    #[default]
    Auto,
    Json2,
    JsonRpc,
}

/// A connection to one Odoo database, without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// `http` or `https`, host, optional port and path prefix; no trailing slash.
    pub base: String,
    /// Needed by JSON-RPC, and by JSON-2 where the server has several databases.
    pub database: Option<String>,
    /// Needed by JSON-RPC.
    pub login: Option<String>,
    pub protocol: ProtocolChoice,
    /// Total time of one request; `None` means the setting `etl.request_timeout`.
    pub timeout: Option<Duration>,
    /// Calls at the same time; `None` means the setting `etl.max_in_flight`.
    pub max_in_flight: Option<u32>,
    /// Calls per second, at most; `None` means no limit.
    pub rate_limit: Option<f64>,
    /// Merged into the Odoo context of every call.
    pub context: Map<String, Value>,
    /// `model.method`, where `*` stands for any text. Empty: no call is allowed.
    pub allow_methods: Vec<Glob>,
    /// Models no row may touch.
    pub deny_models: Vec<Glob>,
    /// PEM file of further certificate authorities, on the database server.
    pub ca_file: Option<PathBuf>,
}

/// A URL or an option that cannot be taken, and what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OptionError {
    pub message: String,
    pub hint: String,
}

const KEYS: [&str; 10] = [
    "database",
    "login",
    "protocol",
    "timeout",
    "max_in_flight",
    "rate_limit",
    "context",
    "allow_methods",
    "deny_models",
    "ca_file",
];

/// Models that no row may touch unless the connection says otherwise: users and keys, Odoo's own machinery, messages.
pub const DEFAULT_DENY_MODELS: [&str; 3] = ["res.users", "ir.*", "mail.*"];

impl Endpoint {
    /// Checks a connection's `url` and `options` (a JSON object, or null for none).
    pub fn parse(url: &str, options: &Value) -> Result<Self, OptionError> {
        let none = Map::new();
        let options = match options {
            Value::Object(options) => options,
            Value::Null => &none,
            other => {
                return Err(refuse(
                    format!("options must be a JSON object, not {}", kind(other)),
                    "For example '{\"database\": \"prod\", \"login\": \"sync@example.com\"}'.",
                ));
            }
        };
        if let Some(unknown) = options.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(refuse(
                format!("unknown option {unknown:?}"),
                format!("Known options: {}.", KEYS.join(", ")),
            ));
        }
        let endpoint = Self {
            base: base(url)?,
            database: text(options, "database")?,
            login: text(options, "login")?,
            protocol: protocol(options)?,
            timeout: number(options, "timeout", 1.0, 3_600.0, "seconds")?
                .map(Duration::from_secs_f64),
            max_in_flight: max_in_flight(options)?,
            rate_limit: number(options, "rate_limit", 0.001, 100_000.0, "calls per second")?,
            context: context(options)?,
            allow_methods: allow_methods(options)?,
            deny_models: deny_models(options)?,
            ca_file: ca_file(options)?,
        };
        if endpoint.protocol == ProtocolChoice::JsonRpc
            && (endpoint.database.is_none() || endpoint.login.is_none())
        {
            return Err(refuse(
                "protocol jsonrpc needs the options \"database\" and \"login\"",
                "JSON-RPC authenticates a login in a named database with the key.",
            ));
        }
        Ok(endpoint)
    }
}

fn refuse(message: impl Into<String>, hint: impl Into<String>) -> OptionError {
    OptionError {
        message: message.into(),
        hint: hint.into(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn base(url: &str) -> Result<String, OptionError> {
    const EXAMPLE: &str = "For example https://odoo.example.com or http://127.0.0.1:8069.";
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(refuse(
            "the URL holds white space or a control character",
            EXAMPLE,
        ));
    }
    // The URL is not quoted in any message: what is wrong with it may be a password in it.
    let parsed = Url::parse(url)
        .map_err(|error| refuse(format!("the URL is not valid: {error}"), EXAMPLE))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(refuse(
            format!(
                "the URL has the scheme {:?}; only https and http are spoken",
                parsed.scheme()
            ),
            EXAMPLE,
        ));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(refuse(
            "the URL holds a user name or a password",
            "Give the login as the option \"login\" and the key as a secret reference (vault:, env: or file:).",
        ));
    }
    if parsed.host_str().is_none_or(str::is_empty) {
        return Err(refuse("the URL names no host", EXAMPLE));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(refuse(
            "the URL has a query or a fragment",
            "Name the server only; the database is an option.",
        ));
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

fn text(options: &Map<String, Value>, key: &str) -> Result<Option<String>, OptionError> {
    match options.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Err(refuse(
            format!("option {key:?} is empty"),
            "Leave it out, or name one.",
        )),
        Some(Value::String(text)) if text.chars().any(char::is_control) => Err(refuse(
            format!("option {key:?} holds a control character"),
            "Name it as Odoo does.",
        )),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(refuse(
            format!("option {key:?} must be a string, not {}", kind(other)),
            "Put it in quotes.",
        )),
    }
}

fn protocol(options: &Map<String, Value>) -> Result<ProtocolChoice, OptionError> {
    match text(options, "protocol")?.as_deref() {
        None | Some("auto") => Ok(ProtocolChoice::Auto),
        Some("json2") => Ok(ProtocolChoice::Json2),
        Some("jsonrpc") => Ok(ProtocolChoice::JsonRpc),
        Some(other) => Err(refuse(
            format!("option \"protocol\" is {other:?}"),
            "One of auto (by the server's version), json2 (Odoo 19 and later), jsonrpc.",
        )),
    }
}

fn number(
    options: &Map<String, Value>,
    key: &str,
    low: f64,
    high: f64,
    unit: &str,
) -> Result<Option<f64>, OptionError> {
    let value = match options.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    match value.as_f64() {
        Some(number) if (low..=high).contains(&number) => Ok(Some(number)),
        _ => Err(refuse(
            format!("option {key:?} must be a number from {low} to {high}"),
            format!("It is in {unit}, as a JSON number."),
        )),
    }
}

fn max_in_flight(options: &Map<String, Value>) -> Result<Option<u32>, OptionError> {
    match options.get("max_in_flight") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(count @ 1..=256) => Ok(u32::try_from(count).ok()),
            _ => Err(refuse(
                "option \"max_in_flight\" must be a whole number from 1 to 256",
                "More calls at a time than Odoo has workers gain nothing.",
            )),
        },
    }
}

fn context(options: &Map<String, Value>) -> Result<Map<String, Value>, OptionError> {
    match options.get("context") {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(context)) => Ok(context.clone()),
        Some(other) => Err(refuse(
            format!("option \"context\" must be an object, not {}", kind(other)),
            "For example {\"lang\": \"de_DE\", \"allowed_company_ids\": [1]}.",
        )),
    }
}

fn list<'a>(
    options: &'a Map<String, Value>,
    key: &str,
    example: &str,
) -> Result<Option<Vec<&'a str>>, OptionError> {
    let wrong = || {
        refuse(
            format!("option {key:?} must be an array of strings"),
            format!("For example {example}."),
        )
    };
    match options.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().ok_or_else(wrong))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(wrong()),
    }
}

fn deny_models(options: &Map<String, Value>) -> Result<Vec<Glob>, OptionError> {
    let listed = list(options, "deny_models", "[\"res.users\", \"ir.*\"]")?;
    let listed = listed.unwrap_or_else(|| DEFAULT_DENY_MODELS.to_vec());
    listed
        .into_iter()
        .map(|pattern| {
            Glob::parse(pattern).ok_or_else(|| {
                refuse(
                    format!("{pattern:?} in \"deny_models\" is no model name"),
                    "For example \"res.users\" or \"ir.*\".",
                )
            })
        })
        .collect()
}

fn allow_methods(options: &Map<String, Value>) -> Result<Vec<Glob>, OptionError> {
    const EXAMPLE: &str = "For example \"sale.order.action_confirm\" or \"account.move.action_*\".";
    let listed =
        list(options, "allow_methods", "[\"sale.order.action_confirm\"]")?.unwrap_or_default();
    listed
        .into_iter()
        .map(|pattern| {
            let method = pattern.rsplit('.').next().unwrap_or_default();
            if !pattern.contains('.') {
                return Err(refuse(
                    format!("{pattern:?} in \"allow_methods\" is not model.method"),
                    EXAMPLE,
                ));
            }
            if method.starts_with('_') {
                return Err(refuse(
                    format!("{pattern:?} in \"allow_methods\" is a private method"),
                    "Odoo refuses those.",
                ));
            }
            Glob::parse(pattern).ok_or_else(|| {
                refuse(
                    format!("{pattern:?} in \"allow_methods\" is not model.method"),
                    EXAMPLE,
                )
            })
        })
        .collect()
}

fn ca_file(options: &Map<String, Value>) -> Result<Option<PathBuf>, OptionError> {
    let Some(path) = text(options, "ca_file")?.map(PathBuf::from) else {
        return Ok(None);
    };
    if path.is_absolute() {
        Ok(Some(path))
    } else {
        Err(refuse(
            "option \"ca_file\" must be an absolute path",
            "It is read on the database server, as its user.",
        ))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(url: &str, options: Value) -> Result<Endpoint, OptionError> {
        Endpoint::parse(url, &options)
    }

    #[test]
    fn a_plain_connection() {
        let endpoint = parse(
            "https://odoo.example.com/",
            json!({"database": "prod", "timeout": 30}),
        )
        .unwrap();
        assert_eq!(endpoint.base, "https://odoo.example.com");
        assert_eq!(endpoint.database.as_deref(), Some("prod"));
        assert_eq!(endpoint.protocol, ProtocolChoice::Auto);
        assert_eq!(endpoint.timeout, Some(Duration::from_secs(30)));
        assert!(endpoint.allow_methods.is_empty());
        assert_eq!(endpoint.deny_models.len(), DEFAULT_DENY_MODELS.len());
        assert_eq!(
            parse("http://127.0.0.1:8069", Value::Null).unwrap().base,
            "http://127.0.0.1:8069"
        );
        assert_eq!(
            parse("https://h/odoo/", json!({})).unwrap().base,
            "https://h/odoo"
        );
    }

    #[test]
    fn bad_urls_are_refused_without_being_quoted() {
        for url in [
            "",
            "odoo",
            "odoo.example.com",
            "https://",
            "ftp://h",
            "file:///etc/passwd",
            "https://u:s3cret@h",
            "https://u@h",
            "https://h?db=s3cret",
            "https://h#s3cret",
            "https://h /s3cret",
            "https://h\n",
            "javascript:alert(1)",
            "http://[::1",
            "http://h:99999",
        ] {
            let error = parse(url, json!({})).unwrap_err();
            assert!(
                !error.message.contains("s3cret") && !error.hint.is_empty(),
                "{url}: {error:?}"
            );
        }
    }

    #[test]
    fn options_are_typed_and_known() {
        for options in [
            json!([]),
            json!("x"),
            json!({"databse": "x"}),
            json!({"database": 1}),
            json!({"database": ""}),
            json!({"database": "a\nb"}),
            json!({"protocol": "xmlrpc"}),
            json!({"timeout": 0}),
            json!({"timeout": "5s"}),
            json!({"timeout": -1}),
            json!({"timeout": 1e300}),
            json!({"max_in_flight": 0}),
            json!({"max_in_flight": 1.5}),
            json!({"max_in_flight": 257}),
            json!({"rate_limit": 0}),
            json!({"context": []}),
            json!({"allow_methods": "x"}),
            json!({"allow_methods": ["confirm"]}),
            json!({"allow_methods": ["sale.order._x"]}),
            json!({"allow_methods": [1]}),
            json!({"allow_methods": ["a b.c"]}),
            json!({"deny_models": [""]}),
            json!({"ca_file": "ca.pem"}),
            json!({"protocol": "jsonrpc"}),
            json!({"protocol": "jsonrpc", "database": "d"}),
        ] {
            let error = parse("https://h", options.clone()).unwrap_err();
            assert!(!error.hint.is_empty(), "{options}");
        }
    }
}
