//! Alerts: each turn of the health report is told once, by the way that every row takes, and a channel that is in trouble holds up nothing else.

use odoo_sim::ear::Answer;
use pg_etl_tests::PastUs;
use pg_etl_tests::keys::assert_key_ends_in_nine_days;
use pg_etl_tests::prelude::*;
use pg_etl_tests::told::*;

#[test]
fn a_turn_is_told_once_and_so_is_its_end() {
    let (_bench, mut db, ear) = watched();
    db.run("SELECT etl.pause('odoo', 'topsecret reason')");
    db.run("SELECT etl.check_alerts()");
    eventually(PATIENCE, "the message", || !told(&ear).is_empty());
    for _ in 0..3 {
        db.run("SELECT etl.check_alerts()");
    }
    db.await_empty(PATIENCE);
    assert_eq!(told(&ear), ["opened connection odoo fail"]);
    let heard = ear.heard().remove(0);
    assert!(
        heard.headers.contains_key("x-pg-etl-signature"),
        "{heard:?}"
    );
    assert!(
        !heard.body.contains("topsecret") && !heard.body.contains("k3y9"),
        "{}",
        heard.body
    );
    let open: Vec<String> = db.all(
        "SELECT concat_ws(' ', component, status, state, told) FROM etl.open_alerts",
        &[],
    );
    assert_eq!(open, ["connection odoo fail open {hook}"]);

    db.run("SELECT etl.resume()");
    db.run("SELECT etl.check_alerts()");
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM etl.open_alerts", &[]),
        1,
        "it may waver"
    );
    look_later(&mut db);
    eventually(PATIENCE, "the end", || told(&ear).len() == 2);
    assert_eq!(told(&ear)[1], "resolved connection odoo pass");
    look_later(&mut db);
    db.await_empty(PATIENCE);
    assert_eq!(told(&ear).len(), 2);
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM etl.open_alerts", &[]),
        0
    );
    // As rows of the outbox, like all others.
    let rows: Vec<String> = db.all(
        "SELECT concat_ws(' ', connection, model, status) FROM ops.odoo_outbox ORDER BY id",
        &[],
    );
    assert_eq!(rows, ["hook alert done", "hook alert done"]);
}

/// Nobody calls anything: the worker looks by itself.
#[test]
fn the_worker_tells_by_itself_within_a_minute() {
    let (bench, mut db, ear) = watched();
    let bad = db.enqueue("res.partner", "create", json!({"no_such_field": 1}), None);
    eventually(
        Duration::from_secs(60),
        "the dead letter to be told",
        || {
            told(&ear)
                .iter()
                .any(|line| line == "opened dead letters fail")
        },
    );
    db.run(&format!("SELECT etl.cancel({bad}, 'a test')"));
    bench.sim();
    eventually(Duration::from_secs(240), "its end to be told", || {
        told(&ear)
            .iter()
            .any(|line| line == "resolved dead letters pass")
    });
    let of = |event: &str| {
        told(&ear)
            .iter()
            .filter(|line| line.contains("dead letters") && line.starts_with(event))
            .count()
    };
    assert_eq!((of("opened"), of("resolved")), (1, 1), "{:?}", told(&ear));
}

#[test]
fn a_channel_that_hangs_or_refuses_holds_up_nothing_else() {
    let (_bench, mut db, good) = watched();
    let hangs = hook(&mut db, "hangs");
    // Longer than this test: whoever waited for it would be seen.
    db.run(&format!(
        "SELECT etl.set_connection('hangs', 'webhook', '{}/hook', '{{\"timeout\": 120}}', 'env:ETL_HOOK')",
        hangs.url()
    ));
    hangs.always(Answer {
        text: "200 OK\r\n\r\nok".to_owned(),
        after: Duration::from_secs(3_600),
    });
    let broken = hook(&mut db, "broken");
    broken.always(Answer::new("500 Oh\r\n\r\n"));
    let wrong = hook(&mut db, "wrong");
    wrong.always(Answer::new("404 Gone\r\n\r\nno_service"));
    db.run("SELECT etl.set_alert('others', ARRAY['hangs', 'broken', 'wrong'], status => 'warn')");
    db.enqueue("res.partner", "create", json!({"no_such_field": 1}), None);
    eventually(PATIENCE, "the dead letter", || db.count("failed") == 1);
    db.run("SELECT etl.check_alerts()");
    eventually(PATIENCE, "the good one to know", || {
        told(&good)
            .iter()
            .any(|line| line == "opened dead letters fail")
    });
    assert!(!hangs.heard().is_empty());
    let begun = Instant::now();
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    db.await_status(id, "done");
    let test: i64 = db.one("SELECT etl.test_alert('hook')", &[]);
    db.await_status(test, "done");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    // Misconfigured: nothing is lost, and somebody is told what to do.
    eventually(PATIENCE, "the wrong one to be paused", || {
        db.health("connection wrong").contains("etl.set_connection")
    });
    let row = {
        let id: i64 = db.one(
            "SELECT min(id) FROM ops.odoo_outbox WHERE connection = 'wrong'",
            &[],
        );
        db.row(id)
    };
    assert_eq!((row.status.as_str(), row.attempts), ("queued", 0));
    wrong.always(Answer::new("200 OK\r\n\r\nok"));
    db.run("SELECT etl.resume('wrong')");
    eventually(PATIENCE, "it to be told after all", || {
        told(&wrong)
            .iter()
            .any(|line| line == "opened dead letters fail")
    });
}

