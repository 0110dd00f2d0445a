SELECT q.connection,
       count(*) AS queued,
       count(*) FILTER (WHERE q.due <= now()) AS due,
       count(*) FILTER (WHERE NOT q.fresh AND q.due > now()) AS waiting,
       coalesce((SELECT sum(cardinality(c.ids)) FROM etl.claims c WHERE c.connection = q.connection), 0)::bigint AS processing,
       min(q.due) AS oldest_due_at,
       greatest(extract(epoch FROM now() - min(q.due)), 0)::numeric(20, 1) AS oldest_due_seconds
FROM etl.queue q
GROUP BY q.connection
