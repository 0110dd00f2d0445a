SELECT o.connection, o.model, o.operation, o.status, count(*) AS row_count,
       min(o.created_at) AS oldest_created_at, max(o.finished_at) AS last_finished_at
FROM ops.odoo_outbox o
GROUP BY o.connection, o.model, o.operation, o.status
