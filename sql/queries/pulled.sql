-- What became of the pulls of mirrors ($1 connections, $2 models) since $3 (seconds of the epoch).
SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('connection', w.c, 'model', w.m)
    || CASE WHEN r.id IS NOT NULL THEN jsonb_build_object('run', r.id, 'status', r.status) || (r.meta - 'checkpoint_before' - 'connection' - 'model')
            ELSE jsonb_build_object('status', CASE WHEN p.run_id IS NULL THEN 'failed' ELSE 'running' END) END
    || CASE WHEN r.status IS DISTINCT FROM 'succeeded' AND p.last_error IS NOT NULL
       THEN jsonb_build_object('error_class', p.error_class, 'error', p.last_error, 'remedy', p.remedy) ELSE '{}' END) ORDER BY w.c, w.m), '[]')
FROM unnest($1, $2) AS w(c, m)
LEFT JOIN etl.pulls p ON p.connection = w.c AND p.model = w.m
LEFT JOIN ops.odoo_sync_runs r ON r.id = p.last_run AND p.started_at >= to_timestamp($3) AND p.ended_at >= p.started_at
