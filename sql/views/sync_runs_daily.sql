SELECT date_trunc('day', coalesce(r.started_at, r.created_at), 'UTC')::date AS day, r.direction, coalesce(r.meta ->> 'connection', 'odoo') AS connection, r.meta ->> 'model' AS model,
       count(*) AS runs,
       count(*) FILTER (WHERE r.status = 'succeeded') AS succeeded,
       count(*) FILTER (WHERE r.status = 'failed') AS failed,
       count(*) FILTER (WHERE r.status = 'running') AS running,
       avg(extract(epoch FROM r.finished_at - r.started_at)) FILTER (WHERE isfinite(r.finished_at) AND isfinite(r.started_at))::float8 AS mean_seconds,
       max(extract(epoch FROM r.finished_at - r.started_at)) FILTER (WHERE isfinite(r.finished_at) AND isfinite(r.started_at))::float8 AS max_seconds
FROM ops.odoo_sync_runs r
GROUP BY 1, 2, 3, 4
