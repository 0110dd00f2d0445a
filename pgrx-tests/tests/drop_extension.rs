//! DROP EXTENSION takes nothing of the user's state, and CREATE EXTENSION goes on with it.

use std::sync::atomic::{AtomicBool, Ordering};

use pg_etl_tests::adopted_deployment;
use pg_etl_tests::prelude::*;

#[test]
fn drop_extension_takes_no_row_and_create_goes_on() {
    let (bench, mut db) = adopted_deployment();
    let rows = "SELECT o::text FROM ops.odoo_outbox o ORDER BY id";
    let before: Vec<String> = db.all(rows, &[]);
    db.run("DROP EXTENSION pg_etl CASCADE");
    assert_eq!(db.all::<String>(rows, &[]), before);
    assert!(db.one::<bool>("SELECT to_regnamespace('etl') IS NULL", &[]));
    let triggers: Vec<String> = db.all("SELECT tgname::text FROM pg_trigger WHERE tgrelid = 'ops.odoo_outbox'::regclass AND NOT tgisinternal", &[]);
    assert_eq!(
        triggers,
        ["remember"],
        "the user's trigger stays, ours are gone"
    );
    // Old writers never notice.
    db.run("INSERT INTO public.odoo_partners (name) VALUES ('Dan')");
    db.run("CREATE EXTENSION pg_etl");
    let report: Value = db.one("SELECT etl.setup()", &[]);
    assert_eq!(report["queued"], 4, "{report}");
    bench.connect(&mut db, json!({}));
    db.await_empty(PATIENCE);
    // The links were derived anew: the change of Ada found her record.
    for (name, count) in [
        ("Ada Lovelace", 1),
        ("Ada", 0),
        ("Bob", 1),
        ("Cyd", 1),
        ("Dan", 1),
    ] {
        assert_eq!(bench.sim().partners(name).len(), count, "{name}");
    }
}

#[test]
fn a_create_whose_answer_was_lost_before_the_drop_is_not_doubled() {
    let bench = Bench::ready();
    let mut db = bench.client();
    bench
        .sim()
        .inject(Fault::new(Effect::AnswerLost).on("res.partner", "load"));
    let keyed = db.enqueue("res.partner", "create", json!({"name": "Ada"}), Some("ada"));
    let bare = db.enqueue("res.partner", "create", json!({"name": "Bob"}), None);
    eventually(PATIENCE, "both records to exist in Odoo", || {
        bench.sim().partners("Ada").len() == 1 && bench.sim().partners("Bob").len() == 1
    });
    db.run("DROP EXTENSION pg_etl CASCADE");
    bench.sim().clear_faults();
    db.run("CREATE EXTENSION pg_etl; SELECT etl.setup()");
    bench.connect(&mut db, json!({}));
    let (keyed, bare) = (
        db.await_status(keyed, "done"),
        db.await_status(bare, "done"),
    );
    assert_eq!(
        (
            bench.sim().partners("Ada").len(),
            bench.sim().partners("Bob").len()
        ),
        (1, 1)
    );
    assert_ne!(keyed.record(), bare.record());
}

/// Again and again, while old writers insert and the worker delivers: no writer ever sees an error, no row is lost or made twice.
#[test]
fn drop_and_create_under_load_are_noticed_by_nobody() {
    const ROUNDS: usize = 6;
    const WRITERS: usize = 2;
    let bench = Bench::builder()
        .setting("etl.batch_rows", "20")
        .setting("etl.poll_interval", "5s")
        .start();
    let (mut db, sim) = (bench.client(), bench.sim());
    sim.inject(
        Fault::new(Effect::Delay {
            before_ms: 20,
            after_ms: 20,
        })
        .on("res.partner", "load"),
    );
    let stop = AtomicBool::new(false);
    let written: usize = std::thread::scope(|scope| {
        // However this ends, the writers end with it.
        let _ends = Ends(&stop);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (mut client, stop) = (bench.client(), &stop);
                scope.spawn(move || write_until(&mut client, writer, stop))
            })
            .collect();
        for round in 1..=ROUNDS {
            let so_far = db.count("done");
            eventually(PATIENCE, "rows done and rows on their way", || {
                db.count("done") > so_far && db.count("processing") > 0
            });
            db.run("DROP EXTENSION pg_etl CASCADE");
            let queued = db.count("queued");
            eventually(PATIENCE, "the writers to go on without it", || {
                db.count("queued") > queued + 5
            });
            db.run("CREATE EXTENSION pg_etl");
            db.run("SELECT etl.setup()");
            bench.connect(&mut db, json!({}));
            println!("round {round}: {} rows done", db.count("done"));
        }
        stop.store(true, Ordering::Relaxed);
        let written = writers.into_iter().map(|writer| writer.join().unwrap());
        written.sum()
    });
    db.await_empty(PATIENCE);
    let names = sim.partner_names("Load ");
    assert_eq!(
        (db.count("done"), db.count("failed"), names.len()),
        (written as i64, 0, written),
        "{:?}",
        db.all::<String>("SELECT last_error FROM etl.dead_letters", &[])
    );
    let log = bench.cluster.log();
    for trouble in ["deadlock detected", "panicked", "terminated by signal"] {
        assert!(!log.contains(trouble), "{trouble}");
    }
}

/// Where the library is gone, the extension can still be dropped, and so can others.
#[test]
fn without_the_library_it_can_be_dropped() {
    let bench = Bench::builder().preload(&[]).no_connection().start();
    let mut db = bench.client();
    db.run("CREATE EXTENSION pgcrypto");
    db.run("SET dynamic_library_path = '/nowhere'");
    let gone = db.refused("SELECT etl.health()");
    assert_eq!(gone.code().code(), "58P01", "{gone:?}");
    db.run("DROP EXTENSION pgcrypto");
    db.run("DROP EXTENSION pg_etl");
    assert!(db.one::<bool>("SELECT to_regnamespace('etl') IS NULL", &[]));
}

/// Whoever may not drop it stops no writer by trying.
#[test]
fn a_stranger_cannot_drop_it_and_waits_for_nobody() {
    let bench = Bench::ready();
    let (mut db, mut writer) = (bench.client(), bench.client());
    db.run("CREATE ROLE stranger; SET ROLE stranger; SET lock_timeout = '2s'");
    let mut open = writer.transaction().unwrap();
    open.batch_execute("INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key) VALUES ('res.partner', 'create', '{\"name\": \"Ada\"}', 'k')").unwrap();
    let refused = db.refused("DROP EXTENSION pg_etl CASCADE");
    assert_eq!(refused.code().code(), "42501", "{refused:?}");
    open.commit().unwrap();
}

/// Sets the flag when dropped.
struct Ends<'f>(&'f AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Plain inserts, as before pg_etl; how many there were.
fn write_until(client: &mut Client, writer: usize, stop: &AtomicBool) -> usize {
    let mut rows = 0;
    while !stop.load(Ordering::Relaxed) {
        rows += 1;
        let name = format!("Load {writer} {rows}");
        let _: i64 = client.one(
            "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
             VALUES ('res.partner', 'create', jsonb_build_object('name', $1::text), $1) RETURNING id",
            &[&name],
        );
        // A writer at full speed would only test how fast rows pile up.
        std::thread::sleep(Duration::from_millis(5));
    }
    rows
}
