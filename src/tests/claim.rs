//! The claim: which rows go now, and which must wait for another one of their record.

#[pgrx::pg_schema]
mod tests {
    use pg_etl_core::outbox::Cursor;
    use pgrx::prelude::*;

    use crate::tests::ground::{Hand, ids, insert, insert_row, one, queued, run, set_up};

    #[pg_test]
    fn a_claim_takes_due_rows_and_counts_the_attempt() {
        set_up();
        let rows = [insert(Some("ada")), insert(Some("bob")), insert(None)];
        insert_row("next_run_at => now() + interval '1 hour'");
        let mut hand = Hand::default();
        let claimed = hand.claim(10);
        assert_eq!(ids(&claimed), rows);
        assert!(claimed.rows.iter().all(|row| row.attempts == 1));
        let marked: i64 = one(&format!(
            "SELECT count(*) FROM ops.odoo_outbox WHERE status = 'processing' AND attempts = 1 AND claim = {} AND locked_at IS NOT NULL AND locked_by IS NOT NULL",
            claimed.claim
        ));
        assert_eq!(marked, 3);
        assert_eq!(
            one::<Vec<i64>>(&format!(
                "SELECT ids FROM etl.claims WHERE claim = {}",
                claimed.claim
            )),
            rows
        );
        assert_eq!(queued().len(), 1, "the scheduled one");
        assert!(hand.claimed_ids(10).is_empty(), "nothing is claimed twice");
    }

    #[pg_test]
    fn rows_of_a_record_go_in_order_and_others_do_not_wait() {
        set_up();
        let (first, second, other) = (
            insert(Some("ada")),
            insert(Some("ada")),
            insert(Some("bob")),
        );
        let mut hand = Hand::default();
        assert_eq!(hand.claimed_ids(1), [first]);
        assert_eq!(
            hand.claimed_ids(10),
            [other],
            "{second} must wait for {first}, {other} must not"
        );
    }

    #[pg_test]
    fn a_claim_may_take_a_whole_record_in_order() {
        set_up();
        let rows = [
            insert(Some("ada")),
            insert(Some("ada")),
            insert(Some("ada")),
        ];
        assert_eq!(Hand::default().claimed_ids(10), rows);
    }

    #[pg_test]
    fn priority_goes_first_but_not_before_an_older_row_of_its_record() {
        set_up();
        let (older, urgent) = (
            insert(Some("ada")),
            insert_row("record_key => 'ada'; priority => 10"),
        );
        let (plain, first) = (insert(None), insert_row("priority => 5"));
        let mut hand = Hand::default();
        assert!(
            hand.claimed_ids(1).is_empty(),
            "{urgent} ranks first and must wait for {older}"
        );
        assert_eq!(hand.claimed_ids(2), [first], "{plain} ranks behind");
        assert_eq!(hand.claimed_ids(10), [older, urgent, plain]);
    }

    #[pg_test]
    fn a_row_that_waits_for_its_retry_holds_back_its_record() {
        set_up();
        let waiting = insert_row("record_key => 'ada'; next_run_at => now() + interval '1 hour'");
        let (younger, other) = (insert(Some("ada")), insert(Some("bob")));
        let mut hand = Hand::default();
        assert_eq!(
            hand.claimed_ids(10),
            [other],
            "{younger} is younger than {waiting}"
        );
        run(&format!(
            "UPDATE ops.odoo_outbox SET next_run_at = now() WHERE id = {waiting}"
        ));
        assert_eq!(hand.claimed_ids(10), [waiting, younger]);
    }

    #[pg_test]
    fn a_dead_letter_does_not_hold_back_its_record() {
        set_up();
        insert_row("record_key => 'ada'; status => 'failed'");
        let younger = insert(Some("ada"));
        assert_eq!(Hand::default().claimed_ids(10), [younger]);
    }

