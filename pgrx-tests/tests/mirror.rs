//! Copies of Odoo's models: made by one call, complete, kept in step, and honest about what is gone.

use pg_etl_tests::PastUs;
use pg_etl_tests::prelude::*;

fn mirror(db: &mut Client, model: &str) -> Value {
    db.one("SELECT etl.mirror($1)", &[&model])
}

/// One mirror's part of the answer of `etl.pull()`.
#[track_caller]
fn pull(db: &mut Client, model: &str) -> Value {
    let answer: Value = db.one("SELECT etl.pull($1)", &[&model]);
    assert_eq!(answer["mirrors"][0]["status"], "succeeded", "{answer}");
    answer["mirrors"][0].clone()
}

fn create(bench: &Bench, name: &str) -> i64 {
    let made = bench.sim().call(
        "res.partner",
        "create",
        json!({"vals_list": [{"name": name}]}),
    );
    made[0].as_i64().expect("an id")
}

/// As somebody in Odoo would change it.
fn write(bench: &Bench, id: i64, values: Value) {
    bench
        .sim()
        .call("res.partner", "write", json!({"ids": [id], "vals": values}));
}

fn names(db: &mut Client, condition: &str) -> Vec<String> {
    db.all(
        &format!("SELECT name FROM odoo_raw.res_partner WHERE {condition} ORDER BY id"),
        &[],
    )
}

#[test]
fn one_call_makes_a_mirror_and_every_change_follows() {
    let bench = Bench::builder().preload(&[]).start();
    let mut db = bench.client();
    let ada = create(&bench, "Ada");
    let bob = create(&bench, "Bob");
    let made = mirror(&mut db, "res.partner");
    assert_eq!(
        (&made["table"], &made["created"]),
        (&json!("odoo_raw.res_partner"), &json!(true))
    );
    let first = pull(&mut db, "res.partner");
    assert_eq!(
        (&first["mode"], &first["updated"]),
        (&json!("full"), &json!(0))
    );
    assert_eq!(
        first["inserted"].as_i64().unwrap() as usize,
        bench.sim().records("res.partner").len()
    );
    assert_eq!(names(&mut db, "name IN ('Ada', 'Bob')"), ["Ada", "Bob"]);

    write(
        &bench,
        ada,
        json!({"name": "Ada Lovelace", "city": "London"}),
    );
    let second = pull(&mut db, "res.partner");
    assert_eq!(
        (&second["mode"], &second["inserted"], &second["updated"]),
        (&json!("changes"), &json!(0), &json!(1)),
        "{second}"
    );
    let third = pull(&mut db, "res.partner");
    assert_eq!(
        (&third["inserted"], &third["updated"]),
        (&json!(0), &json!(0)),
        "{third}"
    );
    assert_eq!(names(&mut db, "city = 'London'"), ["Ada Lovelace"]);

    // Archived, deleted and unchanged are told apart.
    write(&bench, bob, json!({"active": false}));
    bench.sim().unlink("res.partner", ada);
    let reconciled: i64 = db.one(
        "SELECT etl.request_pull('res.partner', mode => 'reconcile')",
        &[],
    );
    assert_eq!(reconciled, 1);
    // Whoever pulls meanwhile has what changed, too.
    let fourth = pull(&mut db, "res.partner");
    assert_eq!(fourth["mode"], "changes", "{fourth}");
    let deleted: Vec<String> = db.all(
        "SELECT meta ->> 'deleted' FROM ops.odoo_sync_runs WHERE meta ->> 'mode' = 'reconcile'",
        &[],
    );
    assert_eq!(deleted, ["1"]);
    assert_eq!(
        names(&mut db, "_etl_deleted_at IS NOT NULL"),
        ["Ada Lovelace"]
    );
    assert_eq!(
        names(
            &mut db,
            "NOT active AND _etl_deleted_at IS NULL AND name = 'Bob'"
        ),
        ["Bob"]
    );
    let runs: i64 = db.one("SELECT count(*) FROM ops.odoo_sync_runs WHERE direction = 'odoo_to_sb' AND status = 'succeeded'", &[]);
    assert_eq!(runs, 5);
}

#[test]
fn the_old_shape_is_adopted_as_it_is() {
    let bench = Bench::builder().preload(&[]).start();
    let mut db = bench.client();
    create(&bench, "Ada");
    db.run(
        "CREATE TABLE public.odoo_partners (odoo_id bigint PRIMARY KEY, name text, email text, phone text, write_date timestamptz, raw jsonb,
           synced_at timestamptz DEFAULT now(), note text);
         SELECT etl.mirror('res.partner', 'public.odoo_partners')",
    );
    pull(&mut db, "res.partner");
    let row: Value = db.one(
        "SELECT to_jsonb(p) FROM public.odoo_partners p WHERE name = 'Ada'",
        &[],
    );
    assert_eq!(row["raw"]["name"], "Ada", "{row}");
    assert!(
        row["write_date"].is_string()
            && row["synced_at"].is_string()
            && row["raw"]["company_id"].is_null(),
        "{row}"
    );
    let columns: i64 = db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = 'public.odoo_partners'::regclass AND attnum > 0 AND NOT attisdropped", &[]);
    assert_eq!(columns, 8 + 4, "its own columns and four of ours");
}