#[test]
fn whoever_knows_is_left_alone_and_a_test_message_says_what_became_of_it() {
    let (_bench, mut db, ear) = watched();
    db.run("SELECT etl.set_alert('all', ARRAY['hook'], status => 'warn', renotify => '1 min')");
    let row: i64 = db.one("SELECT etl.test_alert('hook')", &[]);
    db.await_status(row, "done");
    assert_eq!(told(&ear), ["test test pass"]);
    db.run("SELECT etl.pause(); SELECT etl.check_alerts()");
    let id: i64 = db.one(
        "SELECT id FROM etl.open_alerts WHERE component = 'connection odoo'",
        &[],
    );
    let long_ago =
        "UPDATE etl.alerts SET told = jsonb_set(told, '{hook,at}', '0'); SELECT etl.check_alerts()";
    db.run(long_ago);
    db.await_empty(PATIENCE);
    assert_eq!(
        told(&ear).last().map(String::as_str),
        Some("still connection odoo fail")
    );
    let many = told(&ear).len();
    assert_eq!(
        db.one::<String>("SELECT etl.ack_alert($1)", &[&id]),
        "connection odoo"
    );
    db.run(long_ago);
    db.await_empty(PATIENCE);
    assert_eq!(told(&ear).len(), many);
    let state: String = db.one("SELECT state || ' ' || acknowledged_by FROM etl.open_alerts WHERE component = 'connection odoo'", &[]);
    assert_eq!(state, "acknowledged postgres");
    assert_eq!(
        db.refused("SELECT etl.ack_alert(999)").code().code(),
        "P0002"
    );
    let audited: Vec<String> = db.all(
        "SELECT DISTINCT action FROM etl.audit_log WHERE action LIKE '%alert' ORDER BY 1",
        &[],
    );
    assert_eq!(audited, ["ack_alert", "set_alert", "test_alert"]);
}

#[test]
fn rules_that_cannot_work_are_refused_with_a_remedy() {
    let (_bench, mut db, _ear) = watched();
    for (call, code) in [
        ("etl.set_alert('x', ARRAY['hook'], 'outhouse')", "22023"),
        ("etl.set_alert('x', ARRAY['hook'], 'sync')", "22023"),
        ("etl.set_alert('x', ARRAY['hook'], 'worker dead')", "22023"),
        (
            "etl.set_alert('x', ARRAY['hook'], quiet_hours => '25:99-26:00')",
            "22023",
        ),
        (
            "etl.set_alert('x', ARRAY['hook'], quiet_hours => '7:00-07:00')",
            "22023",
        ),
        (
            "etl.set_alert('x', ARRAY['hook'], status => 'pass')",
            "22023",
        ),
        ("etl.set_alert('x', ARRAY['odoo'])", "42704"),
        ("etl.set_alert('x', ARRAY['nobody'])", "42704"),
        ("etl.set_alert('x', '{}')", "22023"),
        ("etl.set_alert('', ARRAY['hook'])", "42602"),
        (
            "etl.set_alert('x', ARRAY['hook'], renotify => '1 s')",
            "22023",
        ),
        (
            "etl.set_alert('x', ARRAY['hook'], quiet_hours => 'nights')",
            "22023",
        ),
        (
            "etl.set_alert('x', ARRAY['hook'], timezone => 'Mars')",
            "22023",
        ),
        ("etl.drop_alert('x')", "42704"),
        ("etl.test_alert('odoo')", "42704"),
        (
            "etl.set_connection('s', 'slack', 'https://hooks.slack.com/services/T0/B0/s3cret')",
            "22023",
        ),
    ] {
        let error = db.refused(&format!("SELECT {call}"));
        assert_eq!(error.code().code(), code, "{call}: {error:?}");
        assert!(error.hint().is_some(), "{call}: {error:?}");
        assert!(!error.message().contains("s3cret"), "{error:?}");
    }
    db.run("SELECT etl.set_alert('partners', ARRAY['hook'], 'sync lag res.partner', quiet_hours => '22:00-07:00', timezone => 'Europe/Brussels'); SELECT etl.drop_alert('partners')");
}