    #[pg_test]
    fn a_held_record_lets_its_own_row_through_and_no_later_one() {
        set_up();
        let (unknown, later) = (insert(Some("ada")), insert(Some("ada")));
        run(&format!(
            "INSERT INTO etl.holds SELECT 'odoo', key_hash, id, now() + interval '1 hour' FROM etl.queue WHERE id = {unknown}"
        ));
        let mut hand = Hand::default();
        let claimed = hand.claim(10);
        assert_eq!(
            ids(&claimed),
            [unknown],
            "the row itself may be sent again, {later} may not"
        );
        hand.settle(
            claimed.claim,
            vec![crate::tests::ground::delivered(&claimed, unknown)],
        );
        assert!(hand.claimed_ids(10).is_empty());
        run("UPDATE etl.holds SET until = now() - interval '1 s'");
        assert_eq!(hand.claimed_ids(10), [later]);
    }

    #[pg_test]
    fn rows_without_a_record_never_wait_for_each_other() {
        set_up();
        let rows = [insert(None), insert(None)];
        let mut hand = Hand::default();
        assert_eq!(hand.claimed_ids(1), [rows[0]]);
        assert_eq!(hand.claimed_ids(1), [rows[1]]);
    }

    #[pg_test]
    fn connections_do_not_meet() {
        set_up();
        let (ours, theirs) = (
            insert(Some("ada")),
            insert_row("record_key => 'ada'; connection => 'other'"),
        );
        assert_eq!(Hand::default().claimed_ids(10), [ours]);
        assert_eq!(queued(), [theirs]);
    }

    #[pg_test]
    fn rows_that_were_in_a_dead_workers_hands_go_lot_by_lot() {
        set_up();
        let rows = [
            insert(None),
            insert(None),
            insert(None),
            insert(None),
            insert(None),
        ];
        run(&format!(
            "UPDATE etl.queue SET lot = CASE WHEN id <= {} THEN 1 ELSE 2 END, fresh = false WHERE id <= {}",
            rows[1], rows[3]
        ));
        let mut hand = Hand::default();
        // One lot at a time; a row that was in nobody's hands is not mixed with it.
        assert_eq!(hand.claimed_ids(100), rows[..2]);
        assert_eq!(hand.claimed_ids(100), rows[2..4]);
        assert_eq!(hand.claimed_ids(100), rows[4..]);
    }

    #[pg_test]
    fn rows_of_a_record_that_were_tried_before_come_together_whatever_the_window() {
        set_up();
        let ada = [insert(Some("ada")), insert(Some("ada"))];
        let other = insert(None);
        let ada = [ada[0], ada[1], insert(Some("ada"))];
        for lot in ["1", "NULL"] {
            run(&format!(
                "UPDATE etl.queue SET lot = {lot}, fresh = false, due = now() - id * interval '1 s'"
            ));
            let mut hand = Hand::default();
            // The oldest retry is the record's youngest row.
            let claimed = hand.claim(1);
            assert_eq!(ids(&claimed), ada, "lot {lot}");
            let few_bytes = Hand::default().claim_from(Cursor::START, 100, 1);
            assert_eq!(ids(&few_bytes), [other], "lot {lot}");
            run("UPDATE ops.odoo_outbox SET status = 'queued'; DELETE FROM etl.claims");
        }
        // What was never tried waits for the next claim.
        run("UPDATE etl.queue SET lot = NULL, fresh = true");
        run(&format!(
            "UPDATE etl.queue SET fresh = false, due = now() WHERE id = {}",
            ada[0]
        ));
        assert_eq!(Hand::default().claimed_ids(1), ada[..1]);
    }

    #[pg_test]
    fn a_claim_stops_at_its_bytes() {
        set_up();
        let large = "payload => jsonb_build_object('name', repeat('x', 5000))";
        let rows = [insert_row(large), insert_row(large), insert_row(large)];
        let mut hand = Hand::default();
        let lap = Cursor::START;
        assert_eq!(
            ids(&hand.claim_from(lap, 100, 1)),
            rows[..1],
            "one row always goes"
        );
        assert_eq!(
            ids(&hand.claim_from(lap, 100, 6_000)),
            rows[1..],
            "the row that crosses the line is the last one"
        );
    }

