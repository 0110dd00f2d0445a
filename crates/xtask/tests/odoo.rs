//! The real Odoo that other tests stand on.

use serde_json::json;
use xtask::odoo::{Odoo, Options};

#[test]
fn an_odoo_lives_through_stops_and_crashes() {
    let odoo = Odoo::start(&Options::default()).unwrap();
    assert_eq!(odoo.version().unwrap(), "19.0");
    let created = odoo
        .call(
            "res.partner",
            "create",
            &json!({ "vals_list": [{ "name": "Kept" }] }),
        )
        .unwrap();
    odoo.stop().unwrap();
    assert!(odoo.version().is_err());
    odoo.start_again().unwrap();
    odoo.kill9();
    assert!(odoo.version().is_err());
    odoo.start_again().unwrap();
    let names = odoo
        .call(
            "res.partner",
            "read",
            &json!({ "ids": created, "fields": ["name"] }),
        )
        .unwrap();
    assert_eq!(names[0]["name"], "Kept");
    let count = odoo
        .cluster()
        .psql(
            "odoo",
            "SELECT count(*) FROM res_partner WHERE name = 'Kept'",
        )
        .unwrap();
    assert_eq!(count, "1");

    let clean = Odoo::start(&Options {
        workers: 0,
        ..Options::default()
    })
    .unwrap();
    let domain = json!({ "domain": [["name", "=", "Kept"]] });
    assert_eq!(
        clean.call("res.partner", "search_count", &domain).unwrap(),
        0
    );
}
