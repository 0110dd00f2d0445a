//! What cannot be delivered: refused where it can be known, a dead letter with a remedy where only the worker or Odoo can know.
//! Nothing is lost, and nothing blocks the rest.

use pg_etl_tests::prelude::*;

/// A plain INSERT, as anyone who could do it before still does it. Gives the id.
#[track_caller]
fn insert(
    db: &mut Client,
    model: &str,
    operation: &str,
    payload: &Value,
    key: Option<&str>,
) -> i64 {
    db.one(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, record_key) VALUES ($1, $2, $3, gen_random_uuid()::text, $4) RETURNING id",
        &[&model, &operation, payload, &key],
    )
}

/// The rest goes on: a good row that came later is delivered.
#[track_caller]
fn the_rest_goes_on(db: &mut Client) {
    let good = db.enqueue("res.partner", "create", json!({"name": "Good"}), None);
    db.await_status(good, "done");
}

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
        .map(|(model, operation, payload, _)| insert(&mut db, model, operation, payload, None))
        .collect();
    the_rest_goes_on(&mut db);
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
fn a_delete_of_nothing_is_never_settled_as_done() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let before = bench.sim().records("res.partner").len();
    for payload in [
        json!({}),
        json!({"odoo_id": null}),
        json!({"odoo_id": ""}),
        json!({"odoo_id": 0, "id": 0}),
    ] {
        let id = insert(&mut db, "res.partner", "delete", &payload, None);
        db.await_status(id, "failed");
    }
    // A record key that nothing was delivered for names no record either.
    let id = insert(
        &mut db,
        "res.partner",
        "delete",
        &json!({}),
        Some("never seen"),
    );
    let row = eventually_some(PATIENCE, "an end", || {
        Some(db.row(id))
            .filter(|row| matches!(row.status.as_str(), "done" | "failed"))
            .ok_or("none")
    });
    println!("a delete of a record key that is not known ends as: {row:?}");
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
    the_rest_goes_on(&mut db);
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
fn large_payloads_are_delivered_and_larger_ones_clearly_refused() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let comment = "x".repeat(20 * 1024 * 1024);
    let enqueued = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Large", "comment": comment}),
        Some("large"),
    );
    let plain = insert(
        &mut db,
        "res.partner",
        "create",
        &json!({"name": "Large too", "comment": comment}),
        None,
    );
    the_rest_goes_on(&mut db);
    for id in [enqueued, plain] {
        let row = eventually_some(Duration::from_secs(120), "the large row to be done", || {
            Some(db.row(id))
                .filter(|row| row.status == "done")
                .ok_or("waits")
        });
        assert_eq!(row.attempts, 1);
    }
    let stored: Vec<usize> = bench
        .sim()
        .records("res.partner")
        .iter()
        .filter_map(|partner| partner["comment"].as_str().map(str::len))
        .filter(|length| *length > 1_000_000)
        .collect();
    assert!(
        stored.len() == 2 && stored.iter().all(|length| *length >= comment.len()),
        "{stored:?}"
    );
    let said = db.refused("SELECT etl.enqueue('res.partner', 'create', jsonb_build_object('name', repeat('x', 105 * 1024 * 1024)))");
    assert_eq!(said.code().code(), "54000", "{}", said.message());
    assert!(
        said.hint().is_some_and(|hint| hint.contains("128 MiB")),
        "{said:?}"
    );
}

#[test]
fn nul_escapes_control_characters_and_odd_text() {
    let bench = Bench::ready();
    let mut db = bench.client();
    // jsonb knows no NUL: Postgres refuses it, at either door.
    for door in [
        "SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"a\\u0000b\"}')",
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key) VALUES ('res.partner', 'create', '{\"name\": \"a\\u0000b\"}', 'k')",
    ] {
        assert_eq!(db.refused(door).code().code(), "22P05", "{door}");
    }
    // What only looks like one is text, as is everything else that Unicode has.
    for name in [
        "a\\u0000b",
        "\u{1}\u{7f}",
        "ünï ☃ 🦀",
        "' OR 1=1 --",
        "{\"json\": true}",
        "line\nbreak\ttab",
    ] {
        let id = db.enqueue("res.partner", "create", json!({"name": name}), Some(name));
        db.await_status(id, "done");
        assert!(
            bench
                .sim()
                .records("res.partner")
                .iter()
                .any(|partner| partner["name"] == name),
            "{name:?}"
        );
    }
    the_rest_goes_on(&mut db);
}

