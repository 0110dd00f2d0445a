//! The real Odoo 19, over JSON-2 and JSON-RPC. Needs `PG_ETL_ODOO=1`; without it every test here fails.

mod job;
mod keys;
mod lines;
mod mirror;
mod outage;
mod refusals;
mod two_way;

use pg_etl_tests::prelude::*;
use pg_etl_tests::real_odoo;
use xtask::odoo::Odoo;

/// The Odoo that all tests here share, and a bench of one's own in front of it.
pub fn bench(protocol: &str) -> (&'static Odoo, Bench) {
    let odoo = real_odoo();
    (
        odoo,
        Bench::builder()
            .endpoint(Endpoint::from(odoo.access()))
            .option("protocol", json!(protocol))
            .start(),
    )
}

/// Records of a model that match, read as the administrator, archived ones too.
#[track_caller]
pub fn read(odoo: &Odoo, model: &str, domain: Value, fields: &[&str]) -> Vec<Value> {
    let arguments = json!({"domain": domain, "fields": fields, "order": "id", "context": {"active_test": false}});
    let found = odoo
        .call(model, "search_read", &arguments)
        .expect("search_read");
    found.as_array().expect("a list").clone()
}

/// A name that no other test of this program uses.
pub fn name(protocol: &str, what: &str) -> String {
    format!("{what} over {protocol}")
}

pub fn two_lines(buyer: &str, product: i64) -> Value {
    json!({"partner_id": {"key": buyer}, "client_order_ref": buyer, "order_line": [
        {"key": "1", "product_id": product, "product_uom_qty": 2, "price_unit": 10},
        {"key": "2", "product_id": product, "product_uom_qty": 3, "price_unit": 7},
    ]})
}
