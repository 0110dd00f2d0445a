//! Copies of a real Odoo's partners.

use std::collections::BTreeMap;

use pg_etl_tests::prelude::*;

use crate::{bench, name};

const COUNT: usize = 300;

fn pull(db: &mut Client) -> Value {
    let answer: Value = db.one("SELECT etl.pull('res.partner')", &[]);
    assert_eq!(answer["mirrors"][0]["status"], "succeeded", "{answer}");
    answer["mirrors"][0].clone()
}

fn a_mirror_is_complete_and_follows(protocol: &str) {
    let (odoo, bench) = bench(protocol);
    let mut db = bench.client();
    let prefix = name(protocol, "Mirrored");
    let values: Vec<Value> = (0..COUNT)
        .map(|n| json!({"name": format!("{prefix} {n}"), "email": format!("{n}@example.com"), "comment": "<p>a note</p>"}))
        .collect();
    let made = odoo
        .call("res.partner", "create", &json!({"vals_list": values}))
        .expect("partners");
    let ids: Vec<i64> = made
        .as_array()
        .expect("ids")
        .iter()
        .map(|id| id.as_i64().expect("an id"))
        .collect();
    let options = json!({"every_seconds": 86_400, "reconcile_seconds": 86_400, "page_size": 50});
    let domain = json!([["name", "=like", format!("{prefix}%")]]);
    let _: Value = db.one(
        "SELECT etl.mirror('res.partner', domain => $1, options => $2)",
        &[&domain, &options],
    );
    let first = pull(&mut db);
    println!("{protocol}: {first}");
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM odoo_raw.res_partner", &[]),
        COUNT as i64
    );
    let columns: i64 = db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 'odoo_raw.res_partner'::regclass AND attnum > 0 AND attname !~ '^_etl'", &[]);
    assert!(
        columns > 60,
        "every stored field that has a column: {columns}"
    );

    // One change moves one row.
    odoo.call(
        "res.partner",
        "write",
        &json!({"ids": [ids[3]], "vals": {"city": "Bern"}}),
    )
    .expect("a change");
    let second = pull(&mut db);
    assert_eq!(
        (&second["inserted"], &second["updated"]),
        (&json!(0), &json!(1)),
        "{second}"
    );

    // A transaction that began 90 s ago and commits now: dated before what was read already.
    let late = format!(
        "UPDATE res_partner SET city = 'late', write_date = (now() AT TIME ZONE 'UTC') - interval '90 s' WHERE id = {}",
        ids[5]
    );
    odoo.cluster()
        .psql(&odoo.access().database, &late)
        .expect("Odoo's own database");
    let third = pull(&mut db);
    assert_eq!(third["updated"], json!(1), "{third}");
    let city: String = db.one(
        "SELECT city FROM odoo_raw.res_partner WHERE id = $1",
        &[&ids[5]],
    );
    assert_eq!(city, "late");

    odoo.call(
        "res.partner",
        "write",
        &json!({"ids": [ids[7]], "vals": {"active": false}}),
    )
    .expect("archived");
    odoo.call("res.partner", "unlink", &json!({"ids": [ids[8]]}))
        .expect("deleted");
    odoo.call(
        "res.partner",
        "write",
        &json!({"ids": [ids[9]], "vals": {"name": "Elsewhere"}}),
    )
    .expect("moved");
    db.run("SELECT etl.request_pull('res.partner', mode => 'reconcile')");
    pull(&mut db);
    let told: Vec<String> = db.all(
        "SELECT concat_ws(' ', id, CASE WHEN NOT active THEN 'archived' END, CASE WHEN _etl_deleted_at IS NOT NULL THEN 'deleted' END,
                          CASE WHEN _etl_hidden_at IS NOT NULL THEN 'hidden' END)
         FROM odoo_raw.res_partner WHERE NOT active OR _etl_deleted_at IS NOT NULL OR _etl_hidden_at IS NOT NULL ORDER BY id",
        &[],
    );
    assert_eq!(
        told,
        [
            format!("{} archived", ids[7]),
            format!("{} deleted", ids[8]),
            format!("{} hidden", ids[9])
        ]
    );

    // What was written within two seconds of the last pull may be behind, and not missing: Odoo's clock tells whole ones.
    std::thread::sleep(Duration::from_secs(3));
    pull(&mut db);
    let verify = |db: &mut Client| -> Value { db.one("SELECT etl.verify('res.partner')", &[]) };
    let clean = verify(&mut db);
    assert_eq!(clean["clean"], json!(true), "{clean}");
    // Ten differences of every kind.
    let list = |range: std::ops::Range<usize>| {
        ids[range]
            .iter()
            .map(i64::to_string)
            .collect::<Vec<_>>()
            .join(",")
    };
    db.run(&format!(
        "UPDATE odoo_raw.res_partner SET email = NULL WHERE id IN ({}); UPDATE odoo_raw.res_partner SET color = 7 WHERE id IN ({});
         DELETE FROM odoo_raw.res_partner WHERE id IN ({}); INSERT INTO odoo_raw.res_partner (id) SELECT 2000000000 + n FROM generate_series(1, 2) n",
        list(20..23), list(30..32), list(40..43)
    ));
    let found = verify(&mut db);
    assert_eq!(found["clean"], json!(false), "{found}");
    assert_eq!(
        found["different"],
        json!([&ids[20..23], &ids[30..32]].concat()),
        "{found}"
    );
    assert_eq!(found["missing"], json!(ids[40..43]), "{found}");
    assert_eq!(
        found["extra"],
        json!([2_000_000_001_i64, 2_000_000_002_i64]),
        "{found}"
    );
    let _: Value = db.one("SELECT etl.pull('res.partner', true)", &[]);
    let mended = verify(&mut db);
    assert_eq!(
        mended["clean"],
        json!(true),
        "a full pull mends them: {mended}"
    );
}

