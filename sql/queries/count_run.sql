-- Adds to the open run of connection $1: $2 claimed, $3 done, $4 retried, $5 failed, $6 calls
UPDATE ops.odoo_sync_runs r
SET meta = r.meta || jsonb_build_object(
      'claimed', coalesce((r.meta ->> 'claimed')::bigint, 0) + $2,
      'done', coalesce((r.meta ->> 'done')::bigint, 0) + $3,
      'retried', coalesce((r.meta ->> 'retried')::bigint, 0) + $4,
      'failed', coalesce((r.meta ->> 'failed')::bigint, 0) + $5,
      'calls', coalesce((r.meta ->> 'calls')::bigint, 0) + $6)
FROM etl.connection_state s
WHERE s.connection = $1 AND r.id = s.run_id AND r.status = 'running'
