//! Every command in a document is run: SQL against a server, `cargo xtask …` for whether there is such a command.

use std::path::{Path, PathBuf};
use std::process::Command;

use pg_etl_tests::prelude::*;

const DOCUMENTS: [&str; 6] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/runbook.md",
    "docs/reference.md",
    "docs/state-machines.md",
    "superset/README.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

fn documents() -> Vec<(&'static str, String)> {
    DOCUMENTS
        .map(|name| {
            (
                name,
                std::fs::read_to_string(root().join(name)).expect(name),
            )
        })
        .to_vec()
}

/// The text between fences of that language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next())
        .map(str::to_owned)
        .collect()
}

/// Statements quoted in running text: from a back-tick to a back-tick, ending in a semicolon.
fn quoted(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    let spans = prose
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "));
    spans
        .filter(|span| span.ends_with(';') && span.len() > 1)
        .collect()
}

/// A server with what the documents speak of: a vault, pg_cron's function, a dead letter.
fn ground(bench: &Bench) -> Client {
    let mut db = bench.client();
    db.run(
        "CREATE SCHEMA vault; CREATE TABLE vault.decrypted_secrets (name text, decrypted_secret text);
         CREATE FUNCTION vault.create_secret(secret text, name text) RETURNS void LANGUAGE sql
           AS 'INSERT INTO vault.decrypted_secrets VALUES (name, secret)';
         CREATE SCHEMA cron;
         CREATE FUNCTION cron.schedule(name text, every text, command text) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint';
         CREATE ROLE your_role",
    );
    db
}

/// The same statement with the reader's own values put in.
fn filled_in(statement: &str, dead_letter: i64) -> String {
    let id = dead_letter.to_string();
    statement
        .replace("(id)", &format!("({id})"))
        .replace("(id,", &format!("({id},"))
        .replace("id = …", &format!("id = {id}"))
        .replace("payload = …", "payload = '{\"name\": \"Ada\"}'")
}

#[test]
fn every_statement_of_the_documents_runs() {
    let bench = Bench::builder().no_extension().start();
    let mut db = ground(&bench);
    let mut ran = 0;
    // What asks Odoo about a model comes when there is one.
    let asks = |block: &str| block.contains("etl.track(") || block.contains("etl.mirror(");
    let mut run = |db: &mut Client, of_odoo: bool| {
        for (name, text) in documents() {
            for block in blocks(&text, "sql") {
                if asks(&block) == of_odoo {
                    db.batch_execute(&block)
                        .unwrap_or_else(|error| panic!("{name}: {block}\n{error:?}"));
                    ran += 1;
                }
            }
        }
    };
    run(&mut db, false);
    // From here on the connection that the README makes is our simulator.
    bench.connect(&mut db, json!({}));
    db.run("SELECT etl.resume()");
    db.run(
        r#"CREATE TABLE public.companies (id int PRIMARY KEY, name text); SELECT etl.track('public.companies', 'res.partner', '{"name": "name"}');
           CREATE TABLE public.customers (id int PRIMARY KEY, full_name text, email text, city text, company int, country text);
           CREATE SCHEMA shop; CREATE TABLE shop.orders (id int PRIMARY KEY, customer int, reference text);
           CREATE TABLE shop.order_lines (id int PRIMARY KEY, order_id int, text text, quantity numeric, price numeric);
           CREATE TABLE shop.customer_tags (customer int, tag text, PRIMARY KEY (customer, tag));
           CREATE TABLE public.odoo_partners (odoo_id bigint PRIMARY KEY, raw jsonb)"#,
    );
    run(&mut db, true);
    let dead = db.enqueue(
        "res.partner",
        "create",
        json!({"email": "nameless@example.com"}),
        None,
    );
    db.await_status(dead, "failed");
    for (name, text) in documents() {
        for statement in quoted(&text)
            .into_iter()
            .filter(|statement| !statement.contains("vault.update_secret"))
        {
            let statement = filled_in(&statement, dead);
            // Each by itself: what one changes must not stand in the way of the next.
            let mut transaction = db.transaction().expect("a transaction");
            let statement = if statement.starts_with("ALTER SYSTEM") {
                "SELECT pg_reload_conf()".to_owned()
            } else {
                statement
            };
            transaction
                .batch_execute(&statement)
                .unwrap_or_else(|error| panic!("{name}: {statement}\n{error:?}"));
            transaction.rollback().expect("a rollback");
            ran += 1;
        }
    }
    assert!(
        ran > 15,
        "only {ran} statements found: are the documents read as they should be?"
    );
}

#[test]
fn every_xtask_of_the_documents_exists() {
    let mut found = 0;
    for (name, text) in documents() {
        for line in blocks(&text, "sh").iter().flat_map(|block| block.lines()) {
            let Some(arguments) = line.strip_prefix("cargo xtask ") else {
                continue;
            };
            found += 1;
            let command = arguments.split_whitespace().next().expect("a command");
            let help = Command::new(env!("CARGO"))
                .args(["xtask", command, "--help"])
                .current_dir(root())
                .output()
                .expect("cargo runs");
            assert!(
                help.status.success(),
                "{name}: cargo xtask {command}: {}",
                String::from_utf8_lossy(&help.stderr)
            );
        }
    }
    assert!(found >= 2, "the README names two commands");
}

/// A heading as a link names it.
fn slug(line: &str) -> String {
    let letters = line.trim_start_matches('#').trim().to_lowercase();
    let kept = letters
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-');
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    for (name, text) in documents() {
        let folder = root().join(name).parent().expect("a folder").to_owned();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            if target.contains("://") || file.is_empty() {
                continue;
            }
            let bytes = std::fs::read(folder.join(file))
                .unwrap_or_else(|error| panic!("{name} links to {target}: {error}"));
            let found = String::from_utf8_lossy(&bytes)
                .lines()
                .any(|line| slug(line) == heading);
            assert!(heading.is_empty() || found, "{name} links to {target}");
        }
    }
}
