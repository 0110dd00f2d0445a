//! What every database has: countries, currencies, languages, companies, users.

use crate::exception::{Exception, Outcome};
use crate::orm::env::Env;
use crate::orm::field::{
    OnDelete, boolean, char, datetime, decimal, integer, many2many, many2one, selection,
};
use crate::orm::method::Method;
use crate::orm::model::{Hooks, Model, Row, registry};
use crate::orm::value::Value;
use crate::orm::web::method;
use serde_json::{Map, Value as Json, json};

fn yes(_: &Env) -> Value {
    Value::Bool(true)
}

fn first_company(env: &Env) -> Value {
    Value::Ref(env.company())
}

pub(super) fn models() -> Vec<Model> {
    vec![
        Model::new(
            "res.currency",
            "Currency",
            vec![
                char("name", "Currency").required(),
                char("full_name", "Name"),
                char("symbol", "Symbol").required(),
                decimal("rounding", "Rounding Factor", 6),
                boolean("active", "Active").default(yes),
            ],
        )
        .order("active desc, name"),
        Model::new(
            "res.lang",
            "Languages",
            vec![
                char("name", "Name").required(),
                char("code", "Locale Code").required(),
                boolean("active", "Active"),
            ],
        )
        .order("active desc, name")
        .unique("code", "The code of the language must be unique!"),
        Model::new(
            "res.country",
            "Country",
            vec![
                char("name", "Country Name").required().translated(),
                char("code", "Country Code").required(),
                many2one("currency_id", "Currency", "res.currency"),
                integer("phone_code", "Country Calling Code"),
            ],
        )
        .order("name, id")
        .unique("code", "The code of the country must be unique!"),
        Model::new(
            "res.country.state",
            "Country state",
            vec![
                char("name", "State Name").required(),
                char("code", "State Code").required(),
                many2one("country_id", "Country", "res.country").required(),
            ],
        )
        .order("code, id")
        .hooks(Hooks {
            display_name: Some(state_name),
            ..Hooks::default()
        }),
        Model::new(
            "res.company",
            "Companies",
            vec![
                char("name", "Company Name").required(),
                boolean("active", "Active").default(yes),
                many2one("partner_id", "Partner", "res.partner").required(),
                many2one("currency_id", "Currency", "res.currency").required(),
                integer("sequence", "Sequence"),
            ],
        )
        .order("sequence, name"),
        Model::new(
            "res.groups",
            "Access Groups",
            vec![char("name", "Name").required().translated()],
        )
        .order("name"),
        Model::new(
            "res.users.apikeys",
            "Users API Keys",
            vec![
                char("name", "Description").required(),
                many2one("user_id", "User", "res.users").required(),
                datetime("expiration_date", "Expiration Date"),
            ],
        )
        .order("id"),
        Model::new(
            "res.users",
            "User",
            vec![
                char("login", "Login").required(),
                boolean("active", "Active").default(yes),
                many2one("partner_id", "Related Partner", "res.partner")
                    .required()
                    .on_delete(OnDelete::Restrict),
                many2one("company_id", "Company", "res.company")
                    .required()
                    .default(first_company),
                many2many("company_ids", "Companies", "res.company"),
                char("password", "Password"),
                many2many("group_ids", "Groups", "res.groups"),
                char("name", "Name").through("partner_id"),
                char("email", "Email").through("partner_id"),
                char("phone", "Phone").through("partner_id"),
                selection("lang", "Language", super::partner::LANGUAGES).through("partner_id"),
                char("tz", "Timezone").through("partner_id"),
            ],
        )
        .order("name, login")
        .inherits("res.partner", "partner_id")
        .unique("login", "You can not have two users with the same login!")
        .methods(user_methods())
        .hooks(Hooks {
            guard_unlink: Some(guard_user),
            ..Hooks::default()
        }),
    ]
}

fn state_name(env: &Env, _: i64, row: &Row) -> String {
    let model = registry().model("res.country.state");
    let name = row[model.at("name")].as_str().unwrap_or_default();
    let country = row[model.at("country_id")]
        .as_ref_id()
        .and_then(|id| env.store.get(registry().model("res.country").index, id))
        .and_then(|record| {
            record.row[registry().model("res.country").at("code")]
                .as_str()
                .map(str::to_owned)
        });
    format!("{name} ({})", country.unwrap_or_default())
}

fn guard_user(_: &mut Env, id: i64) -> Outcome<()> {
    if id <= 2 {
        return Err(Exception::user(
            "You can not remove the admin user as it is used internally for resources created by Odoo (updates, module \
             installation, ...)",
        ));
    }
    Ok(())
}

fn user_methods() -> Vec<Method> {
    vec![
        method!("context_get", model, [], |env, _, _, _| {
            Ok(Some(
                json!({"lang": "en_US", "tz": false, "uid": env.uid()}),
            ))
        }),
        method!("has_group", records, ["group_ext_id"], |env, _, _, _| Ok(
            Some(json!(env.account.rights.is_empty()))
        )),
    ]
}

/// Shorthand for seeds and hooks.
pub(super) fn vals(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}
