//! Orders, invoices, expenses: records with lines and a life of their own.

use serde_json::json;

use pg_etl_core::failure::ErrorClass;
use pg_etl_core::outbox::Operation;

use crate::target::*;

#[test]
fn a_sale_order_with_lines_is_created_changed_and_confirmed() {
    each(|t| {
        let client = t.client();
        let product = t.row(
            "product.product",
            Operation::Create,
            "prod",
            json!({"name": "Thing", "list_price": 12.5, "type": "service"}),
        );
        let product = id(&t.deliver(&client, vec![product])[0]);
        let partner = id(&t.deliver(
            &client,
            vec![t.row(
                "res.partner",
                Operation::Create,
                "buyer",
                json!({"name": "Buyer"}),
            )],
        )[0]);
        let order = json!({
            "partner_id": {"key": "buyer"},
            "date_order": "2024-01-31T09:00:00+01:00",
            "client_order_ref": "REF",
            "order_line": [
                {"key": "1", "product_id": product, "product_uom_qty": 2, "price_unit": 10},
                {"key": "2", "product_id": product, "product_uom_qty": 1, "price_unit": 5},
                {"key": "3", "display_type": "line_note", "name": "A note"},
            ],
        });
        let create = || t.row("sale.order", Operation::Create, "so", order.clone());
        let so = id(&t.deliver(&client, vec![create()])[0]);
        assert_eq!(id(&t.deliver(&client, vec![create()])[0]), so);
        let read = &t.read(
            &client,
            "sale.order",
            &[so],
            &["partner_id", "date_order", "order_line", "amount_untaxed"],
        )[0];
        assert_eq!(read["partner_id"][0], partner);
        assert_eq!(read["date_order"], "2024-01-31 08:00:00");
        assert_eq!(read["order_line"].as_array().unwrap().len(), 3, "{read}");
        assert_eq!(read["amount_untaxed"], 25.0);
        // An update changes the lines it names, adds new ones and leaves the others.
        let update = json!({"client_order_ref": "REF2", "order_line": [
            {"key": "2", "product_uom_qty": 3, "price_unit": 5},
            {"key": "4", "product_id": product, "product_uom_qty": 1, "price_unit": 1},
        ]});
        for _ in 0..2 {
            assert_eq!(
                id(&t.deliver(
                    &client,
                    vec![t.row("sale.order", Operation::Update, "so", update.clone())]
                )[0]),
                so
            );
        }
        let read = &t.read(
            &client,
            "sale.order",
            &[so],
            &["order_line", "amount_untaxed", "client_order_ref"],
        )[0];
        assert_eq!(read["order_line"].as_array().unwrap().len(), 4, "{read}");
        assert_eq!(read["amount_untaxed"], 36.0);
        assert_eq!(read["client_order_ref"], "REF2");
        // A line is deleted by its key; one that is gone already is no failure, and neither is one that never was.
        let removal = json!({"order_line": [
            {"key": "4", "_delete": true},
            {"key": "never", "_delete": true},
            {"key": "2", "product_uom_qty": 1, "price_unit": 5},
        ]});
        for operation in [Operation::Update, Operation::Upsert] {
            let row = t.row("sale.order", operation, "so", removal.clone());
            assert_eq!(id(&t.deliver(&client, vec![row])[0]), so);
            let read = &t.read(
                &client,
                "sale.order",
                &[so],
                &["order_line", "amount_untaxed"],
            )[0];
            assert_eq!(read["order_line"].as_array().unwrap().len(), 3, "{read}");
            assert_eq!(read["amount_untaxed"], 25.0);
        }
        let confirm = || {
            t.row(
                "sale.order",
                Operation::Call,
                "so",
                json!({"method": "action_confirm", "unless": [["state", "=", "sale"]]}),
            )
        };
        assert_eq!(id(&t.deliver(&client, vec![confirm()])[0]), so);
        assert_eq!(id(&t.deliver(&client, vec![confirm()])[0]), so);
        assert_eq!(
            t.read(&client, "sale.order", &[so], &["state"])[0]["state"],
            "sale"
        );
        let bare = t.row(
            "sale.order",
            Operation::Call,
            "so",
            json!({"method": "action_confirm"}),
        );
        assert_eq!(
            failure(&t.deliver(&client, vec![bare])[0]).class,
            ErrorClass::Invalid
        );
    });
}

