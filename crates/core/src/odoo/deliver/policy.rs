//! What the configuration of a model says about records that changed under us: `sb_to_odoo:<model>` in `ops.odoo_sync_config`.

use serde_json::Value;

/// `editable_when`, `when_locked`, `reset_method` and `on_missing`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelPolicy {
    /// A domain that records must meet to be changed or deleted; empty: all may.
    pub editable_when: Vec<Value>,
    pub when_locked: WhenLocked,
    /// `None`: an upsert makes the record again, an update does not.
    pub on_missing: Option<OnMissing>,
    /// Why it cannot be used. A guard that is written wrongly must not count as none.
    pub mistake: Option<String>,
}

/// What becomes of a row whose record does not meet `editable_when`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhenLocked {
    DeadLetter,
    /// It is done, without effect.
    Skip,
    /// This method makes the record editable; then the row takes effect.
    Reset(String),
}

/// What becomes of an upsert or update whose record someone deleted in Odoo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    DeadLetter,
    Recreate,
}

impl ModelPolicy {
    pub const NONE: Self = Self {
        editable_when: Vec::new(),
        when_locked: WhenLocked::DeadLetter,
        on_missing: None,
        mistake: None,
    };

    /// Reads the configuration of a model; keys that are not of this policy are left alone.
    #[must_use]
    pub fn from_config(config: &Value) -> Self {
        match read(config) {
            Ok(policy) => policy,
            Err(mistake) => Self {
                mistake: Some(mistake),
                ..Self::NONE
            },
        }
    }
}

impl Default for ModelPolicy {
    fn default() -> Self {
        Self::NONE
    }
}

/// Where the policy of `model` is written.
pub(super) fn key(model: &str) -> String {
    format!("sb_to_odoo:{model}")
}

fn read(config: &Value) -> Result<ModelPolicy, String> {
    let text = |name: &str| match config.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("{name} must be text")),
    };
    let editable_when = match config.get("editable_when") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(domain)) if domain.iter().all(is_term) => domain.clone(),
        Some(_) => {
            return Err(
                "editable_when must be a domain such as [[\"state\", \"=\", \"draft\"]]".to_owned(),
            );
        }
    };
    let when_locked = match (text("when_locked")?, text("reset_method")?) {
        (None | Some("dead_letter"), None) => WhenLocked::DeadLetter,
        (Some("skip"), None) => WhenLocked::Skip,
        (Some("reset"), Some(method)) => WhenLocked::Reset(method.to_owned()),
        (Some("reset"), None) => {
            return Err(
                "when_locked \"reset\" needs a reset_method such as \"button_draft\"".to_owned(),
            );
        }
        (None | Some("dead_letter" | "skip"), Some(_)) => {
            return Err("reset_method is only for when_locked \"reset\"".to_owned());
        }
        (Some(_), _) => {
            return Err("when_locked must be \"dead_letter\", \"skip\" or \"reset\"".to_owned());
        }
    };
    if editable_when.is_empty() && when_locked != WhenLocked::DeadLetter {
        return Err("when_locked needs an editable_when".to_owned());
    }
    let on_missing = match text("on_missing")? {
        None => None,
        Some("dead_letter") => Some(OnMissing::DeadLetter),
        Some("recreate") => Some(OnMissing::Recreate),
        Some(_) => return Err("on_missing must be \"dead_letter\" or \"recreate\"".to_owned()),
    };
    Ok(ModelPolicy {
        editable_when,
        when_locked,
        on_missing,
        mistake: None,
    })
}

fn is_term(term: &Value) -> bool {
    match term {
        Value::String(operator) => matches!(operator.as_str(), "&" | "|" | "!"),
        Value::Array(parts) => parts.len() == 3 && parts[0].is_string() && parts[1].is_string(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_policy_is_read_as_it_is_written() {
        let domain = json!(["|", ["state", "=", "draft"], ["state", "=", "sent"]]);
        let read = |config: Value| ModelPolicy::from_config(&config);
        assert_eq!(read(json!({"max_batch": 5})), ModelPolicy::NONE);
        assert_eq!(
            read(
                json!({"editable_when": domain, "when_locked": "reset", "reset_method": "button_draft", "on_missing": "recreate"})
            ),
            ModelPolicy {
                editable_when: domain.as_array().unwrap().clone(),
                when_locked: WhenLocked::Reset("button_draft".to_owned()),
                on_missing: Some(OnMissing::Recreate),
                mistake: None,
            }
        );
        assert_eq!(
            read(json!({"editable_when": domain, "when_locked": "skip"})).when_locked,
            WhenLocked::Skip
        );
        assert_eq!(
            read(json!({"on_missing": "dead_letter"})).on_missing,
            Some(OnMissing::DeadLetter)
        );
    }

    #[test]
    fn a_policy_that_is_written_wrongly_is_not_taken_for_none() {
        for wrong in [
            json!({"editable_when": "draft"}),
            json!({"editable_when": [["state", "="]]}),
            json!({"editable_when": ["state", "=", "draft"]}),
            json!({"editable_when": [["state", "=", "draft"]], "when_locked": "ignore"}),
            json!({"editable_when": [["state", "=", "draft"]], "when_locked": "reset"}),
            json!({"editable_when": [["state", "=", "draft"]], "reset_method": "button_draft"}),
            json!({"when_locked": "skip"}),
            json!({"on_missing": "create"}),
            json!({"on_missing": true}),
        ] {
            assert!(
                ModelPolicy::from_config(&wrong).mistake.is_some(),
                "{wrong}"
            );
        }
    }
}
