//! Who may do what, as the catalog says it and as the roles find it.

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
fn nothing_is_for_everyone() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let open: Vec<String> = db.all(
        "SELECT 'schema ' || nspname FROM pg_namespace, aclexplode(nspacl) a WHERE nspname IN ('etl', 'ops') AND a.grantee = 0
         UNION ALL SELECT p.oid::regprocedure::text FROM pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
           WHERE pronamespace = 'etl'::regnamespace AND a.grantee = 0
         UNION ALL SELECT c.oid::regclass::text FROM pg_class c,
             aclexplode(coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner))) a
           WHERE relnamespace IN ('etl'::regnamespace, 'ops'::regnamespace) AND relkind IN ('r', 'v', 'm', 'S', 'p', 'f') AND a.grantee = 0",
        &[],
    );
    assert_eq!(open, [""; 0]);
}

#[test]
fn functions_that_lend_rights_pin_their_search_path_and_tables_have_policies() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let definers: i64 = db.one(
        "SELECT count(*) FROM pg_proc WHERE pronamespace = 'etl'::regnamespace AND prosecdef",
        &[],
    );
    assert!(definers > 10, "this test looks at something: {definers}");
    let loose: Vec<String> = db.all(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'etl'::regnamespace AND prosecdef
           AND NOT ARRAY['search_path=pg_catalog, pg_temp'] <@ coalesce(proconfig, '{}')",
        &[],
    );
    assert_eq!(loose, [""; 0]);
    let bare: Vec<String> = db.all("SELECT relname::text FROM pg_class WHERE relnamespace = 'etl'::regnamespace AND relkind = 'r' AND NOT relrowsecurity", &[]);
    assert_eq!(bare, [""; 0], "tables without row level security");
    let silent: Vec<String> = db.all(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'etl'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL
         UNION ALL SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'etl'::regnamespace AND relkind IN ('r', 'v') AND obj_description(oid, 'pg_class') IS NULL",
        &[],
    );
    assert_eq!(silent, [""; 0], "without a COMMENT");
}

/// The public functions, and the least role that may call each.
const CALLABLE: [(&str, &[&str]); 3] = [
    (
        "etl_reader",
        &[
            "failed_syncs",
            "health",
            "health_report",
            "log_tail",
            "metrics",
            "tracked_records",
        ],
    ),
    (
        "etl_operator",
        &[
            "ack_alert",
            "apply_retention",
            "cancel",
            "check_alerts",
            "drain",
            "drain_outbox",
            "enqueue",
            "explain",
            "finish_run",
            "pause",
            "pull",
            "replay",
            "replay_failed",
            "request_pull",
            "resume",
            "rollback_run",
            "start_run",
            "test_alert",
            "test_connection",
            "verify",
        ],
    ),
    (
        "etl_admin",
        &[
            "backfill",
            "drop_alert",
            "mirror",
            "mirror_defaults",
            "set_alert",
            "set_connection",
            "setup",
            "track",
            "unmirror",
            "untrack",
        ],
    ),
];

/// What `etl.mirror()` and `etl.track()` call with the rights of whoever called them.
const LENT_TO_ADMINS: [&str; 53] = [
    "_adopt_mirror",
    "_arm",
    "_capture_functions",
    "_capture_names",
    "_capture_source",
    "_cast_expression",
    "_check_field",
    "_check_policies",
    "_checked_key",
    "_checked_lines",
    "_chunk_source",
    "_column_numbers",
    "_create_mirror",
    "_describe",
    "_fields_of",
    "_forget_track",
    "_has_column",
    "_holds",
    "_inward",
    "_is_plain",
    "_is_whole",
    "_key_among",
    "_key_expression",
    "_key_operator",
    "_line_captures",
    "_line_tables",
    "_lines_elsewhere",
    "_lines_expression",
    "_lines_source",
    "_lines_track",
    "_make_sink",
    "_lock_extension",
    "_marked",
    "_mirror_id",
    "_mirror_of",
    "_mirror_table",
    "_mirror_type",
    "_must_be_set_up",
    "_object_expression",
    "_payload_source",
    "_qualified",
    "_register_mirror",
    "_register_track",
    "_sending_source",
    "_same_key",
    "_sent_expression",
    "_table",
    "_track_functions",
    "_tracks_of",
    "_two_way_source",
    "_value_expression",
    "_with_references",
    "_write_capture",
];

