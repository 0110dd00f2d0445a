//! Who changed what: every change through the API leaves a row.

use pg_etl_tests::{DATABASE, prelude::*};

fn session(bench: &Bench, role: &str) -> Client {
    Client::connect(&bench.cluster.dsn_as(role, DATABASE), postgres::NoTls)
        .expect("the role connects")
}

/// A bench with a person for each role, and one without any.
fn people() -> (Bench, Client) {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run("CREATE ROLE rita LOGIN IN ROLE etl_reader; CREATE ROLE otto LOGIN IN ROLE etl_operator; CREATE ROLE anna LOGIN IN ROLE etl_admin; CREATE ROLE nobody LOGIN");
    (bench, db)
}

#[test]
fn every_change_through_the_api_is_in_the_audit_log() {
    let (bench, mut db) = people();
    bench.sim().poison(odoo_sim_poison());
    let dead = db.enqueue("res.partner", "create", json!({"name": "Poisoned"}), None);
    db.await_status(dead, "failed");
    let mut otto = session(&bench, "otto");
    let calls = [
        ("pause", "SELECT etl.pause()".to_owned()),
        ("replay", format!("SELECT etl.replay({dead})")),
        ("cancel", format!("SELECT etl.cancel({dead}, 'why')")),
        ("replay_failed", "SELECT etl.replay_failed()".to_owned()),
        ("start_run", "SELECT etl.start_run('odoo_to_sb')".to_owned()),
        (
            "finish_run",
            "SELECT etl.finish_run((SELECT max(id) FROM ops.odoo_sync_runs))".to_owned(),
        ),
        ("resume", "SELECT etl.resume()".to_owned()),
    ];
    for (action, call) in calls {
        otto.run(&call);
        let rows: i64 = db.one(
            "SELECT count(*) FROM etl.audit_log WHERE actor = 'otto' AND action = $1",
            &[&action],
        );
        assert_eq!(rows, 1, "{action}");
    }
    // A superuser who acts for another role is still who he is.
    db.run("SET ROLE etl_operator; SELECT etl.pause(); RESET ROLE");
    assert_eq!(
        db.one::<String>(
            "SELECT actor FROM etl.audit_log ORDER BY id DESC LIMIT 1",
            &[]
        ),
        "postgres"
    );
}

fn odoo_sim_poison() -> odoo_sim::Poison {
    odoo_sim::Poison::new("res.partner", "name", "Poisoned")
}

/// Who reads the audit log sees every call that changed how things are; this knows them all, so that no new one is forgotten.
#[test]
fn every_function_that_changes_something_leaves_a_row() {
    let (bench, mut db) = people();
    let mut anna = session(&bench, "anna");
    bench.sim().poison(odoo_sim_poison());
    let dead = [(); 2].map(|()| {
        let id = db.enqueue("res.partner", "create", json!({"name": "Poisoned"}), None);
        db.await_status(id, "failed");
        id
    });
    // What retention finds to do.
    db.run("INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, status, finished_at) VALUES ('res.partner', 'create', '{}', 'old', 'done', now() - interval '30 d')");
    db.run("CREATE TABLE shop (id int PRIMARY KEY, name text); ALTER TABLE shop OWNER TO anna; GRANT CREATE ON SCHEMA public TO anna");
    let calls = [
        ("set_connection", "SELECT etl.set_connection('hook', 'webhook', 'http://127.0.0.1:9/')".to_owned()),
        ("set_alert", "SELECT etl.set_alert('all', ARRAY['hook'])".to_owned()),
        ("test_alert", "SELECT etl.test_alert('hook')".to_owned()),
        ("ack_alert", "SELECT etl.check_alerts(); SELECT etl.ack_alert((SELECT max(id) FROM etl.open_alerts))".to_owned()),
        ("drop_alert", "SELECT etl.drop_alert('all')".to_owned()),
        ("mirror", "SELECT etl.mirror('res.partner')".to_owned()),
        ("mirror", "SELECT * FROM etl.mirror_defaults()".to_owned()),
        ("rollback_run", "SELECT etl.pull('res.partner'); SELECT etl.rollback_run((SELECT max(id) FROM ops.odoo_sync_runs WHERE meta ->> 'model' = 'res.partner' AND (meta ->> 'inserted')::int > 0))".to_owned()),
        ("resume_mirror", "SELECT etl.request_pull('res.partner')".to_owned()),
        ("unmirror", "SELECT etl.unmirror('res.partner')".to_owned()),
        ("track", r#"SELECT etl.track('shop', 'res.partner', '{"name": "name"}')"#.to_owned()),
        ("backfill", "SELECT etl.backfill('shop')".to_owned()),
        ("untrack", "SELECT etl.untrack('shop')".to_owned()),
        ("pause", "SELECT etl.pause()".to_owned()),
        ("replay", format!("SELECT etl.replay({})", dead[0])),
        ("replay_failed", "SELECT etl.replay_failed()".to_owned()),
        ("cancel", format!("SELECT etl.cancel({}, 'why')", dead[0])),
        ("resume", "SELECT etl.resume()".to_owned()),
        ("start_run", "SELECT etl.start_run('odoo_to_sb')".to_owned()),
        ("finish_run", "SELECT etl.finish_run((SELECT max(id) FROM ops.odoo_sync_runs WHERE status = 'running'))".to_owned()),
        ("apply_retention", "SELECT etl.apply_retention()".to_owned()),
        ("setup", "SELECT etl.setup()".to_owned()),
        ("threshold", "UPDATE etl.thresholds SET warn = 7 WHERE component = 'outbox'".to_owned()),
    ];
    for (action, call) in &calls {
        let before: i64 = count(&mut db, action);
        anna.run(call);
        assert!(count(&mut db, action) > before, "{call} leaves no row");
    }
    // These leave rows elsewhere, or change nothing.
    let elsewhere = [
        "check_alerts",
        "drain",
        "drain_outbox",
        "enqueue",
        "explain",
        "failed_syncs",
        "health",
        "health_report",
        "log_tail",
        "metrics",
        "pull",
        "test_connection",
        "verify",
    ];
    let known: Vec<String> = calls
        .iter()
        .map(|(_, call)| call.clone())
        .chain(elsewhere.map(|name| format!("etl.{name}(")))
        .collect();
    let volatile: Vec<String> = db.all("SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'etl'::regnamespace AND p.provolatile = 'v' AND p.proname !~ '^_' ORDER BY 1", &[]);
    for name in volatile {
        let call = format!("etl.{name}(");
        assert!(
            known.iter().any(|known| known.contains(&call)),
            "does etl.{name}() leave a row?"
        );
    }
}

fn count(db: &mut Client, action: &str) -> i64 {
    db.one(
        "SELECT count(*) FROM etl.audit_log WHERE actor = 'anna' AND action = $1",
        &[&action],
    )
}
