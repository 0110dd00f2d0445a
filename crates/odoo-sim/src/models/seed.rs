//! The records a fresh database has.

use super::base::vals;
use crate::config::Config;
use crate::exception::Outcome;
use crate::orm::env::Env;
use crate::orm::model::{Row, registry};
use crate::orm::value::Value;
use serde_json::{Value as Json, json};

/// Fills an empty store.
pub(crate) fn seed(env: &mut Env, config: &Config) -> Outcome<()> {
    for (name, symbol, full) in [("USD", "$", "United States dollar"), ("EUR", "€", "Euro")] {
        add(
            env,
            "res.currency",
            json!({"name": name, "symbol": symbol, "full_name": full, "rounding": 0.01}),
            &[name],
        )?;
    }
    for code in &config.languages {
        let name = if code == "en_US" {
            "English (US)"
        } else {
            code
        };
        add(
            env,
            "res.lang",
            json!({"name": name, "code": code, "active": true}),
            &[&format!("lang_{code}")],
        )?;
    }
    for (external, name) in [
        ("base.group_user", "Role / User"),
        ("base.group_system", "Role / Administrator"),
        ("base.group_partner_manager", "Contact / Creation"),
        (
            "sales_team.group_sale_salesman_all_leads",
            "Sales / User: All Documents",
        ),
        ("product.group_product_manager", "Products / Creation"),
    ] {
        let id = create(env, "res.groups", json!({"name": name}))?;
        env.set_external_id(external, registry().model("res.groups"), id, true, false)?;
    }
    countries(env)?;
    people(env, config)?;
    for (name, external) in [
        ("Goods", "product_category_goods"),
        ("Services", "product_category_services"),
    ] {
        let id = create(env, "product.category", json!({"name": name}))?;
        env.set_external_id(
            &format!("product.{external}"),
            registry().model("product.category"),
            id,
            true,
            false,
        )?;
    }
    for model in &registry().models {
        create(
            env,
            "ir.model",
            json!({"name": model.label, "model": model.name}),
        )?;
    }
    for name in [
        "base",
        "web",
        "mail",
        "contacts",
        "product",
        "sale",
        "sale_management",
    ] {
        create(
            env,
            "ir.module.module",
            json!({"name": name, "state": "installed", "latest_version": "19.0.1.0"}),
        )?;
    }
    Ok(())
}

fn countries(env: &mut Env) -> Outcome<()> {
    for (code, name, phone) in [
        ("BE", "Belgium", 32),
        ("CH", "Switzerland", 41),
        ("DE", "Germany", 49),
        ("FR", "France", 33),
        ("GB", "United Kingdom", 44),
        ("NL", "Netherlands", 31),
        ("PH", "Philippines", 63),
        ("US", "United States", 1),
    ] {
        let external = if code == "GB" {
            "uk".to_owned()
        } else {
            code.to_lowercase()
        };
        add(
            env,
            "res.country",
            json!({"name": name, "code": code, "phone_code": phone}),
            &[&external],
        )?;
    }
    let us = env.external_id("base.us").map_or(1, |known| known.target);
    for (code, name, number) in [("CA", "California", 5), ("NY", "New York", 27)] {
        let external = format!("state_us_{number}");
        add(
            env,
            "res.country.state",
            json!({"name": name, "code": code, "country_id": us}),
            &[&external],
        )?;
    }
    Ok(())
}

/// The company, its partner and the accounts. Company, partner and user point to each other in a circle, so the first
/// partner is written before the rules are.
fn people(env: &mut Env, config: &Config) -> Outcome<()> {
    let partners = registry().model("res.partner");
    let company_partner = create(
        env,
        "res.partner",
        json!({"name": "My Company", "is_company": true}),
    )?;
    env.set_external_id("base.main_partner", partners, company_partner, true, false)?;
    let company = json!({"name": "My Company", "partner_id": company_partner, "currency_id": 1});
    add(env, "res.company", company, &["main_company"])?;
    root(env)?;
    for account in &config.accounts {
        let name = if account.uid == 2 {
            "Administrator"
        } else {
            account.login.as_str()
        };
        let users = registry().model("res.users");
        env.store.skip_to(users.index, account.uid);
        let user = create(
            env,
            "res.users",
            json!({"login": account.login, "name": name, "company_id": 1, "company_ids": [1]}),
        )?;
        if account.uid == 2 {
            env.set_external_id("base.user_admin", users, user, true, false)?;
            if let Some(partner) = env.row(users, user)?[users.at("partner_id")].as_ref_id() {
                env.set(partners, partner, &[("company_id", Value::Ref(1))])?;
                env.set_external_id("base.partner_admin", partners, partner, true, false)?;
            }
        }
    }
    Ok(())
}

/// The superuser, archived like its partner.
fn root(env: &mut Env) -> Outcome<()> {
    let (users, partners) = (
        registry().model("res.users"),
        registry().model("res.partner"),
    );
    let partner = create(
        env,
        "res.partner",
        json!({"name": "OdooBot", "active": false, "company_id": 1}),
    )?;
    env.set_external_id("base.partner_root", partners, partner, true, false)?;
    let id = env.store.next_id(users.index);
    let mut row: Row = vec![Value::Null; users.fields.len()];
    row[0] = Value::Int(id);
    row[users.at("login")] = Value::str("__system__");
    row[users.at("active")] = Value::Bool(false);
    row[users.at("partner_id")] = Value::Ref(partner);
    row[users.at("company_id")] = Value::Ref(1);
    env.save(users, id, row)?;
    env.set_external_id("base.user_root", users, id, true, false)
}

fn create(env: &mut Env, model: &str, values: Json) -> Outcome<i64> {
    Ok(env.create(registry().model(model), &[vals(values)])?[0])
}

fn add(env: &mut Env, model: &str, values: Json, externals: &[&str]) -> Outcome<()> {
    let id = create(env, model, values)?;
    for external in externals {
        env.set_external_id(
            &format!("base.{external}"),
            registry().model(model),
            id,
            true,
            false,
        )?;
    }
    Ok(())
}
