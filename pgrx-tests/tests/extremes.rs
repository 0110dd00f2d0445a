//! Input at the ends of what can be: large, long, deep, odd, and far away in time. Delivered, or refused in words; nobody
//! is stopped by it.

use pg_etl_tests::prelude::*;

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
    let plain = db.insert(
        "res.partner",
        "create",
        &json!({"name": "Large too", "comment": comment}),
        None,
    );
    db.the_rest_goes_on();
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
    db.the_rest_goes_on();
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
        db.insert(
            "res.partner",
            "update",
            &json!({"name": "First, changed"}),
            Some(&long),
        ),
        db.insert(
            "res.partner",
            "create",
            &json!({"name": "Second"}),
            Some(&longer),
        ),
        db.insert(
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
    db.the_rest_goes_on();
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
        db.the_rest_goes_on();
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

/// Tables of old deployments allow what ours do not.
#[test]
fn rows_of_any_time_or_of_none_are_delivered_and_counted() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        "ALTER TABLE ops.odoo_outbox ALTER created_at DROP NOT NULL, ALTER connection DROP NOT NULL, ALTER created_at DROP DEFAULT, ALTER connection DROP DEFAULT;
         INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, created_at, connection)
           SELECT 'res.partner', 'create', jsonb_build_object('name', n), n::text, t::timestamptz, CASE WHEN n % 2 = 0 THEN 'odoo' END
           FROM unnest(ARRAY['-infinity', 'infinity', '4700-01-01 BC', '9999-12-31', NULL, 'now']) WITH ORDINALITY AS u(t, n);
         INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, created_at, connection) VALUES ('res.partner', 'create', '{\"no_such_field\": 1}', 'bad', NULL, NULL);
         INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, record_key, connection) VALUES ('res.partner', 'upsert', '{\"name\": \"Keyed\"}', 'keyed', 'k', NULL);
         INSERT INTO ops.odoo_sync_runs (direction, status, started_at, finished_at) VALUES ('odoo_to_sb', 'running', '-infinity', NULL), ('odoo_to_sb', 'succeeded', '-infinity', 'infinity')",
    );
    db.await_empty(PATIENCE);
    assert_eq!((db.count("done"), db.count("failed")), (7, 1));
    assert_eq!(
        db.one::<i64>(
            "SELECT count(*) FROM etl.links WHERE connection = 'odoo'",
            &[]
        ),
        1
    );
    db.run("SELECT etl.setup()");
    let summary: Vec<String> = db.all("SELECT concat_ws(' ', connection, operation, status, row_count) FROM etl.outbox_summary ORDER BY 1", &[]);
    assert_eq!(
        summary,
        [
            "odoo create done 6",
            "odoo create failed 1",
            "odoo upsert done 1"
        ]
    );
    let views: Vec<String> = db.all("SELECT name FROM etl._views()", &[]);
    for view in views {
        db.query(&format!("SELECT * FROM etl.{view}"), &[])
            .expect(&view);
    }
    for look in [
        "etl.health()",
        "etl.metrics()",
        "(SELECT count(*) FROM etl.log_tail())",
        "etl.apply_retention()",
    ] {
        db.query(&format!("SELECT {look}"), &[]).expect(look);
    }
}

/// What keeps counts must not fail for what a row is called.
#[test]
fn models_with_endless_names_are_dead_letters_and_stop_nobody() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
           SELECT (SELECT string_agg(md5(random()::text || i || n), '') FROM generate_series(1, 300) i), 'create', '{}', 'x' || n FROM generate_series(1, 20) n",
    );
    eventually(PATIENCE, "the dead letters", || db.count("failed") == 20);
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    db.await_status(id, "done");
    db.one::<String>("SELECT etl.metrics()", &[]);
}