/// An id says nothing of whose line it is: who may change one order may not thereby change the lines of all others.
#[test]
fn a_line_of_another_record_is_neither_changed_nor_deleted() {
    each(|t| {
        let client = t.client();
        let partner = t.row(
            "res.partner",
            Operation::Create,
            "buyer",
            json!({"name": "Buyer"}),
        );
        id(&t.deliver(&client, vec![partner])[0]);
        let order = |key: &str| {
            let line = json!({"key": "1", "display_type": "line_note", "name": key});
            let values = json!({"partner_id": {"key": "buyer"}, "order_line": [line]});
            let row = t.row("sale.order", Operation::Create, key, values);
            let made = id(&t.deliver(&client, vec![row])[0]);
            let read = t.read(&client, "sale.order", &[made], &["order_line"]);
            (made, read[0]["order_line"][0].as_i64().expect("a line"))
        };
        let ((_, mine), (theirs, line)) = (order("mine"), order("theirs"));
        let note = |line: i64| {
            let read = t.read(&client, "sale.order.line", &[line], &["name"]);
            read[0]["name"].clone()
        };
        for item in [
            json!({"id": line, "name": "taken"}),
            json!([1, line, {"name": "taken"}]),
            json!({"id": line, "_delete": true}),
        ] {
            for operation in [Operation::Update, Operation::Upsert] {
                let lines = json!({"order_line": [{"id": mine, "name": "touched"}, item]});
                let row = t.row("sale.order", operation, "mine", lines);
                let outcomes = t.deliver(&client, vec![row]);
                let failure = failure(&outcomes[0]);
                assert_eq!(failure.class, ErrorClass::Invalid, "{failure:?}");
                assert!(failure.message.contains("no line of this record"));
                assert!(failure.remedy.is_some());
            }
        }
        assert_eq!(note(line), "theirs");
        assert_eq!(note(mine), "mine", "nothing of such a row's lines is done");
        let left = t.read(&client, "sale.order", &[theirs], &["order_line"]);
        assert_eq!(left[0]["order_line"], json!([line]));
        // One's own by its id, beside a row that is refused.
        let own = json!({"order_line": [{"id": mine, "name": "changed"}]});
        let other = json!({"order_line": [{"id": mine, "name": "stolen"}]});
        let outcomes = t.deliver(
            &client,
            vec![
                t.row("sale.order", Operation::Update, "mine", own),
                t.row("sale.order", Operation::Update, "theirs", other),
            ],
        );
        id(&outcomes[0]);
        assert_eq!(failure(&outcomes[1]).class, ErrorClass::Invalid);
        assert_eq!(note(mine), "changed");
        // One that is gone is gone.
        for _ in 0..2 {
            let removal = json!({"order_line": [{"id": mine, "_delete": true}]});
            let row = t.row("sale.order", Operation::Update, "mine", removal);
            id(&t.deliver(&client, vec![row])[0]);
        }
    });
}

#[test]
fn documents_that_odoo_protects_can_be_made_and_changed() {
    // The simulator has no accounting, purchase and expenses.
    let real: Vec<Target> = targets()
        .into_iter()
        .filter(|target| target.sim.is_none())
        .collect();
    each_of(&real, |t| {
        let client = t.client_with(
            json!({"allow_methods": ["account.move.action_post"]}),
            &t.key,
        );
        let product = t.row(
            "product.product",
            Operation::Create,
            "prod",
            json!({"name": "Thing", "type": "service", "can_be_expensed": true}),
        );
        let product = id(&t.deliver(&client, vec![product])[0]);
        let partner = id(&t.deliver(
            &client,
            vec![t.row("res.partner", Operation::Create, "p", json!({"name": "P"}))],
        )[0]);
        let invoice = |price: i64| {
            t.row("account.move", Operation::Upsert, "inv", json!({
                "move_type": "out_invoice", "partner_id": partner, "invoice_date": "2024-01-31", "ref": format!("R{price}"),
                "invoice_line_ids": [{"key": "1", "product_id": product, "quantity": 2, "price_unit": price, "tax_ids": []}],
            }))
        };
        let made = id(&t.deliver(&client, vec![invoice(10)])[0]);
        assert_eq!(id(&t.deliver(&client, vec![invoice(11)])[0]), made);
        let read = &t.read(
            &client,
            "account.move",
            &[made],
            &["amount_untaxed", "move_type", "ref", "invoice_line_ids"],
        )[0];
        assert_eq!(
            [&read["amount_untaxed"], &read["move_type"], &read["ref"]],
            [&json!(22.0), &json!("out_invoice"), &json!("R11")]
        );
        assert_eq!(read["invoice_line_ids"].as_array().unwrap().len(), 1);
        let post = t.row(
            "account.move",
            Operation::Call,
            "inv",
            json!({"method": "action_post", "unless": [["state", "=", "posted"]]}),
        );
        assert_eq!(id(&t.deliver(&client, vec![post])[0]), made);
        let update = t.row(
            "account.move",
            Operation::Update,
            "inv",
            json!({"invoice_date": "2024-02-01"}),
        );
        assert_eq!(
            failure(&t.deliver(&client, vec![update])[0]).class,
            ErrorClass::Invalid
        );
        let state = t.row(
            "account.move",
            Operation::Update,
            "inv",
            json!({"state": "draft"}),
        );
        assert!(
            failure(&t.deliver(&client, vec![state])[0])
                .message
                .contains("read-only")
        );
        let order = t.row("purchase.order", Operation::Create, "po", json!({
            "partner_id": partner,
            "order_line": [{"key": "1", "product_id": product, "product_qty": 3, "price_unit": 4, "date_planned": "2024-03-01T08:00:00Z", "tax_ids": []}],
        }));
        let order = id(&t.deliver(&client, vec![order])[0]);
        assert_eq!(
            t.read(&client, "purchase.order", &[order], &["amount_untaxed"])[0]["amount_untaxed"],
            12.0
        );
        let employee = id(&t.deliver(
            &client,
            vec![t.row("hr.employee", Operation::Create, "e", json!({"name": "E"}))],
        )[0]);
        let expense = t.row("hr.expense", Operation::Create, "x", json!({
            "name": "Taxi", "employee_id": employee, "product_id": product, "total_amount_currency": 30.5, "date": "2024-01-31",
            "payment_mode": "own_account", "analytic_distribution": null,
        }));
        let expense = id(&t.deliver(&client, vec![expense])[0]);
        assert_eq!(
            t.read(&client, "hr.expense", &[expense], &["total_amount"])[0]["total_amount"],
            30.5
        );
        for (model, key) in [("account.move", "inv"), ("hr.expense", "x")] {
            let outcome = &t.deliver(
                &client,
                vec![t.row(model, Operation::Delete, key, json!({}))],
            )[0];
            if model == "account.move" {
                assert_eq!(
                    failure(outcome).class,
                    ErrorClass::Invalid,
                    "a posted invoice stays: {outcome:?}"
                );
            } else {
                assert_eq!(id(outcome), expense);
            }
        }
    });
}
