WITH sending AS MATERIALIZED (
  SELECT coalesce(o.connection, 'odoo') AS connection, o.model, o.operation, count(*) AS rows
  -- Row by row: however many the planner expects, it must not read the whole outbox.
  FROM etl.claims c CROSS JOIN LATERAL unnest(c.ids) AS u (id)
  CROSS JOIN LATERAL (SELECT o.connection, o.model, o.operation FROM ops.odoo_outbox o WHERE o.id = u.id AND o.claim = c.claim AND o.status = 'processing' OFFSET 0) o
  GROUP BY 1, 2, 3
)
SELECT s.connection, s.model, s.operation, s.status, sum(s.rows)::bigint AS row_count
FROM (SELECT c.connection, c.model, c.operation, c.status, c.rows FROM etl.counts c
      UNION ALL SELECT x.connection, x.model, x.operation, 'queued', -x.rows FROM sending x
      UNION ALL SELECT x.connection, x.model, x.operation, 'processing', x.rows FROM sending x) s
GROUP BY s.connection, s.model, s.operation, s.status
HAVING sum(s.rows) <> 0
