SELECT date_trunc('hour', d.at, 'UTC') AS hour, d.connection, d.model,
       coalesce(sum(d.rows) FILTER (WHERE d.outcome = 'done'), 0)::bigint AS delivered,
       coalesce(sum(d.rows) FILTER (WHERE d.outcome = 'failed'), 0)::bigint AS failed,
       coalesce(sum(d.rows) FILTER (WHERE d.outcome = 'retried'), 0)::bigint AS retried,
       (coalesce(sum(d.rows) FILTER (WHERE d.outcome = 'failed'), 0) / nullif(sum(d.rows) FILTER (WHERE d.outcome <> 'retried'), 0))::numeric(6, 5) AS error_rate
FROM etl.deliveries d
WHERE d.at > timestamptz 'epoch'
GROUP BY 1, 2, 3
