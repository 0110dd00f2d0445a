//! Contacts and their tags: names, hierarchy, what must not be.

use super::base::vals;
use crate::exception::{Exception, Outcome};
use crate::orm::env::Env;
use crate::orm::model::{Changed, Model, Row, registry};
use crate::orm::value::Value;
use serde_json::{Value as Json, json};
use std::collections::HashSet;

fn partner() -> &'static Model {
    registry().model("res.partner")
}

fn text<'r>(row: &'r Row, name: &str) -> &'r str {
    row[partner().at(name)].as_str().unwrap_or_default()
}

pub(super) fn display_name(_: &Env, _: i64, row: &Row) -> String {
    text(row, "complete_name").trim().to_owned()
}

/// Complete name and commercial entity, of the record and of all its contacts.
pub(super) fn recompute(env: &mut Env, id: i64, changed: &Changed) -> Outcome<()> {
    const CAUSES: [&str; 7] = [
        "name",
        "parent_id",
        "is_company",
        "company_type",
        "type",
        "company_name",
        "complete_name",
    ];
    if CAUSES.iter().any(|name| changed.contains(name)) {
        rename(env, id, changed, &mut HashSet::new())?;
    }
    Ok(())
}

fn rename(env: &mut Env, id: i64, changed: &Changed, seen: &mut HashSet<i64>) -> Outcome<()> {
    if !seen.insert(id) {
        return Ok(());
    }
    let model = partner();
    let row = env.row(model, id)?;
    let is_company = row[model.at("is_company")].as_bool();
    let parent = match row[model.at("parent_id")].as_ref_id() {
        Some(parent) => Some((parent, env.row(model, parent)?)),
        None => None,
    };
    let name = text(&row, "name");
    let kind = match text(&row, "type") {
        "invoice" => "Invoice",
        "delivery" => "Delivery",
        "other" => "Other",
        _ => "",
    };
    let shown = if name.is_empty() { kind } else { name };
    let company = parent
        .as_ref()
        .map_or(text(&row, "company_name"), |(_, row)| text(row, "name"));
    let complete = if company.is_empty() || is_company {
        shown.to_owned()
    } else {
        format!("{company}, {shown}")
    };
    let (commercial, commercial_name) = match &parent {
        Some((parent, parent_row)) if !is_company => {
            let entity = parent_row[model.at("commercial_partner_id")]
                .as_ref_id()
                .unwrap_or(*parent);
            (
                entity,
                parent_row[model.at("commercial_company_name")].clone(),
            )
        }
        _ => {
            let name = if is_company {
                text(&row, "name")
            } else {
                text(&row, "company_name")
            };
            (
                id,
                if name.is_empty() {
                    Value::Null
                } else {
                    Value::str(name)
                },
            )
        }
    };
    let mut computed = vec![
        ("complete_name", Value::str(complete)),
        ("commercial_partner_id", Value::Ref(commercial)),
    ];
    if !changed.contains("commercial_company_name") || changed.is_new() {
        computed.push(("commercial_company_name", commercial_name));
    }
    env.set(model, id, &computed)?;
    for child in env.pointing(model, "parent_id", id) {
        rename(env, child, &Changed::Only(&[]), seen)?;
    }
    Ok(())
}

pub(super) fn constrain(env: &mut Env, id: i64, changed: &Changed) -> Outcome<()> {
    let model = partner();
    let row = env.row(model, id)?;
    if matches!(text(&row, "type"), "contact" | "") && row[model.at("name")].is_null() {
        return Err(Exception::integrity(None, "Contacts require a name"));
    }
    if changed.contains("parent_id") && has_cycle(env, model, id) {
        return Err(Exception::validation(
            "You cannot create recursive Partner hierarchies.",
        ));
    }
    Ok(())
}

pub(super) fn category_without_cycle(env: &mut Env, id: i64, changed: &Changed) -> Outcome<()> {
    if changed.contains("parent_id") && has_cycle(env, registry().model("res.partner.category"), id)
    {
        return Err(Exception::validation("You can not create recursive tags."));
    }
    Ok(())
}

pub(super) fn category_name(env: &Env, _: i64, row: &Row) -> String {
    let model = registry().model("res.partner.category");
    let mut names = vec![
        row[model.at("name")]
            .keyed(env.lang(), "en_US")
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    ];
    let mut up = row[model.at("parent_id")].as_ref_id();
    while let (Some(parent), true) = (up, names.len() < 50) {
        let Some(record) = env.store.get(model.index, parent) else {
            break;
        };
        names.push(
            record.row[model.at("name")]
                .keyed(env.lang(), "en_US")
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
        up = record.row[model.at("parent_id")].as_ref_id();
    }
    names.reverse();
    names.join(" / ")
}

fn has_cycle(env: &Env, model: &Model, id: i64) -> bool {
    let at = model.at("parent_id");
    let mut seen = HashSet::from([id]);
    let mut up = id;
    while let Some(parent) = env
        .store
        .get(model.index, up)
        .and_then(|record| record.row[at].as_ref_id())
    {
        if !seen.insert(parent) {
            return true;
        }
        up = parent;
    }
    false
}

pub(super) fn guard_unlink(env: &mut Env, id: i64) -> Outcome<()> {
    let users = registry().model("res.users");
    if env.pointing(users, "partner_id", id).is_empty() {
        return Ok(());
    }
    Err(Exception::validation(
        "You cannot delete contacts linked to an active user.\nAsk an administrator to archive their associated user first.",
    ))
}

pub(super) fn compute(env: &Env, id: i64, row: &Row, field: &str) -> Json {
    let model = partner();
    match field {
        "company_type" => json!(if row[model.at("is_company")].as_bool() {
            "company"
        } else {
            "person"
        }),
        "email_formatted" => match text(row, "email") {
            "" => json!(false),
            email => json!(format!("\"{}\" <{email}>", text(row, "name"))),
        },
        "country_code" => {
            let countries = registry().model("res.country");
            let country = row[model.at("country_id")]
                .as_ref_id()
                .and_then(|id| env.store.get(countries.index, id));
            country.map_or(json!(false), |record| {
                record.row[countries.at("code")].to_json()
            })
        }
        "sale_order_count" => json!(
            env.pointing(registry().model("sale.order"), "partner_id", id)
                .len()
        ),
        _ => json!(false),
    }
}

pub(super) fn invert(env: &mut Env, id: i64, field: &str, value: &Json) -> Outcome<()> {
    if field == "company_type" {
        let is_company = value.as_str() == Some("company");
        return env.write(partner(), &[id], &vals(json!({"is_company": is_company})));
    }
    Ok(())
}
