//! The settle: what becomes of a claimed row, and that a late settle changes nothing.

#[pgrx::pg_schema]
mod tests {
    use std::time::Duration;

    use pg_etl_core::failure::ErrorClass;
    use pg_etl_core::outbox::{Remaining, Status, record_name};
    use pgrx::prelude::*;

    use crate::tests::ground::{
        Hand, delivered, ids, insert, insert_row, maybe, one, queued, run, set_up, status,
    };

    fn claims() -> i64 {
        one("SELECT count(*) FROM etl.claims")
    }

    #[pg_test]
    fn a_delivered_row_is_done_and_its_record_known() {
        set_up();
        let id = insert(Some("ada"));
        let mut hand = Hand::default();
        let claimed = hand.claim(10);
        let tally = hand.settle(claimed.claim, vec![delivered(&claimed, id)]);
        assert_eq!((tally.done, tally.retried, tally.failed), (1, 0, 0));
        assert!(one::<bool>(&format!(
            "SELECT status = 'done' AND odoo_id = 7 AND finished_at IS NOT NULL AND locked_at IS NULL AND locked_by IS NULL AND attempts = 1 FROM ops.odoo_outbox WHERE id = {id}"
        )));
        assert_eq!(
            one::<i64>("SELECT odoo_id FROM etl.links WHERE record_key = 'ada'"),
            7
        );
        assert_eq!((queued(), claims()), (vec![], 0));
    }

    #[pg_test]
    fn a_delivered_delete_forgets_the_record() {
        set_up();
        run("INSERT INTO etl.links VALUES ('odoo', 'res.partner', md5('ada')::uuid, 'ada', 77)");
        let id = insert_row("record_key => 'ada'; operation => 'delete'; payload => '{}'");
        let mut hand = Hand::default();
        let claimed = hand.claim(10);
        hand.settle(claimed.claim, vec![delivered(&claimed, id)]);
        assert_eq!(one::<i64>("SELECT count(*) FROM etl.links"), 0);
    }

    #[pg_test]
    fn a_row_names_the_one_it_went_with() {
        set_up();
        let (first, last) = (insert(Some("ada")), insert(Some("ada")));
        let mut hand = Hand::default();
        let claimed = hand.claim(10);
        let mut joined = delivered(&claimed, first);
        joined.went_with = Some(last);
        hand.settle(claimed.claim, vec![joined, delivered(&claimed, last)]);
        let with = |id: i64| {
            maybe::<i64>(&format!(
                "SELECT went_with FROM ops.odoo_outbox WHERE id = {id}"
            ))
        };
        assert_eq!((with(first), with(last)), (Some(last), None));
    }

    /// Fails for want of a record; gives what became of the row: status and attempts.
    fn missing(key: &str, max_reached: bool) -> (String, i32) {
        let id = insert(Some("child"));
        let mut hand = Hand::default();
        // Alone: whatever else waits stays in the queue.
        run(&format!(
            "UPDATE etl.queue SET due = now() + interval '1 h', fresh = false WHERE id <> {id}"
        ));
        let claimed = hand.claim(10);
        let mut row = delivered(&claimed, id);
        (row.status, row.odoo_id, row.class, row.wait) = (
            if max_reached {
                Status::Failed
            } else {
                Status::Queued
            },
            None,
            Some(ErrorClass::Dependency),
            Duration::from_secs(5),
        );
        row.needs = Some(record_name("res.partner", key));
        hand.settle(claimed.claim, vec![row]);
        let attempts = one(&format!(
            "SELECT attempts FROM ops.odoo_outbox WHERE id = {id}"
        ));
        (status(id), attempts)
    }

    #[pg_test]
    fn waiting_for_a_record_that_is_on_its_way_costs_no_attempt() {
        set_up();
        insert(Some("parent"));
        assert_eq!(missing("parent", false), ("queued".to_owned(), 0));
    }

    #[pg_test]
    fn nor_the_last_attempt() {
        set_up();
        insert(Some("parent"));
        assert_eq!(missing("parent", true), ("queued".to_owned(), 0));
    }

    #[pg_test]
    fn waiting_for_a_record_that_nobody_makes_costs_attempts() {
        set_up();
        insert(Some("another"));
        assert_eq!(missing("parent", false), ("queued".to_owned(), 1));
    }

    #[pg_test]
    fn and_ends_as_a_dead_letter() {
        set_up();
        insert(Some("another"));
        assert_eq!(missing("parent", true), ("failed".to_owned(), 1));
    }

    #[pg_test]
    fn a_retried_row_waits_and_keeps_its_attempt() {
        set_up();
        let (id, younger) = (insert(Some("ada")), insert(Some("ada")));
        let mut hand = Hand::default();
        let claimed = hand.claim(1);
        let mut again = delivered(&claimed, id);
        (
            again.status,
            again.odoo_id,
            again.class,
            again.error,
            again.wait,
        ) = (
            Status::Queued,
            None,
            Some(ErrorClass::Conflict),
            Some("busy".into()),
            Duration::from_secs(60),
        );
        assert_eq!(hand.settle(claimed.claim, vec![again]).retried, 1);
        assert!(one::<bool>(&format!(
            "SELECT status = 'queued' AND attempts = 1 AND next_run_at > now() + interval '50 s' AND last_error = 'busy' AND error_class = 'conflict' FROM ops.odoo_outbox WHERE id = {id}"
        )));
        assert!(one::<bool>(&format!(
            "SELECT NOT fresh AND due > now() + interval '50 s' FROM etl.queue WHERE id = {id}"
        )));
        assert!(
            hand.claimed_ids(10).is_empty(),
            "{younger} waits for the older row of its record"
        );
    }

