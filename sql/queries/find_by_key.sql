-- The row that has an idempotency key, and whether its content is the same. A statement of its own, so that it sees a row whose
-- transaction committed while the INSERT waited for it.
-- $1 model, $2 operation, $3 payload, $4 record key, $5 idempotency key, $6 connection
SELECT o.id, (o.model, o.operation, o.payload, o.record_key, o.connection) IS NOT DISTINCT FROM ($1, $2, $3, $4, $6) AS same
FROM ops.odoo_outbox o WHERE o.idempotency_key = $5
