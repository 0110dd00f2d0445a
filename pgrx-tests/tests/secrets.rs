//! A secret is read just before it is used and written down nowhere: the canary is looked for wherever it could have got to.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use odoo_sim::{ApiKey, Config};
use pg_etl_tests::{DATABASE, prelude::*};

const CANARY: &str = "canary-93f1-do-not-print";

/// Everything that Postgres can write down is switched on.
fn talkative(secret_dir: &str) -> Bench {
    let mut config = Config::default();
    config.accounts[0].keys = vec![ApiKey::new(CANARY)];
    config.accounts[0].password = CANARY.to_owned();
    let mut builder = Bench::builder()
        .sim(config)
        .env("ETL_CANARY", CANARY)
        .setting("etl.secret_dir", secret_dir);
    for (name, value) in [
        ("log_min_error_statement", "debug5"),
        ("log_statement", "all"),
        ("log_error_verbosity", "verbose"),
        ("debug_print_plan", "on"),
        ("debug_print_parse", "on"),
        ("debug_print_rewritten", "on"),
        ("log_parameter_max_length", "-1"),
        ("log_parameter_max_length_on_error", "-1"),
        ("log_min_duration_statement", "0"),
        ("log_executor_stats", "on"),
        ("track_activity_query_size", "65536"),
    ] {
        builder = builder.setting(name, value);
    }
    let bench = builder.no_connection().start();
    // After the start: at debug3 and beyond the postmaster itself begins by printing its environment.
    bench
        .cluster
        .set("log_min_messages", "debug5")
        .expect("the setting");
    bench.cluster.reload();
    let mut db = bench.client();
    eventually(PATIENCE, "the log to say more", || {
        db.one::<String>("SELECT current_setting('log_min_messages')", &[]) == "debug5"
    });
    bench
}

/// Where the canary has got to: the log, every table and view of etl and ops, what the server shows of itself, and a dump.
fn traces(bench: &Bench, db: &mut Client) -> Vec<String> {
    let mut traces: Vec<String> = bench
        .cluster
        .log()
        .lines()
        .filter(|line| line.contains(CANARY))
        .take(3)
        .map(|line| format!("log: {line}"))
        .collect();
    let relations: Vec<String> = db.all(
        "SELECT oid::regclass::text FROM pg_class WHERE relnamespace IN ('etl'::regnamespace, 'ops'::regnamespace) AND relkind IN ('r', 'v', 'm')
         UNION ALL SELECT unnest(ARRAY['pg_stat_activity', 'pg_settings', 'pg_file_settings', 'pg_stat_user_functions', 'etl.health_report()'])",
        &[],
    );
    assert!(relations.len() > 15, "{relations:?}");
    for relation in relations {
        // The search itself must not hold the word that it looks for: pg_stat_activity shows it.
        let sql = format!(
            "SELECT count(*) FROM {relation} t WHERE t::text LIKE concat('%canary-93f1', '-do-not-print%')"
        );
        if db.one::<i64>(&sql, &[]) > 0 {
            traces.push(relation);
        }
    }
    let dump = bench
        .cluster
        .program("pg_dump")
        .expect("pg_dump")
        .args(["-d", &bench.cluster.dsn(DATABASE)])
        .output()
        .expect("pg_dump runs");
    assert!(
        dump.status.success(),
        "{}",
        String::from_utf8_lossy(&dump.stderr)
    );
    let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
    assert!(dump.contains("odoo_outbox"));
    traces.extend(
        dump.lines()
            .filter(|line| line.contains(CANARY))
            .map(|line| format!("dump: {line}")),
    );
    traces
}