#[test]
fn a_mirror_is_complete_and_follows_over_json2() {
    a_mirror_is_complete_and_follows("json2");
}

#[test]
fn a_mirror_is_complete_and_follows_over_jsonrpc() {
    a_mirror_is_complete_and_follows("jsonrpc");
}

/// Some models do not note when their records change (`_log_access = False`).
#[test]
fn a_model_without_write_date_is_read_whole_each_time() {
    let (odoo, bench) = bench("json2");
    let mut db = bench.client();
    let model = "mail.followers";
    let values: Vec<Value> = (0..20)
        .map(|n| json!({"name": format!("Follower {n}")}))
        .collect();
    let made = odoo.call("res.partner", "create", &json!({"vals_list": values}));
    let made = made.expect("partners");
    odoo.call(
        "res.partner",
        "message_subscribe",
        &json!({"ids": [made[0]], "partner_ids": made}),
    )
    .expect("followers");
    let options = json!({"every_seconds": 86_400, "reconcile_seconds": 86_400});
    // Of these alone: others follow somebody meanwhile.
    let ours = json!([["partner_id", "in", made]]);
    let _: Value = db.one(
        "SELECT etl.mirror($1, domain => $3, options => $2)",
        &[&model, &options, &ours],
    );
    let run = |db: &mut Client| -> Value {
        let answer: Value = db.one("SELECT etl.pull($1)", &[&model]);
        assert_eq!(answer["mirrors"][0]["status"], "succeeded", "{answer}");
        answer["mirrors"][0].clone()
    };
    let first = run(&mut db);
    let count: i64 = db.one("SELECT count(*) FROM odoo_raw.mail_followers", &[]);
    assert!(count >= 20, "{first}");
    db.run("UPDATE odoo_raw.mail_followers SET partner_id = 0 WHERE id = (SELECT min(id) FROM odoo_raw.mail_followers)");
    let second = run(&mut db);
    assert_eq!(
        (
            &second["inserted"],
            &second["updated"],
            &second["unchanged"]
        ),
        (&json!(0), &json!(1), &json!(count - 1)),
        "{second}"
    );
    let found: Value = db.one("SELECT etl.verify($1)", &[&model]);
    assert_eq!(found["missing"], json!([]), "{found}");
    assert_eq!(found["different"], json!([]), "{found}");
}

/// The usual models by one call: what this Odoo has is mirrored and the same, what it has not is said and holds up nothing.
#[test]
fn the_usual_models_are_mirrored_as_far_as_they_are_there() {
    let (odoo, bench) = bench("json2");
    let mut db = bench.client();
    let told: Vec<(String, String)> = db
        .query("SELECT model, status FROM etl.mirror_defaults()", &[])
        .expect("etl.mirror_defaults()")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert_eq!(told.len(), 17, "{told:?}");
    let models = odoo
        .cluster()
        .psql(&odoo.access().database, "SELECT model FROM ir_model")
        .expect("Odoo's own database");
    let installed: Vec<&str> = models.lines().map(str::trim).collect();
    for (model, status) in &told {
        let is_there = installed.contains(&model.as_str());
        let expected = if is_there { "mirrored" } else { "not mirrored" };
        assert_eq!(status, expected, "{model}");
        assert!(
            !is_there || (model != "hr.expense.sheet" && !model.starts_with("ipai.")),
            "{model} is none of Odoo 19"
        );
        if !is_there {
            continue;
        }
        // Other tests change the same Odoo.
        eventually(
            Duration::from_secs(120),
            &format!("{model} to be the same"),
            || {
                let pulled: Value = db.one("SELECT etl.pull($1)", &[model]);
                assert_eq!(pulled["mirrors"][0]["status"], "succeeded", "{pulled}");
                let verified: Value = db.one("SELECT etl.verify($1)", &[model]);
                if verified["clean"] != json!(true) {
                    println!("{model}: {verified}");
                }
                verified["clean"] == json!(true)
            },
        );
    }
}

