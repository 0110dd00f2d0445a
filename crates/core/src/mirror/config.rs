//! What is configured about one mirror: `ops.odoo_sync_config`, key `odoo_to_sb:<model>`.

use std::time::Duration;

use serde_json::{Map, Value};

/// Pages hold no more rows than this, whatever is configured: what one answer may take of the worker's memory.
pub const MOST_ROWS: usize = 2_000;
/// How far behind its start a run begins to look for changes. A change is dated with its transaction's start and seen at
/// its end: Odoo ends a request after 120 s, crons run longer.
const OVERLAP: Duration = Duration::from_secs(900);
/// How often Odoo is asked for changes.
const EVERY: Duration = Duration::from_secs(300);
/// How often every id is compared, to find what was deleted: a deletion changes no `write_date`.
const RECONCILE_EVERY: Duration = Duration::from_secs(3_600);

/// In which languages and companies a field's values are kept, where it has several: as JSON by language code or company id. Empty:
/// one value, that of the mirror's context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variants {
    /// Codes such as `de_DE`.
    pub languages: Vec<String>,
    /// Ids of `res.company`.
    pub companies: Vec<i64>,
}

/// Most languages or companies of a mirror: each costs a call per page.
const MOST_VARIANTS: usize = 50;

impl Variants {
    /// Reads the keys `languages` and `companies`; what is of the wrong kind counts as absent.
    #[must_use]
    pub fn read(value: &Value) -> Self {
        let list = |name: &str| {
            value
                .get(name)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        let mut variants = Self {
            languages: list("languages")
                .filter_map(|code| code.as_str().map(str::to_owned))
                .take(MOST_VARIANTS)
                .collect(),
            companies: list("companies")
                .filter_map(Value::as_i64)
                .filter(|id| *id > 0)
                .take(MOST_VARIANTS)
                .collect(),
        };
        variants.languages.dedup();
        variants.companies.dedup();
        variants
    }
}

/// One mirror's configuration; absent keys have their defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorConfig {
    /// Which records, as an Odoo domain.
    pub domain: Vec<Value>,
    /// Which fields; `None`: what has a column in Odoo.
    pub fields: Option<Vec<String>>,
    /// Most rows of a page.
    pub page_size: usize,
    pub context: Map<String, Value>,
    pub variants: Variants,
    pub overlap: Duration,
    pub every: Duration,
    pub reconcile_every: Duration,
}

impl MirrorConfig {
    /// Reads the value of the key; what is of the wrong kind counts as absent.
    #[must_use]
    pub fn read(value: &Value) -> Self {
        let seconds = |name: &str, default: Duration| {
            value
                .get(name)
                .and_then(Value::as_f64)
                .filter(|seconds| (1.0..=31_536_000.0).contains(seconds))
                .map_or(default, Duration::from_secs_f64)
        };
        Self {
            domain: value
                .get("domain")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            fields: value
                .get("fields")
                .and_then(Value::as_array)
                .and_then(|names| {
                    let names: Vec<String> = names
                        .iter()
                        .filter_map(|name| name.as_str().map(str::to_owned))
                        .collect();
                    (!names.is_empty()).then_some(names)
                }),
            page_size: value
                .get("page_size")
                .and_then(Value::as_u64)
                .filter(|rows| *rows > 0)
                .map_or(MOST_ROWS, |rows| rows.min(MOST_ROWS as u64) as usize),
            context: value
                .get("context")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            variants: Variants::read(value),
            overlap: seconds("overlap_seconds", OVERLAP),
            every: seconds("every_seconds", EVERY),
            reconcile_every: seconds("reconcile_seconds", RECONCILE_EVERY),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_and_odd_values_are_the_defaults() {
        let defaults = MirrorConfig::read(&json!({}));
        assert_eq!(defaults.page_size, MOST_ROWS);
        assert_eq!(defaults.every, EVERY);
        assert_eq!(defaults.fields, None);
        for odd in [
            json!({"domain": "x", "fields": [], "page_size": 0, "every_seconds": -1}),
            json!({"fields": [7], "page_size": "a", "overlap_seconds": 1e12, "context": []}),
            json!(null),
        ] {
            assert_eq!(MirrorConfig::read(&odd), defaults, "{odd}");
        }
    }

    #[test]
    fn what_is_configured_holds() {
        let config = MirrorConfig::read(&json!({
            "domain": [["customer_rank", ">", 0]], "fields": ["name", "email"], "page_size": 100_000,
            "every_seconds": 60, "overlap_seconds": 1800, "context": {"lang": "de_DE"},
            "languages": ["en_US", "de_DE", 7], "companies": [1, -1, "x", 2],
        }));
        assert_eq!(config.domain, [json!(["customer_rank", ">", 0])]);
        assert_eq!(
            config.fields,
            Some(vec!["name".to_owned(), "email".to_owned()])
        );
        assert_eq!(config.variants.languages, ["en_US", "de_DE"]);
        assert_eq!(config.variants.companies, [1, 2]);
        assert_eq!(config.page_size, MOST_ROWS);
        assert_eq!(config.every, Duration::from_secs(60));
        assert_eq!(
            config.context,
            json!({"lang": "de_DE"}).as_object().cloned().unwrap()
        );
    }
}
