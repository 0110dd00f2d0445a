//! Alerts: who is told when, in which order, and what somebody may do to a message that waits.

use odoo_sim::ear::Answer;
use pg_etl_tests::prelude::*;
use pg_etl_tests::told::*;

/// The clock is the rule's: hours that hold the present, the same across midnight, and hours that do not.
#[test]
fn in_quiet_hours_nobody_is_told_until_they_are_over() {
    let (_bench, mut db, ear) = watched();
    let rule = |quiet: &str| {
        format!(
            "SELECT etl.set_alert('all', ARRAY['hook'], quiet_hours => {quiet}, timezone => 'Asia/Kathmandu')"
        )
    };
    let from = |first: &str, last: &str| {
        format!(
            "to_char(now() AT TIME ZONE 'Asia/Kathmandu' + interval '{first}', 'HH24:MI') || '-' || to_char(now() AT TIME ZONE 'Asia/Kathmandu' + interval '{last}', 'HH24:MI')"
        )
    };
    // Of any two of these that hold the present one goes over midnight, unless it is about noon.
    for quiet in [from("-2 h", "2 h"), from("-13 h", "9 h")] {
        db.run(&rule(&quiet));
        db.run("SELECT etl.pause(); SELECT etl.check_alerts()");
        db.await_empty(PATIENCE);
        assert_eq!(told(&ear), [""; 0], "{quiet}");
        assert_eq!(
            db.one::<i64>("SELECT count(*) FROM etl.open_alerts", &[]),
            1
        );
    }
    for quiet in [from("1 h", "3 h"), from("2 h", "-2 h")] {
        db.run(&rule(&quiet));
        db.run("SELECT etl.check_alerts()");
        db.await_empty(PATIENCE);
        assert_eq!(told(&ear), ["opened connection odoo fail"], "{quiet}");
    }
}

/// A channel is told in order, however its answers come.
#[test]
fn an_end_is_not_told_before_its_beginning() {
    let (_bench, mut db, ear) = watched();
    ear.always(Answer::new("503 Not now\r\n\r\n"));
    db.run("SELECT etl.pause(); SELECT etl.check_alerts()");
    eventually(PATIENCE, "the first try", || !ear.heard().is_empty());
    db.run("SELECT etl.resume(); SELECT etl.check_alerts()");
    look_later(&mut db);
    let waiting =
        "SELECT count(*) FROM ops.odoo_outbox WHERE connection = 'hook' AND status <> 'done'";
    assert_eq!(db.one::<i64>(waiting, &[]), 2);
    let before = ear.heard().len();
    ear.always(Answer::new("200 OK\r\n\r\nok"));
    eventually(Duration::from_secs(90), "both to be told", || {
        db.one::<i64>(waiting, &[]) == 0
    });
    let after: Vec<String> = told(&ear).split_off(before.min(told(&ear).len()));
    let place = |event: &str| after.iter().rposition(|line| line.starts_with(event));
    assert!(place("opened") < place("resolved"), "{:?}", told(&ear));
}

/// Whoever knew of a warning does not know of a failure; and a message is for its own channel.
#[test]
fn a_failure_is_news_and_a_message_goes_nowhere_else() {
    let (_bench, mut db, ear) = watched();
    let other = hook(&mut db, "other");
    db.run("INSERT INTO etl.thresholds (component, warn, fail) VALUES ('outbox', 1, 3) ON CONFLICT (component) DO UPDATE SET warn = 1, fail = 3");
    // The worker may be looking at this very moment: then somebody looks again.
    let wait = |db: &mut Client, n: i64, status: &str| {
        db.run(&format!("INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, next_run_at) VALUES ('res.partner', 'create', '{{}}', 'later {n}', now() + interval '1 h')"));
        let is_seen = format!(
            "SELECT EXISTS (SELECT FROM etl.open_alerts WHERE component = 'outbox' AND status = '{status}')"
        );
        eventually(PATIENCE, status, || {
            db.run("SELECT etl.check_alerts()");
            db.one::<bool>(&is_seen, &[])
        });
    };
    wait(&mut db, 1, "warn");
    let id: i64 = db.one(
        "SELECT id FROM etl.open_alerts WHERE component = 'outbox'",
        &[],
    );
    db.one::<String>("SELECT etl.ack_alert($1)", &[&id]);
    wait(&mut db, 2, "warn");
    wait(&mut db, 3, "fail");
    let state: String = db.one(
        "SELECT status || ' ' || state FROM etl.open_alerts WHERE id = $1",
        &[&id],
    );
    assert_eq!(state, "fail open");
    eventually(PATIENCE, "both to be told", || told(&ear).len() == 2);
    assert_eq!(told(&ear), ["opened outbox warn", "worse outbox fail"]);
    db.run("UPDATE ops.odoo_outbox SET connection = 'other', status = 'queued' WHERE connection = 'hook'");
    eventually(PATIENCE, "them to be dead letters", || {
        db.one::<i64>(
            "SELECT count(*) FROM ops.odoo_outbox WHERE connection = 'other' AND status = 'failed'",
            &[],
        ) == 2
    });
    assert_eq!(told(&other), [""; 0]);
}

#[test]
fn whoever_looks_with_an_old_snapshot_is_told_how_to() {
    let (_bench, mut db, _ear) = watched();
    let error = db.refused("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT etl.check_alerts()");
    assert_eq!(error.code().code(), "25000");
    assert!(error.hint().is_some(), "{error:?}");
}
