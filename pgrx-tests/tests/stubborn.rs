//! Rows whose outcome cannot be written down: somebody holds them, or something in the database raises.

use pg_etl_tests::prelude::*;

/// A user's trigger that raises on some rows holds up nobody else, and what it refuses becomes a dead letter that says so.
#[test]
fn a_trigger_that_raises_costs_its_own_rows_only() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    db.run(
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON ops.odoo_outbox FOR EACH ROW
           WHEN (new.status = 'done' AND new.idempotency_key LIKE 'bad%') EXECUTE FUNCTION public.refuse();
         INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
           SELECT 'res.partner', 'create', jsonb_build_object('name', 'Stubborn ' || i), CASE WHEN i % 10 = 0 THEN 'bad' ELSE 'good' END || i
           FROM generate_series(1, 40) i",
    );
    eventually(PATIENCE, "the healthy rows of the same call", || {
        db.count("done") == 36
    });
    // More of them arrive while the refused ones are still tried.
    let later = db.enqueue("res.partner", "create", json!({"name": "Later"}), None);
    db.await_status(later, "done");
    eventually(
        Duration::from_secs(120),
        "the refused rows to be dead letters",
        || db.count("failed") == 4,
    );
    let said: Vec<String> = db.all("SELECT DISTINCT last_error FROM etl.dead_letters", &[]);
    assert!(
        said.iter().all(|said| said.contains("not this one")),
        "{said:?}"
    );
    assert_eq!(sim.partner_names("Stubborn").len(), 40);
}

/// Rows of one connection that somebody has locked do not keep another connection waiting, and are settled when they are free.
#[test]
fn locked_rows_keep_no_other_connection_waiting() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    db.run(&format!(
        "SELECT etl.set_connection('two', 'odoo', '{}', '{{\"database\": \"{}\", \"login\": \"{}\"}}', secret => 'env:ETL_ODOO_KEY')",
        bench.endpoint.url, bench.endpoint.database, bench.endpoint.login
    ));
    sim.inject(
        Fault::new(Effect::Delay {
            before_ms: 0,
            after_ms: 1_500,
        })
        .on("res.partner", "load")
        .times(1),
    );
    db.run(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
         SELECT 'res.partner', 'create', jsonb_build_object('name', 'Locked ' || i), 'locked-' || i FROM generate_series(1, 100) i",
    );
    eventually(PATIENCE, "the rows to be on their way", || {
        db.count("processing") == 100
    });
    let mut other = bench.client();
    let mut holding = other.transaction().expect("a transaction");
    holding
        .execute(
            "SELECT FROM ops.odoo_outbox WHERE status = 'processing' FOR UPDATE",
            &[],
        )
        .expect("the rows");
    eventually(PATIENCE, "the answers to wait", || {
        bench.cluster.log().contains("cannot be settled yet")
    });
    for round in 0..3 {
        let begin = Instant::now();
        let id: i64 = db.one(
            "SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Two\"}', connection => 'two')",
            &[],
        );
        db.await_status(id, "done");
        measure(
            &format!("a row of the other connection, round {round}"),
            begin.elapsed(),
            Duration::from_secs(10),
        );
    }
    holding.rollback().expect("a rollback");
    eventually(Duration::from_secs(90), "the locked rows", || {
        db.count("done") == 103
    });
    assert_eq!(sim.partner_names("Locked").len(), 100);
}

/// A row that nobody may update, because an old constraint speaks against it, does not stop the others.
#[test]
fn a_row_that_cannot_be_claimed_stops_nobody() {
    let bench = Bench::builder().no_connection().start();
    let (mut db, sim) = (bench.client(), bench.sim());
    db.run(
        "SELECT etl.setup();
         INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
           SELECT 'res.partner', 'create', jsonb_build_object('name', 'Among ' || i), 'among-' || i FROM generate_series(1, 50) i;
         ALTER TABLE ops.odoo_outbox ADD CONSTRAINT spoken_against CHECK (idempotency_key <> 'among-25') NOT VALID",
    );
    bench.connect(&mut db, json!({}));
    eventually(PATIENCE, "all the others", || db.count("done") == 49);
    assert_eq!(db.count("queued"), 1);
    assert_eq!(sim.partner_names("Among").len(), 49);
}

/// One that is urgent and comes in the middle of a backlog neither: the claims that begin with it go on behind it.
#[test]
fn an_urgent_row_that_cannot_be_claimed_stops_nobody() {
    let bench = Bench::builder().setting("etl.batch_rows", "5").start();
    let (mut db, sim) = (bench.client(), bench.sim());
    sim.inject(
        Fault::new(Effect::Delay {
            before_ms: 20,
            after_ms: 0,
        })
        .on("res.partner", "load"),
    );
    db.run(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
           SELECT 'res.partner', 'create', jsonb_build_object('name', 'Behind ' || i), 'behind-' || i FROM generate_series(1, 1500) i",
    );
    eventually(PATIENCE, "the lap to have begun", || db.count("done") > 0);
    db.run(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, priority)
           VALUES ('res.partner', 'create', '{\"name\": \"Urgent\"}', 'urgent', 9);
         ALTER TABLE ops.odoo_outbox ADD CONSTRAINT spoken_against CHECK (idempotency_key <> 'urgent' OR status = 'queued' AND attempts = 0) NOT VALID",
    );
    eventually(Duration::from_secs(120), "all the others", || {
        db.count("done") == 1_500
    });
    assert_eq!(db.count("queued"), 1);
}