/// Everything that can be done with a connection, well and badly.
fn exercise(bench: &Bench, db: &mut Client, reference: &str) {
    let set = |db: &mut Client, database: &str, protocol: &str| {
        let options = json!({"database": database, "login": "admin", "protocol": protocol});
        db.execute(
            "SELECT etl.set_connection('odoo', 'odoo', $1, $2, $3)",
            &[&bench.endpoint.url, &options, &reference],
        )
        .expect("set_connection");
        db.run("SELECT etl.resume()");
    };
    for protocol in ["json2", "jsonrpc"] {
        set(db, bench.sim().database(), protocol);
        let id = db.enqueue(
            "res.partner",
            "create",
            json!({"name": format!("By {reference} over {protocol}")}),
            None,
        );
        assert!(
            !db.one::<Value>("SELECT etl.explain($1)", &[&id])
                .to_string()
                .contains(CANARY)
        );
        db.await_status(id, "done");
        assert_eq!(
            db.one::<Value>("SELECT etl.test_connection('odoo')", &[])["ok"],
            true
        );
        // Refused by Odoo, in Odoo's own words.
        let dead = db.enqueue(
            "res.partner",
            "create",
            json!({"name": "x", "no_such_field": 1}),
            None,
        );
        db.await_status(dead, "failed");
        // No such database.
        set(db, "nowhere", protocol);
        let waiting = db.enqueue("res.partner", "create", json!({"name": "waits"}), None);
        eventually(PATIENCE, "the connection to be paused", || {
            db.connection("state") == "paused"
        });
        assert_eq!(
            db.one::<Value>("SELECT etl.test_connection('odoo')", &[])["ok"],
            false
        );
        assert!(db.health("connection odoo").contains("| fail |"));
        // No such key.
        bench.sim().revoke_key(CANARY);
        let mut account = bench.sim().admin();
        (account.keys, account.password) = (vec![], "another".to_owned());
        bench.sim().add_account(account.clone());
        set(db, bench.sim().database(), protocol);
        eventually(PATIENCE, "the connection to be paused", || {
            db.connection("state") == "paused"
        });
        assert_eq!(
            db.one::<Value>("SELECT etl.test_connection('odoo')", &[])["ok"],
            false
        );
        (account.keys, account.password) = (vec![ApiKey::new(CANARY)], CANARY.to_owned());
        bench.sim().add_account(account);
        // An answer that echoes what it was sent, and nobody there at all.
        db.run("SELECT etl.resume()");
        db.await_status(waiting, "done");
        bench.sim().stop();
        db.run(&format!("SELECT etl.enqueue('res.partner', 'create', '{{\"name\": \"later\"}}', record_key => '{reference}{protocol}')"));
        eventually(PATIENCE, "the connection to be failing", || {
            db.connection("failures") != "0"
        });
        bench.sim().restart().expect("the simulator comes back");
        db.run("SELECT etl.resume()");
        db.await_empty(PATIENCE);
    }
}

#[test]
fn the_canary_is_found_nowhere() {
    let dir = secret_dir();
    let bench = talkative(dir.to_str().expect("a path"));
    let mut db = bench.client();
    // The vault of this test: the secret itself is outside of what a dump of these schemas or a log could show.
    let vault = dir.join("vault");
    write(&vault, CANARY);
    db.run(&format!(
        "CREATE SCHEMA vault; CREATE VIEW vault.decrypted_secrets AS SELECT 'odoo'::text AS name, trim(pg_read_file('{}')) AS decrypted_secret",
        vault.display()
    ));
    db.run("SELECT etl.setup()");
    write(&dir.join("odoo-key"), &format!("{CANARY}\n"));
    for reference in ["env:ETL_CANARY", "file:odoo-key", "vault:odoo"] {
        exercise(&bench, &mut db, reference);
        assert_eq!(traces(&bench, &mut db), [""; 0], "{reference}");
    }
    assert!(
        bench.cluster.log().contains("set_connection"),
        "the log of this server does say much"
    );
    let _ = fs::remove_dir_all(dir);
}

#[test]
fn a_literal_secret_is_refused_and_its_statement_is_not_logged() {
    let bench = Bench::builder()
        .setting("log_min_error_statement", "error")
        .setting("log_min_messages", "info")
        .no_connection()
        .start();
    let mut db = bench.client();
    db.run("SELECT etl.setup()");
    for (url, secret) in [
        ("https://erp.example.com", CANARY.to_owned()),
        ("https://erp.example.com", format!("literal:{CANARY}")),
        ("https://erp.example.com", format!("env:{CANARY}")),
        ("https://erp.example.com", format!("file:../{CANARY}")),
        ("no url", CANARY.to_owned()),
        ("https://erp.example.com", format!("VAULT:{CANARY}")),
    ] {
        let said = db.refused(&format!(
            "SELECT etl.set_connection('odoo', 'odoo', '{url}', secret => '{secret}')"
        ));
        assert_eq!(said.code().code(), "22023", "{secret}");
        assert!(said.hint().is_some_and(|hint| !hint.is_empty()), "{said:?}");
        assert!(!format!("{said:?}").contains(CANARY), "{said:?}");
    }
    for (url, options) in [
        (
            format!("https://admin:{CANARY}@erp.example.com"),
            "{}".to_owned(),
        ),
        (
            "https://erp.example.com".to_owned(),
            format!("{{\"key\": \"{CANARY}\"}}"),
        ),
    ] {
        let said = db.refused(&format!(
            "SELECT etl.set_connection('odoo', 'odoo', '{url}', '{options}')"
        ));
        assert!(!format!("{said:?}").contains(CANARY), "{said:?}");
    }
    // The extended protocol too.
    let said = db.execute(
        "SELECT etl.set_connection('odoo', 'odoo', 'https://erp.example.com', secret => $1)",
        &[&CANARY],
    );
    assert!(said.is_err());
    assert!(
        bench.cluster.log().contains("must be a reference"),
        "the refusal is logged"
    );
    assert_eq!(
        bench
            .cluster
            .log()
            .lines()
            .filter(|line| line.contains(CANARY))
            .count(),
        0,
        "its statement is not"
    );
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM etl.connections", &[]),
        0
    );
}

fn secret_dir() -> std::path::PathBuf {
    let dir = xtask::place::temporary_dir("secrets").expect("a directory");
    fs::create_dir_all(&dir).expect("a directory");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("rights");
    dir
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("rights");
}
