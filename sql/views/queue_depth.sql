SELECT o.connection,
       greatest(o.rows - w.rows, 0) AS queued,
       greatest(o.rows - w.rows - l.rows, 0) AS due,
       l.rows AS waiting,
       w.rows AS processing,
       d.at AS oldest_due_at,
       greatest(extract(epoch FROM now() - d.at), 0)::numeric(20, 1) AS oldest_due_seconds
FROM (SELECT c.connection, sum(c.rows)::bigint AS rows FROM etl.counts c WHERE c.status = 'queued' GROUP BY c.connection HAVING sum(c.rows) > 0) o
CROSS JOIN LATERAL (SELECT coalesce(sum(cardinality(c.ids)), 0)::bigint AS rows FROM etl.claims c WHERE c.connection = o.connection) w
CROSS JOIN LATERAL (SELECT count(*) AS rows FROM etl.queue q WHERE q.connection = o.connection AND NOT q.fresh AND q.due > now()) l
CROSS JOIN LATERAL (SELECT etl._oldest_due(o.connection) AS at) d
