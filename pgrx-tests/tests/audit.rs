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
