//! Products: a template and its variants, which inherit from it.

use super::base::vals;
use super::mail::MESSAGE_POST;
use crate::exception::Outcome;
use crate::orm::env::Env;
use crate::orm::field::{
    Field, OnDelete, boolean, char, float, html, integer, many2one, one2many, selection, text,
};
use crate::orm::model::{Changed, Hooks, Model, Row, registry};
use crate::orm::value::Value;
use serde_json::{Value as Json, json};

fn yes(_: &Env) -> Value {
    Value::Bool(true)
}

/// Fields that live in the template.
fn shared() -> Vec<Field> {
    vec![
        char("name", "Name").required().translated(),
        integer("sequence", "Sequence").default(|_| Value::Int(1)),
        html("description", "Description").translated(),
        text("description_sale", "Sales Description").translated(),
        selection(
            "type",
            "Product Type",
            &[
                ("consu", "Goods"),
                ("service", "Service"),
                ("combo", "Combo"),
            ],
        )
        .required()
        .default(|_| Value::str("consu")),
        many2one("categ_id", "Product Category", "product.category"),
        float("list_price", "Sales Price").default(|_| Value::Float(1.0)),
        boolean("sale_ok", "Sales").default(yes),
        boolean("purchase_ok", "Purchase").default(yes),
        many2one("company_id", "Company", "res.company"),
        integer("color", "Color Index"),
    ]
}

pub(super) fn models() -> Vec<Model> {
    vec![category(), template(), variant()]
}

fn category() -> Model {
    Model::new(
        "product.category",
        "Product Category",
        vec![
            char("name", "Name").required(),
            char("complete_name", "Complete Name").readonly(),
            many2one("parent_id", "Parent Category", "product.category")
                .on_delete(OnDelete::Cascade),
        ],
    )
    .order("complete_name")
    .rec_name("complete_name")
    .hooks(Hooks {
        recompute: Some(category_name),
        ..Hooks::default()
    })
}

fn category_name(env: &mut Env, id: i64, _: &Changed) -> Outcome<()> {
    let model = registry().model("product.category");
    let row = env.row(model, id)?;
    let name = row[model.at("name")]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let complete = match row[model.at("parent_id")].as_ref_id() {
        Some(parent) => format!("{} / {name}", env.display_name(model, parent)),
        None => name,
    };
    env.set(model, id, &[("complete_name", Value::str(complete))])
}

fn template() -> Model {
    let mut fields = shared();
    fields.extend([
        boolean("active", "Active").default(yes),
        char("default_code", "Internal Reference"),
        char("barcode", "Barcode").inverted(),
        one2many(
            "product_variant_ids",
            "Products",
            "product.product",
            "product_tmpl_id",
        )
        .required(),
        integer("product_variant_count", "# Product Variants").computed(),
    ]);
    Model::new("product.template", "Product", fields)
        .order("sequence, name, id")
        .methods(vec![MESSAGE_POST])
        .hooks(Hooks {
            recompute: Some(make_variant),
            compute: Some(|env, id, _, field| {
                let variants =
                    env.pointing(registry().model("product.product"), "product_tmpl_id", id);
                match field {
                    "product_variant_count" => json!(variants.len()),
                    _ => json!(false),
                }
            }),
            display_name: Some(code_and_name),
            ..Hooks::default()
        })
}

/// A template without a variant gets one, and hands its reference down to an only one.
fn make_variant(env: &mut Env, id: i64, changed: &Changed) -> Outcome<()> {
    let (template, variant) = (
        registry().model("product.template"),
        registry().model("product.product"),
    );
    if env.context.get("create_product_product") == Some(&Json::Bool(false)) {
        return Ok(());
    }
    let variants = env.pointing(variant, "product_tmpl_id", id);
    let code = env.row(template, id)?[template.at("default_code")].clone();
    match variants.as_slice() {
        [] => {
            let code = code.to_json();
            env.create(
                variant,
                &[vals(json!({"product_tmpl_id": id, "default_code": code}))],
            )
            .map(drop)
        }
        [only] if changed.contains("default_code") => {
            env.set(variant, *only, &[("default_code", code)])
        }
        _ => Ok(()),
    }
}

fn variant() -> Model {
    let mut fields: Vec<Field> = shared()
        .into_iter()
        .map(|field| field.through("product_tmpl_id"))
        .collect();
    fields.extend([
        boolean("active", "Active").default(yes),
        many2one("product_tmpl_id", "Product Template", "product.template")
            .required()
            .on_delete(OnDelete::Cascade),
        char("default_code", "Internal Reference"),
        char("barcode", "Barcode"),
        float("standard_price", "Cost").company_dependent(),
        float("lst_price", "Sales Price").inverted(),
    ]);
    Model::new("product.product", "Product Variant", fields)
        .order("default_code, name, id")
        .inherits("product.template", "product_tmpl_id")
        .methods(vec![MESSAGE_POST])
        .hooks(Hooks {
            recompute: Some(hand_up),
            unlinked: Some(drop_templates),
            compute: Some(|env, _, row, _| {
                let model = registry().model("product.product");
                let price = model
                    .field("list_price")
                    .map(|field| env.field_value(model, row, field));
                json!(price.unwrap_or_default().as_f64())
            }),
            invert: Some(|env, id, _, value| {
                let price = vals(json!({"list_price": value}));
                env.write(registry().model("product.product"), &[id], &price)
            }),
            display_name: Some(code_and_name),
            ..Hooks::default()
        })
}

/// The reference of an only variant is its template's too.
fn hand_up(env: &mut Env, id: i64, changed: &Changed) -> Outcome<()> {
    let (template, variant) = (
        registry().model("product.template"),
        registry().model("product.product"),
    );
    let row = env.row(variant, id)?;
    match row[variant.at("product_tmpl_id")].as_ref_id() {
        Some(parent)
            if changed.contains("default_code")
                && env.pointing(variant, "product_tmpl_id", parent).len() == 1 =>
        {
            env.set(
                template,
                parent,
                &[("default_code", row[variant.at("default_code")].clone())],
            )
        }
        _ => Ok(()),
    }
}

/// A template goes with its last variant.
fn drop_templates(env: &mut Env, rows: &[Row]) -> Outcome<()> {
    let (template, variant) = (
        registry().model("product.template"),
        registry().model("product.product"),
    );
    for row in rows {
        if let Some(parent) = row[variant.at("product_tmpl_id")].as_ref_id()
            && env.exists(template, parent)
            && env.pointing(variant, "product_tmpl_id", parent).is_empty()
        {
            env.unlink(template, &[parent])?;
        }
    }
    Ok(())
}

fn code_and_name(env: &Env, id: i64, row: &Row) -> String {
    let variant = registry().model("product.product");
    // Both models have both fields; which one this row is of shows in its width.
    let model = if row.len() == variant.fields.len()
        && env
            .store
            .get(variant.index, id)
            .is_some_and(|r| *r.row == *row)
    {
        variant
    } else {
        registry().model("product.template")
    };
    let name = model
        .field("name")
        .map(|field| env.field_value(model, row, field))
        .unwrap_or_default();
    let name = name.as_str().unwrap_or_default().to_owned();
    match row[model.at("default_code")].as_str() {
        Some(code) if !code.is_empty() => format!("[{code}] {name}"),
        _ => name,
    }
}