#[test]
fn each_role_may_call_its_own_functions_and_those_of_lesser_roles() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let mut expected = Vec::new();
    for role in ["etl_reader", "etl_operator", "etl_admin"] {
        for (_, functions) in CALLABLE.iter().take(
            CALLABLE
                .iter()
                .position(|(name, _)| *name == role)
                .expect("a role")
                + 1,
        ) {
            expected.extend(
                functions
                    .iter()
                    .map(|function| format!("{role} {function}")),
            );
        }
    }
    // Of the private ones, which start with an underscore, only what the views call, and what is done with the caller's own rights.
    for role in ["etl_reader", "etl_operator", "etl_admin"] {
        expected.extend(
            ["_instant", "_oldest_due", "_runs_by_day", "_workers"]
                .map(|function| format!("{role} {function}")),
        );
    }
    expected.extend(LENT_TO_ADMINS.map(|function| format!("etl_admin {function}")));
    expected.sort();
    let mut found: Vec<String> = db.all(
        "SELECT DISTINCT concat_ws(' ', r.rolname, p.proname) FROM pg_proc p, pg_roles r WHERE p.pronamespace = 'etl'::regnamespace
           AND r.rolname IN ('etl_reader', 'etl_operator', 'etl_admin') AND has_function_privilege(r.oid, p.oid, 'EXECUTE')",
        &[],
    );
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_reader_sees_views_and_health_and_nothing_else() {
    let (bench, mut db) = people();
    db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    db.await_empty(PATIENCE);
    let mut rita = session(&bench, "rita");
    let views: Vec<String> = rita.all(
        "SELECT viewname::text FROM pg_views WHERE schemaname = 'etl'",
        &[],
    );
    assert!(views.len() >= 5, "{views:?}");
    for view in views {
        rita.run(&format!("SELECT * FROM etl.{view}"));
    }
    rita.run("SELECT etl.health(); SELECT * FROM etl.health_report()");
    assert_eq!(
        rita.one::<i64>("SELECT sum(row_count)::bigint FROM etl.outbox_summary", &[]),
        1
    );
    for forbidden in [
        "SELECT * FROM ops.odoo_outbox",
        "SELECT * FROM etl.audit_log",
        "SELECT etl.enqueue('res.partner', 'create', '{}')",
        "SELECT etl.drain_outbox()",
        "SELECT etl.pause()",
        "SELECT etl.explain(1)",
        "SELECT etl.setup()",
        "SELECT etl._vault_secret('vault:x')",
        "UPDATE etl.connections SET url = 'http://evil.example.com'",
        "DELETE FROM etl.queue",
        "SELECT etl._wake()",
        "SELECT nextval('etl.claim_seq')",
    ] {
        assert_eq!(
            rita.refused(forbidden).code().code(),
            "42501",
            "{forbidden}"
        );
    }
}

#[test]
fn an_operator_runs_deliveries_and_changes_no_connection() {
    let (bench, mut db) = people();
    let mut otto = session(&bench, "otto");
    let id = otto.enqueue("res.partner", "create", json!({"name": "Ada"}), Some("ada"));
    otto.run("INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key) VALUES ('res.partner', 'create', '{\"name\": \"Bob\"}', 'b')");
    assert!(otto.drain().is_object());
    otto.await_status(id, "done");
    otto.run(&format!(
        "SELECT etl.explain({id}); SELECT etl.replay({id}, true); SELECT etl.replay_failed()"
    ));
    otto.run("CALL etl.drain()");
    db.await_empty(PATIENCE);
    otto.run("SELECT etl.pause('odoo', 'otto was here')");
    let waiting = otto.enqueue("res.partner", "create", json!({"name": "Cyd"}), None);
    otto.run(&format!("SELECT etl.cancel({waiting}, 'not needed'); SELECT etl.resume(); SELECT etl.test_connection('odoo')"));
    otto.run("SELECT etl.finish_run(etl.start_run('odoo_to_sb'))");
    for forbidden in [
        "SELECT etl.set_connection('odoo', 'odoo', 'https://evil.example.com', secret => 'env:ETL_ODOO_KEY')",
        "SELECT etl.setup()",
        "SELECT * FROM etl.audit_log",
        "UPDATE ops.odoo_outbox SET payload = '{}'",
        "DELETE FROM ops.odoo_outbox",
        "TRUNCATE ops.odoo_outbox",
        "UPDATE ops.odoo_sync_config SET value = '{}'",
        "SELECT etl._vault_secret('vault:x')",
        "INSERT INTO etl.audit_log (actor, action, target) VALUES ('x', 'y', 'z')",
        "UPDATE etl.connection_state SET paused_at = NULL",
    ] {
        assert_eq!(
            otto.refused(forbidden).code().code(),
            "42501",
            "{forbidden}"
        );
    }
}

