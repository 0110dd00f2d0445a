//! Whatever Odoo answers: one outcome per row, no panic, no end to it that is not bounded.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::odoo::endpoint::Endpoint;
use crate::odoo::values::FieldSource;

/// Answers each call with the next of a list, over and over.
struct Scripted {
    endpoint: Endpoint,
    answers: Vec<Result<Value, Failure>>,
    calls: Cell<usize>,
    web_save_multi: Cell<Option<bool>>,
    sent: RefCell<Vec<String>>,
}

impl Scripted {
    fn new(answers: Vec<Result<Value, Failure>>) -> Self {
        Self {
            endpoint: Endpoint::parse("https://h", &json!({"allow_methods": ["*.*"]})).unwrap(),
            answers,
            calls: Cell::new(0),
            web_save_multi: Cell::new(None),
            sent: RefCell::default(),
        }
    }
}

impl FieldSource for Scripted {
    fn fields(&self, _: &str) -> Result<Arc<ModelFields>, Failure> {
        let described = json!({
            "name": {"type": "char"},
            "state": {"type": "selection", "selection": [["a", "A"]], "readonly": true},
            "other_id": {"type": "many2one", "relation": "x.other"},
            "props": {"type": "properties"},
            "line_ids": {"type": "one2many", "relation": "x.line", "relation_field": "parent_id"},
            "parent_id": {"type": "many2one", "relation": "x.model"},
        });
        Ok(Arc::new(ModelFields::from_json(&described).unwrap()))
    }
}

impl Gateway for Scripted {
    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn run(&self, call: &Call) -> Result<Value, Failure> {
        let number = self.calls.get();
        self.calls.set(number + 1);
        self.sent.borrow_mut().push(call.method.clone());
        self.answers[number % self.answers.len()].clone()
    }

    fn refreshed_fields(&self, _: &str) -> Option<Result<Arc<ModelFields>, Failure>> {
        None
    }

    fn has_web_save_multi(&self) -> Option<bool> {
        self.web_save_multi.get()
    }

    fn learn_web_save_multi(&self, has: bool) {
        self.web_save_multi.set(Some(has));
    }

    fn known_uid(&self) -> Option<i64> {
        None
    }

    fn learn_uid(&self, _: i64) {}
}

fn row(
    id: i64,
    operation: Operation,
    payload: Value,
    odoo_id: Option<i64>,
    has_record_key: bool,
) -> Row {
    Row {
        id,
        model: "x.model".to_owned(),
        operation,
        payload: payload.as_object().cloned().unwrap_or_default(),
        odoo_id,
        external_id: format!("ns.x_{}", id % 7),
        has_record_key,
        changes: None,
        circle: None,
        seen: None,
    }
}

fn batch(operation: Operation, rows: Vec<Row>) -> Batch {
    Batch {
        model: "x.model".to_owned(),
        operation,
        context: Map::new(),
        rows,
        joined: BTreeMap::new(),
        known: BTreeMap::new(),
    }
}

/// Lets `act` do one step of a delivery that sends nothing of its own.
pub(super) fn with_delivery<R>(act: impl FnOnce(&mut Delivery<'_>) -> R) -> R {
    let gateway = Scripted::new(vec![Ok(json!(true))]);
    let batch = batch(Operation::Update, Vec::new());
    act(&mut Delivery::new(
        &gateway,
        &batch,
        &DeliverContext {
            namespace: "ns",
            connection: "odoo",
            policy: &ModelPolicy::NONE,
            should_stop: &|| false,
            divided: &Cell::default(),
        },
    ))
}

fn run(gateway: &Scripted, operation: Operation, rows: Vec<Row>) -> Vec<(i64, Outcome)> {
    let batch = batch(operation, rows);
    let stop = || false;
    deliver_through(
        gateway,
        &batch,
        &DeliverContext {
            namespace: "ns",
            connection: "odoo",
            policy: &ModelPolicy::NONE,
            should_stop: &stop,
            divided: &Cell::default(),
        },
    )
}

fn answers() -> impl Strategy<Value = Result<Value, Failure>> {
    let value = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!(false)),
        Just(json!([])),
        Just(json!([1, 2, 3])),
        Just(json!(["x.model", 5])),
        Just(json!(["x.model", false])),
        Just(json!({"ids": [1, 2], "messages": []})),
        Just(
            json!({"ids": false, "messages": [{"type": "error", "message": "m", "rows": {"from": 0, "to": 900}}]})
        ),
        Just(
            json!({"ids": false, "messages": [{"type": "error", "message": "m", "rows": {"from": 1, "to": 1}}]})
        ),
        Just(
            json!({"ids": false, "messages": [{"type": "error", "message": "m", "rows": {"from": 9, "to": 2}}]})
        ),
        Just(json!({"ids": {}, "messages": "x"})),
    ];
    prop_oneof![
        3 => value.prop_map(Ok),
        2 => (0..ErrorClass::ALL.len()).prop_map(|n| Err(Failure::new(ErrorClass::ALL[n], "x.model(5,) web_save_multi"))),
    ]
}

