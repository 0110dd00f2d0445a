//! What a channel's connection may say: checked when it is set.

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use serde_json::{Map, Value};
use url::Url;

use super::smtp::{Mail, Tls};
use crate::odoo::OptionError;

/// The kinds of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Slack,
    Webhook,
    Github,
    Smtp,
}

impl Kind {
    /// The kind of that name, if it is a channel's.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Slack, Self::Webhook, Self::Github, Self::Smtp]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Webhook => "webhook",
            Self::Github => "github",
            Self::Smtp => "smtp",
        }
    }

    /// What its secret is, for people.
    pub(super) fn secret(self) -> &'static str {
        match self {
            Self::Slack => "The secret is the path of the incoming webhook: /services/T…/B…/….",
            Self::Webhook => "The secret is the key that messages are signed with.",
            Self::Github => "The secret is a token that may write issues of the repository.",
            Self::Smtp => "The secret is the password of the login.",
        }
    }

    /// Least time between two messages: Slack takes one a second.
    pub(super) fn pause(self) -> Option<Duration> {
        match self {
            Self::Slack => Some(Duration::from_millis(1_100)),
            Self::Webhook | Self::Github | Self::Smtp => None,
        }
    }

    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Slack | Self::Webhook => &["timeout", "ca_file"],
            Self::Github => &["timeout", "ca_file", "repository"],
            Self::Smtp => &["timeout", "ca_file", "from", "to", "login", "tls"],
        }
    }
}

/// A channel without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub kind: Kind,
    /// Without a trailing slash.
    pub url: Url,
    pub timeout: Option<Duration>,
    /// PEM file of further certificate authorities, on the database server.
    pub ca_file: Option<PathBuf>,
    /// Of a GitHub channel: owner/name.
    pub repository: Option<String>,
    /// Of an SMTP channel.
    pub mail: Option<Mail>,
}

fn refuse(message: impl Into<String>, hint: impl Into<String>) -> OptionError {
    OptionError {
        message: message.into(),
        hint: hint.into(),
    }
}

impl Options {
    /// Checks a channel's url and options. The url is quoted in no message: it may hold what it should not.
    pub fn parse(kind: Kind, url: &str, options: &Value) -> Result<Self, OptionError> {
        let none = Map::new();
        let options = match options {
            Value::Object(options) => options,
            Value::Null => &none,
            _ => return Err(refuse("options must be a JSON object", "Leave them out.")),
        };
        if let Some(unknown) = options
            .keys()
            .find(|key| !kind.keys().contains(&key.as_str()))
        {
            return Err(refuse(
                format!("unknown option {unknown:?}"),
                format!(
                    "Known options of a {} connection: {}.",
                    kind.name(),
                    kind.keys().join(", ")
                ),
            ));
        }
        let example = match kind {
            Kind::Slack => {
                "For example 'https://hooks.slack.com', with the path of the webhook as the secret."
            }
            Kind::Webhook => "For example 'https://ops.example.com/hooks/etl'.",
            Kind::Github => "For example 'https://api.github.com'.",
            Kind::Smtp => {
                "For example 'smtp://mail.example.com:587', which is encrypted by STARTTLS, or 'smtps://mail.example.com:465'."
            }
        };
        let form = match kind {
            Kind::Slack | Kind::Webhook | Kind::Github => "https://host/path",
            Kind::Smtp => "smtp://host:port or smtps://host:port",
        };
        let parsed = Url::parse(url)
            .map_err(|error| refuse(format!("the URL is not valid: {error}"), example))?;
        let fits = match kind {
            Kind::Slack | Kind::Webhook | Kind::Github => {
                matches!(parsed.scheme(), "http" | "https")
            }
            Kind::Smtp => {
                matches!(parsed.scheme(), "smtp" | "smtps") && matches!(parsed.path(), "" | "/")
            }
        };
        let is_plain = fits
            && parsed.host_str().is_some_and(|host| !host.is_empty())
            && parsed.username().is_empty()
            && parsed.password().is_none()
            && parsed.fragment().is_none()
            && !url
                .chars()
                .any(|character| character.is_control() || character.is_whitespace());
        if !is_plain {
            return Err(refuse(
                format!("the URL is not of the form {form}"),
                example,
            ));
        }
        if kind == Kind::Slack && parsed.path() != "/" {
            return Err(refuse(
                "the path of a Slack webhook is a secret, and does not belong into the URL",
                "Give 'https://hooks.slack.com' as the url and the path as the secret (vault:…). If what you typed is a real webhook, revoke it: statements are logged in many places.",
            ));
        }
        if matches!(kind, Kind::Slack | Kind::Github)
            && parsed.scheme() == "http"
            && !is_here(&parsed)
        {
            return Err(refuse(
                "the secret would be sent over a connection that is not encrypted",
                example,
            ));
        }
        if kind != Kind::Webhook && parsed.query().is_some() {
            return Err(refuse("the URL has a query", example));
        }
        let timeout = match options.get("timeout") {
            None | Some(Value::Null) => None,
            Some(value) => match value.as_f64() {
                Some(seconds) if (1.0..=120.0).contains(&seconds) => {
                    Some(Duration::from_secs_f64(seconds))
                }
                _ => {
                    return Err(refuse(
                        "option \"timeout\" must be a number from 1 to 120",
                        "It is in seconds.",
                    ));
                }
            },
        };
        let ca_file = match text(options, "ca_file")? {
            None => None,
            Some(path) if path.starts_with('/') => Some(PathBuf::from(path)),
            Some(_) => {
                return Err(refuse(
                    "option \"ca_file\" must be an absolute path",
                    "It is read on the database server.",
                ));
            }
        };
        let repository = text(options, "repository")?;
        if kind == Kind::Github && !repository.as_deref().is_some_and(is_repository) {
            return Err(refuse(
                "a github connection needs the option \"repository\"",
                "As owner/name: '{\"repository\": \"acme/operations\"}'.",
            ));
        }
        Ok(Self {
            kind,
            timeout,
            ca_file,
            repository,
            mail: match kind {
                Kind::Smtp => Some(mail(&parsed, options)?),
                Kind::Slack | Kind::Webhook | Kind::Github => None,
            },
            url: parsed,
        })
    }

