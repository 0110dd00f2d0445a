//! Order holds per record, and only there: what may overtake, what may not, and who says so.

use pg_etl_tests::prelude::*;

/// Thirty changes of each of five records, committed in a mix: every record ends with its last one, and saw them in order.
#[test]
fn changes_of_a_record_go_in_the_order_of_their_ids() {
    // Small claims and slow answers: while one claim is on the wire, the next rows of its records are due.
    let bench = Bench::builder().setting("etl.batch_rows", "3").start();
    let (mut db, sim) = (bench.client(), bench.sim());
    sim.inject(
        Fault::new(Effect::Delay {
            before_ms: 10,
            after_ms: 10,
        })
        .probability(0.5),
    );
    db.run(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, record_key, idempotency_key)
         SELECT 'res.partner', CASE WHEN step = 0 THEN 'create' ELSE 'update' END,
                jsonb_build_object('name', 'Busy ' || record, 'ref', step::text), 'busy:' || record, record || '-' || step
         FROM generate_series(0, 29) step, generate_series(1, 5) record ORDER BY step, record",
    );
    db.await_empty(PATIENCE);
    assert_eq!(db.count("done"), 150);
    for record in 1..=5 {
        assert_eq!(sim.partner(&format!("Busy {record}"))["ref"], "29");
    }
    let finished_out_of_order: i64 = db.one(
        "SELECT count(*) FROM ops.odoo_outbox a JOIN ops.odoo_outbox b USING (record_key)
         WHERE a.id < b.id AND a.finished_at > b.finished_at",
        &[],
    );
    assert_eq!(finished_out_of_order, 0);
}

/// A record whose row waits for a retry holds back its own later rows and nobody else's.
#[test]
fn a_waiting_row_holds_back_its_own_record_only() {
    let bench = Bench::builder()
        .setting("etl.backoff_base", "3600s")
        .setting("etl.backoff_cap", "86400s")
        .start();
    let (mut db, sim) = (bench.client(), bench.sim());
    let conflict = Effect::Raise {
        exception: "psycopg2.errors.SerializationFailure".into(),
        message: "could not serialize access".into(),
    };
    sim.inject(Fault::new(conflict).on("res.partner", "load").times(1));
    let first = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Held"}),
        Some("partner:held"),
    );
    let waiting = eventually_some(PATIENCE, "the first row to wait for its retry", || {
        let row = db.row(first);
        if row.status == "queued" && row.attempts == 1 {
            Ok(row)
        } else {
            Err(Box::new(row))
        }
    });
    // As the old deployments count it: a row that waits for a retry is queued, due in the future.
    assert!(
        waiting.next_run_at.unwrap() > std::time::SystemTime::now(),
        "{waiting:?}"
    );
    assert_eq!(waiting.class(), "conflict");
    assert_eq!(db.count("queued"), 1);

    let second = db.enqueue(
        "res.partner",
        "update",
        json!({"city": "Later"}),
        Some("partner:held"),
    );
    let other = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Free"}),
        Some("partner:free"),
    );
    db.await_status(other, "done");
    assert_eq!(
        (db.row(second).status.as_str(), db.row(second).attempts),
        ("queued", 0)
    );

    // Due by hand: both go, in order.
    db.execute(
        "UPDATE ops.odoo_outbox SET next_run_at = now() WHERE id = $1",
        &[&first],
    )
    .unwrap();
    db.await_status(second, "done");
    assert_eq!(db.row(first).status, "done");
    assert_eq!(sim.partner("Held")["city"], "Later");
}

/// A dead letter does not block its record; replaying it over newer values needs force.
#[test]
fn a_dead_letter_blocks_nothing_and_is_not_replayed_over_newer_values() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let create = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Grace"}),
        Some("partner:grace"),
    );
    db.await_status(create, "done");
    let dead = db.enqueue(
        "res.partner",
        "update",
        json!({"city": "Old", "no_such_field": 1}),
        Some("partner:grace"),
    );
    let newer = db.enqueue(
        "res.partner",
        "update",
        json!({"city": "New"}),
        Some("partner:grace"),
    );
    db.await_status(newer, "done");
    assert!(
        db.await_status(dead, "failed")
            .error()
            .contains("no_such_field")
    );

    db.execute(
        "UPDATE ops.odoo_outbox SET payload = '{\"city\": \"Old\"}' WHERE id = $1",
        &[&dead],
    )
    .unwrap();
    let refused = db.refused(&format!("SELECT etl.replay({dead})"));
    assert_eq!(refused.code().code(), "55000");
    assert!(
        refused.hint().unwrap_or_default().contains("force => true"),
        "{refused:?}"
    );
    assert_eq!(db.one::<i64>("SELECT etl.replay_failed()", &[]), 0);
    assert_eq!(sim.partner("Grace")["city"], "New");
    db.run(&format!("SELECT etl.replay({dead}, force => true)"));
    db.await_status(dead, "done");
    assert_eq!(sim.partner("Grace")["city"], "Old");
}