#[test]
fn a_comparison_finds_what_is_planted_and_a_rollback_puts_back_every_byte() {
    let bench = Bench::builder().preload(&[]).start();
    let mut db = bench.client();
    let ids: Vec<i64> = (0..30)
        .map(|n| create(&bench, &format!("Partner {n}")))
        .collect();
    mirror(&mut db, "res.partner");
    pull(&mut db, "res.partner");
    // Odoo tells times in whole seconds: what was changed in that of the last pull could be younger than it.
    eventually(PATIENCE, "a pull that began after the last change", || {
        pull(&mut db, "res.partner");
        db.one(
            "SELECT (cursor ->> 'floor')::timestamp + interval '901 s' > (SELECT max(write_date) FROM odoo_raw.res_partner) AT TIME ZONE 'UTC'
             FROM ops.odoo_sync_checkpoints",
            &[],
        )
    });
    let verify = |db: &mut Client| -> Value { db.one("SELECT etl.verify('res.partner')", &[]) };
    let clean = verify(&mut db);
    assert_eq!(clean["clean"], json!(true), "{clean}");
    db.run(&format!(
        "UPDATE odoo_raw.res_partner SET city = 'nowhere' WHERE id = {};
         UPDATE odoo_raw.res_partner SET active = NOT active WHERE id = {};
         DELETE FROM odoo_raw.res_partner WHERE id IN ({}, {});
         INSERT INTO odoo_raw.res_partner (id, name) VALUES (999999, 'nobody')",
        ids[3], ids[7], ids[11], ids[13]
    ));
    let found = verify(&mut db);
    assert_eq!(found["clean"], json!(false), "{found}");
    assert_eq!(found["missing"], json!([ids[11], ids[13]]), "{found}");
    assert_eq!(found["different"], json!([ids[3], ids[7]]), "{found}");
    assert_eq!(found["extra"], json!([999_999]), "{found}");

    // A sync that did harm, and back.
    db.run("SELECT etl.pull('res.partner', true)");
    let before: String = db.one(EVERY_BYTE, &[]);
    for id in &ids[..10] {
        write(&bench, *id, json!({"name": "Ruined"}));
    }
    bench.sim().unlink("res.partner", ids[20]);
    create(&bench, "New");
    let bad: Value = db.one("SELECT etl.pull('res.partner', true)", &[]);
    let run = bad["mirrors"][0]["run"].as_i64().unwrap();
    assert_ne!(db.one::<String>(EVERY_BYTE, &[]), before);
    let back: Value = db.one("SELECT etl.rollback_run($1)", &[&run]);
    assert_eq!(
        (&back["removed"], &back["restored"], &back["not_undone"]),
        (&json!(1), &json!(11), &json!([])),
        "{back}"
    );
    assert_eq!(db.one::<String>(EVERY_BYTE, &[]), before);
    let state: String = db.one("SELECT state FROM etl.sync_lag", &[]);
    assert_eq!(state, "paused");
    let again = pull(&mut db, "res.partner");
    assert_eq!(
        (&again["inserted"], &again["updated"]),
        (&json!(1), &json!(10)),
        "from where it was: {again}"
    );
}

const EVERY_BYTE: &str =
    "SELECT md5(string_agg(p::text, E'\\n' ORDER BY id)) FROM odoo_raw.res_partner p";

#[test]
fn every_language_and_company_by_choice() {
    let installed = odoo_sim::Config {
        languages: vec!["en_US".into(), "de_DE".into()],
        ..odoo_sim::Config::default()
    };
    let bench = Bench::builder().preload(&[]).sim(installed).start();
    let mut db = bench.client();
    let call =
        |model: &str, method: &str, arguments: Value| bench.sim().call(model, method, arguments);
    let belgium = call(
        "res.country",
        "search",
        json!({"domain": [["code", "=", "BE"]]}),
    );
    call(
        "res.country",
        "write",
        json!({"ids": belgium, "vals": {"name": "Belgien"}, "context": {"lang": "de_DE"}}),
    );
    let other = call(
        "res.company",
        "create",
        json!({"vals_list": [{"name": "Other", "partner_id": create(&bench, "Other"), "currency_id": 1}]}),
    );
    let ada = create(&bench, "Ada");
    for (company, barcode) in [(json!(1), "one"), (other[0].clone(), "two")] {
        call(
            "res.partner",
            "write",
            json!({"ids": [ada], "vals": {"barcode": barcode}, "context": {"allowed_company_ids": [company]}}),
        );
    }
    db.run(
        "SELECT etl.mirror('res.country', options => '{\"languages\": [\"en_US\", \"de_DE\"]}')",
    );
    db.one::<Value>(
        "SELECT etl.mirror('res.partner', fields => '{name,barcode,write_date}', options => jsonb_build_object('companies', jsonb_build_array(1, $1::bigint)))",
        &[&other[0].as_i64()],
    );
    for model in ["res.country", "res.partner"] {
        pull(&mut db, model);
        let verified: Value = db.one("SELECT etl.verify($1)", &[&model]);
        assert_eq!(verified["clean"], true, "{verified}");
    }
    let names: Value = db.one(
        "SELECT name FROM odoo_raw.res_country WHERE code = 'BE'",
        &[],
    );
    assert_eq!(names, json!({"en_US": "Belgium", "de_DE": "Belgien"}));
    let barcodes: Vec<Option<Value>> = db.all(
        "SELECT barcode FROM odoo_raw.res_partner WHERE name IN ('Ada', 'Administrator') ORDER BY name",
        &[],
    );
    let both = json!({"1": "one", other[0].to_string(): "two"});
    assert_eq!(barcodes, [Some(both), None]);
    // One language that changes is a change.
    call(
        "res.country",
        "write",
        json!({"ids": belgium, "vals": {"name": "Königreich Belgien"}, "context": {"lang": "de_DE"}}),
    );
    assert_eq!(pull(&mut db, "res.country")["updated"], 1);
}