#[test]
fn an_admin_sets_connections_and_reads_the_audit_but_cannot_change_it() {
    let (bench, _db) = people();
    let mut anna = session(&bench, "anna");
    anna.run("SELECT etl.set_connection('second', 'odoo', 'http://127.0.0.1:9', secret => 'vault:second'); SELECT etl.setup()");
    anna.run("INSERT INTO ops.odoo_sync_config (key, value) VALUES ('sb_to_odoo:res.partner', '{\"max_batch\": 1}')");
    let mine: Vec<String> = anna.all(
        "SELECT action FROM etl.audit_log WHERE actor = 'anna' ORDER BY id",
        &[],
    );
    assert_eq!(mine, ["set_connection", "setup"]);
    for forbidden in [
        "DELETE FROM etl.audit_log",
        "UPDATE etl.audit_log SET actor = 'otto'",
        "SELECT etl._vault_secret('vault:second')",
        "SET ROLE etl_worker",
        "DELETE FROM etl.connections",
    ] {
        assert_eq!(
            anna.refused(forbidden).code().code(),
            "42501",
            "{forbidden}"
        );
    }
    let mut nobody = session(&bench, "nobody");
    for forbidden in [
        "SELECT etl.health()",
        "SELECT * FROM etl.connections_status",
        "SELECT etl.enqueue('res.partner', 'create', '{}')",
        "SELECT * FROM ops.odoo_outbox",
    ] {
        assert_eq!(
            nobody.refused(forbidden).code().code(),
            "42501",
            "{forbidden}"
        );
    }
}

#[test]
fn the_workers_role_is_nobodys() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let plain: bool = db.one("SELECT NOT (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls) FROM pg_roles WHERE rolname = 'etl_worker'", &[]);
    assert!(plain);
    assert_eq!(db.one::<i64>("SELECT count(*) FROM pg_auth_members WHERE roleid = 'etl_worker'::regrole OR member = 'etl_worker'::regrole", &[]), 0);
    assert!(
        Client::connect(
            &bench.cluster.dsn_as("etl_worker", DATABASE),
            postgres::NoTls
        )
        .is_err()
    );

    for (unfit, mend) in [
        (
            "ALTER ROLE etl_worker LOGIN",
            "ALTER ROLE etl_worker NOLOGIN",
        ),
        (
            "ALTER ROLE etl_worker SUPERUSER",
            "ALTER ROLE etl_worker NOSUPERUSER",
        ),
        (
            "ALTER ROLE etl_worker BYPASSRLS",
            "ALTER ROLE etl_worker NOBYPASSRLS",
        ),
        (
            "CREATE ROLE mallory; GRANT etl_worker TO mallory",
            "REVOKE etl_worker FROM mallory",
        ),
    ] {
        db.run("DROP EXTENSION IF EXISTS pg_etl CASCADE");
        db.run(unfit);
        let said = db.refused("CREATE EXTENSION pg_etl");
        assert_eq!(said.code().code(), "28000", "{unfit}: {}", said.message());
        assert!(
            said.hint().is_some_and(|hint| hint.contains("NOLOGIN")),
            "{said:?}"
        );
        db.run(mend);
        db.run("CREATE EXTENSION pg_etl");
    }
}
