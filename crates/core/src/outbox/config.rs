//! What a user configured about deliveries, and on what terms rows go because of it.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::settle::Patience;
use crate::odoo::ModelPolicy;

/// `ops.odoo_sync_config` for one model: `sb_to_odoo:<model>`. Absent keys fall back to the [`Defaults`].
#[derive(Debug, Default, Clone)]
pub struct ModelConfig {
    /// Most rows in one call.
    pub max_batch: Option<usize>,
    pub max_attempts: Option<u32>,
    pub base_backoff_seconds: Option<f64>,
    /// The Odoo context of its calls.
    pub context: Map<String, Value>,
    /// What becomes of rows whose record is locked or gone.
    pub policy: ModelPolicy,
}

impl ModelConfig {
    /// Reads the value of the key; what is of the wrong kind counts as absent.
    #[must_use]
    pub fn read(value: &Value) -> Self {
        let whole = |name: &str| {
            value
                .get(name)
                .and_then(Value::as_u64)
                .filter(|number| *number > 0)
        };
        Self {
            max_batch: whole("max_batch").map(|rows| rows.min(1_000) as usize),
            max_attempts: whole("max_attempts").and_then(|attempts| u32::try_from(attempts).ok()),
            base_backoff_seconds: value
                .get("base_backoff_seconds")
                .and_then(Value::as_f64)
                .filter(|seconds| (0.0..=86_400.0).contains(seconds)),
            context: value
                .get("context")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            policy: ModelPolicy::from_config(value),
        }
    }
}

/// What the user configured about outbound deliveries.
#[derive(Debug, Default)]
pub struct OutboundConfig {
    /// By name of the model.
    pub models: HashMap<String, ModelConfig>,
    /// Module prefix of our external ids.
    pub namespace: String,
}

impl OutboundConfig {
    /// What is configured about records of `model` that changed under us.
    #[must_use]
    pub fn policy(&self, model: &str) -> &ModelPolicy {
        static NONE: ModelPolicy = ModelPolicy::NONE;
        self.models
            .get(model)
            .map_or(&NONE, |config| &config.policy)
    }
}

/// What holds where a model's configuration says nothing: the server's settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// Most rows in one call; at least 1.
    pub max_batch: usize,
    pub patience: Patience,
}

/// On what terms the rows of one connection go.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Its name.
    pub connection: &'a str,
    pub config: &'a OutboundConfig,
    pub defaults: Defaults,
}

impl Terms<'_> {
    /// How patient we are with rows of `model`.
    #[must_use]
    pub fn patience(&self, model: &str) -> Patience {
        let mut patience = self.defaults.patience;
        if let Some(of_model) = self.config.models.get(model) {
            if let Some(max_attempts) = of_model.max_attempts {
                patience.max_attempts = max_attempts;
            }
            if let Some(seconds) = of_model.base_backoff_seconds {
                patience.backoff.base = Duration::from_secs_f64(seconds);
            }
        }
        patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Backoff;
    use serde_json::json;

    #[test]
    fn a_model_overrides_what_it_names_and_nothing_else() {
        let defaults = Defaults {
            max_batch: 500,
            patience: Patience {
                max_attempts: 10,
                backoff: Backoff {
                    base: Duration::from_secs(2),
                    cap: Duration::from_secs(900),
                },
                unknown_grace: Duration::from_secs(150),
            },
        };
        let of_model = ModelConfig::read(&json!({"max_attempts": 3, "base_backoff_seconds": 0.5}));
        let config = OutboundConfig {
            models: HashMap::from([("res.partner".to_owned(), of_model)]),
            namespace: String::new(),
        };
        let terms = Terms {
            connection: "odoo",
            config: &config,
            defaults,
        };
        let patience = terms.patience("res.partner");
        assert_eq!(patience.max_attempts, 3);
        assert_eq!(patience.backoff.base, Duration::from_millis(500));
        assert_eq!(patience.backoff.cap, Duration::from_secs(900));
        assert_eq!(patience.unknown_grace, Duration::from_secs(150));
        assert_eq!(terms.patience("sale.order"), defaults.patience);
    }

    #[test]
    fn what_is_of_the_wrong_kind_counts_as_absent() {
        let config = ModelConfig::read(&json!({
            "max_batch": 0, "max_attempts": "3", "base_backoff_seconds": -1, "context": [],
        }));
        assert_eq!(config.max_batch, None);
        assert_eq!(config.max_attempts, None);
        assert_eq!(config.base_backoff_seconds, None);
        assert!(config.context.is_empty());
        assert_eq!(
            ModelConfig::read(&json!({"max_batch": 5_000})).max_batch,
            Some(1_000)
        );
    }
}
