use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::outbox::row::Circle;

fn plain(_: &str, field: &str) -> Nature {
    match field {
        "lines" => Nature::Lines,
        "partial" => Nature::Partial,
        "computed" => Nature::Computed,
        "odd" => Nature::Unknown,
        _ => Nature::Plain,
    }
}

/// A row of the record `key`; a value `{"key": n}` refers to the record n.
fn claimed(id: i64, operation: Operation, key: Option<i64>, payload: Value) -> Claimed {
    let Value::Object(payload) = payload else {
        panic!("payload")
    };
    let name = |key: i64| format!("n.{key}");
    let references = payload
        .iter()
        .filter_map(|(field, value)| {
            Some(Reference {
                field: field.clone(),
                external_id: name(value.get("key")?.as_i64()?),
                record: None,
                required: field == "boss",
            })
        })
        .collect();
    Claimed {
        row: Row {
            id,
            model: "res.partner".into(),
            operation,
            payload,
            odoo_id: None,
            external_id: key.map_or_else(|| format!("row.{id}"), name),
            has_record_key: key.is_some(),
            changes: None,
            circle: None,
            seen: None,
        },
        key,
        context: Map::new(),
        max_batch: 100,
        priority: 0,
        references,
        described: true,
        joinable: true,
    }
}

fn ids(planned: &[Planned]) -> Vec<Vec<i64>> {
    planned
        .iter()
        .map(|planned| planned.batch.rows.iter().map(|row| row.id).collect())
        .collect()
}

fn after(planned: &[Planned], id: i64) -> Vec<Vec<After>> {
    let of = planned
        .iter()
        .filter(|planned| planned.batch.rows.iter().any(|row| row.id == id));
    of.map(|planned| {
        planned
            .after
            .get(&id)
            .map(|after| after.iter().copied().collect())
            .unwrap_or_default()
    })
    .collect()
}

fn circle(way: &str) -> Option<Circle> {
    let way = way.to_owned();
    Some(Circle { way, blind: false })
}

use Operation::{Call, Create, Delete, Update, Upsert};

#[test]
fn one_set_of_fields_is_one_call() {
    let planned = plan(
        vec![
            claimed(2, Create, None, json!({"name": "b"})),
            claimed(1, Create, None, json!({"name": "a"})),
            claimed(3, Create, None, json!({"name": "c", "email": "c@x"})),
        ],
        &plain,
    );
    assert_eq!(ids(&planned), [vec![3], vec![1, 2]]);
    assert!(planned.iter().all(|planned| planned.after.is_empty()));
}

#[test]
fn changes_of_one_record_are_joined_and_later_fields_win() {
    let planned = plan(
        vec![
            claimed(1, Update, Some(7), json!({"name": "a", "phone": "1"})),
            claimed(2, Update, Some(8), json!({"name": "other", "phone": "2"})),
            claimed(3, Update, Some(7), json!({"name": "b"})),
        ],
        &plain,
    );
    assert_eq!(ids(&planned), [vec![3, 2]]);
    let batch = &planned[0].batch;
    assert_eq!(
        Value::Object(batch.rows[0].payload.clone()),
        json!({"name": "b", "phone": "1"})
    );
    assert_eq!(batch.members(3), [1, 3]);
    assert_eq!(batch.ids().collect::<Vec<_>>(), [1, 3, 2]);
    // As they came, for the case that they must go apart.
    assert_eq!(batch.joined[&3][0].payload["name"], "a");
}

#[test]
fn a_create_keeps_apart_what_a_record_gets_that_was_there_before() {
    let planned = plan(
        vec![
            claimed(1, Create, Some(7), json!({"name": "a", "phone": "1"})),
            claimed(2, Update, Some(7), json!({"name": "b"})),
            claimed(3, Upsert, Some(7), json!({"email": "c"})),
        ],
        &plain,
    );
    let row = &planned[0].batch.rows[0];
    assert_eq!((planned.len(), row.operation), (1, Create));
    assert_eq!(
        Value::Object(row.payload.clone()),
        json!({"name": "b", "phone": "1", "email": "c"})
    );
    assert_eq!(
        row.changes.clone().map(Value::Object),
        Some(json!({"name": "b", "email": "c"}))
    );
}

