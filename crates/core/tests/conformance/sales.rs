//! Orders on their way: methods that work once, and states that lock.

use crate::world::{World, everywhere};
use serde_json::{Value, json};

fn order(w: &World) -> i64 {
    let product = w.create(
        "product.product",
        json!({"name": w.unique("Product"), "list_price": 12.5, "default_code": "P"}),
    );
    let customer = w.partner("Customer");
    w.create("sale.order", json!({"partner_id": customer, "order_line": [[0, 0, {"product_id": product, "product_uom_qty": 2}]]}))
}

#[test]
fn amounts_and_descriptions_are_computed() {
    everywhere(|w| {
        let id = order(w);
        assert_eq!(w.value("sale.order", id, "state"), "draft");
        assert_eq!(
            w.value("sale.order", id, "amount_untaxed"),
            25.0,
            "{}",
            w.place()
        );
        assert!(
            w.value("sale.order", id, "name")
                .as_str()
                .is_some_and(|name| name.starts_with('S'))
        );
        let read = json!({"domain": [["order_id", "=", id]], "fields": ["name", "price_unit", "price_subtotal"]});
        let line = w.ok(w.call("sale.order.line", "search_read", read))[0].clone();
        assert_eq!(
            line["name"],
            json!(format!("[P] {}", w.unique("Product"))),
            "{}",
            w.place()
        );
        assert_eq!(
            (line["price_unit"].as_f64(), line["price_subtotal"].as_f64()),
            (Some(12.5), Some(25.0))
        );
    });
}

#[test]
fn a_second_confirmation_is_refused() {
    everywhere(|w| {
        let id = order(w);
        let confirm = || w.call_on("sale.order", json!([id]), "action_confirm", json!({}));
        assert_eq!(w.ok(confirm()), true, "{}", w.place());
        assert_eq!(w.value("sale.order", id, "state"), "sale");
        let raised = w.raises(confirm(), "odoo.exceptions.UserError", 422);
        assert_eq!(
            raised.message,
            "Some orders are not in a state requiring confirmation."
        );
    });
}

#[test]
fn a_confirmed_order_is_not_deleted() {
    everywhere(|w| {
        let id = order(w);
        let on = |method: &str, arguments: Value| {
            w.call_on("sale.order", json!([id]), method, arguments)
        };
        w.ok(on("action_confirm", json!({})));
        let raised = w.raises(on("unlink", json!({})), "odoo.exceptions.UserError", 422);
        assert!(
            raised
                .message
                .starts_with("You can not delete a sent quotation or a confirmed sales order."),
            "{raised:?}"
        );
        let lines = w.value("sale.order", id, "order_line");
        let unlink = w.call_on("sale.order.line", lines.clone(), "unlink", json!({}));
        w.raises(unlink, "odoo.exceptions.UserError", 422);
        w.ok(on(
            "write",
            json!({"vals": {"client_order_ref": "still writable"}}),
        ));
        w.ok(on("action_cancel", json!({})));
        assert_eq!(
            w.value("sale.order", id, "state"),
            "cancel",
            "{}",
            w.place()
        );
        w.ok(on("action_draft", json!({})));
        assert_eq!(w.value("sale.order", id, "state"), "draft");
        w.ok(on("unlink", json!({})));
        let left = w.call(
            "sale.order.line",
            "search_count",
            json!({"domain": [["id", "in", lines]]}),
        );
        assert_eq!(w.ok(left), 0, "{}: lines go with their order", w.place());
    });
}

#[test]
fn an_order_needs_a_customer() {
    everywhere(|w| {
        let raised = w.call("sale.order", "create", json!({"vals_list": [{}]}));
        let raised = w.raises(raised, "odoo.exceptions.ValidationError", 422);
        assert!(
            raised
                .message
                .contains("Missing required value for the field 'Customer' (partner_id)."),
            "{raised:?}"
        );
        let raised = w.call(
            "sale.order",
            "create",
            json!({"vals_list": [{"partner_id": 1_987_654_321}]}),
        );
        w.raises(raised, "odoo.exceptions.MissingError", 404);
    });
}

#[test]
fn a_line_can_be_written_through_its_order() {
    everywhere(|w| {
        let id = order(w);
        let line = w.value("sale.order", id, "order_line")[0].clone();
        let write = |commands: Value| {
            w.call_on(
                "sale.order",
                json!([id]),
                "write",
                json!({"vals": {"order_line": commands}}),
            )
        };
        w.ok(write(json!([[1, line, {"product_uom_qty": 4}]])));
        assert_eq!(
            w.value("sale.order", id, "amount_untaxed"),
            50.0,
            "{}",
            w.place()
        );
        w.ok(write(json!([[2, line, 0]])));
        assert_eq!(
            w.value("sale.order", id, "order_line"),
            json!([]),
            "{}",
            w.place()
        );
        assert_eq!(w.value("sale.order", id, "amount_untaxed"), 0.0);
    });
}
