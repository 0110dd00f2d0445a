//! Cases that once failed, shrunk, and named after what went wrong.

use odoo_sim::{Effect, Fault};
use pg_etl_core::outbox::Operation::{self, Call, Create, Delete, Update, Upsert};
use serde_json::{Value, json};

use crate::case::Step::{self, Claim, Send, Settle};
use crate::case::{Bad, CATEGORY, Case, ORDER, PARTNER, Record, Row};

/// Rows as (record, operation, payload); one with the field `nam` is bad.
fn rows(rows: &[((usize, usize), Operation, Value)]) -> Vec<Row> {
    let row = |(id, ((model, number), operation, payload)): (i64, &(_, Operation, Value))| Row {
        id,
        record: Record {
            model: *model,
            number: *number,
        },
        operation: *operation,
        payload: payload.as_object().expect("an object").clone(),
        bad: payload.get("nam").map(|_| Bad::Field),
        priority: 0,
    };
    (1..).zip(rows).map(row).collect()
}

fn passes(given: &[((usize, usize), Operation, Value)], steps: &[Step], faults: &[Fault]) {
    for (version, json2) in [(19, true), (18, false)] {
        let case = Case {
            rows: rows(given),
            steps: steps.to_vec(),
            faults: faults.to_vec(),
            max_batch: 4,
            version,
            json2,
        };
        if let Err(why) = crate::run(&case) {
            panic!("{why}\n{case:?}");
        }
    }
}

fn key(key: &str) -> Value {
    json!({"key": key})
}

/// Makes the fields known, so that references are found and rows are joined.
fn known() -> [((usize, usize), Operation, Value); 2] {
    [
        ((CATEGORY, 1), Upsert, json!({"name": "v1"})),
        ((PARTNER, 1), Upsert, json!({"name": "v2"})),
    ]
}

/// The steps that deliver [`known`].
fn learn() -> [Step; 5] {
    let send = Send { at: 0, stop: None };
    [
        Claim { rows: 2, from: 0 },
        send.clone(),
        Settle { at: 0 },
        send,
        Settle { at: 0 },
    ]
}

#[test]
fn a_row_behind_one_that_went_back_because_of_a_third_goes_back_too() {
    let [category, partner] = known();
    let rows = [
        category,
        partner,
        (
            (PARTNER, 2),
            Create,
            json!({"name": "v3", "parent_id": key("p0")}),
        ),
        ((PARTNER, 0), Upsert, json!({"name": "v4"})),
        ((PARTNER, 2), Create, json!({"name": "v5", "city": "v5"})),
    ];
    let lost = Fault::new(Effect::RequestLost)
        .on("res.partner", "load")
        .nth(2)
        .times(1);
    passes(&rows, &learn(), &[lost]);
}

#[test]
fn what_comes_after_a_delete_makes_the_record_anew() {
    let rows = [
        ((PARTNER, 0), Upsert, json!({"name": "v1"})),
        ((PARTNER, 0), Delete, json!({})),
        ((PARTNER, 0), Upsert, json!({"name": "v3"})),
        ((PARTNER, 0), Update, json!({"city": "v4"})),
    ];
    // In one claim, and with the record known before the claim.
    passes(&rows, &[], &[]);
    passes(
        &rows,
        &[
            Claim { rows: 1, from: 0 },
            Send { at: 0, stop: None },
            Settle { at: 0 },
        ],
        &[],
    );
}

#[test]
fn a_second_step_outlives_a_bad_row_that_was_joined() {
    let [category, partner] = known();
    let good = (
        (CATEGORY, 0),
        Upsert,
        json!({"name": "v3", "parent_id": key("c0")}),
    );
    let bad = ((CATEGORY, 0), Upsert, json!({"name": "v4", "nam": "x"}));
    let rows = [category.clone(), partner.clone(), good.clone(), bad.clone()];
    passes(&rows, &learn(), &[]);
    passes(&[category, partner, bad, good], &learn(), &[]);
}

#[test]
fn a_second_step_that_is_sent_row_by_row_sends_what_was_cut_off() {
    let [category, partner] = known();
    let rows = [
        category,
        partner,
        ((CATEGORY, 0), Create, json!({"name": "v3"})),
        (
            (CATEGORY, 0),
            Upsert,
            json!({"name": "v4", "parent_id": key("c0")}),
        ),
        ((CATEGORY, 0), Update, json!({"name": "v5"})),
    ];
    let failed = Effect::Status {
        status: 500,
        retry_after: None,
    };
    passes(
        &rows,
        &learn(),
        &[Fault::new(failed).on("product.category", "write").times(1)],
    );
}

#[test]
fn a_reference_to_itself_that_a_younger_row_takes_back_is_cut_off_too() {
    let [category, partner] = known();
    let rows = [
        category,
        partner,
        (
            (CATEGORY, 0),
            Upsert,
            json!({"name": "v3", "parent_id": key("c0")}),
        ),
        ((CATEGORY, 0), Update, json!({"parent_id": null})),
        ((CATEGORY, 0), Upsert, json!({"name": "v5", "nam": "x"})),
    ];
    passes(&rows, &learn(), &[]);
}

#[test]
fn a_row_without_a_value_gets_its_outcome_when_its_rows_go_apart() {
    let [category, partner] = known();
    let rows = [
        category,
        partner,
        ((CATEGORY, 0), Create, json!({"name": "v3"})),
        ((CATEGORY, 0), Upsert, json!({})),
        ((CATEGORY, 0), Update, json!({"nam": "x"})),
    ];
    passes(&rows, &learn(), &[]);
}

#[test]
fn a_create_that_runs_late_does_not_bring_back_what_was_deleted() {
    let rows = [
        ((ORDER, 0), Create, json!({"partner_id": 1})),
        ((ORDER, 0), Delete, json!({})),
    ];
    let late = Fault::new(Effect::Postponed)
        .on("sale.order", "load")
        .times(1);
    passes(&rows, &[], &[late]);
}

#[test]
fn lines_of_a_create_that_run_late_do_not_undo_a_younger_row() {
    let line = |id: i64, key: &str| json!({"key": key, "name": format!("v{id}"), "product_uom_qty": id, "price_unit": id});
    let mut plain = line(1, "2");
    plain
        .as_object_mut()
        .expect("an object")
        .remove("price_unit");
    let rows = [
        (
            (ORDER, 0),
            Create,
            json!({"partner_id": 1, "order_line": [line(1, "1"), plain]}),
        ),
        ((ORDER, 0), Update, json!({"order_line": [line(2, "2")]})),
    ];
    for method in ["load", "write", "web_save_multi"] {
        let late = Fault::new(Effect::Postponed)
            .on("sale.order.line", method)
            .times(1);
        passes(&rows, &[], &[late]);
    }
}

#[test]
fn a_call_that_runs_late_does_not_undo_a_younger_one() {
    let call =
        |method: &str, state: &str| json!({"method": method, "unless": [["state", "=", state]]});
    let rows = [
        ((ORDER, 0), Create, json!({"partner_id": 1})),
        ((ORDER, 0), Call, call("action_cancel", "cancel")),
        ((ORDER, 0), Call, call("action_draft", "draft")),
    ];
    passes(
        &rows,
        &[],
        &[Fault::new(Effect::Postponed)
            .on_method("action_cancel")
            .times(1)],
    );
}