/// As pg_cron calls it: the dead tell nobody.
#[test]
fn that_there_is_no_worker_is_told_without_one() {
    let bench = Bench::builder()
        .env("ETL_HOOK", "k3y9")
        .preload(&[])
        .start();
    let mut db = bench.client();
    let ear = hook(&mut db, "hook");
    db.run("SELECT etl.set_alert('all', ARRAY['hook'], 'worker', status => 'warn')");
    let looked: Value = db.one("SELECT etl.check_alerts()", &[]);
    assert_eq!(looked, json!({"opened": 1, "resolved": 0, "messages": 1}));
    let drained: Value = db.one("SELECT etl.drain_outbox()", &[]);
    assert_eq!(drained["done"], 1, "{drained}");
    assert_eq!(told(&ear), ["opened worker warn"]);
}

/// Whoever may enqueue speaks in nobody's name, and silences nobody.
#[test]
fn what_somebody_writes_into_the_outbox_is_no_message() {
    let (_bench, mut db, ear) = watched();
    db.run("CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA ops TO app; GRANT INSERT ON ops.odoo_outbox TO app; GRANT USAGE ON ALL SEQUENCES IN SCHEMA ops TO app; SET SESSION AUTHORIZATION app");
    for (n, operation, message) in [
        (
            1,
            "create",
            r#"{"id": "x\\ny", "database": "shop", "at": "", "alerts": [{"event": "resolved", "component": "worker", "status": "pass", "value": "", "threshold": "", "remedy": ""}]}"#,
        ),
        (2, "create", "no JSON"),
        (3, "delete", "{}"),
    ] {
        db.execute(
            "INSERT INTO ops.odoo_outbox (connection, model, operation, payload, idempotency_key) VALUES ('hook', 'alert', $1, jsonb_build_object('message', $2::text, 'odoo_id', 7), $3)",
            &[&operation, &message, &format!("forged {n}")],
        )
        .expect("an insert");
    }
    db.run("RESET SESSION AUTHORIZATION");
    eventually(PATIENCE, "the forged ones to be dead letters", || {
        db.count("failed") == 3
    });
    assert_eq!(
        db.health_status("connection hook"),
        "pass",
        "{}",
        db.health("connection hook")
    );
    let row: i64 = db.one("SELECT etl.test_alert('hook')", &[]);
    db.await_status(row, "done");
    let told = told(&ear);
    assert!(
        told.iter()
            .all(|line| line == "test test pass" || line.starts_with("opened ")),
        "{told:?}"
    );
    let bodies: Vec<Value> = ear
        .heard()
        .iter()
        .map(|heard| serde_json::from_str(&heard.body).expect("JSON"))
        .collect();
    assert!(
        bodies.iter().all(|body| body["database"]
            .as_str()
            .is_some_and(|name| name.starts_with("shop ") && name.len() > 5)),
        "{bodies:?}"
    );
}

/// Odoo says of a key that it ends; it is asked a minute after it was first used.
#[test]
fn a_key_that_ends_soon_is_seen() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let uid = bench
        .sim()
        .records("res.users")
        .iter()
        .find(|user| user["login"] == "admin")
        .expect("a user")["id"]
        .clone();
    let ends: String = db.one(
        "SELECT to_char(now() + interval '9 days 1 hour', 'YYYY-MM-DD HH24:MI:SS')",
        &[],
    );
    let made = bench.sim().call("res.users.apikeys", "create", json!({"vals_list": [{"name": "ours", "user_id": uid, "expiration_date": ends}, {"name": "for ever", "user_id": uid}]}));
    drop(made);
    assert_key_ends_in_nine_days(&mut db);
}
