//! How to reach an Odoo, real or simulated, and a bare call through JSON-2.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything a client needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Without a slash at the end.
    pub url: String,
    pub database: String,
    pub login: String,
    pub password: String,
    pub api_key: String,
    pub uid: i64,
}

impl Access {
    /// Calls a method with named arguments, as the administrator; an error carries Odoo's status and answer.
    pub fn call(&self, model: &str, method: &str, arguments: &Value) -> Result<Value> {
        let url = format!("{}/json/2/{model}/{method}", self.url);
        let mut answer = agent(Duration::from_secs(150))
            .post(&url)
            .header("Authorization", &format!("bearer {}", self.api_key))
            .header("X-Odoo-Database", &self.database)
            .send_json(arguments)
            .with_context(|| format!("cannot reach {url}"))?;
        let body = answer
            .body_mut()
            .read_to_string()
            .with_context(|| format!("no answer from {url}"))?;
        if !answer.status().is_success() {
            bail!(
                "{model}.{method}: HTTP {}: {}",
                answer.status(),
                brief(&body)
            );
        }
        serde_json::from_str(&body)
            .with_context(|| format!("{model}.{method} answered no JSON: {}", brief(&body)))
    }

    /// The version that `/web/version` names; an error when nothing answers within a few seconds.
    pub fn version(&self) -> Result<String> {
        let url = format!("{}/web/version", self.url);
        let mut answer = agent(Duration::from_secs(5))
            .get(&url)
            .call()
            .with_context(|| format!("cannot reach {url}"))?;
        let body: Value = answer
            .body_mut()
            .read_json()
            .with_context(|| format!("{url} answered no JSON"))?;
        body["version"]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("{url} named no version: {body}"))
    }
}

pub(super) fn agent(limit: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .into()
}

pub(super) fn brief(body: &str) -> String {
    body.chars().take(400).collect()
}
