use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::backoff::Backoff;
use crate::outbox::{ClaimedRows, Cursor, Defaults, OutboundConfig, Pace, Patience, RawRow};

/// An upsert of a record; those of one key are of one record.
fn upsert(id: i64, key: i64) -> RawRow {
    RawRow {
        id,
        model: "res.partner".to_owned(),
        operation: "upsert".to_owned(),
        payload: Some(format!(r#"{{"name": "{id}"}}"#)),
        record_key: Some(key.to_string()),
        idempotency_key: id.to_string(),
        attempts: 1,
        odoo_id: None,
        key: Some(key),
        own: false,
        priority: 0,
        seen: None,
    }
}

fn config() -> OutboundConfig {
    OutboundConfig {
        namespace: "pg_etl_test".to_owned(),
        ..OutboundConfig::default()
    }
}

fn terms(config: &OutboundConfig) -> Terms<'_> {
    Terms {
        connection: "odoo",
        config,
        defaults: Defaults {
            max_batch: 500,
            patience: Patience {
                max_attempts: 10,
                backoff: Backoff {
                    base: Duration::from_secs(2),
                    cap: Duration::from_secs(900),
                },
                unknown_grace: Duration::from_secs(150),
            },
        },
    }
}

fn claim(rows: Vec<RawRow>) -> Claim {
    let claimed = ClaimedRows {
        claim: 1,
        rows,
        cursor: Cursor::START,
        suspect: false,
    };
    let config = config();
    let (claim, refused) = Claim::plan(claimed, &terms(&config), &|_| None, &Pace::default());
    assert!(refused.is_empty());
    claim
}

/// Claims the rows, takes every batch that may go, and decides on these outcomes.
fn decided(rows: Vec<RawRow>, outcomes: Vec<(i64, Outcome)>) -> Decided {
    let mut claim = claim(rows);
    while let Some((place, _)) = claim.next() {
        claim.take(place);
    }
    let config = config();
    decide(
        &mut claim,
        outcomes,
        &terms(&config),
        &mut StdRng::seed_from_u64(3),
    )
}

fn failed(class: ErrorClass) -> Outcome {
    Outcome::Failed(Failure::new(class, "why").with_remedy("Do it."))
}

#[test]
fn rows_of_one_record_that_failed_together_come_again_together() {
    let rows = vec![upsert(1, 7), upsert(2, 7), upsert(3, 8)];
    let outcomes = (1..=3)
        .map(|id| (id, failed(ErrorClass::Conflict)))
        .collect();
    let rows = decided(rows, outcomes).rows;
    assert!(rows.iter().all(|row| row.status == Status::Queued));
    assert!(!rows[0].wait.is_zero());
    assert_eq!(rows[0].wait, rows[1].wait);
    assert_ne!(rows[0].wait, rows[2].wait, "another record has its own");
}

#[test]
fn a_note_comes_back_beside_the_row_that_is_done() {
    let outcome = Outcome::Delivered {
        odoo_id: Some(5),
        went_with: None,
        note: Some("it was left as it is".to_owned()),
    };
    let decided = decided(vec![upsert(1, 7)], vec![(1, outcome)]);
    let done = Settled {
        odoo_id: Some(5),
        ..Settled::done(1, Some(7))
    };
    assert_eq!(decided.rows, [done]);
    assert_eq!(decided.notes, [(1, "it was left as it is".to_owned())]);
}

#[test]
fn a_dead_letter_says_why_and_what_to_do() {
    let rows = decided(vec![upsert(1, 7)], vec![(1, failed(ErrorClass::Invalid))]).rows;
    assert_eq!(rows[0].status, Status::Failed);
    assert_eq!(rows[0].class, Some(ErrorClass::Invalid));
    assert_eq!(rows[0].error.as_deref(), Some("why — Do it."));
}

#[test]
fn what_waits_behind_a_row_that_comes_again_goes_back_unsent() {
    // A delete waits until what is before it is settled.
    let delete = RawRow {
        operation: "delete".to_owned(),
        payload: Some("{}".to_owned()),
        ..upsert(2, 7)
    };
    let rows = decided(
        vec![upsert(1, 7), delete],
        vec![(1, failed(ErrorClass::Conflict))],
    )
    .rows;
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[1].id, rows[1].status), (2, Status::Queued));
    assert!(rows[1].refund && rows[1].wait.is_zero());
}

#[test]
fn a_create_that_made_its_record_and_was_not_over_writes_its_references() {
    let changes = |attempts, own| {
        let mut child = upsert(1, 7);
        child.operation = "create".to_owned();
        child.payload = Some(r#"{"name": "child", "parent_id": {"key": "8"}}"#.to_owned());
        (child.attempts, child.own) = (attempts, own);
        let mut claim = claim(vec![child, upsert(2, 8)]);
        let parent = claim.next().and_then(|(place, _)| claim.take(place));
        assert_eq!(parent.map(|batch| batch.rows[0].id), Some(2));
        claim.remember(2, 70);
        claim.held.remove(&2);
        let child = claim.next().and_then(|(place, _)| claim.take(place));
        child.and_then(|mut batch| batch.rows.remove(0).changes)
    };
    assert_eq!(changes(1, false), None);
    assert_eq!(changes(2, false), None, "the record may be another row's");
    let written = changes(2, true).expect("what a circle may have cut off");
    assert_eq!(written.keys().collect::<Vec<_>>(), ["parent_id"]);
}
