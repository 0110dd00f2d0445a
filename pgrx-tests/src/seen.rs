//! What the simulator holds and was asked, seen from the other side.

use odoo_sim::{Logged, Sim};
use serde_json::{Map, Value};

/// Short forms for what tests ask a simulator about.
pub trait Seen {
    /// Records of a model whose `field` is exactly that text.
    fn having(&self, model: &str, field: &str, text: &str) -> Vec<Map<String, Value>>;
    /// Partners of that name: the number of times a create took effect.
    fn partners(&self, name: &str) -> Vec<Map<String, Value>>;
    /// The only partner of that name.
    fn partner(&self, name: &str) -> Map<String, Value>;
    /// Names of all partners that begin so, in the order of their ids.
    fn partner_names(&self, prefix: &str) -> Vec<String>;
    /// Requests of one method, on any model.
    fn calls(&self, method: &str) -> Vec<Logged>;
    /// Requests that change something.
    fn changes(&self) -> Vec<Logged>;
}

impl Seen for Sim {
    fn having(&self, model: &str, field: &str, text: &str) -> Vec<Map<String, Value>> {
        let mut records = self.records(model);
        records.retain(|record| record.get(field).and_then(Value::as_str) == Some(text));
        records
    }

    fn partners(&self, name: &str) -> Vec<Map<String, Value>> {
        self.having("res.partner", "name", name)
    }

    #[track_caller]
    fn partner(&self, name: &str) -> Map<String, Value> {
        let mut found = self.partners(name);
        assert_eq!(found.len(), 1, "partners named {name:?}: {found:?}");
        found.remove(0)
    }

    fn partner_names(&self, prefix: &str) -> Vec<String> {
        let names = self
            .records("res.partner")
            .into_iter()
            .filter_map(|record| record["name"].as_str().map(str::to_owned));
        names.filter(|name| name.starts_with(prefix)).collect()
    }

    fn calls(&self, method: &str) -> Vec<Logged> {
        let mut calls = self.requests();
        calls.retain(|call| call.method == method);
        calls
    }

    fn changes(&self) -> Vec<Logged> {
        const CHANGING: [&str; 6] = [
            "load",
            "create",
            "write",
            "web_save_multi",
            "unlink",
            "action_confirm",
        ];
        let mut calls = self.requests();
        calls.retain(|call| CHANGING.contains(&call.method.as_str()));
        calls
    }
}
