//! What a dead worker held comes back, in halves; what cannot be repeated does not.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::tests::ground::{
        Hand, NOBODY, delivered, insert, insert_row, one, queued, recover, run, set_up, status,
    };

    /// A number that no session has, and not [`NOBODY`].
    const SELF: i64 = NOBODY + 1;

    #[pg_test]
    fn the_living_keep_what_they_hold() {
        set_up();
        let id = insert(Some("ada"));
        Hand::default().claim(10);
        // Asked by the owner of the claim itself.
        assert_eq!(recover(NOBODY).retried, 0);
        assert_eq!((status(id).as_str(), queued().len()), ("processing", 0));
    }

    #[pg_test]
    fn the_dead_give_back_in_halves_and_a_crash_is_counted() {
        set_up();
        let rows: Vec<i64> = (0..5).map(|_| insert(None)).collect();
        let mut hand = Hand::default();
        hand.claim(10);
        assert_eq!(recover(SELF).retried, 5);
        assert_eq!(queued(), rows);
        assert_eq!(one::<i64>("SELECT count(*) FROM etl.claims"), 0);
        let halves: Vec<String> = one(
            "SELECT array_agg(ids ORDER BY ids) FROM (SELECT array_agg(id ORDER BY id)::text AS ids FROM etl.queue GROUP BY lot) x",
        );
        let text = |ids: &[i64]| {
            format!(
                "{{{}}}",
                ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
            )
        };
        assert_eq!(halves, [text(&rows[..2]), text(&rows[2..])]);
        assert_eq!(
            one::<i64>(
                "SELECT count(*) FROM ops.odoo_outbox WHERE crashes = 1 AND attempts = 1 AND status = 'queued'"
            ),
            5
        );
        assert_eq!(
            hand.claimed_ids(100),
            rows[..2],
            "the halves go one after the other"
        );
    }

    #[pg_test]
    fn rows_of_one_record_come_back_together() {
        set_up();
        let ada = [
            insert(Some("ada")),
            insert(Some("ada")),
            insert(Some("ada")),
        ];
        let others: Vec<i64> = (0..3).map(|_| insert(None)).collect();
        let mut hand = Hand::default();
        hand.claim(10);
        recover(SELF);
        assert_eq!(
            hand.claimed_ids(100),
            [ada[0], ada[1], ada[2], others[0]],
            "two of four records, and all rows of each"
        );
    }

    #[pg_test]
    fn a_killer_among_the_rows_of_one_record_is_found_in_the_end() {
        set_up();
        let rows: Vec<i64> = (0..5).map(|_| insert(Some("ada"))).collect();
        let killer = rows[3];
        let mut hand = Hand::default();
        let mut claims = 0;
        while !queued().is_empty() {
            claims += 1;
            assert!(claims < 60, "it never ends");
            let claimed = hand.claim(100);
            let held: Vec<i64> = claimed.rows.iter().map(|row| row.id).collect();
            if held.contains(&killer) {
                recover(SELF);
                run("DELETE FROM etl.holds");
                continue;
            }
            let settled = held.iter().map(|id| delivered(&claimed, *id)).collect();
            hand.settle(claimed.claim, settled);
        }
        let dead: Vec<i64> =
            one("SELECT array_agg(id) FROM ops.odoo_outbox WHERE status = 'failed'");
        assert_eq!(dead, [killer]);
    }

    #[pg_test]
    fn the_row_that_kills_is_found_and_given_up() {
        set_up();
        let killer = insert(Some("killer"));
        let innocent: Vec<i64> = (0..3).map(|_| insert(None)).collect();
        let mut hand = Hand::default();
        let mut claims = 0;
        // A worker dies whenever it holds the killer; else it delivers.
        while !queued().is_empty() {
            claims += 1;
            assert!(claims < 50, "it never ends");
            let claimed = hand.claim(100);
            if claimed.rows.iter().any(|row| row.id == killer) {
                recover(SELF);
            } else {
                let settled = claimed
                    .rows
                    .iter()
                    .map(|row| delivered(&claimed, row.id))
                    .collect();
                hand.settle(claimed.claim, settled);
            }
        }
        assert_eq!(
            one::<String>(&format!(
                "SELECT error_class FROM ops.odoo_outbox WHERE id = {killer}"
            )),
            "crashed"
        );
        assert_eq!(status(killer), "failed");
        assert!(innocent.iter().all(|id| status(*id) == "done"));
    }

    #[pg_test]
    fn a_bare_call_is_not_repeated() {
        set_up();
        let bare =
            insert_row("operation => 'call'; payload => '{\"method\": \"x\", \"ids\": [1]}'");
        let checkable = insert_row(
            "operation => 'call'; payload => '{\"method\": \"x\", \"ids\": [2], \"unless\": []}'",
        );
        Hand::default().claim(10);
        let tally = recover(SELF);
        assert_eq!((tally.retried, tally.failed), (1, 1));
        assert_eq!(
            (status(bare).as_str(), status(checkable).as_str()),
            ("failed", "queued")
        );
        assert!(
            one::<String>(&format!(
                "SELECT last_error FROM ops.odoo_outbox WHERE id = {bare}"
            ))
            .contains("etl.replay")
        );
    }

    #[pg_test]
    fn the_records_of_a_dead_workers_updates_are_held() {
        set_up();
        let (sent, later) = (insert(Some("ada")), insert(Some("ada")));
        let mut hand = Hand::default();
        hand.claim(1);
        recover(SELF);
        assert_eq!(
            hand.claimed_ids(10),
            [sent],
            "{later} could be overwritten by the request that Odoo may still run"
        );
    }

    #[pg_test]
    fn a_row_taken_back_by_hand_is_not_the_dead_workers() {
        set_up();
        let id = insert(Some("ada"));
        Hand::default().claim(1);
        run(&format!(
            "UPDATE ops.odoo_outbox SET status = 'cancelled' WHERE id = {id}"
        ));
        assert_eq!(recover(SELF).retried, 0);
        assert_eq!(
            (
                status(id).as_str(),
                one::<i64>("SELECT count(*) FROM etl.claims")
            ),
            ("cancelled", 0)
        );
    }

    /// Claims and delivers until nothing waits; every claim must take something.
    fn deliver_all(hand: &mut Hand) {
        while !queued().is_empty() {
            let claimed = hand.claim(100);
            assert!(
                !claimed.rows.is_empty(),
                "rows wait and none can be claimed: {:?}",
                queued()
            );
            let settled = claimed
                .rows
                .iter()
                .map(|row| delivered(&claimed, row.id))
                .collect();
            hand.settle(claimed.claim, settled);
        }
    }

    fn lot(id: i64, lot: &str) {
        run(&format!(
            "UPDATE etl.queue SET lot = {lot}, fresh = false WHERE id = {id}"
        ));
    }

    #[pg_test]
    fn lots_never_lock_each_other_up_whatever_their_numbers() {
        set_up();
        let rows = [
            insert(Some("ada")),
            insert(None),
            insert(None),
            insert(Some("ada")),
        ];
        for (id, number) in rows.into_iter().zip(["2", "2", "1", "1"]) {
            lot(id, number);
        }
        deliver_all(&mut Hand::default());
    }

    #[pg_test]
    fn lots_never_lock_each_other_up_when_one_dies_again() {
        set_up();
        let rows = [
            insert(Some("ada")),
            insert(None),
            insert(None),
            insert(Some("ada")),
        ];
        let mut hand = Hand::default();
        hand.claim(10);
        recover(SELF);
        assert_eq!(
            hand.claimed_ids(10),
            [rows[0], rows[3]],
            "the rows of one record go together"
        );
        recover(SELF);
        run("DELETE FROM etl.holds");
        deliver_all(&mut hand);
    }

    #[pg_test]
    fn lots_never_lock_each_other_up_behind_a_row_without_one() {
        set_up();
        let (replayed, recovered) = (insert(Some("ada")), insert(Some("ada")));
        lot(recovered, "3");
        let mut hand = Hand::default();
        assert_eq!(
            hand.claimed_ids(1),
            [replayed],
            "the older row of the record goes first"
        );
        hand.claim(10);
        recover(SELF);
        run("DELETE FROM etl.holds");
        deliver_all(&mut hand);
    }
}
