SELECT f.id, o.connection, o.model, o.operation, o.record_key, o.odoo_id, o.error_class, o.last_error, o.attempts, o.crashes,
       o.created_at, o.finished_at AS failed_at,
       format('SELECT etl.replay(%s);', o.id) AS replay_with
FROM etl.failures f JOIN ops.odoo_outbox o ON o.id = f.id AND o.status = 'failed'