#[test]
fn replay_failed_takes_what_matches() {
    let bench = Bench::ready();
    let mut db = bench.client();
    for number in 0..4 {
        db.enqueue(
            "res.partner",
            "create",
            json!({"email": format!("{number}@example.com")}),
            None,
        );
    }
    let other = db.enqueue("no.such.model", "create", json!({"name": "x"}), None);
    eventually(PATIENCE, "five dead letters", || db.count("failed") == 5);
    assert_eq!(db.row(other).class(), "unknown_model");
    db.run("UPDATE ops.odoo_outbox SET payload = payload || '{\"name\": \"Mended\"}' WHERE model = 'res.partner'");
    assert_eq!(db.one::<i64>("SELECT etl.replay_failed(model => 'res.partner', error_class => 'invalid', max_rows => 3)", &[]), 3);
    eventually(PATIENCE, "three of them to be delivered", || {
        db.count("done") == 3
    });
    assert_eq!(
        db.one::<i64>("SELECT etl.replay_failed(model => 'res.partner')", &[]),
        1
    );
    eventually(PATIENCE, "the fourth to be delivered", || {
        db.count("done") == 4
    });
    assert_eq!(
        (db.count("failed"), bench.sim().partners("Mended").len()),
        (1, 4)
    );
}

/// Higher priority goes first, scheduled rows wait for their time, and a row that names no record waits for none.
#[test]
fn priority_and_schedule_are_obeyed() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    db.run("SELECT etl.pause()");
    let later = db.one::<i64>(
        "SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Tomorrow\"}', not_before => now() + interval '1 day')",
        &[],
    );
    db.run(
        "SELECT etl.enqueue('res.partner', 'create', jsonb_build_object('name', 'Rank ' || rank), priority => rank::smallint)
         FROM generate_series(-2, 2) rank",
    );
    // One row a call, one call at a time: the order on the wire is the order of the claims.
    bench.connect(&mut db, json!({"max_in_flight": 1}));
    db.run("INSERT INTO ops.odoo_sync_config (key, value) VALUES ('sb_to_odoo:res.partner', '{\"max_batch\": 1}')");
    db.run("SELECT etl.resume()");
    eventually(
        PATIENCE,
        "all but the scheduled row to be delivered",
        || db.count("done") == 5,
    );
    assert_eq!(sim.partner_names("Rank ").len(), 5);
    assert_eq!(
        (db.row(later).status.as_str(), db.row(later).attempts),
        ("queued", 0)
    );
    assert!(sim.partners("Tomorrow").is_empty());
}

/// The next row of a record goes when the answer to the one before it is written down, not when it is there: a worker that
/// ends in between would leave an older row that goes again after the younger one.
#[test]
fn a_row_waits_until_the_one_before_it_is_written_down() {
    // A worker that does not come to its last words leaves an upsert that may take effect late: the delete waits for that long.
    let bench = Bench::builder().setting("etl.unknown_grace", "1s").start();
    let (mut db, sim) = (bench.client(), bench.sim());
    let slow = Effect::Delay {
        before_ms: 0,
        after_ms: 1_500,
    };
    sim.inject(Fault::new(slow).on("res.partner", "load").times(1));
    let ids: Vec<i64> = db.all(
        r#"INSERT INTO ops.odoo_outbox (model, operation, payload, record_key, idempotency_key)
         VALUES ('res.partner', 'upsert', '{"name": "Old"}', 'written', 'w1'),
                ('res.partner', 'delete', '{}', 'written', 'w2') RETURNING id"#,
        &[],
    );
    let named = |name: &str| {
        sim.records("res.partner")
            .iter()
            .filter(|partner| partner["name"] == name)
            .count()
    };
    eventually(PATIENCE, "the first row to be on its way", || {
        db.row(ids[0]).status == "processing"
    });
    let mut other = bench.client();
    let mut holding = other.transaction().expect("a transaction");
    holding
        .execute(
            "SELECT FROM ops.odoo_outbox WHERE id = $1 FOR UPDATE",
            &[&ids[0]],
        )
        .expect("the row");
    eventually(PATIENCE, "the first row's record", || named("Old") == 1);
    eventually(PATIENCE, "the worker to wait with its answer", || {
        bench.cluster.log().contains("cannot be settled yet")
    });
    assert_eq!(named("Old"), 1, "the second row overtook");
    let worker = Worker::all(&mut db).into_iter().next().expect("the worker");
    db.run(&format!("SELECT pg_terminate_backend({})", worker.pid));
    holding.rollback().expect("a rollback");
    db.await_status(ids[0], "done");
    db.await_status(ids[1], "done");
    assert_eq!(named("Old"), 0);
}

