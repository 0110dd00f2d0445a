-- Stores one row; nothing where its idempotency key is taken (by whom, find_by_key.sql tells).
-- $1 model, $2 operation, $3 payload, $4 record key, $5 idempotency key, $6 connection, $7 priority, $8 not before
INSERT INTO ops.odoo_outbox (model, operation, payload, record_key, idempotency_key, connection, priority, next_run_at)
VALUES ($1, $2, $3, $4, coalesce($5, gen_random_uuid()::text), $6, $7, coalesce($8, now()))
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING id