#[test]
fn what_one_write_would_not_leave_as_two_do_stays_apart() {
    let pairs = [
        // A computed value that is not given again: writing the other field may change it.
        (Update, json!({"computed": 1}), Update, json!({"name": "b"})),
        (Update, json!({"lines": [1]}), Update, json!({"lines": [2]})),
        (
            Update,
            json!({"lines": [{"key": 1, "x": 1}]}),
            Update,
            json!({"lines": [{"key": "1", "y": 1}]}),
        ),
        (
            Update,
            json!({"lines": [{"key": "1"}]}),
            Update,
            json!({"lines": [{"id": 2}]}),
        ),
        // A line by position is another one in the next row.
        (
            Create,
            json!({"lines": [{"name": "a"}]}),
            Update,
            json!({"lines": [{"key": "1"}]}),
        ),
        // What Odoo computes of lines comes after they are written.
        (
            Update,
            json!({"lines": [{"key": "1"}]}),
            Update,
            json!({"name": "b"}),
        ),
        (
            Update,
            json!({"partial": [{"key": "1"}]}),
            Update,
            json!({"partial": [{"key": "2"}]}),
        ),
        (Update, json!({"odd": 1}), Update, json!({"name": "b"})),
        (Update, json!({"odd": [1]}), Update, json!({"odd": [2]})),
        (Update, json!({"name": "a"}), Upsert, json!({"name": "b"})),
        (Update, json!({"name": "a"}), Create, json!({"name": "b"})),
        (Update, json!({"name": "a"}), Delete, json!({})),
        (Delete, json!({}), Upsert, json!({"name": "b"})),
        (Update, json!({"name": "a"}), Call, json!({"method": "x"})),
        (Call, json!({"method": "x"}), Call, json!({"method": "x"})),
        // Deleted and made again.
        (
            Update,
            json!({"lines": [{"key": "1", "_delete": true}]}),
            Update,
            json!({"lines": [{"key": "1", "x": 1}]}),
        ),
    ];
    for (first, a, second, b) in pairs {
        let planned = plan(
            vec![
                claimed(1, first, Some(7), a.clone()),
                claimed(2, second, Some(7), b.clone()),
            ],
            &plain,
        );
        assert_eq!(ids(&planned), [[1], [2]], "{first:?} {a} {second:?} {b}");
        assert_eq!(after(&planned, 2), [[After::Settled(1)]], "{a} {b}");
    }
}

#[test]
fn different_lines_of_a_record_go_together() {
    let planned = plan(
        vec![
            claimed(1, Create, Some(7), json!({"name": "a"})),
            claimed(2, Update, Some(7), json!({"lines": [{"key": "1", "x": 1}]})),
            claimed(
                3,
                Upsert,
                Some(7),
                json!({"lines": [{"key": "2"}, {"key": 3}, {"key": "4", "x": 1}]}),
            ),
            // One again, whole, and one that is not to be there after all.
            claimed(
                4,
                Update,
                Some(7),
                json!({"lines": [{"key": 1, "x": 2, "y": 1}, {"key": "4", "_delete": true}]}),
            ),
        ],
        &plain,
    );
    let row = &planned[0].batch.rows[0];
    let lines = json!([{"key": 1, "x": 2, "y": 1}, {"key": "2"}, {"key": 3}, {"key": "4", "_delete": true}]);
    assert_eq!((planned.len(), row.operation), (1, Create));
    assert_eq!(
        Value::Object(row.payload.clone()),
        json!({"name": "a", "lines": lines})
    );
    assert_eq!(
        row.changes.clone().map(Value::Object),
        Some(json!({"lines": lines}))
    );
}

#[test]
fn values_that_are_given_again_may_be_of_any_kind_that_is_replaced_whole() {
    for (a, b) in [
        (json!({"computed": 1}), json!({"computed": 2, "name": "x"})),
        (json!({"odd": 1}), json!({"odd": 2})),
    ] {
        let planned = plan(
            vec![
                claimed(1, Update, Some(7), a.clone()),
                claimed(2, Update, Some(7), b.clone()),
            ],
            &plain,
        );
        assert_eq!(ids(&planned), [[2]], "{a} {b}");
    }
}

#[test]
fn what_waits_for_joined_rows_waits_for_each_of_them() {
    let planned = plan(
        vec![
            claimed(1, Update, Some(7), json!({"name": "a"})),
            claimed(2, Update, Some(7), json!({"name": "b"})),
            claimed(3, Delete, Some(7), json!({})),
        ],
        &plain,
    );
    assert_eq!(after(&planned, 3), [[After::Settled(1), After::Settled(2)]]);
}

#[test]
fn another_context_is_another_call_and_calls_go_alone() {
    let mut german = claimed(2, Update, Some(2), json!({"name": "b"}));
    german.context.insert("lang".into(), json!("de_DE"));
    let planned = plan(
        vec![
            claimed(1, Update, Some(1), json!({"name": "a"})),
            german,
            claimed(3, Call, Some(3), json!({"method": "x"})),
            claimed(4, Call, Some(4), json!({"method": "x"})),
        ],
        &plain,
    );
    assert_eq!(planned.len(), 4);
}

