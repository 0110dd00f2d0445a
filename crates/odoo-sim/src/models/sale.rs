//! Sale orders and their lines: the fields.

use super::mail::MESSAGE_POST;
use super::sale_flow as flow;
use crate::orm::env::Env;
use crate::orm::field::{
    Dangling, OnDelete, boolean, char, date, datetime, decimal, float, html, integer, many2one,
    monetary, one2many, selection, text,
};
use crate::orm::model::{Hooks, Model};
use crate::orm::value::Value;

const STATES: &[(&str, &str)] = &[
    ("draft", "Quotation"),
    ("sent", "Quotation Sent"),
    ("sale", "Sales Order"),
    ("cancel", "Cancelled"),
];

fn company(env: &Env) -> Value {
    Value::Ref(env.company())
}

fn currency(_: &Env) -> Value {
    Value::Ref(1)
}

pub(super) fn models() -> Vec<Model> {
    vec![order(), line()]
}

fn order() -> Model {
    Model::new(
        "sale.order",
        "Sales Order",
        vec![
            char("name", "Order Reference").required(),
            many2one("company_id", "Company", "res.company")
                .required()
                .default(company),
            many2one("partner_id", "Customer", "res.partner")
                .required()
                .dangling(Dangling::Followed),
            selection("state", "Status", STATES)
                .readonly()
                .default(|_| Value::str("draft")),
            boolean("locked", "Locked"),
            char("client_order_ref", "Customer Reference"),
            datetime("date_order", "Order Date")
                .required()
                .default(|env| env.now_seconds()),
            datetime("commitment_date", "Delivery Date"),
            date("validity_date", "Expiration"),
            char("origin", "Source Document"),
            char("reference", "Payment Ref."),
            html("note", "Terms and conditions"),
            many2one("user_id", "Salesperson", "res.users").default(|env| Value::Ref(env.uid())),
            many2one("partner_invoice_id", "Invoice Address", "res.partner").required(),
            many2one("partner_shipping_id", "Delivery Address", "res.partner").required(),
            many2one("currency_id", "Currency", "res.currency")
                .readonly()
                .default(currency),
            one2many("order_line", "Order Lines", "sale.order.line", "order_id"),
            monetary("amount_untaxed", "Untaxed Amount").readonly(),
            monetary("amount_tax", "Taxes").readonly(),
            monetary("amount_total", "Total").readonly(),
            selection(
                "invoice_status",
                "Invoice Status",
                &[
                    ("upselling", "Upselling Opportunity"),
                    ("invoiced", "Fully Invoiced"),
                    ("to invoice", "To Invoice"),
                    ("no", "Nothing to Invoice"),
                ],
            )
            .readonly()
            .default(|_| Value::str("no")),
        ],
    )
    .order("date_order desc, id desc")
    .methods(flow::methods(MESSAGE_POST))
    .hooks(Hooks {
        complete: Some(flow::complete_order),
        recompute: Some(flow::recompute_order),
        guard_unlink: Some(flow::guard_order),
        ..Hooks::default()
    })
}

fn line() -> Model {
    Model::new(
        "sale.order.line",
        "Sales Order Line",
        vec![
            many2one("order_id", "Order Reference", "sale.order")
                .required()
                .on_delete(OnDelete::Cascade),
            integer("sequence", "Sequence").default(|_| Value::Int(10)),
            selection(
                "display_type",
                "Display Type",
                &[
                    ("line_section", "Section"),
                    ("line_subsection", "Subsection"),
                    ("line_note", "Note"),
                ],
            ),
            many2one("product_id", "Product", "product.product")
                .on_delete(OnDelete::Restrict)
                .dangling(Dangling::Followed),
            text("name", "Description").required(),
            decimal("product_uom_qty", "Quantity", 2)
                .required()
                .default(|_| Value::Float(1.0)),
            float("price_unit", "Unit Price").required(),
            decimal("discount", "Discount (%)", 2),
            monetary("price_subtotal", "Subtotal").readonly(),
            float("price_tax", "Total Tax").readonly(),
            monetary("price_total", "Total").readonly(),
            many2one("company_id", "Company", "res.company").readonly(),
            many2one("currency_id", "Currency", "res.currency").readonly(),
            many2one("order_partner_id", "Customer", "res.partner").readonly(),
            selection("state", "Order Status", STATES).readonly(),
        ],
    )
    .order("order_id, sequence, id")
    .hooks(Hooks {
        complete: Some(flow::complete_line),
        recompute: Some(flow::recompute_line),
        guard_unlink: Some(flow::guard_line),
        unlinked: Some(flow::lines_gone),
        ..Hooks::default()
    })
}
