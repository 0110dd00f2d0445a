//! What cannot be delivered: refused where it can be known, a dead letter with a remedy where only the worker or Odoo can know.
//! Nothing is lost, and nothing blocks the rest.

use pg_etl_tests::prelude::*;

#[test]
fn plain_inserts_of_what_nobody_can_deliver_become_dead_letters_with_a_remedy() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let bad: Vec<(&str, &str, Value, &str)> = vec![
        ("res.partner", "merge", json!({"name": "x"}), "not known"),
        ("res.partner", "", json!({"name": "x"}), "not known"),
        (
            "Res Partner!",
            "create",
            json!({"name": "x"}),
            "not the name of an Odoo model",
        ),
        (
            "",
            "create",
            json!({"name": "x"}),
            "not the name of an Odoo model",
        ),
        ("res.partner", "create", json!([1, 2]), "not an object"),
        ("res.partner", "create", json!("text"), "not an object"),
        ("res.partner", "create", Value::Null, "not an object"),
        ("res.partner", "delete", json!({}), "must name its record"),
        (
            "res.partner",
            "delete",
            json!({"odoo_id": 0}),
            "must name its record",
        ),
        (
            "res.partner",
            "delete",
            json!({"id": false}),
            "must name its record",
        ),
        (
            "res.partner",
            "delete",
            json!({"odoo_id": -7}),
            "not the id",
        ),
        (
            "res.partner",
            "delete",
            json!({"id": 9_223_372_036_854_775_808_u64}),
            "not the id",
        ),
        (
            "res.partner",
            "update",
            json!({"name": "x"}),
            "must name its record",
        ),
        (
            "res.partner",
            "update",
            json!({"odoo_id": 3}),
            "changes nothing",
        ),
        (
            "sale.order",
            "call",
            json!({"ids": [1]}),
            "must name its method",
        ),
        (
            "sale.order",
            "call",
            json!({"method": "unlink", "ids": [1]}),
            "allow",
        ),
        (
            "res.partner",
            "create",
            json!({"name": "x", "no_such_field": 1}),
            "no_such_field",
        ),
        (
            "no.such.model",
            "create",
            json!({"name": "x"}),
            "no.such.model",
        ),
        (
            "res.users",
            "create",
            json!({"name": "x", "login": "x"}),
            "res.users",
        ),
        (
            "ir.config_parameter",
            "create",
            json!({"key": "x"}),
            "ir.config_parameter",
        ),
        (
            "res.partner",
            "update",
            json!({"odoo_id": 999_999, "name": "x"}),
            "999999",
        ),
        (
            "res.partner",
            "create",
            json!({"name": "x", "email": {"an": "object"}}),
            "email",
        ),
    ];
    let ids: Vec<i64> = bad
        .iter()
        .map(|(model, operation, payload, _)| db.insert(model, operation, payload, None))
        .collect();
    db.the_rest_goes_on();
    for (id, (model, operation, payload, words)) in ids.iter().zip(&bad) {
        let row = db.await_status(*id, "failed");
        assert!(
            row.error().contains(words),
            "{model} {operation} {payload}: {}",
            row.error()
        );
        assert!(
            !row.error().contains("Traceback") && !row.class().is_empty(),
            "{row:?}"
        );
        // A sentence of what is wrong, and one of what to do.
        assert!(row.error().len() > 30, "no remedy: {}", row.error());
    }
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM etl.dead_letters", &[]),
        i64::try_from(bad.len()).expect("few")
    );
    assert!(db.one::<bool>(
        "SELECT bool_and(replay_with LIKE 'SELECT etl.replay(%') FROM etl.dead_letters",
        &[]
    ));
    assert_eq!(db.one::<i64>("SELECT count(*) FROM etl.queue", &[]), 0);
}

#[test]
fn a_delete_that_names_no_record_is_never_settled_as_done() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let before = bench.sim().records("res.partner").len();
    for payload in [
        json!({}),
        json!({"odoo_id": null}),
        json!({"odoo_id": ""}),
        json!({"odoo_id": 0, "id": 0}),
    ] {
        let id = db.insert("res.partner", "delete", &payload, None);
        db.await_status(id, "failed");
    }
    // A record key does name one: the record that is not in Odoo is gone already.
    let id = db.insert("res.partner", "delete", &json!({}), Some("never seen"));
    assert_eq!(db.await_status(id, "done").odoo_id, None);
    assert_eq!(bench.sim().records("res.partner").len(), before);
}

