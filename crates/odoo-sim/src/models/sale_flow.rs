//! Sale orders: numbering, amounts, and the way from quotation to order. There are no taxes here.

use crate::exception::{Exception, Outcome};
use crate::orm::convert::rounded;
use crate::orm::env::Env;
use crate::orm::method::Method;
use crate::orm::model::{Changed, Model, Row, registry};
use crate::orm::value::Value;
use crate::orm::web::method;
use serde_json::{Map, Value as Json, json};

fn order() -> &'static Model {
    registry().model("sale.order")
}

fn line() -> &'static Model {
    registry().model("sale.order.line")
}

pub(super) fn methods(message_post: Method) -> Vec<Method> {
    vec![
        message_post,
        method!("action_confirm", records, [], |env, model, ids, _| {
            env.check_access(model, "write")?;
            for id in ids {
                if !["draft", "sent"].contains(&state(env, *id)?.as_str()) {
                    return Err(Exception::user(
                        "Some orders are not in a state requiring confirmation.",
                    ));
                }
            }
            let now = env.now_seconds();
            for id in ids {
                env.set(
                    order(),
                    *id,
                    &[("state", Value::str("sale")), ("date_order", now.clone())],
                )?;
                touch(env, *id)?;
            }
            Ok(Some(json!(true)))
        }),
        method!("action_cancel", records, [], |env, model, ids, _| {
            env.check_access(model, "write")?;
            for id in ids {
                if env.row(order(), *id)?[order().at("locked")].as_bool() {
                    let message = "You cannot cancel a locked order. Please unlock it first.";
                    return Err(Exception::user(message));
                }
                env.set(order(), *id, &[("state", Value::str("cancel"))])?;
                touch(env, *id)?;
            }
            Ok(Some(json!(true)))
        }),
        method!("action_draft", records, [], |env, model, ids, _| {
            env.check_access(model, "write")?;
            for id in ids {
                if ["cancel", "sent"].contains(&state(env, *id)?.as_str()) {
                    env.set(order(), *id, &[("state", Value::str("draft"))])?;
                    touch(env, *id)?;
                }
            }
            Ok(Some(json!(true)))
        }),
        method!(
            "action_quotation_sent",
            records,
            [],
            |env, model, ids, _| {
                env.check_access(model, "write")?;
                for id in ids {
                    if state(env, *id)? != "draft" {
                        return Err(Exception::user(
                            "Only draft orders can be marked as sent directly.",
                        ));
                    }
                }
                for id in ids {
                    env.set(order(), *id, &[("state", Value::str("sent"))])?;
                    touch(env, *id)?;
                }
                // The Python method returns None.
                Ok(None)
            }
        ),
        method!("action_lock", records, [], |env, _, ids, _| set_locked(
            env, ids, true
        )),
        method!("action_unlock", records, [], |env, _, ids, _| set_locked(
            env, ids, false
        )),
    ]
}

fn set_locked(env: &mut Env, ids: &[i64], locked: bool) -> Outcome<Option<Json>> {
    env.check_access(order(), "write")?;
    for id in ids {
        env.set(order(), *id, &[("locked", Value::Bool(locked))])?;
    }
    Ok(None)
}

