//! The triggers that keep `etl.queue` what the outbox says, whatever is done to the outbox by hand.

#[pgrx::pg_schema]
mod tests {
    use pg_etl_core::failure::ErrorClass;
    use pg_etl_core::outbox::Status;
    use pgrx::prelude::*;

    use crate::tests::ground::{
        Hand, counted, delivered, insert, insert_row, one, queued, run, set_up, status,
    };

    /// The queue is exactly what the outbox says, row by row.
    fn in_step() {
        let difference: i64 = one(
            "SELECT count(*) FROM (SELECT id, connection, -priority::int AS rank, etl._key_hash(model, record_key, payload) AS key, next_run_at
                                   FROM ops.odoo_outbox WHERE status = 'queued') o
             FULL JOIN etl.queue q ON q.id = o.id
             WHERE (o.id, o.connection, o.rank, o.key, o.next_run_at) IS DISTINCT FROM (q.id, q.connection, q.rank, q.key_hash, q.due)",
        );
        assert_eq!(difference, 0, "rows that differ between outbox and queue");
        counted();
    }

    #[pg_test]
    fn inserts_feed_the_queue() {
        set_up();
        let now = insert(Some("ada"));
        let later = insert_row("next_run_at => now() + interval '1 hour'");
        insert_row("status => 'done'");
        insert_row("status => 'failed'");
        run(
            "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key) SELECT 'res.partner', 'create', '{}', 'many ' || n FROM generate_series(1, 50) n",
        );
        assert_eq!(queued().len(), 52);
        assert!(one::<bool>(&format!(
            "SELECT fresh FROM etl.queue WHERE id = {now}"
        )));
        assert!(!one::<bool>(&format!(
            "SELECT fresh FROM etl.queue WHERE id = {later}"
        )));
        in_step();
    }

    #[pg_test]
    fn a_changed_row_waits_as_it_now_says() {
        set_up();
        let id = insert(Some("ada"));
        for change in [
            "priority = 5",
            "record_key = 'bob'",
            "record_key = NULL",
            "payload = '{\"odoo_id\": 7, \"name\": \"x\"}'",
            "model = 'res.company'",
            "next_run_at = now() + interval '1 day'",
            "connection = 'other'",
        ] {
            run(&format!(
                "UPDATE ops.odoo_outbox SET {change} WHERE id = {id}"
            ));
            in_step();
            assert_eq!(queued(), [id], "{change}");
        }
    }

    #[pg_test]
    fn a_row_taken_out_by_hand_leaves_and_comes_back() {
        set_up();
        let id = insert(Some("ada"));
        for gone in ["cancelled", "done", "failed"] {
            run(&format!(
                "UPDATE ops.odoo_outbox SET status = '{gone}' WHERE id = {id}"
            ));
            assert!(queued().is_empty(), "{gone}");
            run(&format!(
                "UPDATE ops.odoo_outbox SET status = 'queued' WHERE id = {id}"
            ));
            assert_eq!(queued(), [id], "{gone}");
            in_step();
        }
        // From one of them to another, and what is counted by itself.
        for change in [
            "status = 'failed'",
            "model = 'res.company'",
            "operation = 'update'",
            "status = 'done'",
            "status = 'failed'",
            "connection = 'other'",
        ] {
            run(&format!(
                "UPDATE ops.odoo_outbox SET {change} WHERE id = {id}"
            ));
            in_step();
        }
        run("SELECT etl._fold_counts()");
        in_step();
        assert_eq!(one::<i64>("SELECT count(*) FROM etl.counts"), 1);
    }

    #[pg_test]
    fn what_was_not_counted_is_counted_anew() {
        set_up();
        insert(Some("ada"));
        run("SET LOCAL session_replication_role = replica");
        insert_row("status => 'failed'");
        insert_row("status => 'processing'");
        insert(Some("bob"));
        run("SET LOCAL session_replication_role = origin");
        run("SELECT etl._recount()");
        counted();
        assert_eq!(one::<i64>("SELECT unseen FROM etl.instance"), 1, "bob");
        run("SELECT etl._rebuild_queue()");
        in_step();
        assert_eq!(one::<i64>("SELECT unseen FROM etl.instance"), 0);
    }

    #[pg_test]
    fn deleted_rows_leave_the_queue() {
        set_up();
        let (first, second) = (insert(Some("ada")), insert(Some("bob")));
        run(&format!("DELETE FROM ops.odoo_outbox WHERE id = {first}"));
        assert_eq!(queued(), [second]);
        run("DELETE FROM ops.odoo_outbox");
        assert!(queued().is_empty());
        in_step();
    }

    #[pg_test]
    fn truncate_empties_the_queue() {
        set_up();
        insert(Some("ada"));
        run("INSERT INTO etl.holds VALUES ('odoo', 1, 1, now() + interval '1 hour')");
        insert_row("status => 'failed'");
        run("TRUNCATE ops.odoo_outbox");
        assert!(queued().is_empty());
        in_step();
        assert_eq!(one::<i64>("SELECT count(*) FROM etl.holds"), 0);
        let id = insert(Some("ada"));
        assert_eq!(queued(), [id]);
    }

    #[pg_test]
    fn an_upsert_on_the_key_queues_the_row_once() {
        set_up();
        for _ in 0..2 {
            run("INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key) VALUES ('res.partner', 'create', '{}', 'k')
                 ON CONFLICT (idempotency_key) DO UPDATE SET payload = '{\"name\": \"Ada\"}', status = 'queued'");
            assert_eq!(queued().len(), 1);
            in_step();
        }
    }

    #[pg_test]
    fn a_hand_made_replay_starts_afresh() {
        set_up();
        let mut hand = Hand::default();
        let id = insert(Some("ada"));
        let claimed = hand.claim(10);
        let mut dead = delivered(&claimed, id);
        (dead.status, dead.odoo_id, dead.class, dead.error) = (
            Status::Failed,
            None,
            Some(ErrorClass::Invalid),
            Some("no".to_owned()),
        );
        hand.settle(claimed.claim, vec![dead]);
        assert_eq!(status(id), "failed");
        run(&format!(
            "UPDATE ops.odoo_outbox SET status = 'queued' WHERE id = {id}"
        ));
        assert!(one::<bool>(&format!(
            "SELECT attempts = 0 AND crashes = 0 AND claim IS NULL AND finished_at IS NULL AND error_class IS NULL AND next_run_at <= now() FROM ops.odoo_outbox WHERE id = {id}"
        )));
        assert_eq!(queued(), [id]);
        assert_eq!(hand.claimed_ids(10), [id]);
    }

    #[pg_test]
    fn another_column_changed_by_hand_changes_nothing() {
        set_up();
        let id = insert(Some("ada"));
        let mut hand = Hand::default();
        let claimed = hand.claim(10);
        run(&format!(
            "UPDATE ops.odoo_outbox SET last_error = 'seen', created_at = now() WHERE id = {id}"
        ));
        assert!(queued().is_empty(), "a row on its way is not queued again");
        let tally = hand.settle(claimed.claim, vec![delivered(&claimed, id)]);
        assert_eq!(tally.done, 1, "and is still the claim's");
    }
}
