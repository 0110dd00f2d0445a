//! Health: each component at its thresholds, and the two forms of the one answer.

use pg_etl_tests::prelude::*;

fn fill(db: &mut Client, rows: i32) {
    db.run(&format!(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key) SELECT 'res.partner', 'create', '{{}}', gen_random_uuid()::text FROM generate_series(1, {rows})"
    ));
}

#[test]
fn a_well_database_passes() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    db.await_status(id, "done");
    eventually(PATIENCE, "everything to pass", || {
        db.one::<i64>(
            "SELECT count(*) FROM etl.health_report() WHERE status <> 'pass'",
            &[],
        ) == 0
    });
    let components: Vec<String> = db.all("SELECT component FROM etl.health_report()", &[]);
    for component in [
        "setup",
        "version",
        "worker",
        "outbox",
        "oldest due row",
        "dead letters",
        "success rate",
        "runs",
        "connection odoo",
        "circuit odoo",
    ] {
        assert!(
            components.iter().any(|found| found == component),
            "{component} in {components:?}"
        );
    }
    assert_eq!(
        db.one::<i64>(
            "SELECT count(*) FROM etl.health_report() WHERE remedy IS NOT NULL",
            &[]
        ),
        0,
        "nothing to do where nothing is wrong"
    );
    assert!(
        db.health("connection odoo").contains("Odoo 19"),
        "{}",
        db.health("connection odoo")
    );
}

#[test]
fn the_json_has_its_shape_and_the_report_is_worst_first() {
    let (_bench, mut db) = Bench::paused();
    fill(&mut db, 100);
    let health: Value = db.one("SELECT etl.health()", &[]);
    let mut keys: Vec<&String> = health.as_object().expect("an object").keys().collect();
    keys.sort();
    assert_eq!(keys, ["checked_at", "checks", "status"]);
    assert_eq!(
        health["status"], "fail",
        "the worst of all: the connection is paused"
    );
    for (name, check) in health["checks"].as_object().expect("checks") {
        assert!(
            ["pass", "warn", "fail"].contains(&check["status"].as_str().unwrap_or_default()),
            "{name}: {check}"
        );
        assert!(
            check["value"].is_string()
                && check["detail"].is_string()
                && check["threshold"].is_string(),
            "{name}: {check}"
        );
        assert!(
            check["status"] == "pass"
                || check["remedy"]
                    .as_str()
                    .is_some_and(|remedy| !remedy.is_empty()),
            "{name} says what to do: {check}"
        );
    }
    db.run(&format!(
        "SELECT '{}'::timestamptz",
        health["checked_at"].as_str().expect("a time")
    ));
    let order: Vec<String> = db.all("SELECT status FROM etl.health_report()", &[]);
    let rank = |status: &String| {
        ["fail", "warn", "pass"]
            .iter()
            .position(|known| known == status)
    };
    assert!(order.is_sorted_by_key(rank), "{order:?}");
    assert!(
        order.contains(&"fail".to_owned())
            && order.contains(&"warn".to_owned())
            && order.contains(&"pass".to_owned()),
        "{order:?}"
    );
}

#[test]
fn the_outbox_warns_at_a_hundred_and_fails_at_a_thousand() {
    let (_bench, mut db) = Bench::paused();
    for (rows, expected) in [(99, "pass"), (1, "warn"), (899, "warn"), (1, "fail")] {
        fill(&mut db, rows);
        assert_eq!(
            db.health_status("outbox"),
            expected,
            "{}",
            db.health("outbox")
        );
    }
}

#[test]
fn late_rows_warn_after_a_minute_and_fail_after_ten() {
    let (_bench, mut db) = Bench::paused();
    fill(&mut db, 1);
    assert_eq!(db.health_status("oldest due row"), "pass");
    for (age, expected) in [
        ("55 s", "pass"),
        ("65 s", "warn"),
        ("9 min 30 s", "warn"),
        ("10 min 5 s", "fail"),
    ] {
        db.run(&format!(
            "UPDATE ops.odoo_outbox SET next_run_at = now() - interval '{age}'"
        ));
        assert_eq!(
            db.health_status("oldest due row"),
            expected,
            "{age}: {}",
            db.health("oldest due row")
        );
    }
    db.run("UPDATE ops.odoo_outbox SET next_run_at = now() + interval '1 day'");
    assert_eq!(
        db.health_status("oldest due row"),
        "pass",
        "a row that is not due is not late"
    );
}

