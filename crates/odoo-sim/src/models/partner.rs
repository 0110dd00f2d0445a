//! Contacts and their tags: the fields.

use super::mail::MESSAGE_POST;
use super::partner_rules as rules;
use crate::orm::env::Env;
use crate::orm::field::{
    Dangling, OnDelete, binary, boolean, char, decimal, html, integer, many2many, many2one,
    one2many, selection,
};
use crate::orm::model::{Hooks, Model};
use crate::orm::value::Value;

pub(super) const LANGUAGES: &[(&str, &str)] = &[("en_US", "English (US)")];

const TYPES: &[(&str, &str)] = &[
    ("contact", "Contact"),
    ("invoice", "Invoice"),
    ("delivery", "Delivery"),
    ("other", "Other"),
];

fn yes(_: &Env) -> Value {
    Value::Bool(true)
}

pub(super) fn models() -> Vec<Model> {
    vec![category(), industry(), partner()]
}

fn category() -> Model {
    Model::new(
        "res.partner.category",
        "Partner Tags",
        vec![
            char("name", "Name").required().translated(),
            integer("color", "Color").default(|_| Value::Int(1)),
            many2one("parent_id", "Category", "res.partner.category").on_delete(OnDelete::Cascade),
            one2many(
                "child_ids",
                "Child Tags",
                "res.partner.category",
                "parent_id",
            ),
            boolean("active", "Active").default(yes),
        ],
    )
    .order("name, id")
    .hooks(Hooks {
        constrain: Some(rules::category_without_cycle),
        display_name: Some(rules::category_name),
        ..Hooks::default()
    })
}

fn industry() -> Model {
    Model::new(
        "res.partner.industry",
        "Industry",
        vec![
            char("name", "Name").translated(),
            char("full_name", "Full Name").translated(),
            boolean("active", "Active").default(yes),
        ],
    )
    .order("name, id")
}

fn partner() -> Model {
    Model::new(
        "res.partner",
        "Contact",
        vec![
            char("name", "Name"),
            char("complete_name", "Complete Name").readonly(),
            boolean("active", "Active").default(yes),
            many2one("parent_id", "Related Company", "res.partner").dangling(Dangling::Followed),
            one2many("child_ids", "Contact", "res.partner", "parent_id"),
            char("ref", "Reference"),
            selection("lang", "Language", LANGUAGES).default(|env| Value::str(env.lang())),
            char("tz", "Timezone"),
            many2one("user_id", "Salesperson", "res.users"),
            char("vat", "Tax ID"),
            char("company_registry", "Company ID"),
            char("website", "Website Link"),
            html("comment", "Notes"),
            many2many("category_id", "Tags", "res.partner.category"),
            decimal("credit_limit", "Credit Limit", 2).company_dependent(),
            boolean("employee", "Employee"),
            char("function", "Job Position"),
            selection("type", "Address Type", TYPES).default(|_| Value::str("contact")),
            char("street", "Street"),
            char("street2", "Street2"),
            char("zip", "Zip"),
            char("city", "City"),
            many2one("state_id", "State", "res.country.state").on_delete(OnDelete::Restrict),
            many2one("country_id", "Country", "res.country")
                .on_delete(OnDelete::Restrict)
                .dangling(Dangling::FollowedOnWrite),
            char("country_code", "Country Code").computed(),
            decimal("partner_latitude", "Geo Latitude", 7),
            decimal("partner_longitude", "Geo Longitude", 7),
            char("email", "Email"),
            char("email_formatted", "Formatted Email").computed(),
            char("phone", "Phone"),
            boolean("is_company", "Is a Company"),
            selection(
                "company_type",
                "Company Type",
                &[("person", "Person"), ("company", "Company")],
            )
            .inverted(),
            many2one("industry_id", "Industry", "res.partner.industry"),
            many2one("company_id", "Company", "res.company"),
            integer("color", "Color Index"),
            one2many("user_ids", "Users", "res.users", "partner_id"),
            many2one("commercial_partner_id", "Commercial Entity", "res.partner").readonly(),
            char("commercial_company_name", "Company Name Entity").readonly(),
            char("company_name", "Company Name"),
            char("barcode", "Barcode").company_dependent(),
            binary("image_1920", "Image"),
            one2many("sale_order_ids", "Sales Order", "sale.order", "partner_id"),
            integer("sale_order_count", "Sale Order Count").computed(),
        ],
    )
    .order("complete_name ASC, id DESC")
    .methods(vec![MESSAGE_POST])
    .hooks(Hooks {
        recompute: Some(rules::recompute),
        constrain: Some(rules::constrain),
        guard_unlink: Some(rules::guard_unlink),
        compute: Some(rules::compute),
        invert: Some(rules::invert),
        display_name: Some(rules::display_name),
        ..Hooks::default()
    })
}
