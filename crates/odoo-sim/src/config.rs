//! What a simulator is started with: its version, database, accounts and pace.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::time::{Duration, SystemTime};

/// An API key of an [`Account`].
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// The bearer secret.
    pub key: String,
    /// Refused from then on, as Odoo does with a key past its expiration date.
    pub expires: Option<SystemTime>,
}

impl ApiKey {
    /// A key that never expires.
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            expires: None,
        }
    }

    pub(crate) fn is_valid(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|end| now < end)
    }
}

/// What one account may do with one model; `*` as model name is the rule for all models without their own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rights {
    /// Technical model name, or `*`.
    pub model: String,
    /// Operations allowed, out of `read`, `write`, `create`, `unlink`.
    pub allow: Vec<String>,
}

impl Rights {
    /// Every operation on `model`.
    pub fn full(model: &str) -> Self {
        Self::only(model, &["read", "write", "create", "unlink"])
    }

    /// Exactly these operations on `model`.
    pub fn only(model: &str, allow: &[&str]) -> Self {
        Self {
            model: model.into(),
            allow: allow.iter().map(|op| (*op).into()).collect(),
        }
    }
}

/// A user who can call: a row of `res.users` together with what proves who calls.
#[derive(Debug, Clone)]
pub struct Account {
    /// Database id in `res.users`; the administrator is 2.
    pub uid: i64,
    /// Login of JSON-RPC.
    pub login: String,
    /// Password of JSON-RPC; JSON-2 knows only keys.
    pub password: String,
    /// Keys of JSON-2, accepted as passwords by JSON-RPC too.
    pub keys: Vec<ApiKey>,
    /// Access rules; empty means everything, as for an administrator.
    pub rights: Vec<Rights>,
}

impl Account {
    pub(crate) fn may(&self, model: &str, operation: &str) -> bool {
        let rule = self
            .rights
            .iter()
            .find(|r| r.model == model)
            .or_else(|| self.rights.iter().find(|r| r.model == "*"));
        match rule {
            Some(rule) => rule.allow.iter().any(|op| op == operation),
            None => self.rights.is_empty(),
        }
    }
}

/// A value that a record must not hold: saving it raises, as a constraint of a customised Odoo would.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Poison {
    /// Technical model name.
    pub model: String,
    /// Field that is looked at.
    pub field: String,
    /// The value, in the form `read` would give it; a string also matches as a substring.
    pub value: Json,
    /// The message of the error.
    #[serde(default = "poison_message")]
    pub message: String,
    /// Python name of the exception; `odoo.exceptions.ValidationError` unless told.
    #[serde(default = "poison_exception")]
    pub exception: String,
}

fn poison_message() -> String {
    "This value is poisoned.".into()
}

fn poison_exception() -> String {
    "odoo.exceptions.ValidationError".into()
}

impl Poison {
    /// A `ValidationError` for records of `model` whose `field` holds `value`.
    pub fn new(model: &str, field: &str, value: impl Into<Json>) -> Self {
        Self {
            model: model.into(),
            field: field.into(),
            value: value.into(),
            message: poison_message(),
            exception: poison_exception(),
        }
    }
}

/// How a simulator starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Loopback port; 0 takes a free one.
    pub port: u16,
    /// The only database.
    pub database: String,
    /// Major version. Below 19 there is no `/json/2` and no `web_save_multi`.
    pub version: u16,
    /// Who can call. The first one is the administrator.
    pub accounts: Vec<Account>,
    /// Installed languages; another one in a context is an error.
    pub languages: Vec<String>,
    /// Keep connections open as a proxy in front would. Odoo's own server answers HTTP/1.0 and closes.
    pub keep_alive: bool,
    /// Calls that run at the same time; further ones wait in line and get no answer meanwhile, as with Odoo's workers.
    pub workers: usize,
    /// Processes that answer in turn, each with its own memory of external ids: `check_object_reference` may be stale in
    /// one of them, as with a real Odoo that runs several. With 1 it never is.
    pub processes: usize,
    /// Time every call takes.
    pub call_cost: Duration,
    /// Time every record of a call takes on top.
    pub record_cost: Duration,
    /// Calls a second before 429; none by default.
    pub rate_limit: Option<f64>,
    /// Requests that the log remembers.
    pub journal: usize,
    /// Largest request body; above it 413.
    pub max_body: usize,
    /// Seed of the faults that strike by chance.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 0,
            database: "odoo".into(),
            version: 19,
            accounts: vec![Account {
                uid: 2,
                login: "admin".into(),
                password: "admin".into(),
                keys: vec![ApiKey::new("sim-api-key-of-the-administrator")],
                rights: vec![],
            }],
            languages: vec!["en_US".into()],
            keep_alive: false,
            workers: 64,
            processes: 2,
            call_cost: Duration::ZERO,
            record_cost: Duration::ZERO,
            rate_limit: None,
            journal: 100_000,
            max_body: 128 << 20,
            seed: 1,
        }
    }
}

impl Config {
    /// Adds a further user: a `res.users` row with one key and these rights.
    pub fn with_account(mut self, uid: i64, login: &str, key: &str, rights: Vec<Rights>) -> Self {
        self.accounts.push(Account {
            uid,
            login: login.into(),
            password: format!("{login}-password"),
            keys: vec![ApiKey::new(key)],
            rights,
        });
        self
    }
}
