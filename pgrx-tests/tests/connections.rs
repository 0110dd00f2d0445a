//! `etl.set_connection()` and `etl.test_connection()`.

use odoo_sim::{Effect, Fault, Sim};
use pg_etl_tests::prelude::*;

fn unconnected() -> (Bench, Client) {
    let bench = Bench::builder().preload(&[]).no_connection().start();
    let mut db = bench.client();
    db.run("SELECT etl.setup()");
    (bench, db)
}

#[test]
fn what_is_no_endpoint_is_refused_with_a_hint() {
    let (_bench, mut db) = unconnected();
    let bad_urls = [
        "",
        "erp",
        "erp.example.com",
        "https://",
        "ftp://erp.example.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://erp.example.com:99999",
        "https://erp.example.com/ x",
        "https://erp.example.com\n",
        "http://[::1",
    ];
    for url in bad_urls {
        refused(&mut db, url, "'odoo', 'odoo'", "'{}'", "URL");
    }
    for url in [
        "https://admin:canary-7731@erp.example.com",
        "https://canary-7731@erp.example.com",
        "https://erp.example.com?key=canary-7731",
        "https://erp.example.com#canary-7731",
    ] {
        let said = refused(&mut db, url, "'odoo', 'odoo'", "'{}'", "URL");
        assert!(
            !format!("{said:?}").contains("canary"),
            "what may be a password is not quoted: {said:?}"
        );
    }
    for (options, words) in [
        ("'[]'", "object"),
        ("'\"x\"'", "object"),
        ("'{\"databse\": \"x\"}'", "databse"),
        ("'{\"database\": 7}'", "database"),
        ("'{\"protocol\": \"xmlrpc\"}'", "protocol"),
        ("'{\"protocol\": \"jsonrpc\"}'", "jsonrpc"),
        ("'{\"timeout\": -1}'", "timeout"),
        ("'{\"timeout\": \"5s\"}'", "timeout"),
        ("'{\"max_in_flight\": 0}'", "max_in_flight"),
        ("'{\"rate_limit\": 0}'", "rate_limit"),
        ("'{\"context\": []}'", "context"),
        ("'{\"allow_methods\": [\"confirm\"]}'", "allow_methods"),
        ("'{\"deny_models\": \"x\"}'", "deny_models"),
        ("'{\"ca_file\": \"ca.pem\"}'", "ca_file"),
    ] {
        refused(
            &mut db,
            "https://erp.example.com",
            "'odoo', 'odoo'",
            options,
            words,
        );
    }
    for (named, sqlstate) in [
        ("'odoo', 'sap'", "22023"),
        ("'odoo', ''", "22023"),
        ("'', 'odoo'", "42602"),
        ("'Odoo', 'odoo'", "42602"),
        ("'a b', 'odoo'", "42602"),
        ("repeat('x', 64), 'odoo'", "42602"),
        ("NULL, 'odoo'", "22004"),
        ("'odoo', NULL", "22004"),
    ] {
        let said = refused(&mut db, "https://erp.example.com", named, "'{}'", "");
        assert_eq!(said.code().code(), sqlstate, "{named}: {}", said.message());
    }
    let said = db.refused("SELECT etl.set_connection('odoo', 'odoo', NULL)");
    assert_eq!(said.code().code(), "22004");
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM etl.connections", &[]),
        0
    );
    assert_eq!(
        db.one::<i64>(
            "SELECT count(*) FROM etl.audit_log WHERE action = 'set_connection'",
            &[]
        ),
        0
    );
}

#[track_caller]
fn refused(
    db: &mut Client,
    url: &str,
    named: &str,
    options: &str,
    words: &str,
) -> postgres::error::DbError {
    let said = db.refused(&format!(
        "SELECT etl.set_connection({named}, E'{}', {options})",
        url.replace('\n', "\\n")
    ));
    assert!(
        said.code().code().starts_with("22") || said.code().code() == "42602",
        "{url} {options}: {} {}",
        said.code().code(),
        said.message()
    );
    assert!(
        said.message().contains(words),
        "{url} {options}: {}",
        said.message()
    );
    assert!(
        said.hint().is_some_and(|hint| !hint.is_empty()),
        "{url} {options}: no hint with {}",
        said.message()
    );
    said
}