fn state(env: &Env, id: i64) -> Outcome<String> {
    Ok(env.row(order(), id)?[order().at("state")]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

fn touch(env: &mut Env, id: i64) -> Outcome<()> {
    let (now, uid) = (Value::str(&env.now), Value::Ref(env.uid()));
    env.set(order(), id, &[("write_date", now), ("write_uid", uid)])?;
    recompute_order(env, id, &Changed::Only(&["state"]))
}

/// Numbers an order and derives its addresses from the customer.
pub(super) fn complete_order(
    _: &mut Env,
    id: i64,
    row: &mut Row,
    vals: &Map<String, Json>,
) -> Outcome<()> {
    let model = order();
    if !vals.contains_key("name") || row[model.at("name")].as_str() == Some("New") {
        row[model.at("name")] = Value::str(format!("S{id:05}"));
    }
    let partner = row[model.at("partner_id")].clone();
    for address in ["partner_invoice_id", "partner_shipping_id"] {
        if row[model.at(address)].is_null() {
            row[model.at(address)] = partner.clone();
        }
    }
    for amount in ["amount_untaxed", "amount_tax", "amount_total"] {
        if row[model.at(amount)].is_null() {
            row[model.at(amount)] = Value::Float(0.0);
        }
    }
    Ok(())
}

/// Adds the lines up. Amounts that a caller writes later stay until a line changes: nothing protects computed fields.
pub(super) fn recompute_order(env: &mut Env, id: i64, changed: &Changed) -> Outcome<()> {
    let lines = env.pointing(line(), "order_id", id);
    let current = env.row(order(), id)?;
    if ["state", "partner_id"]
        .iter()
        .any(|name| changed.contains(name))
    {
        for line_id in &lines {
            env.set(
                line(),
                *line_id,
                &[
                    ("state", current[order().at("state")].clone()),
                    (
                        "order_partner_id",
                        current[order().at("partner_id")].clone(),
                    ),
                ],
            )?;
        }
    }
    if ["order_line", "lines"]
        .iter()
        .any(|name| changed.contains(name))
    {
        let mut total = 0.0;
        for line_id in lines {
            total += env.row(line(), line_id)?[line().at("price_subtotal")].as_f64();
        }
        let total = Value::Float(rounded(total, Some(2)));
        let tax = Value::Float(0.0);
        env.set(
            order(),
            id,
            &[
                ("amount_untaxed", total.clone()),
                ("amount_tax", tax),
                ("amount_total", total),
            ],
        )?;
    }
    Ok(())
}

pub(super) fn complete_line(
    env: &mut Env,
    _: i64,
    row: &mut Row,
    vals: &Map<String, Json>,
) -> Outcome<()> {
    let model = line();
    let product_model = registry().model("product.product");
    if let Some(product) = row[model.at("product_id")].as_ref_id()
        && let Some(record) = env.store.get(product_model.index, product)
    {
        let product_row = std::sync::Arc::clone(&record.row);
        if row[model.at("name")].is_null() {
            row[model.at("name")] = Value::str(env.display_name(product_model, product));
        }
        if !vals.contains_key("price_unit") {
            let price = product_model
                .field("list_price")
                .map(|field| env.field_value(product_model, &product_row, field));
            row[model.at("price_unit")] = Value::Float(price.unwrap_or_default().as_f64());
        }
    }
    if row[model.at("price_unit")].is_null() {
        row[model.at("price_unit")] = Value::Float(0.0);
    }
    if let Some(parent) = row[model.at("order_id")].as_ref_id()
        && let Some(record) = env.store.get(order().index, parent)
    {
        for (own, of_order) in [
            ("company_id", "company_id"),
            ("currency_id", "currency_id"),
            ("order_partner_id", "partner_id"),
            ("state", "state"),
        ] {
            row[model.at(own)] = record.row[order().at(of_order)].clone();
        }
    }
    Ok(())
}

pub(super) fn recompute_line(env: &mut Env, id: i64, _: &Changed) -> Outcome<()> {
    let model = line();
    let row = env.row(model, id)?;
    let number = |name: &str| row[model.at(name)].as_f64();
    let subtotal =
        number("product_uom_qty") * number("price_unit") * (1.0 - number("discount") / 100.0);
    let subtotal = Value::Float(rounded(subtotal, Some(2)));
    let tax = Value::Float(0.0);
    env.set(
        model,
        id,
        &[
            ("price_subtotal", subtotal.clone()),
            ("price_tax", tax),
            ("price_total", subtotal),
        ],
    )?;
    match row[model.at("order_id")].as_ref_id() {
        Some(parent) => total_changed(env, parent),
        None => Ok(()),
    }
}

fn total_changed(env: &mut Env, order_id: i64) -> Outcome<()> {
    let now = Value::str(&env.now);
    env.set(order(), order_id, &[("write_date", now)])?;
    recompute_order(env, order_id, &Changed::Only(&["lines"]))
}

pub(super) fn guard_order(env: &mut Env, id: i64) -> Outcome<()> {
    if ["draft", "cancel"].contains(&state(env, id)?.as_str()) {
        return Ok(());
    }
    Err(Exception::user(
        "You can not delete a sent quotation or a confirmed sales order. You must first cancel it.",
    ))
}

pub(super) fn guard_line(env: &mut Env, id: i64) -> Outcome<()> {
    let row = env.row(line(), id)?;
    if row[line().at("state")].as_str() == Some("sale") && row[line().at("display_type")].is_null()
    {
        return Err(Exception::user(
            "Once a sales order is confirmed, you can't remove one of its lines (we need to track if something gets invoiced \
             or delivered).\n                Set the quantity to 0 instead.",
        ));
    }
    Ok(())
}

pub(super) fn lines_gone(env: &mut Env, rows: &[Row]) -> Outcome<()> {
    for row in rows {
        if let Some(parent) = row[line().at("order_id")].as_ref_id()
            && env.exists(order(), parent)
        {
            total_changed(env, parent)?;
        }
    }
    Ok(())
}