#[test]
fn record_keys_of_any_length_keep_their_record_together() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let (long, longer) = ("k".repeat(10_000), format!("{}x", "k".repeat(10_000)));
    let rows = [
        db.enqueue(
            "res.partner",
            "create",
            json!({"name": "First"}),
            Some(&long),
        ),
        insert(
            &mut db,
            "res.partner",
            "update",
            &json!({"name": "First, changed"}),
            Some(&long),
        ),
        insert(
            &mut db,
            "res.partner",
            "create",
            &json!({"name": "Second"}),
            Some(&longer),
        ),
        insert(
            &mut db,
            "res.partner",
            "create",
            &json!({"name": "Empty key"}),
            Some(""),
        ),
    ];
    let records: Vec<i64> = rows
        .iter()
        .map(|id| db.await_status(*id, "done").record())
        .collect();
    assert_eq!(records[0], records[1]);
    assert!(records[2] != records[0] && records[3] != records[2]);
    let said = db.refused("SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"x\"}', idempotency_key => repeat('k', 10000))");
    assert!(
        said.code().code() == "22023" && said.hint().is_some_and(|hint| hint.contains("md5")),
        "{said:?}"
    );
}

#[test]
fn json_as_deep_as_it_likes() {
    let bench = Bench::ready();
    let mut db = bench.client();
    for (opening, closing) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = |levels: usize| {
            format!(
                "{{\"name\": {}1{}}}",
                opening.repeat(levels),
                closing.repeat(levels)
            )
        };
        for levels in [100, 2_000, 5_000] {
            // By the API: an answer, whichever. By INSERT: a dead letter, and the worker lives.
            let _ = db.simple_query(&format!(
                "SELECT etl.enqueue('res.partner', 'create', '{}')",
                deep(levels)
            ));
            let id: i64 = db.one("INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key) VALUES ('res.partner', 'create', $1::text::jsonb, gen_random_uuid()::text) RETURNING id", &[&deep(levels)]);
            let row = db.await_status(id, "failed");
            assert_eq!(
                (row.crashes, row.error().is_empty()),
                (0, false),
                "{levels}: {row:?}"
            );
        }
    }
    db.await_empty(PATIENCE);
    the_rest_goes_on(&mut db);
    let log = bench.cluster.log();
    assert!(
        !log.contains("terminated by signal") && !log.contains("panicked"),
        "{log}"
    );
}

#[test]
fn times_at_the_ends_of_the_calendar_stop_nobody() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let parked = "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, next_run_at) VALUES ('res.partner', 'create', '{\"name\": \"x\"}', gen_random_uuid()::text, $1::text::timestamptz) RETURNING id";
    for time in ["infinity", "294276-12-31"] {
        let id: i64 = db.one(parked, &[&time]);
        the_rest_goes_on(&mut db);
        assert_eq!(db.row(id).status, "queued", "{time}: waits for its time");
        assert!(
            db.health("worker").contains("| pass |"),
            "{time}: {}",
            db.health("worker")
        );
        db.run("SELECT * FROM etl.queue_depth; SELECT etl.health()");
        assert!(db.drain().is_object());
    }
    for time in ["-infinity", "4713-01-01 BC"] {
        let id: i64 = db.one(parked, &[&time]);
        db.await_status(id, "done");
    }
    db.run("SELECT etl.pause()");
    let _: i64 = db.one(parked, &[&"-infinity"]);
    db.run("SELECT etl.health(); SELECT * FROM etl.queue_depth");
}

#[test]
fn rows_of_a_connection_that_does_not_exist_wait_for_it() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let id: i64 = db.one("INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, connection) VALUES ('res.partner', 'create', '{\"name\": \"Ada\"}', 'k', 'second') RETURNING id", &[]);
    the_rest_goes_on(&mut db);
    assert_eq!(
        (db.row(id).status.as_str(), db.row(id).attempts),
        ("queued", 0)
    );
    assert!(
        db.health("connection second")
            .contains("| fail | missing |")
    );
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