#[test]
fn the_urgent_goes_first_and_not_with_the_rest() {
    let mut urgent = claimed(9, Create, None, json!({"name": "z"}));
    urgent.priority = 5;
    let planned = plan(
        vec![
            claimed(1, Create, None, json!({"name": "a"})),
            urgent,
            claimed(2, Create, None, json!({"name": "b"})),
        ],
        &plain,
    );
    assert_eq!(ids(&planned), [vec![9], vec![1, 2]]);
    assert_eq!(planned[0].priority, 5);
}

#[test]
fn a_batch_has_at_most_max_batch_rows() {
    let planned = plan(
        (0..250)
            .map(|id| claimed(id, Create, None, json!({"name": "a"})))
            .collect(),
        &plain,
    );
    let sizes: Vec<usize> = planned
        .iter()
        .map(|planned| planned.batch.rows.len())
        .collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn a_record_waits_for_those_it_refers_to_whatever_their_ids() {
    let planned = plan(
        vec![
            claimed(1, Create, Some(1), json!({"parent": {"key": 2}})),
            claimed(2, Create, Some(2), json!({"parent": {"key": 3}})),
            claimed(3, Create, Some(3), json!({"name": "root"})),
            // Nothing in this plan makes it: Odoo has it, or says so.
            claimed(4, Create, Some(4), json!({"parent": {"key": 99}})),
        ],
        &plain,
    );
    assert_eq!(ids(&planned), [vec![3], vec![4], vec![2], vec![1]]);
    assert_eq!(after(&planned, 1), [[After::Made(2)]]);
    assert_eq!(after(&planned, 2), [[After::Made(3)]]);
}

#[test]
fn a_reference_is_to_the_record_that_was_made_last_before_it() {
    let child = |id| claimed(id, Create, Some(id), json!({"parent": {"key": 1}}));
    let parent = |id, operation| claimed(id, operation, Some(1), json!({"name": "a"}));
    let rows = vec![
        child(10),
        parent(11, Create),
        child(12),
        parent(13, Delete),
        parent(14, Create),
        child(15),
    ];
    let planned = plan(rows, &plain);
    for (child, parent) in [(10, 11), (12, 11), (15, 14)] {
        assert_eq!(after(&planned, child), [[After::Made(parent)]], "{child}");
    }
}

#[test]
fn a_reference_to_itself_follows_by_a_write() {
    let planned = plan(
        vec![
            claimed(
                1,
                Create,
                Some(1),
                json!({"name": "a", "friend": {"key": 1}}),
            ),
            claimed(2, Delete, Some(1), json!({})),
        ],
        &plain,
    );
    assert_eq!(ids(&planned), [[1], [1], [2]]);
    let payload = |place: usize| Value::Object(planned[place].batch.rows[0].payload.clone());
    assert_eq!(payload(0), json!({"name": "a"}));
    assert_eq!(payload(1), json!({"friend": {"key": 1}}));
    assert_eq!(planned[1].batch.operation, Update);
    assert_eq!(after(&planned, 1), [vec![], vec![After::Made(1)]]);
    assert_eq!(after(&planned, 2), [[After::Settled(1)]]);
    assert_eq!(
        planned[0].batch.rows[0].circle,
        circle("row 1 (res.partner) → itself")
    );
}

#[test]
fn a_circle_is_cut_once_and_named() {
    let planned = plan(
        vec![
            claimed(
                1,
                Create,
                Some(1),
                json!({"name": "a", "friend": {"key": 2}}),
            ),
            claimed(
                2,
                Create,
                Some(2),
                json!({"name": "b", "friend": {"key": 3}}),
            ),
            claimed(
                3,
                Create,
                Some(3),
                json!({"name": "c", "friend": {"key": 1}}),
            ),
        ],
        &plain,
    );
    assert_eq!(ids(&planned), [[1], [3], [2], [1]]);
    assert_eq!(
        after(&planned, 1),
        [vec![], vec![After::Made(1), After::Made(2)]]
    );
    assert_eq!(
        planned[0].batch.rows[0].circle,
        circle(
            "row 1 (res.partner) → row 2 (res.partner) → row 3 (res.partner) → row 1 (res.partner)"
        )
    );
}

#[test]
fn a_circle_is_cut_where_a_record_can_be_without_it() {
    let planned = plan(
        vec![
            claimed(1, Create, Some(1), json!({"name": "a", "boss": {"key": 2}})),
            claimed(
                2,
                Create,
                Some(2),
                json!({"name": "b", "friend": {"key": 1}}),
            ),
        ],
        &plain,
    );
    assert_eq!(ids(&planned), [[2], [1], [2]]);
    assert_eq!(
        planned[2].batch.rows[0].payload["friend"],
        json!({"key": 1})
    );
}

#[test]
fn a_circle_through_joined_rows_is_cut_too() {
    let planned = plan(
        vec![
            claimed(1, Create, Some(1), json!({"name": "a"})),
            claimed(2, Create, Some(2), json!({"friend": {"key": 1}})),
            claimed(3, Update, Some(1), json!({"friend": {"key": 2}})),
        ],
        &plain,
    );
    assert_eq!(ids(&planned), [[3], [2], [3]]);
    assert_eq!(planned[2].batch.members(3), [1, 3]);
    assert_eq!(
        planned[2].batch.joined[&3][1].payload["friend"],
        json!({"key": 2})
    );
    assert!(
        !planned[0].batch.joined[&3][1]
            .payload
            .contains_key("friend")
    );
}

/// Any operation on any of a few records, with fields of every nature and references to any of them.
fn any_row() -> impl Strategy<Value = AnyRow> {
    (
        0usize..5,
        prop::option::weighted(0.9, 0i64..6),
        prop::collection::vec((0usize..7, 0i64..6), 0..4),
    )
}

/// Operation, record, and the values of fields.
type AnyRow = (usize, Option<i64>, Vec<(usize, i64)>);

fn any_plan(rows: &[AnyRow]) -> Vec<Claimed> {
    let fields = ["a", "b", "computed", "lines", "odd", "friend", "boss"];
    let row = |(id, (operation, key, values)): (usize, &AnyRow)| {
        let payload = values.iter().map(|(field, value)| {
            let value = if *field < 5 {
                json!(value)
            } else {
                json!({"key": value})
            };
            (fields[*field].to_owned(), value)
        });
        claimed(
            id as i64,
            Operation::ALL[*operation],
            *key,
            Value::Object(payload.collect()),
        )
    };
    rows.iter().enumerate().map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Sent one by one, every row's conditions have come true when its turn comes, every row is settled once, and per record the
    /// rows are settled in the order of their ids.
    #[test]
    fn every_row_is_settled_once_and_in_order(rows in prop::collection::vec(any_row(), 0..60)) {
        let claimed = any_plan(&rows);
        let keys: HashMap<i64, Option<i64>> = claimed.iter().map(|c| (c.row.id, c.key)).collect();
        let planned = plan(claimed, &plain);
        let mut steps_left: HashMap<i64, usize> = HashMap::new();
        for id in planned.iter().flat_map(|planned| planned.batch.rows.iter().map(|row| row.id)) {
            *steps_left.entry(id).or_default() += 1;
        }
        let (mut made, mut settled) = (HashSet::new(), Vec::new());
        for planned in &planned {
            for (id, after) in &planned.after {
                for after in after {
                    match after {
                        After::Made(row) => prop_assert!(made.contains(row), "{id} before {row} was made"),
                        After::Settled(row) => prop_assert!(settled.contains(row), "{id} before {row} was settled"),
                    }
                }
            }
            let mut keys_of_batch = HashSet::new();
            for row in &planned.batch.rows {
                if let Some(key) = keys[&row.id] {
                    prop_assert!(keys_of_batch.insert(key), "two rows of a record in one call");
                }
            }
            for row in &planned.batch.rows {
                made.insert(row.id);
                let left = steps_left.get_mut(&row.id).unwrap();
                *left -= 1;
                if *left == 0 {
                    settled.extend(planned.batch.members(row.id));
                }
            }
        }
        let mut sorted = settled.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..rows.len() as i64).collect::<Vec<_>>());
        let mut last_of_key: HashMap<i64, i64> = HashMap::new();
        for id in settled {
            if let Some(key) = keys[&id] {
                prop_assert!(last_of_key.insert(key, id).is_none_or(|last| last < id), "order of record {key}");
            }
        }
    }

    /// What is sent, both steps together, holds each field's last value; and a create's changes are what came after it.
    #[test]
    fn joining_keeps_the_last_value_of_every_field(rows in prop::collection::vec(any_row(), 0..40)) {
        let claimed = any_plan(&rows);
        let by_id: HashMap<i64, Row> = claimed.iter().map(|c| (c.row.id, c.row.clone())).collect();
        let mut sent: HashMap<i64, Map<String, Value>> = HashMap::new();
        let mut members: HashMap<i64, Vec<i64>> = HashMap::new();
        for planned in plan(claimed, &plain) {
            for row in &planned.batch.rows {
                members.entry(row.id).or_insert_with(|| planned.batch.members(row.id));
                let all = sent.entry(row.id).or_default();
                for (field, value) in &row.payload {
                    prop_assert!(all.insert(field.clone(), value.clone()).is_none(), "{field} sent twice");
                }
            }
        }
        for (id, members) in members {
            let mut expected = Map::new();
            for member in members {
                expected.extend(by_id[&member].payload.clone());
            }
            prop_assert_eq!(&sent[&id], &expected);
        }
    }
}