/// A mirror has the columns of Odoo's own table, but for those that it says it leaves out.
#[test]
fn a_mirror_has_the_columns_of_odoos_own_table() {
    let (odoo, bench) = bench("json2");
    let mut db = bench.client();
    let made: Value = db.one(
        r#"SELECT etl.mirror('res.partner', domain => '[["id", "<", 10]]')"#,
        &[],
    );
    pull(&mut db);
    let sql = "SELECT column_name || ' ' || data_type FROM information_schema.columns WHERE table_name = 'res_partner' AND table_schema =";
    let theirs = odoo
        .cluster()
        .psql(&odoo.access().database, &format!("{sql} 'public'"))
        .expect("Odoo's own database");
    let theirs: BTreeMap<&str, &str> = theirs
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .collect();
    let ours: Vec<String> = db.all(
        &format!(r"{sql} 'odoo_raw' AND column_name NOT LIKE '\_etl%'"),
        &[],
    );
    let ours: BTreeMap<&str, &str> = ours
        .iter()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let skipped = made["skipped"].to_string();
    let missing: Vec<&&str> = theirs
        .keys()
        .filter(|name| !ours.contains_key(*name) && !skipped.contains(&format!("\"{name}\"")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}, and {skipped} were said");
    for (name, ours) in &ours {
        let Some(theirs) = theirs.get(name) else {
            panic!("Odoo's table has no column {name}");
        };
        let holds = match *theirs {
            "integer" => ["integer", "bigint"].contains(ours),
            "character varying" | "text" => *ours == "text",
            "timestamp without time zone" => *ours == "timestamp with time zone",
            "double precision" => ["double precision", "numeric"].contains(ours),
            // A value for each language or company: here that of one of them.
            "jsonb" => true,
            same => same == *ours,
        };
        assert!(holds, "{name} is {theirs} in Odoo and {ours} here");
    }
}

/// A field that somebody adds to Odoo, and takes away again.
#[test]
fn a_field_that_comes_and_goes_is_followed() {
    let (odoo, bench) = bench("json2");
    let mut db = bench.client();
    let call = |model: &str, method: &str, arguments: Value| -> Value {
        let answer = odoo.call(model, method, &arguments);
        answer.unwrap_or_else(|error| panic!("{model}.{method}: {error:#}"))
    };
    // Few use it: a field's change makes Odoo load its models anew.
    let (model, table, field) = (
        "res.partner.industry",
        "odoo_raw.res_partner_industry",
        "x_pg_etl_note",
    );
    let industry = call(
        model,
        "create",
        json!({"vals_list": [{"name": "Followed"}]}),
    );
    let _: Value = db.one("SELECT etl.mirror($1)", &[&model]);
    let full = |db: &mut Client| {
        let answer: Value = db.one("SELECT etl.pull($1, true)", &[&model]);
        assert_eq!(answer["mirrors"][0]["status"], "succeeded", "{answer}");
    };
    let drift = |db: &mut Client| -> Vec<String> {
        db.all(
            "SELECT concat_ws(' ', what, remedy) FROM etl.schema_drift WHERE field = $1",
            &[&field],
        )
    };
    full(&mut db);
    assert_eq!(drift(&mut db), Vec::<String>::new());
    let of = call(
        "ir.model",
        "search",
        json!({"domain": [["model", "=", model]]}),
    );
    let values = json!({"model_id": of[0], "name": field, "field_description": "Note", "ttype": "char", "state": "manual"});
    let made = call("ir.model.fields", "create", json!({"vals_list": [values]}));
    call(
        model,
        "write",
        json!({"ids": industry, "vals": {field: "seen"}}),
    );
    // The first run finds the column, and asks for a full one that fills it.
    for _ in 0..2 {
        full(&mut db);
    }
    assert_eq!(drift(&mut db), ["added"]);
    let note = format!("SELECT {field} FROM {table} WHERE name = 'Followed'");
    assert_eq!(db.one::<String>(&note, &[]), "seen");

    call("ir.model.fields", "unlink", json!({"ids": made}));
    full(&mut db);
    assert_eq!(
        drift(&mut db),
        [format!("removed ALTER TABLE {table} DROP COLUMN {field};")]
    );
    assert_eq!(db.one::<String>(&note, &[]), "seen", "its last values stay");
    db.run(&format!("ALTER TABLE {table} DROP COLUMN {field}"));
    full(&mut db);
    assert_eq!(
        drift(&mut db),
        Vec::<String>::new(),
        "the report's remedy mends it"
    );
}
