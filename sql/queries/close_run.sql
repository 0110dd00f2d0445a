-- Closes the open run of connection $1.
WITH closed AS (UPDATE etl.connection_state s SET run_id = NULL FROM (SELECT connection, run_id FROM etl.connection_state WHERE connection = $1) was
  WHERE s.connection = $1 AND s.run_id IS NOT NULL RETURNING was.run_id)
UPDATE ops.odoo_sync_runs r
SET status = CASE WHEN coalesce((r.meta ->> 'failed')::bigint, 0) > 0 THEN 'failed' ELSE 'succeeded' END,
    finished_at = clock_timestamp(),
    error = CASE WHEN coalesce((r.meta ->> 'failed')::bigint, 0) > 0
      THEN (r.meta ->> 'failed') || ' of ' || (r.meta ->> 'claimed') || ' claimed rows became dead letters: SELECT * FROM etl.dead_letters WHERE id IN (SELECT id FROM ops.odoo_outbox WHERE run_id = ' || r.id || ')' END
FROM closed c
WHERE r.id = c.run_id AND r.status = 'running'
