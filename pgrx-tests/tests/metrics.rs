//! What those see who watch from elsewhere: metrics, and the last lines.

use pg_etl_tests::prelude::*;

/// The value of a sample whose line begins so.
fn sample(db: &mut Client, begins: &str) -> Option<f64> {
    let text: String = db.one("SELECT etl.metrics()", &[]);
    let line = text.lines().find(|line| line.starts_with(begins))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn counters_go_up_and_never_back() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    db.enqueue("res.partner", "create", json!({"no_such_field": 1}), None);
    db.await_empty(PATIENCE);
    db.run("CREATE ROLE rita LOGIN IN ROLE etl_reader; SET SESSION AUTHORIZATION rita");
    let done = "pg_etl_deliveries_total{connection=\"odoo\",model=\"res.partner\",outcome=\"done\"";
    let failed = "pg_etl_deliveries_total{connection=\"odoo\",model=\"res.partner\",outcome=\"failed\",class=\"invalid\"}";
    let within = "pg_etl_delivery_seconds_bucket{le=\"+Inf\"";
    let expected = [(done, 1.0), (failed, 1.0), (within, 1.0)];
    for (begins, value) in expected {
        assert_eq!(sample(&mut db, begins), Some(value), "{begins}");
    }
    assert_eq!(
        sample(
            &mut db,
            "pg_etl_outbox_rows{connection=\"odoo\",model=\"res.partner\",operation=\"create\",status=\"failed\"}"
        ),
        Some(1.0)
    );
    assert_eq!(
        sample(&mut db, "pg_etl_health_status{component=\"dead letters\"}"),
        Some(2.0)
    );
    assert_eq!(sample(&mut db, "pg_etl_workers "), Some(1.0));
    assert_eq!(
        sample(
            &mut db,
            "pg_etl_connection_open{connection=\"odoo\",kind=\"odoo\"}"
        ),
        Some(1.0)
    );
    // What is too old for the views is still counted.
    db.run("RESET SESSION AUTHORIZATION; UPDATE etl.deliveries SET at = at - interval '100 days'; SELECT etl.apply_retention()");
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM etl.error_rate_hourly", &[]),
        0
    );
    for (begins, value) in expected {
        assert_eq!(sample(&mut db, begins), Some(value), "{begins}");
    }
}

#[test]
fn the_last_lines_say_what_happened_and_no_payload() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    db.await_empty(PATIENCE);
    let bad = db.enqueue(
        "res.partner",
        "create",
        json!({"no_such_field": "topsecret"}),
        None,
    );
    db.await_empty(PATIENCE);
    eventually(PATIENCE, "the run to close", || {
        db.one(
            "SELECT NOT EXISTS (SELECT FROM ops.odoo_sync_runs WHERE status = 'running')",
            &[],
        )
    });
    db.run("SELECT etl.pause('odoo', 'for a test'); CREATE ROLE rita LOGIN IN ROLE etl_reader; SET SESSION AUTHORIZATION rita");
    let lines: Vec<String> = db.all(
        "SELECT concat_ws(' | ', level, source, message) FROM etl.log_tail(10)",
        &[],
    );
    let has = |parts: &[&str]| {
        lines
            .iter()
            .any(|line| parts.iter().all(|part| line.contains(part)))
    };
    assert!(
        has(&["info", "run", "sb_to_odoo", "succeeded", "1 done"]),
        "{lines:?}"
    );
    assert!(
        has(&["error", &format!("row {bad}"), "invalid", "no_such_field"]),
        "{lines:?}"
    );
    assert!(has(&["error | connection odoo", "for a test"]), "{lines:?}");
    assert!(!has(&["topsecret"]), "{lines:?}");
    let order: Vec<bool> = db.all(
        "SELECT at <= lag(at, 1, 'infinity') OVER () FROM etl.log_tail(10)",
        &[],
    );
    assert!(order.iter().all(|newest_first| *newest_first));
    assert_eq!(
        db.all::<i64>("SELECT count(*) FROM etl.log_tail(1)", &[]),
        [1]
    );
    let failed: Vec<String> = db.all(
        "SELECT concat_ws(' ', direction, connection, error) FROM etl.failed_syncs()",
        &[],
    );
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(
        failed.iter().all(|run| run.starts_with("sb_to_odoo odoo ")),
        "{failed:?}"
    );
    for n in ["0", "NULL", "10001"] {
        for of in ["log_tail", "failed_syncs"] {
            let refused = db.refused(&format!("SELECT * FROM etl.{of}({n})"));
            assert_eq!(refused.code().code(), "22023", "{of} {n}");
            assert!(refused.hint().is_some());
        }
    }
}

