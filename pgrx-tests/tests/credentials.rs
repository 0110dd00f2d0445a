//! Refused credentials: the connection pauses with a remedy, rows are untouched, and the right key delivers them.

use pg_etl_tests::Waiting;
use pg_etl_tests::prelude::*;

/// Paused and untouched, and so is Odoo.
#[track_caller]
fn assert_paused_and_untouched(db: &mut Client, sim: &Sim, waiting: &Waiting) {
    waiting.assert_paused_and_untouched(db);
    assert!(
        sim.records("res.partner")
            .iter()
            .any(|record| record["id"] == waiting.victim),
        "the victim lives"
    );
    assert!(sim.partners("Kept").is_empty());
}

#[track_caller]
fn assert_delivered(db: &mut Client, sim: &Sim, waiting: &Waiting) {
    waiting.assert_delivered(db);
    assert!(sim.partners("Victim").is_empty());
    assert_eq!(sim.partner("Kept")["city"], "Kept");
}

fn a_wrong_key_pauses(protocol: &str) {
    let bench = Bench::builder().option("protocol", json!(protocol)).start();
    let (mut db, sim) = (bench.client(), bench.sim());
    let victim = Waiting::victim(&mut db);
    sim.revoke_key(&bench.endpoint.key);
    let waiting = Waiting::queue(&mut db, victim);
    assert_paused_and_untouched(&mut db, sim, &waiting);
    // Resumed without a right key it pauses again.
    db.run("SELECT etl.resume()");
    assert_paused_and_untouched(&mut db, sim, &waiting);
    sim.add_key(2, odoo_sim::ApiKey::new(bench.endpoint.key.clone()));
    assert_delivered(&mut db, sim, &waiting);
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
    let bench = Bench::builder().option("protocol", json!(protocol)).start();
    let (mut db, sim) = (bench.client(), bench.sim());
    let victim = Waiting::victim(&mut db);
    bench.connect(&mut db, json!({"database": "elsewhere"}));
    let waiting = Waiting::queue(&mut db, victim);
    assert_paused_and_untouched(&mut db, sim, &waiting);
    bench.connect(&mut db, json!({}));
    assert_delivered(&mut db, sim, &waiting);
}

#[test]
fn a_wrong_database_pauses_json2() {
    a_wrong_database_pauses("json2");
}

#[test]
fn a_wrong_database_pauses_jsonrpc() {
    a_wrong_database_pauses("jsonrpc");
}

/// JSON-RPC answers MissingError for a user who is gone, as it does for a record that is gone: a delete must not believe it.
#[test]
fn a_user_who_is_gone_pauses() {
    let config =
        odoo_sim::Config::default().with_account(7, "courier", "key-of-the-courier", vec![]);
    let bench = Bench::builder()
        .sim(config)
        .env("ETL_COURIER", "key-of-the-courier")
        .option("protocol", json!("jsonrpc"))
        .option("login", json!("courier"))
        .no_connection()
        .start();
    let (mut db, sim) = (bench.client(), bench.sim());
    bench.connect_with(&mut db, json!({}), "ETL_COURIER");
    let victim = Waiting::victim(&mut db);
    sim.remove_account(7);
    let waiting = Waiting::queue(&mut db, victim);
    assert_paused_and_untouched(&mut db, sim, &waiting);
    bench.connect(&mut db, json!({"login": "admin"}));
    assert_delivered(&mut db, sim, &waiting);
}

/// A secret that is not there is a matter for a person too, and says which one.
#[test]
fn a_missing_secret_pauses() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let victim = Waiting::victim(&mut db);
    bench.connect_with(&mut db, json!({}), "ETL_NOT_THERE");
    let waiting = Waiting::queue(&mut db, victim);
    assert_paused_and_untouched(&mut db, sim, &waiting);
    assert!(
        db.health("connection odoo").contains("ETL_NOT_THERE"),
        "{}",
        db.health("connection odoo")
    );
    bench.connect(&mut db, json!({}));
    assert_delivered(&mut db, sim, &waiting);
}

/// A right that is lacking is about the row, not about the connection: the rest goes on.
#[test]
fn a_lacking_right_is_a_dead_letter_and_pauses_nothing() {
    let rights = vec![
        odoo_sim::Rights::only("res.partner", &["read", "write", "create"]),
        odoo_sim::Rights::full("*"),
    ];
    let config =
        odoo_sim::Config::default().with_account(7, "courier", "key-of-the-courier", rights);
    let bench = Bench::builder()
        .sim(config)
        .env("ETL_COURIER", "key-of-the-courier")
        .no_connection()
        .start();
    let mut db = bench.client();
    bench.connect_with(&mut db, json!({"login": "courier"}), "ETL_COURIER");
    let victim = Waiting::victim(&mut db);
    let delete = db.enqueue("res.partner", "delete", json!({"odoo_id": victim}), None);
    let create = db.enqueue("res.partner", "create", json!({"name": "Allowed"}), None);
    let dead = db.await_status(delete, "failed");
    assert_eq!(dead.class(), "forbidden", "{dead:?}");
    assert!(dead.error().contains("res.partner"), "{}", dead.error());
    db.await_status(create, "done");
    assert_eq!(db.connection("state"), "ok");
}
