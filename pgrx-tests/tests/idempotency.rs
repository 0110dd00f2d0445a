//! A key given twice is one row and one record; what differs is an error, not a guess.

use pg_etl_tests::prelude::*;

const ENQUEUE: &str = "SELECT etl.enqueue('res.partner', 'create', $1, record_key => 'partner:once', idempotency_key => 'once')";

#[test]
fn the_same_key_and_content_are_one_row_and_one_delivery() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let payload = json!({"name": "Once"});
    let first: i64 = db.one(ENQUEUE, &[&payload]);
    assert_eq!(db.one::<i64>(ENQUEUE, &[&payload]), first);
    db.await_status(first, "done");
    let delivered = sim.changes().len();
    assert_eq!(db.one::<i64>(ENQUEUE, &[&payload]), first);
    // A later row overtakes nothing: when it is done, a second delivery of the first would have been seen.
    let later = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Later"}),
        Some("partner:once:later"),
    );
    db.await_status(later, "done");
    assert_eq!(sim.changes().len(), delivered + 1);
    sim.partner("Once");
}

#[test]
fn the_same_key_with_other_content_is_refused() {
    let bench = Bench::ready();
    let mut db = bench.client();
    let first: i64 = db.one(ENQUEUE, &[&json!({"name": "Once"})]);
    let refused = db
        .query_one(ENQUEUE, &[&json!({"name": "Twice"})])
        .expect_err("other content");
    let refused = refused
        .as_db_error()
        .expect("an answer of the server")
        .clone();
    assert_eq!(refused.code().code(), "23505");
    assert!(
        refused.hint().is_some_and(|hint| !hint.is_empty()),
        "{refused:?}"
    );
    db.await_status(first, "done");
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM ops.odoo_outbox", &[]),
        1
    );
    assert!(bench.sim().partners("Twice").is_empty());
}

/// Two sessions give the same key at the same time: the second waits for the first, and gets its row.
#[test]
fn two_sessions_with_one_key_get_one_row() {
    let bench = Bench::ready();
    let (mut first, mut watcher) = (bench.client(), bench.client());
    let payload = json!({"name": "Once"});
    let mut open = first.transaction().unwrap();
    let id: i64 = open.query_one(ENQUEUE, &[&payload]).unwrap().get(0);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            bench
                .client()
                .query_one(ENQUEUE, &[&payload])
                .map(|row| row.get::<_, i64>(0))
        });
        eventually(PATIENCE, "the second session to wait for the first", || {
            watcher.one("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%etl.enqueue%')", &[])
        });
        open.commit().unwrap();
        assert_eq!(second.join().unwrap().expect("the first row's id"), id);
    });
    watcher.await_status(id, "done");
    bench.sim().partner("Once");
}

/// A record key that was delivered is found again by every later row, although Odoo's id is in none of them.
#[test]
fn a_record_key_names_the_record_for_ever() {
    let bench = Bench::ready();
    let (mut db, sim) = (bench.client(), bench.sim());
    let create = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Ada"}),
        Some("partner:ada"),
    );
    let record = db.await_status(create, "done").record();
    let update = db.enqueue(
        "res.partner",
        "update",
        json!({"city": "London"}),
        Some("partner:ada"),
    );
    assert_eq!(db.await_status(update, "done").record(), record);
    // A second create with the key, another idempotency key: still the same record.
    let again = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Ada"}),
        Some("partner:ada"),
    );
    assert_eq!(db.await_status(again, "done").record(), record);
    assert_eq!(sim.partner("Ada")["city"], "London");
    let delete = db.enqueue("res.partner", "delete", json!({}), Some("partner:ada"));
    db.await_status(delete, "done");
    assert!(sim.partners("Ada").is_empty());
    // Someone deleted it: a create makes it anew, as G4 allows.
    let anew = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Ada"}),
        Some("partner:ada"),
    );
    assert_ne!(db.await_status(anew, "done").record(), record);
    sim.partner("Ada");
}