#[test]
fn one_key_is_one_change() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let call = "SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Ada\"}', idempotency_key => 'once')";
    let first: i64 = db.one(call, &[]);
    db.await_status(first, "done");
    assert_eq!(
        db.one::<i64>(call, &[]),
        first,
        "also after it was delivered"
    );
    let said = db.refused("SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Bob\"}', idempotency_key => 'once')");
    assert_eq!(said.code().code(), "23505");
    assert!(said.hint().is_some_and(|hint| !hint.is_empty()));
    let said = db.refused("INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key) VALUES ('res.partner', 'create', '{}', 'once')");
    assert_eq!(said.code().code(), "23505");
    db.the_rest_goes_on();
    assert_eq!(
        bench
            .sim()
            .records("res.partner")
            .iter()
            .filter(|partner| partner["name"] == "Ada")
            .count(),
        1,
        "no second delivery"
    );
}

#[test]
fn two_sessions_with_one_key_make_one_row() {
    let bench = Bench::ready();
    let mut first = bench.client();
    let mut open = first.transaction().expect("a transaction");
    let call = "SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Ada\"}', idempotency_key => 'race')";
    let id: i64 = open.query_one(call, &[]).expect("enqueue").get(0);
    let mut second = bench.client();
    let pid: i32 = second.one("SELECT pg_backend_pid()", &[]);
    let other =
        std::thread::spawn(move || second.query_one(call, &[]).map(|row| row.get::<_, i64>(0)));
    let mut look = bench.client();
    eventually(PATIENCE, "the second to wait for the first", || {
        look.one(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)",
            &[&pid],
        )
    });
    open.commit().expect("commit");
    assert_eq!(other.join().expect("no panic").expect("the same row"), id);
    assert_eq!(
        look.one::<i64>("SELECT count(*) FROM ops.odoo_outbox", &[]),
        1
    );
}

#[test]
fn rows_of_a_connection_that_does_not_exist_wait_for_it() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let id: i64 = db.one("INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, connection) VALUES ('res.partner', 'create', '{\"name\": \"Ada\"}', 'k', 'second') RETURNING id", &[]);
    db.the_rest_goes_on();
    assert_eq!(
        (db.row(id).status.as_str(), db.row(id).attempts),
        ("queued", 0)
    );
    assert!(db.health("connections").contains("| fail | 1 missing |"));
    let set = "SELECT etl.set_connection('second', 'odoo', $1, $2, 'env:ETL_ODOO_KEY')";
    db.execute(
        set,
        &[
            &bench.endpoint.url,
            &json!({"database": bench.endpoint.database, "login": "admin"}),
        ],
    )
    .expect("set_connection");
    db.await_status(id, "done");
}

#[test]
fn arguments_out_of_range_are_refused_with_a_hint() {
    let bench = Bench::ready();
    let mut db = bench.client();
    for (call, sqlstate) in [
        ("etl.drain_outbox(max_rows => 0)", "22023"),
        ("etl.drain_outbox(max_rows => -1)", "22023"),
        ("etl.drain_outbox(max_time => '-1 s')", "22023"),
        ("etl.drain_outbox(max_time => '1 year')", "22023"),
        ("etl.explain(-1)", "P0002"),
        ("etl.replay(-1)", "P0002"),
        ("etl.cancel(-1)", "P0002"),
        ("etl.finish_run(-1)", "P0002"),
        ("etl.start_run('sideways')", "22023"),
        ("etl.start_run(NULL)", "22023"),
        ("etl.test_connection('nowhere')", "42704"),
    ] {
        let said = db.refused(&format!("SELECT {call}"));
        assert_eq!(said.code().code(), sqlstate, "{call}: {}", said.message());
        assert!(
            said.hint().is_some_and(|hint| !hint.is_empty()),
            "{call}: no hint with {}",
            said.message()
        );
    }
}