/// All of it in one claim: what is behind the delete is about a record that is not made yet, whatever id the ones before were told.
#[test]
fn a_record_that_is_deleted_and_made_again_is_there() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let first = db.enqueue(
        "res.partner",
        "upsert",
        json!({"name": "Phoenix", "city": "Old"}),
        Some("partner:phoenix"),
    );
    let first = db.await_status(first, "done").record();
    db.run("SELECT etl.pause()");
    let mut send = |operation: &str, payload: Value| {
        db.enqueue("res.partner", operation, payload, Some("partner:phoenix"))
    };
    send("update", json!({"city": "Older"}));
    send("delete", json!({}));
    send("upsert", json!({"name": "Phoenix", "street": "New"}));
    send("update", json!({"zip": "1"}));
    db.run("SELECT etl.resume()");
    db.await_empty(PATIENCE);
    assert_eq!(
        db.count("done"),
        5,
        "{:?}",
        db.all::<String>("SELECT last_error FROM etl.dead_letters", &[])
    );
    let partner = sim.partner("Phoenix");
    assert_ne!(partner["id"].as_i64(), Some(first), "it is another record");
    assert_eq!(
        (&partner["city"], &partner["street"], &partner["zip"]),
        (&json!(false), &json!("New"), &json!("1"))
    );
}

/// While a claim is on its way a user gives a row to another record, or puts it off: it is not sent as what it was.
#[test]
fn a_row_that_changes_under_a_claim_is_judged_anew() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    db.run("SELECT etl.pause()");
    let mut send =
        |name: &str| db.enqueue("res.partner", "upsert", json!({"name": name}), Some(name));
    let (first, moved, put_off, other) = (send("ada"), send("bob"), send("carol"), send("dora"));
    db.run(&format!(
        "UPDATE ops.odoo_outbox SET next_run_at = now() + interval '1 hour' WHERE id = {first}"
    ));
    // Whoever claims reads the outbox through a policy that waits for us, between its snapshot and its locks.
    db.run(
        "CREATE FUNCTION public.gate() RETURNS bool LANGUAGE plpgsql VOLATILE SECURITY DEFINER AS $$ BEGIN
           PERFORM pg_advisory_xact_lock_shared(4242); RETURN true; END $$;
         ALTER TABLE ops.odoo_outbox ENABLE ROW LEVEL SECURITY;
         CREATE POLICY open ON ops.odoo_outbox TO etl_worker USING (true);
         CREATE POLICY gate ON ops.odoo_outbox AS RESTRICTIVE FOR UPDATE TO etl_worker USING (public.gate());
         SELECT pg_advisory_lock(4242)",
    );
    let mut other_session = bench.client();
    other_session.run("SELECT etl.resume()");
    eventually(PATIENCE, "a claim to wait at the gate", || {
        db.one::<i64>(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4242 AND NOT granted",
            &[],
        ) > 0
    });
    db.run(&format!(
        "UPDATE ops.odoo_outbox SET record_key = 'ada' WHERE id = {moved};
         UPDATE ops.odoo_outbox SET next_run_at = now() + interval '1 hour' WHERE id = {put_off};
         SELECT pg_advisory_unlock(4242)"
    ));
    db.await_status(other, "done");
    for id in [first, moved, put_off] {
        let row = db.row(id);
        assert_eq!((row.status.as_str(), row.attempts), ("queued", 0), "{id}");
    }
    db.run(&format!(
        "UPDATE ops.odoo_outbox SET next_run_at = now() WHERE id IN ({first}, {put_off})"
    ));
    for id in [first, moved, put_off] {
        db.await_status(id, "done");
    }
    assert_eq!(sim.partner("bob")["name"], "bob");
}
