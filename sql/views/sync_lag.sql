SELECT coalesce(nullif(split_part(k.name, '@', 2), ''), 'odoo') AS connection, split_part(k.name, '@', 1) AS model, c.value ->> 'table' AS "table",
       CASE WHEN c.value ? 'paused' THEN 'paused'
            WHEN p.run_id IS NOT NULL THEN 'pulling'
            WHEN p.failures > 0 THEN 'failing'
            WHEN p.finished_at IS NULL THEN 'not pulled yet'
            ELSE 'ok' END AS state,
       etl._instant(x.cursor ->> 'at') AS synced_to,
       extract(epoch FROM now() - etl._instant(x.cursor ->> 'at'))::float8 AS lag_seconds,
       p.mode AS running_mode, CASE WHEN p.run_id IS NOT NULL THEN p.read END AS running_rows,
       p.finished_at, p.reconciled_at, p.last_run, p.failures, p.not_before AS next_try_at, p.error_class, p.last_error,
       coalesce(p.remedy, c.value ->> 'paused') AS remedy
FROM ops.odoo_sync_config c
CROSS JOIN LATERAL (SELECT substr(c.key, length('odoo_to_sb:') + 1) AS name) k
LEFT JOIN etl.pulls p ON p.connection = coalesce(nullif(split_part(k.name, '@', 2), ''), 'odoo') AND p.model = split_part(k.name, '@', 1)
LEFT JOIN ops.odoo_sync_checkpoints x ON x.key = c.key
WHERE starts_with(c.key, 'odoo_to_sb:') AND jsonb_typeof(c.value -> 'table') = 'string'