#[test]
fn dead_letters_and_the_success_rate() {
    let bench = Bench::ready();
    let mut db = bench.client();
    assert_eq!(
        (
            db.health_status("dead letters"),
            db.health_status("success rate")
        ),
        ("pass".to_owned(), "pass".to_owned())
    );
    for n in 1..=19 {
        db.enqueue(
            "res.partner",
            "create",
            json!({"name": n.to_string()}),
            None,
        );
    }
    let bad =
        |db: &mut Client| db.enqueue("res.partner", "create", json!({"no_such_field": 1}), None);
    bad(&mut db);
    db.await_empty(PATIENCE);
    assert_eq!((db.count("done"), db.count("failed")), (19, 1));
    assert_eq!(
        db.health_status("success rate"),
        "pass",
        "19 of 20 are 95 %: {}",
        db.health("success rate")
    );
    assert_eq!(db.health_status("dead letters"), "fail");
    assert!(db.health("dead letters").contains("etl.replay"));
    bad(&mut db);
    db.await_empty(PATIENCE);
    assert!(
        db.health("success rate").contains("19 of 21"),
        "{}",
        db.health("success rate")
    );
    assert_eq!(db.health_status("success rate"), "fail");
    db.run("UPDATE etl.deliveries SET at = at - interval '2 hours'");
    assert_eq!(
        db.health_status("success rate"),
        "pass",
        "what failed long ago does not count"
    );
    assert_eq!(
        db.health_status("dead letters"),
        "fail",
        "but is still there"
    );
    db.run("DELETE FROM ops.odoo_outbox WHERE status = 'failed'");
    assert_eq!(db.health_status("dead letters"), "pass");
}

#[test]
fn slow_deliveries_warn_and_fail() {
    let (_bench, mut db) = Bench::paused();
    // 4 × log2 of the milliseconds: of 100 rows 94 took 1 s, the others a minute and a half, or eleven minutes.
    for (bucket, expected) in [(41, "pass"), (66, "warn"), (78, "fail")] {
        db.run(&format!(
            "DELETE FROM etl.deliveries; INSERT INTO etl.deliveries VALUES (now(), 'odoo', 'res.partner', 'done', '', 40, 94), (now(), 'odoo', 'res.partner', 'done', '', {bucket}, 6),
               (now() - interval '61 min', 'odoo', 'res.partner', 'done', '', 90, 1000)"
        ));
        assert_eq!(
            db.health_status("delivery latency"),
            expected,
            "{}",
            db.health("delivery latency")
        );
    }
}

fn threshold(db: &mut Client, component: &str) -> String {
    db.one(
        "SELECT threshold FROM etl.health_report() WHERE component = $1",
        &[&component],
    )
}

