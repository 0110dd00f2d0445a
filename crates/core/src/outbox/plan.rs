//! From claimed rows to calls.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::row::{Operation, Row};

/// Rows that travel in one call: one model, one operation, one set of fields, one context.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub model: String,
    pub operation: Operation,
    /// The Odoo context of the call (language and companies are part of it).
    pub context: Map<String, Value>,
    /// In the order of their ids; never empty.
    pub rows: Vec<Row>,
}

/// A row with what the plan must know of it beyond its content.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    pub row: Row,
    /// Rows with one key go one after another; a row without one waits for nobody.
    pub key: Option<i64>,
    pub context: Map<String, Value>,
    /// Most rows of its model in one call; at least 1.
    pub max_batch: usize,
}

/// Groups claimed rows into stages. The batches of one stage may go at the same time; a stage starts when the one before it is
/// done. A key has at most one row in a stage, and its rows are in stages in the order of their ids.
#[must_use]
pub fn plan(mut claimed: Vec<Claimed>) -> Vec<Vec<Batch>> {
    claimed.sort_by_key(|claimed| claimed.row.id);
    let mut rank_of_key: HashMap<i64, usize> = HashMap::new();
    // Ordered by what makes a batch, then by id: a plan is the same whenever it is made.
    let mut stages: BTreeMap<usize, BTreeMap<BatchKey, Vec<Claimed>>> = BTreeMap::new();
    for claimed in claimed {
        let stage = match claimed.key {
            None => 0,
            Some(key) => {
                let rank = rank_of_key.entry(key).or_default();
                *rank += 1;
                *rank - 1
            }
        };
        stages
            .entry(stage)
            .or_default()
            .entry(BatchKey::of(&claimed))
            .or_default()
            .push(claimed);
    }
    stages
        .into_values()
        .map(|groups| {
            groups
                .into_iter()
                .flat_map(|(key, group)| key.into_batches(group))
                .collect()
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct BatchKey {
    /// Creates of a stage first: later ones may refer to them.
    operation: Operation,
    model: String,
    fields: BTreeSet<String>,
    /// JSON text: two contexts are one when they read the same.
    context: String,
    known: bool,
    max_batch: usize,
}

impl BatchKey {
    fn of(claimed: &Claimed) -> Self {
        let fields = match claimed.row.operation {
            // Whatever is in a call goes as it is; whatever is in a delete does not go at all.
            Operation::Call | Operation::Delete => BTreeSet::new(),
            Operation::Upsert | Operation::Create | Operation::Update => {
                claimed.row.payload.keys().cloned().collect()
            }
        };
        Self {
            operation: claimed.row.operation,
            model: claimed.row.model.clone(),
            fields,
            context: Value::Object(claimed.context.clone()).to_string(),
            known: claimed.row.odoo_id.is_some(),
            // Each method call is its own request.
            max_batch: if claimed.row.operation == Operation::Call {
                1
            } else {
                claimed.max_batch.max(1)
            },
        }
    }

    fn into_batches(self, group: Vec<Claimed>) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        for claimed in group {
            match batches.last_mut() {
                Some(batch) if batch.rows.len() < self.max_batch => batch.rows.push(claimed.row),
                _ => batches.push(Batch {
                    model: self.model.clone(),
                    operation: self.operation,
                    context: claimed.context,
                    rows: vec![claimed.row],
                }),
            }
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn claimed(id: i64, operation: Operation, key: Option<i64>, payload: Value) -> Claimed {
        let Value::Object(payload) = payload else {
            panic!("payload")
        };
        let row = Row {
            id,
            model: "res.partner".into(),
            operation,
            payload,
            odoo_id: None,
            external_id: format!("n.{id}"),
            has_record_key: key.is_some(),
        };
        Claimed {
            row,
            key,
            context: Map::new(),
            max_batch: 100,
        }
    }

    fn ids(stages: &[Vec<Batch>]) -> Vec<Vec<Vec<i64>>> {
        stages
            .iter()
            .map(|stage| {
                stage
                    .iter()
                    .map(|batch| batch.rows.iter().map(|row| row.id).collect())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn one_set_of_fields_is_one_call() {
        let stages = plan(vec![
            claimed(2, Operation::Create, None, json!({"name": "b"})),
            claimed(1, Operation::Create, None, json!({"name": "a"})),
            claimed(
                3,
                Operation::Create,
                None,
                json!({"name": "c", "email": "c@x"}),
            ),
        ]);
        assert_eq!(ids(&stages), [[vec![3], vec![1, 2]]]);
    }

    #[test]
    fn rows_of_one_record_go_in_stages() {
        let stages = plan(vec![
            claimed(1, Operation::Create, Some(7), json!({"name": "a"})),
            claimed(2, Operation::Update, Some(7), json!({"name": "b"})),
            claimed(3, Operation::Create, Some(8), json!({"name": "c"})),
            claimed(4, Operation::Delete, Some(7), json!({})),
        ]);
        assert_eq!(
            ids(&stages),
            [vec![vec![1, 3]], vec![vec![2]], vec![vec![4]]]
        );
    }

    #[test]
    fn another_context_is_another_call_and_calls_go_alone() {
        let mut german = claimed(2, Operation::Update, Some(2), json!({"name": "b"}));
        german.context.insert("lang".into(), json!("de_DE"));
        let stages = plan(vec![
            claimed(1, Operation::Update, Some(1), json!({"name": "a"})),
            german,
            claimed(3, Operation::Call, Some(3), json!({"method": "x"})),
            claimed(4, Operation::Call, Some(4), json!({"method": "x"})),
        ]);
        assert_eq!(stages[0].len(), 4);
    }

    #[test]
    fn a_batch_has_at_most_max_batch_rows() {
        let stages = plan(
            (0..250)
                .map(|id| claimed(id, Operation::Create, None, json!({"name": "a"})))
                .collect(),
        );
        assert_eq!(
            stages[0]
                .iter()
                .map(|batch| batch.rows.len())
                .collect::<Vec<_>>(),
            [100, 100, 50]
        );
    }

    proptest! {
        #[test]
        fn no_row_is_lost_or_doubled_and_keys_keep_their_order(
            rows in prop::collection::vec((0usize..5, prop::option::of(0i64..6), 0usize..3), 0..200)
        ) {
            let claimed: Vec<Claimed> = rows.iter().enumerate().map(|(id, (operation, key, fields))| {
                let payload: Map<String, Value> = (0..*fields).map(|n| (format!("f{n}"), json!(n))).collect();
                claimed(id as i64, Operation::ALL[*operation], *key, Value::Object(payload))
            }).collect();
            let keys: HashMap<i64, Option<i64>> = claimed.iter().map(|c| (c.row.id, c.key)).collect();
            let stages = plan(claimed);
            let mut seen: Vec<i64> = Vec::new();
            let mut last_of_key: HashMap<i64, i64> = HashMap::new();
            for stage in &stages {
                let mut keys_of_stage = BTreeSet::new();
                for row in stage.iter().flat_map(|batch| &batch.rows) {
                    seen.push(row.id);
                    if let Some(key) = keys[&row.id] {
                        prop_assert!(keys_of_stage.insert(key), "two rows of a key in one stage");
                        prop_assert!(last_of_key.insert(key, row.id).is_none_or(|last| last < row.id), "order");
                    }
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..rows.len() as i64).collect::<Vec<_>>());
        }
    }
}
