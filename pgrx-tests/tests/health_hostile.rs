//! Health answers whatever is in the tables that are the user's, and whoever holds a lock on them.

use pg_etl_tests::prelude::*;

fn report(db: &mut Client) -> i64 {
    db.one("SELECT count(*) FROM etl.health_report()", &[])
}

#[test]
fn what_somebody_wrote_by_hand_stops_no_report() {
    let (_bench, mut db) = Bench::paused();
    let whole = report(&mut db);
    db.run(
        "INSERT INTO ops.odoo_sync_config (key, value) VALUES
           ('odoo_to_sb:res.partner', '{\"table\": \"odoo_raw.res_partner\", \"every_seconds\": 1e300}'), ('retention', '{\"done_days\": 1e400, \"runs_days\": \"many\"}');
         INSERT INTO ops.odoo_sync_checkpoints (key, cursor) VALUES ('odoo_to_sb:res.partner', '{\"at\": 1712345678}');
         INSERT INTO ops.odoo_sync_runs (direction, status, started_at, finished_at, meta) VALUES
           ('odoo_to_sb', 'running', '-infinity', NULL, '[1]'), ('odoo_to_sb', 'failed', 'infinity', '-infinity', '\"text\"'), ('sb_to_odoo', 'succeeded', NULL, NULL, NULL)",
    );
    for at in ["1712345678", "\"infinity\"", "\"tomorrow\"", "null", "[]"] {
        db.execute(
            "UPDATE ops.odoo_sync_checkpoints SET cursor = jsonb_build_object('at', $1::text::jsonb)",
            &[&at],
        )
        .expect("an update");
        assert!(report(&mut db) > whole, "{at}");
        db.one::<Value>("SELECT etl.health()", &[]);
        db.one::<String>("SELECT etl.metrics()", &[]);
        db.one::<i64>("SELECT count(*) FROM etl.sync_lag", &[]);
        db.one::<i64>("SELECT count(*) FROM etl.sync_runs_daily", &[]);
    }
    db.one::<i64>("SELECT count(*) FROM etl.log_tail(50)", &[]);
    db.one::<i64>("SELECT count(*) FROM etl.failed_syncs(50)", &[]);
    db.one::<Value>("SELECT etl.apply_retention()", &[]);
    for call in [
        "etl.start_run('odoo_to_sb', '[1]')",
        "etl.finish_run((SELECT min(id) FROM ops.odoo_sync_runs), meta => '7')",
    ] {
        let error = db.refused(&format!("SELECT {call}"));
        assert_eq!(error.code().code(), "22023", "{call}");
        assert!(error.hint().is_some(), "{call}");
    }
}

#[test]
fn a_state_table_that_is_gone_is_said_and_made_again() {
    let (_bench, mut db) = Bench::paused();
    db.run("DROP TABLE ops.odoo_sync_checkpoints CASCADE");
    assert_eq!(db.health_status("setup"), "fail");
    let error = db.refused("SELECT etl.metrics()");
    assert_eq!(error.code().code(), "55000");
    db.run("SELECT etl.setup()");
    assert_eq!(db.health_status("setup"), "pass");
}

/// Somebody locks the outbox for a long time: a probe says so instead of hanging, and so does every view.
#[test]
fn a_probe_does_not_wait_for_a_lock() {
    let (bench, mut db) = Bench::paused();
    let mut other = bench.client();
    let mut holding = other.transaction().expect("a transaction");
    holding
        .batch_execute("LOCK TABLE ops.odoo_outbox")
        .expect("the lock");
    let begun = Instant::now();
    for probe in ["etl.health()", "etl.metrics()"] {
        assert_eq!(
            db.refused(&format!("SELECT {probe}")).code().code(),
            "55P03",
            "{probe}"
        );
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    holding.rollback().expect("the end");
    assert!(report(&mut db) > 0);
}

/// A library that is newer than the extension's SQL looks for what is not there yet: it says so instead.
#[test]
fn another_version_is_said_and_nothing_else_is_looked_at() {
    let (_bench, mut db) = Bench::paused();
    db.run("UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'pg_etl'; ALTER TABLE etl.failures RENAME TO gone");
    let components: Vec<String> = db.all("SELECT component FROM etl.health_report()", &[]);
    assert_eq!(components.len(), 3, "{components:?}");
    assert_eq!(components[0], "version");
    assert_eq!(db.health_status("version"), "fail");
}

/// Who looks often, from Supabase's API: with the right to call a wrapper and no other.
#[test]
fn an_api_role_calls_the_wrapper_of_the_reference() {
    let (bench, mut db) = Bench::paused();
    db.run("CREATE ROLE service_role LOGIN; GRANT USAGE ON SCHEMA public TO service_role");
    let reference = include_str!("../../docs/reference.md");
    let wrapper = |name: &str| {
        let begins = format!("CREATE FUNCTION public.{name}(");
        let mut lines = reference.lines();
        lines
            .find(|line| line.starts_with(&begins))
            .expect("the wrapper")
    };
    db.run(wrapper("etl_health"));
    db.run(wrapper("odoo_changed"));
    db.run("GRANT EXECUTE ON FUNCTION public.odoo_changed(json) TO service_role; REVOKE ALL ON FUNCTION public.etl_health() FROM PUBLIC; GRANT EXECUTE ON FUNCTION public.etl_health() TO service_role");
    let mut api = Client::connect(
        &bench.cluster.dsn_as("service_role", pg_etl_tests::DATABASE),
        postgres::NoTls,
    )
    .expect("the role connects");
    let health: Value = api.one("SELECT public.etl_health()", &[]);
    assert!(health["status"].is_string(), "{health}");
    assert_eq!(api.refused("SELECT etl.health()").code().code(), "42501");
    // As Odoo's webhook calls it.
    db.run("SELECT etl.mirror('res.partner')");
    let asked: i64 = api.one(
        "SELECT public.odoo_changed('{\"_action\": \"Changed(#7)\", \"_id\": 3, \"_model\": \"res.partner\"}')",
        &[],
    );
    assert_eq!(asked, 1);
    let error = api.refused("SELECT public.odoo_changed('{\"_model\": \"res.users\"}')");
    assert!(error.hint().is_some(), "{error:?}");
}

/// Everything of ours that a dashboard reads by name.
#[test]
fn the_columns_of_the_views_are_stable() {
    let (_bench, mut db) = Bench::paused();
    let columns: Vec<String> = db.all(
        "SELECT format('%s(%s)', c.relname, string_agg(format('%s %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum))
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
         WHERE c.relnamespace = 'etl'::regnamespace AND c.relkind = 'v' AND c.relname !~ '^track_' GROUP BY c.relname ORDER BY c.relname",
        &[],
    );
    assert_eq!(
        columns.join("\n"),
        include_str!("fixtures/views.txt").trim_end()
    );
}
