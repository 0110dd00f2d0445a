//! Records that refer to each other, or to themselves, and are all new.

use pg_etl_tests::prelude::*;

/// A company needs its partner, and the partner belongs to the company: neither can be made complete before the other.
fn company_and_partner(name: &str) -> [(&'static str, Value, String); 2] {
    let (company, partner) = (format!("company:{name}"), format!("partner:{name}"));
    [
        (
            "res.partner",
            json!({"name": name, "company_id": {"key": company}}),
            partner.clone(),
        ),
        (
            "res.company",
            json!({"name": name, "partner_id": {"key": partner}, "currency_id": 1}),
            company,
        ),
    ]
}

#[test]
fn two_new_records_that_refer_to_each_other_are_made_and_joined() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    db.run("SELECT etl.pause()");
    let mut ids = Vec::new();
    // In either order.
    for (name, reversed) in [("Acme", false), ("Umbrella", true)] {
        let mut rows = company_and_partner(name);
        if reversed {
            rows.reverse();
        }
        for (model, payload, key) in rows {
            ids.push(db.enqueue(model, "create", payload, Some(&key)));
        }
    }
    db.run("SELECT etl.resume()");
    for id in ids {
        db.await_status(id, "done");
    }
    for name in ["Acme", "Umbrella"] {
        let company = sim.having("res.company", "name", name);
        let partner = sim.partner(name);
        assert_eq!(company.len(), 1, "{company:?}");
        assert_eq!(company[0]["partner_id"], partner["id"]);
        assert_eq!(partner["company_id"], company[0]["id"]);
    }
    db.the_rest_goes_on();
}

/// Odoo knows no partner that is its own parent: it says so, and the row says what it said.
#[test]
fn a_record_that_refers_to_itself_is_not_waited_for() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let own = json!({"name": "Ouroboros", "parent_id": {"key": "partner:own"}});
    let id = db.enqueue("res.partner", "create", own, Some("partner:own"));
    db.the_rest_goes_on();
    let row = db.await_status(id, "failed");
    assert!(row.error().contains("recursive"), "{row:?}");
}