#[test]
fn thresholds_are_rows_that_a_user_changes() {
    let (_bench, mut db) = Bench::paused();
    fill(&mut db, 10);
    assert_eq!(db.health_status("outbox"), "pass");
    db.run("CREATE ROLE anna LOGIN IN ROLE etl_admin; CREATE ROLE rita LOGIN IN ROLE etl_reader; SET SESSION AUTHORIZATION anna");
    db.run("UPDATE etl.thresholds SET warn = 10, fail = NULL WHERE component = 'outbox'");
    assert_eq!(db.health_status("outbox"), "warn");
    assert_eq!(threshold(&mut db, "outbox"), "warn 10");
    let error = db.refused("INSERT INTO etl.thresholds (component, warn) VALUES ('outhouse', 1)");
    assert_eq!(error.code().code(), "22023", "{error:?}");
    for odd in ["Infinity", "NaN"] {
        let error = db.refused(&format!("UPDATE etl.thresholds SET fail = '{odd}'"));
        assert_eq!(error.code().code(), "23514", "{odd}: {error:?}");
    }
    db.run("INSERT INTO etl.thresholds (component, warn) VALUES ('sync lag res.partner', 86400); DELETE FROM etl.thresholds WHERE component = 'runs'");
    let units: Vec<String> = db.all(
        "SELECT unit FROM etl.thresholds WHERE component LIKE 'sync lag%'",
        &[],
    );
    assert_eq!(units, ["seconds", "seconds"]);
    let audited: Vec<String> = db.all("SELECT actor || ' ' || target || ' ' || coalesce(after ->> 'warn', 'gone') FROM etl.audit_log WHERE action = 'threshold' ORDER BY id", &[]);
    assert_eq!(
        audited,
        [
            "anna outbox 10",
            "anna sync lag res.partner 86400",
            "anna runs gone"
        ]
    );
    // What is gone is as it was delivered; set-up makes the row again, and leaves the others.
    assert_eq!(threshold(&mut db, "runs"), "warn 1 h, fail 6 h");
    db.run("SELECT etl.setup()");
    let kept: Vec<String> = db.all("SELECT component || ' ' || warn FROM etl.thresholds WHERE component IN ('runs', 'outbox') ORDER BY 1", &[]);
    assert_eq!(kept, ["outbox 10", "runs 3600"]);
    db.run("SET SESSION AUTHORIZATION rita");
    assert_eq!(
        db.refused("UPDATE etl.thresholds SET warn = 1")
            .code()
            .code(),
        "42501"
    );
}

#[test]
fn a_transaction_that_keeps_dead_rows_is_seen() {
    let (bench, mut db) = Bench::paused();
    assert_eq!(db.health_status("oldest snapshot"), "pass");
    let mut other = bench.client();
    other.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ops.odoo_outbox");
    db.run(
        "UPDATE etl.thresholds SET warn = 0.001, fail = 3600 WHERE component = 'oldest snapshot'",
    );
    let line = db.health("oldest snapshot");
    assert_eq!(db.health_status("oldest snapshot"), "warn", "{line}");
    assert!(line.contains("pg_terminate_backend"), "{line}");
    other.run("COMMIT");
    assert_eq!(db.health_status("oldest snapshot"), "pass");
}

#[test]
fn runs_warn_after_an_hour_and_fail_after_six() {
    let (_bench, mut db) = Bench::paused();
    let run: i64 = db.one("SELECT etl.start_run('odoo_to_sb')", &[]);
    for (age, expected) in [
        ("59 min", "pass"),
        ("61 min", "warn"),
        ("359 min", "warn"),
        ("361 min", "fail"),
    ] {
        db.run(&format!(
            "UPDATE ops.odoo_sync_runs SET started_at = now() - interval '{age}' WHERE id = {run}"
        ));
        assert_eq!(
            db.health_status("runs"),
            expected,
            "{age}: {}",
            db.health("runs")
        );
    }
    db.run(&format!("SELECT etl.finish_run({run}, 'gave up')"));
    assert_eq!(db.health_status("runs"), "pass");
}

#[test]
fn rows_that_came_in_behind_the_triggers_back_are_seen() {
    let (_bench, mut db) = Bench::paused();
    db.run("SET session_replication_role = replica");
    fill(&mut db, 1);
    db.run("SET session_replication_role = origin");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM etl.queue", &[]), 0);
    assert_ne!(db.health_status("outbox"), "pass");
    assert!(
        db.health("outbox").contains("etl.setup()"),
        "{}",
        db.health("outbox")
    );
    db.run("SELECT etl.setup()");
    assert_eq!(db.health_status("outbox"), "pass");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM etl.queue", &[]), 1);
}

/// Whoever watches reads: no transaction id, no WAL, and so it works on a standby too.
#[test]
fn a_look_at_health_writes_nothing() {
    let (_bench, mut db) = Bench::paused();
    for look in [
        "etl.health()",
        "(SELECT count(*) FROM etl.health_report())",
        "etl.drain_outbox(dry_run => true)",
    ] {
        let sql = format!("SELECT {look} IS NOT NULL AND pg_current_xact_id_if_assigned() IS NULL");
        assert!(db.one::<bool>(&sql, &[]), "{look}");
    }
}