#[test]
fn every_kind_is_known_and_has_options_of_its_own() {
    let (_bench, mut db) = unconnected();
    for kind in [
        "odoo",
        "airbyte",
        "slack",
        "webhook",
        "github",
        "smtp",
        "firecrawl",
    ] {
        let (scheme, options) = match kind {
            "github" => ("https", r#"{"repository": "acme/ops"}"#),
            "smtp" => (
                "smtp",
                r#"{"from": "a@example.com", "to": "b@example.com"}"#,
            ),
            _ => ("https", "{}"),
        };
        db.run(&format!("SELECT etl.set_connection('{kind}-1', '{kind}', '{scheme}://{kind}.example.com', '{options}', 'vault:{kind}')"));
    }
    assert_eq!(
        db.one::<i64>(
            "SELECT count(*) FROM etl.connections_status WHERE state = 'not used yet'",
            &[]
        ),
        7
    );
    let said = db.refused(
        "SELECT etl.set_connection('w', 'webhook', 'https://example.com', '{\"database\": \"x\"}')",
    );
    assert_eq!(said.code().code(), "22023");
}

#[test]
fn a_connection_is_replaced_and_a_changed_url_names_its_secret_again() {
    let (_bench, mut db) = unconnected();
    db.run("SELECT etl.set_connection('odoo', 'odoo', 'https://old.example.com', '{\"database\": \"a\"}', 'env:ETL_OLD')");
    db.run("SELECT etl.set_connection('odoo', 'odoo', 'https://old.example.com', '{\"database\": \"b\"}')");
    let kept: Vec<String> = db.all(
        "SELECT concat_ws(' ', url, options->>'database', secret) FROM etl.connections",
        &[],
    );
    assert_eq!(
        kept,
        ["https://old.example.com b env:ETL_OLD"],
        "options are replaced, the secret stays with its url"
    );
    for url in [
        "https://new.example.com",
        "https://old.example.com:8443",
        "http://old.example.com",
    ] {
        let said = db.refused(&format!(
            "SELECT etl.set_connection('odoo', 'odoo', '{url}')"
        ));
        assert_eq!(said.code().code(), "22023", "{url}");
        assert!(
            said.hint().is_some_and(|hint| hint.contains("secret =>")),
            "{said:?}"
        );
    }
    db.run("SELECT etl.set_connection('odoo', 'odoo', 'https://new.example.com', secret => 'env:ETL_NEW')");
    let kept: Vec<String> = db.all(
        "SELECT concat_ws(' ', url, options::text, secret) FROM etl.connections",
        &[],
    );
    assert_eq!(kept, ["https://new.example.com {} env:ETL_NEW"]);
    let audit: Vec<Value> = db.all("SELECT jsonb_build_object('before', before->'url', 'after', after->'url') FROM etl.audit_log WHERE action = 'set_connection' ORDER BY id", &[]);
    assert_eq!(audit.len(), 3, "one row per call that changed something");
    assert_eq!(
        audit[2],
        json!({"before": "https://old.example.com", "after": "https://new.example.com"})
    );
}

/// What waits for a thread goes where the connection leads when it goes.
#[test]
fn rows_that_wait_for_a_thread_go_by_the_connection_that_was_set_anew() {
    let bench = Bench::builder().option("max_in_flight", json!(1)).start();
    let mut db = bench.client();
    let new = Sim::start(odoo_sim::Config::default()).unwrap();
    db.run("INSERT INTO ops.odoo_sync_config (key, value) VALUES ('sb_to_odoo:res.partner', '{\"max_batch\": 1}')");
    bench
        .sim()
        .inject(Fault::new(Effect::Hang).on("res.partner", "load"));
    db.run("SELECT etl.enqueue('res.partner', 'create', jsonb_build_object('name', 'Moved ' || n)) FROM generate_series(1, 5) n");
    eventually(PATIENCE, "one request on the wire", || {
        !bench.sim().calls("load").is_empty()
    });
    db.execute(
        "SELECT etl.set_connection('odoo', 'odoo', $1, '{\"database\": \"odoo\", \"login\": \"admin\", \"max_in_flight\": 1}', secret => 'env:ETL_ODOO_KEY')",
        &[&new.url()],
    )
    .unwrap();
    eventually(PATIENCE, "the others to be planned anew", || {
        db.one::<i64>(
            "SELECT count(*) FROM ops.odoo_outbox o WHERE o.claim > (SELECT f.claim FROM ops.odoo_outbox f ORDER BY f.id LIMIT 1)",
            &[],
        ) == 4
    });
    // Whoever held on to the old endpoint would find nobody there.
    bench.sim().stop();
    eventually(PATIENCE, "all to be delivered", || {
        db.one::<bool>("SELECT bool_and(status = 'done') FROM ops.odoo_outbox", &[])
    });
    assert_eq!(new.partner_names("Moved ").len(), 5);
}
