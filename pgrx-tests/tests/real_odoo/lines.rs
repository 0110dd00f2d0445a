//! Lines of a tracked table: a document and its lines reach Odoo as one.

use pg_etl_tests::prelude::*;

use crate::{bench, name, read};

fn documents_go_with_their_lines(protocol: &str) {
    let (odoo, bench) = bench(protocol);
    let mut db = bench.client();
    let (journal, accounts) = (
        read(
            odoo,
            "account.journal",
            json!([["type", "=", "general"]]),
            &["code"],
        ),
        read(
            odoo,
            "account.account",
            json!([["account_type", "in", ["expense", "asset_current"]]]),
            &["code"],
        ),
    );
    let code = |of: &Value| of["code"].as_str().expect("a code").to_owned();
    let reference = name(protocol, "Entry");
    db.run(&format!(
        r#"CREATE TABLE entries (id int PRIMARY KEY, ref text, day date DEFAULT '2024-01-31');
         CREATE TABLE items (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), entry int REFERENCES entries ON DELETE CASCADE, account text, debit numeric DEFAULT 0, credit numeric DEFAULT 0);
         CREATE INDEX ON items (entry);
         SELECT etl.track('entries', 'account.move', '{{"move_type": {{"value": "entry"}}, "ref": "ref", "date": "day", "journal_id": {{"value": {{"by": {{"code": "{}"}}}}}},
           "line_ids": {{"lines": "items", "column": "entry", "fields": {{"account_id": {{"column": "account", "by": "code"}}, "debit": "debit", "credit": "credit"}}}}}}')"#,
        code(&journal[0])
    ));
    // Odoo refuses an entry that does not balance: half of it never gets there.
    db.run(&format!(
        "BEGIN; INSERT INTO entries VALUES (1, '{reference}');
         INSERT INTO items (entry, account, debit) VALUES (1, '{0}', 30);
         INSERT INTO items (entry, account, debit) VALUES (1, '{0}', 12);
         INSERT INTO items (entry, account, credit) VALUES (1, '{1}', 42); COMMIT",
        code(&accounts[0]),
        code(&accounts[1])
    ));
    db.settled();
    let entry = || {
        let found = read(
            odoo,
            "account.move",
            json!([["ref", "=", reference]]),
            &["date", "line_ids"],
        );
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    };
    let amounts = || -> Vec<(f64, f64)> {
        let lines = read(
            odoo,
            "account.move.line",
            json!([["move_id", "=", entry()["id"]]]),
            &["debit", "credit"],
        );
        let amount = |line: &Value, of: &str| line[of].as_f64().expect("an amount");
        let mut found: Vec<(f64, f64)> = lines
            .iter()
            .map(|line| (amount(line, "debit"), amount(line, "credit")))
            .collect();
        found.sort_by(f64_pairs);
        found
    };
    assert_eq!(amounts(), [(0.0, 42.0), (12.0, 0.0), (30.0, 0.0)]);
    assert_eq!(entry()["date"], "2024-01-31");
    // The document goes, and its lines with it.
    db.run("DELETE FROM entries");
    db.settled();
    assert!(
        read(
            odoo,
            "account.move",
            json!([["ref", "=", reference]]),
            &["ref"]
        )
        .is_empty()
    );
}

fn f64_pairs(a: &(f64, f64), b: &(f64, f64)) -> std::cmp::Ordering {
    a.partial_cmp(b).expect("numbers")
}

#[test]
fn documents_go_with_their_lines_over_json2() {
    documents_go_with_their_lines("json2");
}

#[test]
fn documents_go_with_their_lines_over_jsonrpc() {
    documents_go_with_their_lines("jsonrpc");
}
