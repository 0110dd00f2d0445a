//! What a real Odoo 19 says to refused credentials. Needs `PG_ETL_ODOO=1`; without it every test here fails.

use pg_etl_tests::prelude::*;
use pg_etl_tests::real_odoo;
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

/// A partner to delete and one to make; both must wait for the right credentials, however the wrong ones are refused.
struct Waiting {
    victim: i64,
    delete: i64,
    create: i64,
}

fn make_victim(db: &mut Client) -> i64 {
    let victim = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Victim"}),
        Some("victim"),
    );
    db.await_status(victim, "done").record()
}

fn queue(db: &mut Client, victim: i64) -> Waiting {
    let delete = db.enqueue("res.partner", "delete", json!({"odoo_id": victim}), None);
    let create = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Waiting"}),
        Some("waiting"),
    );
    Waiting {
        victim,
        delete,
        create,
    }
}

#[track_caller]
fn assert_paused(db: &mut Client, odoo: &Odoo, waiting: &Waiting) {
    eventually(PATIENCE, "the connection to be paused", || {
        db.connection("state") == "paused" && db.count("processing") == 0
    });
    for id in [waiting.delete, waiting.create] {
        let row = db.row(id);
        assert_eq!(
            (row.status.as_str(), row.attempts),
            ("queued", 0),
            "{row:?}"
        );
    }
    let report = db.health("connection odoo");
    println!("{report}");
    assert!(
        report.contains("paused") && report.contains("etl.resume"),
        "{report}"
    );
    assert!(is_there(odoo, waiting.victim));
}

#[track_caller]
fn assert_delivered(db: &mut Client, odoo: &Odoo, waiting: &Waiting) {
    db.run("SELECT etl.resume()");
    assert_eq!(db.await_status(waiting.delete, "done").attempts, 1);
    let created = db.await_status(waiting.create, "done").record();
    assert!(!is_there(odoo, waiting.victim) && is_there(odoo, created));
}

fn a_wrong_key_pauses(protocol: &str) {
    let (odoo, bench) = bench(protocol);
    let mut db = bench.client();
    let victim = make_victim(&mut db);
    bench.connect_with(&mut db, json!({}), "ETL_WRONG");
    let waiting = queue(&mut db, victim);
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
    let victim = make_victim(&mut db);
    bench.connect(&mut db, json!({"database": "no-such-database"}));
    let waiting = queue(&mut db, victim);
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
    let victim = make_victim(&mut db);
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
    let waiting = queue(&mut db, victim);
    assert_paused(&mut db, odoo, &waiting);
    bench.connect(&mut db, json!({}));
    assert_delivered(&mut db, odoo, &waiting);
}