    #[pg_test]
    fn a_lap_goes_on_where_the_last_claim_ended() {
        set_up();
        let rows: Vec<i64> = (0..5).map(|_| insert(None)).collect();
        let mut hand = Hand::default();
        let first = hand.claim(2);
        assert_eq!(
            (ids(&first), first.cursor.fresh),
            (rows[..2].to_vec(), (0, rows[1]))
        );
        let second = hand.claim_from(first.cursor, 2, i64::MAX);
        assert_eq!(
            (ids(&second), second.cursor.fresh),
            (rows[2..4].to_vec(), (0, rows[3]))
        );
        let last = hand.claim_from(second.cursor, 2, i64::MAX);
        assert_eq!(
            (ids(&last), last.cursor),
            (rows[4..].to_vec(), Cursor::START),
            "the lap is over"
        );
    }

    #[pg_test]
    fn a_lap_goes_on_where_a_claim_was_cut_short() {
        set_up();
        let blocked = insert_row("record_key => 'ada'; next_run_at => now() + interval '1 hour'");
        let behind: Vec<i64> = (0..6).map(|_| insert(Some("ada"))).collect();
        let rows: Vec<i64> = (0..5).map(|_| insert(None)).collect();
        let mut hand = Hand::default();
        // A large step past those that wait; it ends where enough rows were found.
        let first = hand.claim_within(Cursor::START, 9, 2, i64::MAX);
        assert_eq!(
            (ids(&first), first.cursor.fresh),
            (rows[..2].to_vec(), (0, rows[1])),
            "{blocked} holds back {behind:?}"
        );
        let second = hand.claim_within(first.cursor, 100, 100, 1);
        assert_eq!(
            (ids(&second), second.cursor.fresh),
            (rows[2..3].to_vec(), (0, rows[2])),
            "so does what bytes cut off"
        );
        let last = hand.claim_within(second.cursor, 100, 100, i64::MAX);
        assert_eq!(
            (ids(&last), last.cursor),
            (rows[3..].to_vec(), Cursor::START)
        );
    }

    #[pg_test]
    fn a_claim_cut_short_takes_what_urgent_rows_wait_for() {
        set_up();
        let usual: Vec<i64> = (0..3).map(|_| insert(None)).collect();
        let first = insert(Some("ada"));
        let urgent = insert_row("record_key => 'ada'; priority => 5");
        let mut hand = Hand::default();
        let claimed = hand.claim_within(Cursor::START, 100, 2, i64::MAX);
        assert_eq!(ids(&claimed), [first, urgent]);
        let rest = hand.claim_within(claimed.cursor, 100, 100, i64::MAX);
        assert_eq!(ids(&rest), usual);
    }

    #[pg_test]
    fn an_earlier_delivery_names_the_record() {
        set_up();
        run("INSERT INTO etl.links VALUES ('odoo', 'res.partner', md5('ada')::uuid, 'ada', 77)");
        insert(Some("ada"));
        assert_eq!(Hand::default().claim(1).rows[0].odoo_id, Some(77));
    }

    #[pg_test]
    fn blocked_retries_do_not_hide_those_behind_them() {
        set_up();
        // Four due retries fill the second lap's window of a claim of four rows; all but the last wait for an older row of their record.
        let older = insert_row("record_key => 'ada'; next_run_at => now() + interval '1 hour'");
        let blocked: Vec<i64> = (0..3).map(|_| insert(Some("ada"))).collect();
        let free = insert(None);
        run(
            "UPDATE etl.queue SET fresh = false, due = now() - interval '1 min' WHERE due <= now()",
        );
        let mut hand = Hand::default();
        let (mut cursor, mut seen) = (Cursor::START, Vec::new());
        for _ in 0..blocked.len() + 1 {
            let claimed = hand.claim_from(cursor, 4, i64::MAX);
            cursor = claimed.cursor;
            seen.extend(ids(&claimed));
        }
        assert_eq!(seen, [free], "{blocked:?} wait for {older}");
    }