fn payloads() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        Just(json!({"name": "a"})),
        Just(json!({"name": "b", "other_id": "base.x"})),
        Just(json!({"name": "b", "other_id": {"key": "k"}, "props": {"p": 1}})),
        Just(
            json!({"state": "a", "line_ids": [{"key": "1", "name": "l"}, {"key": "2", "other_id": 4}]})
        ),
        Just(json!({"line_ids": [[1, 4, {"name": "l"}]], "name": null})),
        Just(json!({"method": "go", "unless": [["a", "=", 1]]})),
        Just(json!({"method": "go", "ids": [1, 2]})),
        Just(json!({"unknown": 1})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn one_outcome_per_row_whatever_is_answered(
        script in prop::collection::vec(answers(), 1..12),
        operation in 0usize..5,
        rows in prop::collection::vec((payloads(), prop::option::of(1i64..9), any::<bool>()), 1..20),
    ) {
        let operation = Operation::ALL[operation];
        let gateway = Scripted::new(script);
        let rows: Vec<Row> = rows
            .into_iter()
            .zip(1..)
            .map(|((payload, odoo_id, key), id)| row(id, operation, payload, odoo_id, key))
            .collect();
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let count = rows.len();
        let outcomes = run(&gateway, operation, rows);
        prop_assert_eq!(outcomes.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
        for (_, outcome) in &outcomes {
            if let Outcome::Failed(failure) = outcome {
                prop_assert!(!failure.message.contains("without an outcome"));
            }
        }
        prop_assert!(gateway.calls.get() <= 40 * count + 40, "{} calls for {count} rows", gateway.calls.get());
    }
}

#[test]
fn nothing_is_sent_after_the_endpoint_is_lost() {
    for class in [
        ErrorClass::Unreachable,
        ErrorClass::Misconfigured,
        ErrorClass::Throttled,
        ErrorClass::Unknown,
    ] {
        for operation in Operation::ALL {
            let gateway = Scripted::new(vec![Err(Failure::new(class, "gone"))]);
            let payload = match operation {
                Operation::Call => json!({"method": "go"}),
                _ => json!({"name": "a"}),
            };
            let odoo_id = |id| (operation != Operation::Create).then_some(id);
            let rows = (1..=5)
                .map(|id| row(id, operation, payload.clone(), odoo_id(id), true))
                .collect();
            let outcomes = run(&gateway, operation, rows);
            assert_eq!(
                gateway.calls.get(),
                1,
                "{class:?} {operation:?}: {:?}",
                gateway.sent.borrow()
            );
            let classes: BTreeSet<ErrorClass> = outcomes
                .iter()
                .map(|(_, outcome)| match outcome {
                    Outcome::Failed(failure) => failure.class,
                    Outcome::Delivered { .. } => panic!("{class:?} {operation:?}"),
                })
                .collect();
            assert!(
                classes
                    .iter()
                    .all(|seen| *seen == class || *seen == ErrorClass::Unreachable),
                "{classes:?}"
            );
        }
    }
}

#[test]
fn a_server_without_web_save_multi_is_found_out_once() {
    let gone = Failure::new(
        ErrorClass::UnknownModel,
        "The method 'x.model.web_save_multi' does not exist",
    );
    let gateway = Scripted::new(vec![
        Err(gone),
        Ok(json!({"ids": [1, 2, 3], "messages": []})),
        Ok(json!({"ids": [1, 2, 3], "messages": []})),
    ]);
    let rows = |name: &str| {
        (1..=3)
            .map(|id| {
                row(
                    id,
                    Operation::Update,
                    json!({"name": format!("{name}{id}")}),
                    Some(id),
                    true,
                )
            })
            .collect::<Vec<_>>()
    };
    for name in ["a", "b"] {
        let outcomes = run(&gateway, Operation::Update, rows(name));
        assert!(
            outcomes
                .iter()
                .all(|(_, outcome)| matches!(outcome, Outcome::Delivered { .. })),
            "{outcomes:?}"
        );
    }
    assert_eq!(*gateway.sent.borrow(), ["web_save_multi", "load", "load"]);
}

#[test]
fn an_external_id_is_never_twice_in_one_load() {
    let gateway = Scripted::new(vec![Ok(json!({"ids": [1], "messages": []}))]);
    let mut rows: Vec<Row> = (1..=2)
        .map(|id| row(id, Operation::Create, json!({"name": "a"}), None, true))
        .collect();
    rows[1].external_id = rows[0].external_id.clone();
    let outcomes = run(&gateway, Operation::Create, rows);
    assert_eq!(gateway.calls.get(), 2);
    assert!(
        outcomes
            .iter()
            .all(|(_, outcome)| *outcome == Outcome::delivered(Some(1))),
        "{outcomes:?}"
    );
}

#[test]
fn a_later_change_of_a_record_does_not_go_before_an_earlier_one() {
    // Two keys lead to one record, as after a merge.
    let rows = || {
        (1..=3)
            .map(|id| {
                let record = if id == 2 { 8 } else { 5 };
                let name = json!({"name": format!("n{id}")});
                row(id, Operation::Update, name, Some(record), true)
            })
            .collect::<Vec<_>>()
    };
    let gateway = Scripted::new(vec![Ok(json!([]))]);
    let outcomes = run(&gateway, Operation::Update, rows());
    assert_eq!(*gateway.sent.borrow(), ["web_save_multi", "write"]);
    assert!(
        outcomes
            .iter()
            .all(|(_, outcome)| matches!(outcome, Outcome::Delivered { .. }))
    );
    let lost = Failure::new(ErrorClass::Conflict, "could not serialize access");
    let gateway = Scripted::new(vec![Err(lost), Ok(json!([]))]);
    let outcomes = run(&gateway, Operation::Update, rows());
    assert_eq!(*gateway.sent.borrow(), ["web_save_multi"]);
    let classes: Vec<Option<ErrorClass>> = outcomes
        .iter()
        .map(|(_, outcome)| match outcome {
            Outcome::Failed(failure) => Some(failure.class),
            Outcome::Delivered { .. } => None,
        })
        .collect();
    // The third waits for the first without losing an attempt.
    let (conflict, unsent) = (Some(ErrorClass::Conflict), Some(ErrorClass::Unreachable));
    assert_eq!(classes, [conflict, conflict, unsent]);
}
