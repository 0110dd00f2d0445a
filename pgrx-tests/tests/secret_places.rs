//! Where a secret may be read from: inside the folder, under the prefix, nowhere else.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use pg_etl_tests::prelude::*;

const CANARY: &str = "canary-5d20-do-not-print";

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

#[test]
fn file_secrets_stay_inside_their_folder() {
    let dir = secret_dir();
    let outside = dir.with_extension("outside");
    write(&outside, CANARY);
    fs::create_dir(dir.join("folder")).expect("a folder");
    symlink(&outside, dir.join("link")).expect("a link");
    write(&dir.join("large"), &"x".repeat(100_000));
    write(&dir.join("empty"), "\n");
    fs::write(dir.join("binary"), [0xff, 0xfe, 0x00]).expect("a file");
    fs::set_permissions(dir.join("binary"), fs::Permissions::from_mode(0o644)).expect("rights");
    let bench = Bench::builder()
        .preload(&["pg_etl"])
        .setting("etl.secret_dir", dir.to_str().expect("a path"))
        .no_connection()
        .start();
    let mut db = bench.client();
    db.run("SELECT etl.setup()");
    for name in [
        "../outside",
        "/etc/passwd",
        "a/b",
        "..",
        ".",
        ".hidden",
        "",
        "a\\b",
    ] {
        let said = db.refused(&format!("SELECT etl.set_connection('odoo', 'odoo', 'http://127.0.0.1:9', secret => 'file:{name}')"));
        assert_eq!(said.code().code(), "22023", "{name}");
        assert!(said.hint().is_some(), "{name}");
    }
    for (name, words) in [
        ("link", "leads out"),
        ("large", "at most 64 kB"),
        ("folder", "ordinary file"),
        ("empty", "empty"),
        ("binary", "not text"),
        ("missing", "cannot be read"),
    ] {
        db.run(&format!("SELECT etl.set_connection('odoo', 'odoo', 'http://127.0.0.1:9', secret => 'file:{name}')"));
        let answer: Value = db.one("SELECT etl.test_connection('odoo')", &[]);
        assert_eq!(
            (&answer["ok"], &answer["error"]["class"]),
            (&json!(false), &json!("misconfigured")),
            "{name}: {answer}"
        );
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(
            message.contains(words) && !message.contains(CANARY),
            "{name}: {message}"
        );
    }
    let _ = fs::remove_dir_all(dir);
    let _ = fs::remove_file(outside);
}

#[test]
fn env_secrets_stay_inside_their_prefix() {
    let bench = Bench::builder()
        .env("ETL_MINE", "x")
        .no_connection()
        .start();
    let mut db = bench.client();
    db.run("SELECT etl.setup()");
    for name in ["PATH", "HOME", "etl_mine", "XETL_MINE", "", "ETL_A=B"] {
        let said = db.refused(&format!("SELECT etl.set_connection('odoo', 'odoo', 'http://127.0.0.1:9', secret => 'env:{name}')"));
        assert_eq!(said.code().code(), "22023", "{name}");
        assert!(said.hint().is_some(), "{name}");
    }
    // Set under a wider prefix, which is then narrowed: not read any more.
    db.run(
        "SELECT etl.set_connection('odoo', 'odoo', 'http://127.0.0.1:9', secret => 'env:ETL_MINE')",
    );
    bench
        .cluster
        .set("etl.secret_env_prefix", "OTHER_")
        .expect("the setting");
    bench.cluster.reload();
    eventually(PATIENCE, "the setting to hold", || {
        db.one::<String>("SELECT current_setting('etl.secret_env_prefix')", &[]) == "OTHER_"
    });
    let answer: Value = db.one("SELECT etl.test_connection('odoo')", &[]);
    assert!(
        answer["error"]["message"]
            .as_str()
            .is_some_and(|message| message.contains("not valid")),
        "{answer}"
    );
    // What is read is no setting of a session.
    for setting in ["etl.secret_env_prefix", "etl.secret_dir", "etl.instance"] {
        assert_eq!(
            db.refused(&format!("SET {setting} = 'x'")).code().code(),
            "55P02",
            "{setting}"
        );
    }
}

/// A key that is mended where it is kept: nobody calls anything.
#[test]
fn a_refused_key_that_is_mended_in_its_file_goes_on_by_itself() {
    let dir = secret_dir();
    write(&dir.join("key"), "not-the-key");
    let bench = Bench::builder()
        .setting("etl.secret_dir", dir.to_str().expect("a path"))
        .no_connection()
        .start();
    let mut db = bench.client();
    db.run(&format!(
        "SELECT etl.set_connection('odoo', 'odoo', '{}', '{{\"database\": \"{}\", \"login\": \"{}\"}}', 'file:key')",
        bench.endpoint.url, bench.endpoint.database, bench.endpoint.login
    ));
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    eventually(PATIENCE, "the key to be refused", || {
        db.health("connection odoo").contains("| fail | paused |")
    });
    write(&dir.join("key"), &bench.endpoint.key);
    eventually(Duration::from_secs(90), "the row to be delivered", || {
        db.row(id).status == "done"
    });
    assert_eq!(db.row(id).attempts, 1);
    assert_eq!(db.health_status("connection odoo"), "pass");
    // Somebody's own pause is nobody else's to end.
    db.run("SELECT etl.pause('odoo', 'stock-taking')");
    bench.connect(&mut db, json!({}));
    assert!(db.health("connection odoo").contains("| fail | paused |"));
}
