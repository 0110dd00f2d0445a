//! `etl.enqueue()`: what it stores, and what it says of what it refuses.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::tests::ground::{insert, one, refused, run, set_up};

    /// Refused with this SQLSTATE, these words in the message, and a hint; stores nothing.
    fn refuses(arguments: &str, sqlstate: &str, words: &str) {
        let said = refused(&format!("SELECT etl.enqueue({arguments})"));
        assert_eq!(said.sqlstate, sqlstate, "{arguments}: {}", said.message);
        assert!(
            said.message.contains(words),
            "{arguments}: {}",
            said.message
        );
        assert!(
            !said.hint.is_empty(),
            "{arguments} is refused without a hint: {}",
            said.message
        );
        assert_eq!(
            one::<i64>("SELECT count(*) FROM ops.odoo_outbox"),
            0,
            "{arguments}"
        );
    }

    #[pg_test]
    fn before_setup_it_says_what_to_do() {
        let said = refused("SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Ada\"}')");
        assert_eq!(
            (said.sqlstate.as_str(), said.hint.as_str()),
            ("55000", "SELECT etl.setup();")
        );
    }

    #[pg_test]
    fn everything_it_is_told_is_stored() {
        set_up();
        let id: i64 = one(
            "SELECT etl.enqueue('res.partner', 'upsert', '{\"name\": \"Ada\"}', record_key => 'ada', idempotency_key => 'k1', \
                           priority => 3::smallint, not_before => '2100-01-01 00:00:00+00')",
        );
        let stored = format!(
            "SELECT (model, operation, payload, record_key, idempotency_key, connection, priority, next_run_at, status, attempts)
                  = ('res.partner', 'upsert', '{{\"name\": \"Ada\"}}'::jsonb, 'ada', 'k1', 'odoo', 3::smallint, '2100-01-01 00:00:00+00'::timestamptz, 'queued', 0)
             FROM ops.odoo_outbox WHERE id = {id}"
        );
        assert!(one::<bool>(&stored));
        assert!(one::<bool>(&format!(
            "SELECT (rank, due, fresh) = (-3, '2100-01-01 00:00:00+00'::timestamptz, false) FROM etl.queue WHERE id = {id}"
        )));
    }

    #[pg_test]
    fn the_same_key_and_content_is_the_same_row() {
        set_up();
        let call = "SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Ada\", \"city\": \"London\"}', idempotency_key => 'once')";
        let first: i64 = one(call);
        assert_eq!(one::<i64>(call), first);
        // The order of a jsonb's keys is no difference.
        let turned = "SELECT etl.enqueue('res.partner', 'create', '{\"city\": \"London\", \"name\": \"Ada\"}', idempotency_key => 'once')";
        assert_eq!(one::<i64>(turned), first);
        assert_eq!(one::<i64>("SELECT count(*) FROM ops.odoo_outbox"), 1);
    }

    #[pg_test]
    fn the_same_key_with_other_content_is_an_error() {
        set_up();
        run(
            "SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Ada\"}', idempotency_key => 'once')",
        );
        for other in [
            "'res.partner', 'create', '{\"name\": \"Bob\"}'",
            "'res.partner', 'upsert', '{\"name\": \"Ada\"}'",
            "'res.company', 'create', '{\"name\": \"Ada\"}'",
            "'res.partner', 'create', '{\"name\": \"Ada\"}', record_key => 'ada'",
        ] {
            let said = refused(&format!(
                "SELECT etl.enqueue({other}, idempotency_key => 'once')"
            ));
            assert_eq!(said.sqlstate, "23505", "{other}: {}", said.message);
            assert!(
                !said.hint.is_empty() && said.message.contains("once"),
                "{}",
                said.message
            );
        }
        assert_eq!(one::<i64>("SELECT count(*) FROM ops.odoo_outbox"), 1);
    }

    #[pg_test]
    fn without_a_key_every_call_is_a_row() {
        set_up();
        let call = "SELECT etl.enqueue('res.partner', 'create', '{\"name\": \"Ada\"}')";
        assert_ne!(one::<i64>(call), one::<i64>(call));
    }

    #[pg_test]
    fn what_nobody_can_deliver_is_refused_with_a_hint() {
        set_up();
        refuses("NULL, 'create', '{}'", "22004", "must not be null");
        refuses("'res.partner', NULL, '{}'", "22004", "must not be null");
        refuses("'res.partner', 'create', NULL", "22004", "must not be null");
        refuses(
            "'', 'create', '{}'",
            "22023",
            "not the name of an Odoo model",
        );
        refuses(
            "'Res.Partner', 'create', '{}'",
            "22023",
            "not the name of an Odoo model",
        );
        refuses(
            "'res.partner', 'merge', '{}'",
            "22023",
            "operation \"merge\" is not known",
        );
        refuses("'res.partner', 'create', '[1]'", "22023", "not an object");
        refuses("'res.partner', 'create', 'null'", "22023", "not an object");
        refuses(
            "'res.partner', 'create', '\"Ada\"'",
            "22023",
            "not an object",
        );
        refuses(
            "'res.partner', 'update', '{\"name\": \"Ada\"}'",
            "22023",
            "must name its record",
        );
        refuses(
            "'res.partner', 'update', '{\"odoo_id\": 7}'",
            "22023",
            "changes nothing",
        );
        refuses(
            "'res.partner', 'create', '{}', connection => 'nowhere'",
            "42704",
            "does not exist",
        );
        refuses(
            "'res.partner', 'create', '{}', idempotency_key => ''",
            "22023",
            "idempotency_key",
        );
        refuses(
            "'res.partner', 'create', '{}', idempotency_key => repeat('k', 10000)",
            "22023",
            "idempotency_key",
        );
    }

    #[pg_test]
    fn a_delete_must_name_a_record_that_can_exist() {
        set_up();
        for unknown in [
            "{}",
            r#"{"odoo_id": 0}"#,
            r#"{"odoo_id": null}"#,
            r#"{"odoo_id": false}"#,
            r#"{"id": 0}"#,
        ] {
            refuses(
                &format!("'res.partner', 'delete', '{unknown}'"),
                "22023",
                "must name its record",
            );
        }
        for impossible in [
            r#"{"odoo_id": -7}"#,
            r#"{"id": 9223372036854775808}"#,
            r#"{"id": 1.5}"#,
            r#"{"odoo_id": true}"#,
            r#"{"odoo_id": [7]}"#,
            r#"{"odoo_id": "seven"}"#,
        ] {
            refuses(
                &format!("'res.partner', 'delete', '{impossible}'"),
                "22023",
                "not the id of an Odoo record",
            );
        }
    }

    #[pg_test]
    fn calls_are_checked_before_they_are_stored() {
        set_up();
        for (call, words) in [
            (r#"{}"#, "must name its method"),
            (r#"{"method": 7}"#, "must name its method"),
            (r#"{"method": "_private"}"#, "private method"),
            (r#"{"method": "x", "ids": 7}"#, "list of Odoo ids"),
            (r#"{"method": "x", "ids": [0]}"#, "cannot exist"),
            (
                r#"{"method": "x", "arguments": []}"#,
                "has no \"arguments\"",
            ),
            (r#"{"method": "x", "unless": {}}"#, "must be lists"),
        ] {
            refuses(&format!("'sale.order', 'call', '{call}'"), "22023", words);
        }
    }

    #[pg_test]
    fn a_refusal_leaves_the_rest_of_the_transaction() {
        set_up();
        let before = insert(Some("ada"));
        let said = refused("SELECT etl.enqueue('res.partner', 'merge', '{}')");
        assert!(said.hint.contains("upsert"), "{}", said.hint);
        assert_eq!(one::<i64>("SELECT min(id) FROM ops.odoo_outbox"), before);
    }
}
