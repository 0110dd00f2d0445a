//! A standby delivers nothing. Promoted, it is the primary: at work within 5 s, and not taken for a copy.

use pg_etl_tests::prelude::*;
use pg_etl_tests::{DATABASE, launcher};
use xtask::pg::{Cluster, Stop};

/// From the promotion to the first request.
const PROMOTED: Duration = Duration::from_secs(5);

/// Longer than the launcher takes between two looks: had a standby anything at work, it would have shown by then.
const LONGER_THAN_A_ROUND: &str = "6 s";

#[track_caller]
fn standby(bench: &Bench, settings: &[(&str, &str)]) -> (Cluster, Client) {
    let mut standby = bench.cluster.standby();
    for (name, value) in settings {
        standby = standby.setting(name, value);
    }
    let standby = standby.start().expect("a standby");
    let copy = standby.client(DATABASE).expect("a connection");
    (standby, copy)
}

/// Waits until the standby shows what the primary has written so far.
#[track_caller]
fn catch_up(primary: &mut Client, copy: &mut Client) {
    let written: String = primary.one("SELECT pg_current_wal_insert_lsn()::text", &[]);
    let reached = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
    eventually(PATIENCE, "the standby to catch up", || {
        copy.one(reached, &[&written])
    });
}

fn processes(copy: &mut Client) -> Vec<String> {
    copy.all(
        "SELECT backend_type FROM pg_stat_activity WHERE backend_type LIKE 'pg_etl%'",
        &[],
    )
}

#[test]
fn a_standby_sends_nothing_and_its_promotion_makes_it_deliver() {
    let bench = Bench::builder().alone().start();
    let (mut db, sim) = (bench.client(), bench.sim());
    let (standby, mut copy) = standby(&bench, &[]);
    let ada = db.enqueue("res.partner", "create", json!({"name": "Ada"}), Some("ada"));
    let record = db.await_status(ada, "done").record();
    // The primary stops delivering; its standby has settings of its own and would go on, were it no standby.
    bench.cluster.set("etl.enabled", "off").unwrap();
    bench.cluster.reload();
    eventually(PATIENCE, "the primary to be switched off", || {
        db.one::<bool>(
            "SELECT EXISTS (SELECT FROM etl.workers WHERE detail LIKE '%etl.enabled%')",
            &[],
        )
    });
    let rows = [
        db.enqueue(
            "res.partner",
            "update",
            json!({"city": "London"}),
            Some("ada"),
        ),
        db.enqueue("res.partner", "create", json!({"name": "Bob"}), Some("bob")),
    ];
    catch_up(&mut db, &mut copy);
    let before = sim.totals().requests;
    assert_eq!(copy.one::<String>("SHOW etl.enabled", &[]), "on");
    assert_eq!(copy.count("queued"), 2, "it has the rows");
    for errand in ["etl.drain_outbox()", "etl.test_connection('odoo')"] {
        let asked = copy.refused(&format!("SELECT {errand}"));
        assert_eq!(asked.code().code(), "25006", "{errand}: {asked:?}");
        assert!(
            asked.hint().is_some_and(|hint| hint.contains("primary")),
            "{asked:?}"
        );
    }
    let due: i64 = copy.one(
        "SELECT (etl.drain_outbox(dry_run => true) ->> 'would_claim')::bigint",
        &[],
    );
    assert_eq!(due, 2);
    let health = copy.health("worker");
    assert!(health.contains("| pass | standby |"), "{health}");
    assert_eq!(
        copy.one::<String>(
            "SELECT etl.health() -> 'checks' -> 'worker' ->> 'value'",
            &[]
        ),
        "standby"
    );
    let looked_for_long = format!(
        "SELECT clock_timestamp() > pg_postmaster_start_time() + interval '{LONGER_THAN_A_ROUND}'"
    );
    eventually(
        PATIENCE,
        "the time in which a launcher would have looked",
        || {
            assert_eq!(processes(&mut copy), [""; 0], "at work on a standby");
            copy.one(&looked_for_long, &[])
        },
    );
    assert_eq!(sim.totals().requests, before, "requests of a standby");

    drop(db);
    bench.cluster.stop(Stop::Immediate).unwrap();
    let begin = Instant::now();
    copy.run("SELECT pg_promote()");
    eventually(PATIENCE, "a request", || sim.totals().requests > before);
    measure("promotion to the first request", begin.elapsed(), PROMOTED);
    for id in rows {
        copy.await_status(id, "done");
    }
    assert_eq!(sim.partner("Ada")["city"], "London");
    assert_eq!(sim.partner("Ada")["id"], json!(record));
    sim.partner("Bob");
    assert_eq!(copy.connection("state"), "ok", "{}", copy.health("%"));
    assert!(launcher(&mut copy).is_some());
    drop(standby);
}

/// What the dead primary had on the wire is taken over: its locks died with it.
#[test]
fn a_promoted_standby_takes_over_what_was_on_the_wire() {
    let bench = Bench::builder().alone().start();
    let (mut db, sim) = (bench.client(), bench.sim());
    let (_standby, mut copy) = standby(&bench, &[]);
    // Made, and the answer never came.
    sim.inject(
        Fault::new(Effect::Hang)
            .on("res.partner", "load")
            .committed(),
    );
    let hung = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Hung"}),
        Some("hung"),
    );
    let behind = db.enqueue(
        "res.partner",
        "update",
        json!({"city": "Behind"}),
        Some("hung"),
    );
    eventually(PATIENCE, "the create to take effect", || {
        sim.partners("Hung").len() == 1
    });
    catch_up(&mut db, &mut copy);
    assert_eq!(
        copy.row(hung).status,
        "processing",
        "the claim was replicated"
    );
    drop(db);
    bench.cluster.stop(Stop::Immediate).unwrap();
    sim.clear_faults();
    let before = sim.totals().requests;
    let begin = Instant::now();
    copy.run("SELECT pg_promote()");
    eventually(PATIENCE, "a request", || sim.totals().requests > before);
    measure("promotion to the first request", begin.elapsed(), PROMOTED);
    let done = copy.await_status(hung, "done");
    copy.await_status(behind, "done");
    assert_eq!(
        (done.crashes, done.odoo_id),
        (1, sim.partner("Hung")["id"].as_i64())
    );
    assert_eq!(sim.partner("Hung")["city"], "Behind");
    assert_eq!(copy.one::<i64>("SELECT count(*) FROM etl.claims", &[]), 0);
}

/// A physical clone shares the system identifier too. Told by `etl.instance` that it is another one, it waits for a word.
#[test]
fn a_clone_with_another_instance_name_starts_paused() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let (_clone, mut copy) = standby(&bench, &[("etl.instance", "staging")]);
    bench.cluster.set("etl.enabled", "off").unwrap();
    bench.cluster.reload();
    eventually(PATIENCE, "the original to be switched off", || {
        db.one::<bool>(
            "SELECT EXISTS (SELECT FROM etl.workers WHERE detail LIKE '%etl.enabled%')",
            &[],
        )
    });
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    catch_up(&mut db, &mut copy);
    let before = sim.totals().requests;
    copy.run("SELECT pg_promote()");
    eventually(PATIENCE, "the clone to be paused", || {
        copy.connection("state") == "paused"
    });
    assert_eq!((copy.row(id).attempts, sim.totals().requests), (0, before));
    copy.run("SELECT etl.resume()");
    copy.await_status(id, "done");
}
