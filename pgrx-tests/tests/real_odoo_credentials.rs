//! What a real Odoo 19 says to refused credentials. Needs `PG_ETL_ODOO=1`; without it every test here fails.

use pg_etl_tests::prelude::*;
use pg_etl_tests::{Waiting, real_odoo};
use xtask::odoo::Odoo;

fn bench(protocol: &str) -> (&'static Odoo, Bench) {
    let odoo = real_odoo();
    let bench = Bench::builder()
        .endpoint(Endpoint::from(odoo.access()))
        .option("protocol", json!(protocol))
        .env("ETL_WRONG", "0123456789abcdef0123456789abcdef01234567")
        .env("ETL_COURIER", "a-password-of-the-courier")
        .start();
    (odoo, bench)
}

fn is_there(odoo: &Odoo, id: i64) -> bool {
    let found = odoo
        .call(
            "res.partner",
            "search_count",
            &json!({"domain": [["id", "=", id]]}),
        )
        .expect("search_count");
    found == json!(1)
}

#[track_caller]
fn assert_paused(db: &mut Client, odoo: &Odoo, waiting: &Waiting) {
    waiting.assert_paused_and_untouched(db);
    assert!(is_there(odoo, waiting.victim));
}

#[track_caller]
fn assert_delivered(db: &mut Client, odoo: &Odoo, waiting: &Waiting) {
    let kept = waiting.assert_delivered(db);
    assert!(!is_there(odoo, waiting.victim) && is_there(odoo, kept));
}

fn a_wrong_key_pauses(protocol: &str) {
    let (odoo, bench) = bench(protocol);
    let mut db = bench.client();
    let victim = Waiting::victim(&mut db);
    bench.connect_with(&mut db, json!({}), "ETL_WRONG");
    let waiting = Waiting::queue(&mut db, victim);
    assert_paused(&mut db, odoo, &waiting);
    bench.connect(&mut db, json!({}));
    assert_delivered(&mut db, odoo, &waiting);
}

#[test]
fn a_wrong_key_pauses_json2() {
    a_wrong_key_pauses("json2");
}

#[test]
fn a_wrong_key_pauses_jsonrpc() {
    a_wrong_key_pauses("jsonrpc");
}

fn a_wrong_database_pauses(protocol: &str) {
    let (odoo, bench) = bench(protocol);
    let mut db = bench.client();
    let victim = Waiting::victim(&mut db);
    bench.connect(&mut db, json!({"database": "no-such-database"}));
    let waiting = Waiting::queue(&mut db, victim);
    assert_paused(&mut db, odoo, &waiting);
    bench.connect(&mut db, json!({}));
    assert_delivered(&mut db, odoo, &waiting);
}

#[test]
fn a_wrong_database_pauses_json2() {
    a_wrong_database_pauses("json2");
}

#[test]
fn a_wrong_database_pauses_jsonrpc() {
    a_wrong_database_pauses("jsonrpc");
}

/// The user is deleted while the worker knows its uid: Odoo says MissingError, as for a partner who is gone.
#[test]
fn a_user_who_is_gone_pauses() {
    let (odoo, bench) = bench("jsonrpc");
    let mut db = bench.client();
    let victim = Waiting::victim(&mut db);
    let group = |name: &str| {
        let found = odoo.call(
            "ir.model.data",
            "check_object_reference",
            &json!({"module": "base", "xml_id": name}),
        );
        found.expect("the group")[1].clone()
    };
    let user = json!({"vals_list": [{
        "name": "Courier", "login": "courier", "password": "a-password-of-the-courier",
        "group_ids": [[4, group("group_user")], [4, group("group_partner_manager")]],
    }], "context": {"no_reset_password": true}});
    let user = odoo.call("res.users", "create", &user).expect("a user")[0]
        .as_i64()
        .expect("its id");
    bench.connect_with(&mut db, json!({"login": "courier"}), "ETL_COURIER");
    let as_courier = db.enqueue(
        "res.partner",
        "update",
        json!({"odoo_id": victim, "comment": "By courier"}),
        None,
    );
    db.await_status(as_courier, "done");
    odoo.call("res.users", "unlink", &json!({"ids": [user]}))
        .expect("the user is deleted");
    let waiting = Waiting::queue(&mut db, victim);
    assert_paused(&mut db, odoo, &waiting);
    bench.connect(&mut db, json!({}));
    assert_delivered(&mut db, odoo, &waiting);
}