fn text_of(path: &str) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    std::fs::read_to_string(root.expect("the workspace").join(path)).expect(path)
}

/// As the reference has it, in a shell with psql.
#[test]
fn the_check_for_a_shell_fails_when_health_does() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let reference = text_of("docs/reference.md");
    let check = reference
        .split("```sh\n")
        .filter_map(|rest| rest.split("\n```").next())
        .find(|block| block.contains("psql"))
        .expect("a check");
    let bin = xtask::suite::pg_under_test().unwrap().bin_dir().unwrap();
    let port: String = db.one("SELECT current_setting('port')", &[]);
    let run = || {
        let status = std::process::Command::new("sh")
            .args(["-c", check])
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .envs([
                ("PGHOST", "127.0.0.1"),
                ("PGUSER", "postgres"),
                ("PGDATABASE", pg_etl_tests::DATABASE),
            ])
            .env("PGPORT", &port)
            .status();
        status.expect("a shell").code()
    };
    assert_eq!(run(), Some(0));
    db.run("SELECT etl.pause()");
    assert_eq!(run(), Some(1));
}

/// Each query of the file runs as a reader's, and has the columns that the file describes.
#[test]
fn queries_for_postgres_exporter_have_the_columns_that_they_say() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run("CREATE ROLE rita LOGIN IN ROLE etl_reader; SET SESSION AUTHORIZATION rita");
    let file = text_of("monitoring/postgres_exporter.yaml");
    let queries: Vec<&str> = file.split("  query: ").skip(1).collect();
    assert!(queries.len() >= 5);
    for entry in queries {
        let (query, rest) = entry.split_once('\n').expect("a line");
        let query: String = serde_json::from_str(query).expect(query);
        let columns = db.prepare(&query).expect(&query);
        let found: Vec<&str> = columns
            .columns()
            .iter()
            .map(|column| column.name())
            .collect();
        let described: Vec<&str> = rest
            .lines()
            .filter_map(|line| line.strip_prefix("    - ")?.split(':').next())
            .collect();
        assert_eq!(found, described, "{query}");
        db.query(&columns, &[]).expect(&query);
    }
}

/// A panel over a metric that does not exist would be empty for ever.
#[test]
fn the_dashboard_for_grafana_shows_what_there_is() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    db.run("SELECT etl.mirror('res.country')");
    db.one::<Value>("SELECT etl.pull('res.country')", &[]);
    db.await_empty(PATIENCE);
    db.run("SELECT etl.pause()");
    db.enqueue("res.partner", "create", json!({"name": "Bob"}), None);
    let text: String = db.one("SELECT etl.metrics()", &[]);
    let dashboard: Value = serde_json::from_str(&text_of("monitoring/grafana.json")).expect("JSON");
    let mut shown = 0;
    for panel in dashboard["panels"].as_array().expect("panels") {
        let expression = panel["targets"][0]["expr"].as_str().expect("an expression");
        let name = expression
            .split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
            .find(|word| word.starts_with("pg_etl_"))
            .expect("a metric");
        assert!(
            text.lines().any(|line| line.starts_with(name)),
            "{name} of {}",
            panel["title"]
        );
        shown += 1;
    }
    assert!(shown >= 7);
}
