-- One row as a claim would read it. $1 its id
SELECT o.model, o.operation, o.payload::text AS payload, o.record_key, o.idempotency_key, o.attempts::int AS attempts,
       coalesce(o.odoo_id, l.odoo_id) AS odoo_id, etl._key_hash(o.model, o.record_key, o.payload) AS key, coalesce(o.priority, 0)::int AS priority, o.odoo_id IS NOT NULL AS own, o.connection, o.status
FROM ops.odoo_outbox o
LEFT JOIN etl.links l ON l.connection = o.connection AND l.model = o.model
  AND l.digest = md5(o.record_key)::uuid AND l.record_key = o.record_key
WHERE o.id = $1
