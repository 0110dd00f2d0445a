-- The open run of connection $1; a new one where there is none or it was closed by hand.
WITH known AS (
  SELECT s.connection, r.id FROM etl.connection_state s
  LEFT JOIN ops.odoo_sync_runs r ON r.id = s.run_id AND r.status = 'running'
  WHERE s.connection = $1
),
opened AS (
  INSERT INTO ops.odoo_sync_runs (direction, status, started_at, meta)
  SELECT 'sb_to_odoo', 'running', clock_timestamp(),
         jsonb_build_object('connection', k.connection, 'claimed', 0, 'done', 0, 'retried', 0, 'failed', 0, 'calls', 0)
  FROM known k WHERE k.id IS NULL
  RETURNING id
),
noted AS (UPDATE etl.connection_state s SET run_id = o.id FROM opened o WHERE s.connection = $1)
SELECT id FROM opened UNION ALL SELECT id FROM known WHERE id IS NOT NULL
