-- Stores one row, or finds the one that has its idempotency key. Returns its id and whether its content is the same.
-- $1 model, $2 operation, $3 payload, $4 record key, $5 idempotency key, $6 connection, $7 priority, $8 not before
WITH stored AS (
  INSERT INTO ops.odoo_outbox (model, operation, payload, record_key, idempotency_key, connection, priority, next_run_at)
  VALUES ($1, $2, $3, $4, coalesce($5, gen_random_uuid()::text), $6, $7, coalesce($8, now()))
  ON CONFLICT (idempotency_key) DO NOTHING
  RETURNING id
)
SELECT s.id, true AS same FROM stored s
UNION ALL
SELECT o.id, (o.model, o.operation, o.payload, o.record_key, o.connection) IS NOT DISTINCT FROM ($1, $2, $3, $4, $6)
FROM ops.odoo_outbox o
WHERE o.idempotency_key = $5 AND NOT EXISTS (SELECT FROM stored)