    /// Rows that are due and not barred, of which the oldest is left alone: a delete that is held.
    fn stuck(rows: usize, younger: &str) -> Vec<i64> {
        let mut stuck = vec![insert_row(
            "record_key => 'ada'; operation => 'delete'; payload => '{}'",
        )];
        stuck.extend((1..rows).map(|_| insert_row(&format!("record_key => 'ada'; {younger}"))));
        run(&format!(
            "INSERT INTO etl.holds SELECT 'odoo', key_hash, 0, now() + interval '1 hour', true FROM etl.queue WHERE id = {}",
            stuck[0]
        ));
        stuck
    }

    const ONCE: &str =
        "operation => 'call'; payload => '{\"method\": \"action_confirm\", \"ids\": [7]}'";

    #[pg_test]
    fn rows_behind_one_that_is_left_alone_use_up_nothing() {
        set_up();
        let stuck = stuck(12, ONCE);
        let calls = [insert_row(ONCE)];
        let rows = [insert(None), insert(None), insert(None)];
        let few = Hand::default().claim_within(Cursor::START, 100, 2, i64::MAX);
        assert_eq!(
            ids(&few),
            [calls[0], rows[0]],
            "rows wanted, and calls: {stuck:?} are not ready"
        );
        assert_eq!(
            few.cursor.fresh,
            (0, rows[0]),
            "the lap goes on behind them"
        );
        let little = Hand::default().claim_within(Cursor::START, 100, 100, 1);
        assert_eq!(ids(&little), [rows[1]], "bytes wanted");
        let last = Hand::default().claim_within(little.cursor, 2, 1, i64::MAX);
        assert_eq!((ids(&last), last.cursor), (vec![rows[2]], Cursor::START));
    }

    #[pg_test]
    fn a_window_in_which_nothing_can_go_is_left_behind() {
        set_up();
        let stuck = stuck(6, "priority => 0");
        let free = insert(None);
        let mut hand = Hand::default();
        let none = hand.claim_within(Cursor::START, 4, 2, i64::MAX);
        assert_eq!((ids(&none), none.cursor.fresh), (Vec::new(), (0, stuck[3])));
        let next = hand.claim_within(none.cursor, 4, 2, i64::MAX);
        assert_eq!(ids(&next), [free]);
    }

    #[pg_test]
    fn a_lap_goes_on_at_the_first_call_too_many() {
        set_up();
        let calls: Vec<i64> = (0..11)
            .map(|id| insert_row(&ONCE.replace('7', &format!("{id}, 99"))))
            .collect();
        let mut hand = Hand::default();
        let first = hand.claim_within(Cursor::START, 10, 10, i64::MAX);
        assert_eq!(
            (ids(&first), first.cursor.fresh),
            (calls[..8].to_vec(), (0, calls[7]))
        );
        assert_eq!(
            ids(&hand.claim_within(first.cursor, 10, 10, i64::MAX)),
            calls[8..]
        );
    }

    #[pg_test]
    fn a_lap_goes_on_at_the_first_row_of_another_lot() {
        set_up();
        let rows: Vec<i64> = (0..5).map(|_| insert(None)).collect();
        run(&format!(
            "UPDATE etl.queue SET lot = 1, fresh = false WHERE id = {}",
            rows[0]
        ));
        let mut hand = Hand::default();
        let first = hand.claim_within(Cursor::START, 3, 3, i64::MAX);
        assert_eq!(
            (ids(&first), first.cursor.fresh),
            (rows[..1].to_vec(), Cursor::BEGUN)
        );
        let second = hand.claim_within(first.cursor, 3, 3, i64::MAX);
        assert_eq!(ids(&second), rows[1..4]);
    }
}