    pub(super) fn needs_secret(&self) -> bool {
        match self.kind {
            Kind::Slack | Kind::Github => true,
            Kind::Webhook => false,
            Kind::Smtp => self.mail.as_ref().is_some_and(|mail| mail.login.is_some()),
        }
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

/// Most people who are written to.
const MOST_RECIPIENTS: usize = 50;

/// Who writes to whom, and how it gets there.
fn mail(url: &Url, options: &Map<String, Value>) -> Result<Mail, OptionError> {
    let tls = match (url.scheme(), text(options, "tls")?.as_deref()) {
        ("smtps", None) => Tls::Implicit,
        (_, None) => Tls::StartTls,
        ("smtp", Some("none")) => Tls::None,
        _ => {
            return Err(refuse(
                "option \"tls\" can be \"none\" only, with smtp://",
                "Leave it out: smtps:// is encrypted from the first byte, and smtp:// by STARTTLS.",
            ));
        }
    };
    let login = text(options, "login")?;
    if tls == Tls::None && login.is_some() {
        return Err(refuse(
            "a password is not sent over a connection that is not encrypted",
            "Leave out \"login\", or \"tls\": \"none\".",
        ));
    }
    let to: Vec<&str> = match options.get("to") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let given = options
        .get("to")
        .and_then(Value::as_array)
        .map_or(1, Vec::len);
    if to.is_empty() || to.len() != given || to.len() > MOST_RECIPIENTS {
        return Err(refuse(
            "an smtp connection needs the option \"to\"",
            format!(
                "An address, or a list of up to {MOST_RECIPIENTS}: '{{\"from\": \"pg_etl@example.com\", \"to\": [\"ops@example.com\"]}}'."
            ),
        ));
    }
    let from = text(options, "from")?.ok_or_else(|| {
        refuse(
            "an smtp connection needs the option \"from\"",
            "The address that messages come from: '{\"from\": \"pg_etl@example.com\", \"to\": [\"ops@example.com\"]}'.",
        )
    })?;
    Ok(Mail {
        from: address("from", &from)?,
        to: to
            .into_iter()
            .map(|one| address("to", one))
            .collect::<Result<_, _>>()?,
        login,
        tls,
    })
}

fn address(option: &str, text: &str) -> Result<Mailbox, OptionError> {
    let plain = !text.chars().any(char::is_control);
    plain.then(|| text.parse().ok()).flatten().ok_or_else(|| {
        refuse(
            format!("option {option:?} is no address of e-mail"),
            "For example 'ops@example.com' or 'Operations <ops@example.com>'.",
        )
    })
}

/// This machine: what is sent there crosses no network.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn is_repository(text: &str) -> bool {
    let fits = |part: &str| {
        !part.is_empty()
            && part.len() <= 100
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    text.split_once('/')
        .is_some_and(|(owner, name)| fits(owner) && fits(name))
}

fn text(options: &Map<String, Value>, key: &str) -> Result<Option<String>, OptionError> {
    match options.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && !text.chars().any(char::is_control) => {
            Ok(Some(text.clone()))
        }
        Some(_) => Err(refuse(
            format!("option {key:?} must be a text"),
            "Put it in quotes.",
        )),
    }
}
