//! The field descriptions that one client holds: given by an earlier client, or fetched by this one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::ModelFields;

/// A field that Odoo got since then is found after this time.
const STALE: Duration = Duration::from_secs(60);

/// Most models held; the rest are asked for each time.
const MOST_MODELS: usize = 500;

/// Field descriptions by model; shared by threads.
#[derive(Debug, Default)]
pub struct Catalog {
    models: Mutex<HashMap<String, Known>>,
}

#[derive(Debug)]
struct Known {
    fields: Arc<ModelFields>,
    /// When this client asked Odoo; `None` for a description that an earlier client fetched.
    fetched: Option<Instant>,
    /// Fetched and not yet handed out for keeping.
    new: bool,
}

impl Catalog {
    /// The description of `model`, if there is one.
    pub fn known(&self, model: &str) -> Option<Arc<ModelFields>> {
        self.lock()
            .get(model)
            .map(|known| Arc::clone(&known.fields))
    }

    /// Whether asking again could tell something new.
    pub fn may_be_stale(&self, model: &str) -> bool {
        self.lock()
            .get(model)
            .is_none_or(|known| known.fetched.is_none_or(|at| at.elapsed() > STALE))
    }

    /// Takes an answer of `fields_get`. `None` where it describes no field.
    pub fn fetched(&self, model: &str, answer: &Value) -> Option<Arc<ModelFields>> {
        let fields = Arc::new(ModelFields::from_json(answer)?);
        self.insert(
            model,
            Known {
                fields: Arc::clone(&fields),
                fetched: Some(Instant::now()),
                new: true,
            },
        );
        Some(fields)
    }

    /// Takes what was kept. What this client fetched itself stays. `false` where it describes no field.
    pub fn preload(&self, model: &str, json: &Value) -> bool {
        match ModelFields::from_json(json) {
            None => false,
            Some(fields) => {
                if self.known(model).is_none() {
                    self.insert(
                        model,
                        Known {
                            fields: Arc::new(fields),
                            fetched: None,
                            new: false,
                        },
                    );
                }
                true
            }
        }
    }

    /// What was fetched since the last call of this.
    pub fn take_new(&self) -> Vec<(String, Value)> {
        self.lock()
            .iter_mut()
            .filter_map(|(model, known)| {
                std::mem::take(&mut known.new).then(|| (model.clone(), known.fields.to_json()))
            })
            .collect()
    }

    fn insert(&self, model: &str, known: Known) {
        let mut models = self.lock();
        if models.len() < MOST_MODELS || models.contains_key(model) {
            models.insert(model.to_owned(), known);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fetched_descriptions_are_handed_out_once_and_go_before_kept_ones() {
        let catalog = Catalog::default();
        assert!(catalog.preload("a", &json!({"x": {"type": "char"}})));
        assert!(catalog.may_be_stale("a") && catalog.take_new().is_empty());
        let answer = json!({"y": {"type": "char"}});
        assert!(catalog.fetched("a", &answer).is_some());
        assert!(!catalog.may_be_stale("a"));
        assert!(catalog.preload("a", &json!({"x": {"type": "char"}})));
        assert!(
            catalog
                .known("a")
                .is_some_and(|fields| fields.get("y").is_some())
        );
        assert_eq!(catalog.take_new(), vec![("a".to_owned(), answer)]);
        assert!(catalog.take_new().is_empty());
        assert!(!catalog.preload("b", &json!([])));
    }
}
