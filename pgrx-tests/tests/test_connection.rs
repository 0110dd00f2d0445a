//! `etl.test_connection()`, and what pausing and replacing a connection does to deliveries.

use odoo_sim::{Config, Rights};
use pg_etl_tests::prelude::*;

fn unconnected() -> (Bench, Client) {
    let bench = Bench::builder().preload(&[]).no_connection().start();
    let mut db = bench.client();
    db.run("SELECT etl.setup()");
    (bench, db)
}

#[test]
fn deliveries_follow_a_replaced_connection() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let first = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    db.await_status(first, "done");
    let moved = Sim::start(Config::default()).expect("another simulator");
    let set = "SELECT etl.set_connection('odoo', 'odoo', $1, $2, 'env:ETL_ODOO_KEY')";
    db.execute(
        set,
        &[
            &moved.url(),
            &json!({"database": moved.database(), "login": "admin"}),
        ],
    )
    .expect("set_connection");
    let before = bench.sim().totals().requests;
    let second = db.enqueue("res.partner", "create", json!({"name": "Bob"}), None);
    db.await_status(second, "done");
    assert!(
        moved
            .records("res.partner")
            .iter()
            .any(|partner| partner["name"] == "Bob")
    );
    assert_eq!(
        bench.sim().totals().requests,
        before,
        "nothing went to the old endpoint"
    );
}

fn test(db: &mut Client) -> Value {
    db.one("SELECT etl.test_connection('odoo')", &[])
}

#[test]
fn a_test_tells_what_is_there_and_what_is_wrong() {
    for protocol in ["json2", "jsonrpc"] {
        let bench = Bench::builder()
            .preload(&[])
            .option("protocol", json!(protocol))
            .start();
        let mut db = bench.client();
        let answer = test(&mut db);
        assert_eq!(
            (
                &answer["ok"],
                &answer["protocol"],
                &answer["missing_rights"],
                &answer["error"]
            ),
            (&json!(true), &json!(protocol), &json!([]), &Value::Null),
            "{answer}"
        );
        assert!(
            answer["version"]
                .as_str()
                .is_some_and(|version| version.starts_with("19")),
            "{answer}"
        );
        assert_eq!(answer["uid"], 2);

        bench.sim().set_rights(
            2,
            vec![
                Rights::only("res.partner", &["read", "write"]),
                Rights::full("*"),
            ],
        );
        let answer = test(&mut db);
        let missing = answer["missing_rights"].to_string();
        assert!(
            missing.contains("create on res.partner")
                && missing.contains("unlink on res.partner")
                && !missing.contains("write on"),
            "{answer}"
        );
        bench.sim().set_rights(2, vec![]);

        bench.connect(&mut db, json!({"database": "nowhere"}));
        let answer = test(&mut db);
        assert_eq!(
            (&answer["ok"], &answer["error"]["class"]),
            (&json!(false), &json!("misconfigured")),
            "wrong database: {answer}"
        );
        bench.connect(&mut db, json!({}));

        bench.sim().revoke_key(&bench.endpoint.key);
        let answer = test(&mut db);
        assert_eq!(
            (&answer["ok"], &answer["error"]["class"]),
            (&json!(false), &json!("misconfigured")),
            "wrong key: {answer}"
        );
        assert!(
            answer["error"]["remedy"]
                .as_str()
                .is_some_and(|remedy| !remedy.is_empty()),
            "{answer}"
        );

        bench.sim().stop();
        let answer = test(&mut db);
        assert_eq!(
            (&answer["ok"], &answer["error"]["class"]),
            (&json!(false), &json!("unreachable")),
            "down: {answer}"
        );
        assert!(
            !answer.to_string().contains(&bench.endpoint.key),
            "{answer}"
        );
    }
}

#[test]
fn a_test_of_what_cannot_be_tested_says_why() {
    let (_bench, mut db) = unconnected();
    let said = db.refused("SELECT etl.test_connection('odoo')");
    assert_eq!(said.code().code(), "42704");
    assert!(
        said.hint()
            .is_some_and(|hint| hint.contains("etl.set_connection"))
    );
    assert!(
        db.one::<Option<Value>>("SELECT etl.test_connection(NULL)", &[])
            .is_none()
    );
    db.run("SELECT etl.set_connection('odoo', 'odoo', 'http://127.0.0.1:9')");
    let answer = test(&mut db);
    assert_eq!(
        (&answer["ok"], &answer["error"]["class"]),
        (&json!(false), &json!("misconfigured")),
        "no secret: {answer}"
    );
    db.run("SELECT etl.set_connection('odoo', 'odoo', 'http://127.0.0.1:9', secret => 'env:ETL_MISSING')");
    assert!(
        test(&mut db)["error"]["message"]
            .as_str()
            .is_some_and(|message| message.contains("ETL_MISSING"))
    );
}

#[test]
fn pause_and_resume() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run("SELECT etl.pause('odoo', 'stock-taking')");
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    let before = bench.sim().totals().requests;
    // The worker has seen the row and left it.
    let drained = db.drain();
    assert_eq!(
        (&drained["claimed"], &drained["remaining"]),
        (&json!(0), &json!(1)),
        "{drained}"
    );
    assert_eq!(
        (db.connection("state"), db.connection("paused_reason")),
        ("paused".to_owned(), "stock-taking".to_owned())
    );
    assert_eq!(bench.sim().totals().requests, before);
    db.run("SELECT etl.resume()");
    assert_eq!(
        db.await_status(id, "done").attempts,
        1,
        "a pause costs no attempt"
    );
    for call in ["etl.pause('nowhere')", "etl.resume('nowhere')"] {
        let said = db.refused(&format!("SELECT {call}"));
        assert_eq!(said.code().code(), "42704", "{call}");
        assert!(
            said.detail().is_some_and(|detail| detail.contains("odoo")),
            "the connections there are: {said:?}"
        );
    }
}