    #[pg_test]
    fn what_was_not_sent_costs_no_attempt() {
        set_up();
        let id = insert(None);
        let mut hand = Hand::default();
        let claimed = hand.claim(1);
        let mut back = delivered(&claimed, id);
        (back.status, back.odoo_id, back.refund) = (Status::Queued, None, true);
        hand.settle(claimed.claim, vec![back]);
        assert_eq!(
            one::<i32>(&format!(
                "SELECT attempts FROM ops.odoo_outbox WHERE id = {id}"
            )),
            0
        );
        assert_eq!(hand.claimed_ids(10), [id], "and is due at once");
    }

    #[pg_test]
    fn a_dead_letter_says_why_and_lets_its_record_go_on() {
        set_up();
        let (id, younger) = (insert(Some("ada")), insert(Some("ada")));
        let mut hand = Hand::default();
        let claimed = hand.claim(1);
        let mut dead = delivered(&claimed, id);
        (dead.status, dead.odoo_id, dead.class, dead.error) = (
            Status::Failed,
            None,
            Some(ErrorClass::Invalid),
            Some("The VAT number is wrong".into()),
        );
        assert_eq!(hand.settle(claimed.claim, vec![dead]).failed, 1);
        assert_eq!(
            one::<String>(&format!(
                "SELECT last_error FROM etl.dead_letters WHERE id = {id}"
            )),
            "The VAT number is wrong"
        );
        assert_eq!(hand.claimed_ids(10), [younger]);
    }

    #[pg_test]
    fn a_late_settle_changes_nothing_of_a_row_taken_back() {
        set_up();
        let id = insert(Some("ada"));
        let mut hand = Hand::default();
        let first = hand.claim(1);
        run(&format!(
            "UPDATE ops.odoo_outbox SET status = 'queued' WHERE id = {id}"
        ));
        assert_eq!(
            hand.settle(first.claim, vec![delivered(&first, id)]).done,
            0,
            "the row was taken back"
        );
        assert_eq!(status(id), "queued");
        let second = hand.claim(1);
        assert_eq!(ids(&second), [id]);
        assert_eq!(
            hand.settle(first.claim, vec![delivered(&first, id)]).done,
            0,
            "the row is another claim's"
        );
        assert_eq!(status(id), "processing");
        assert_eq!(one::<i64>("SELECT count(*) FROM etl.links"), 0);
        assert_eq!(
            hand.settle(second.claim, vec![delivered(&second, id)]).done,
            1
        );
        assert_eq!(
            hand.settle(second.claim, vec![delivered(&second, id)]).done,
            0,
            "a settle counts once"
        );
    }

    #[pg_test]
    fn a_row_cancelled_on_its_way_stays_cancelled() {
        set_up();
        let id = insert(None);
        let mut hand = Hand::default();
        let claimed = hand.claim(1);
        run(&format!(
            "UPDATE ops.odoo_outbox SET status = 'cancelled' WHERE id = {id}"
        ));
        hand.settle(claimed.claim, vec![delivered(&claimed, id)]);
        assert_eq!((status(id).as_str(), claims()), ("cancelled", 0));
    }

    #[pg_test]
    fn a_row_deleted_on_its_way_stays_gone() {
        set_up();
        let id = insert(None);
        let mut hand = Hand::default();
        let claimed = hand.claim(1);
        run("DELETE FROM ops.odoo_outbox");
        assert_eq!(
            hand.settle(claimed.claim, vec![delivered(&claimed, id)])
                .done,
            0
        );
        assert_eq!(
            (one::<i64>("SELECT count(*) FROM ops.odoo_outbox"), claims()),
            (0, 0)
        );
    }

    #[pg_test]
    fn a_claim_shrinks_to_what_is_still_on_its_way() {
        set_up();
        let (ada, bob) = (insert(Some("ada")), insert(Some("bob")));
        let mut hand = Hand::default();
        let claimed = hand.claim(10);
        let key = claimed.rows[1].key.expect("a record key");
        hand.settle_part(
            claimed.claim,
            vec![delivered(&claimed, ada)],
            Remaining {
                claim: claimed.claim,
                ids: vec![bob],
                keys: vec![key],
            },
        );
        assert_eq!(one::<Vec<i64>>("SELECT ids FROM etl.claims"), [bob]);
        let (next_ada, next_bob) = (insert(Some("ada")), insert(Some("bob")));
        assert_eq!(
            hand.claimed_ids(10),
            [next_ada],
            "{next_bob} waits for {bob}, which is on its way"
        );
    }

    #[pg_test]
    fn an_unknown_outcome_holds_the_record() {
        set_up();
        let (id, younger) = (insert(Some("ada")), insert(Some("ada")));
        let mut hand = Hand::default();
        let claimed = hand.claim(1);
        let mut unknown = delivered(&claimed, id);
        (unknown.status, unknown.odoo_id, unknown.class, unknown.hold) = (
            Status::Failed,
            None,
            Some(ErrorClass::Unknown),
            Some(Duration::from_secs(60)),
        );
        hand.settle(claimed.claim, vec![unknown]);
        assert!(
            hand.claimed_ids(10).is_empty(),
            "{younger} could be overwritten by the old request"
        );
        assert_eq!(
            maybe::<bool>("SELECT until > now() + interval '50 s' FROM etl.holds"),
            Some(true)
        );
    }
}
