SELECT b.hour, (b.connection COLLATE "default") AS connection, (b.model COLLATE "default") AS model, max(b.total)::bigint AS delivered,
       power(2, min(b.bucket) FILTER (WHERE b.upto >= 0.5::float8 * b.total) / 4::float8) AS p50_ms,
       power(2, min(b.bucket) FILTER (WHERE b.upto >= 0.95::float8 * b.total) / 4::float8) AS p95_ms,
       power(2, min(b.bucket) FILTER (WHERE b.upto >= 0.99::float8 * b.total) / 4::float8) AS p99_ms,
       power(2, max(b.bucket) / 4::float8) AS max_ms
FROM (SELECT g.*, sum(g.rows) OVER (PARTITION BY g.hour, g.connection, g.model ORDER BY g.bucket) AS upto, sum(g.rows) OVER (PARTITION BY g.hour, g.connection, g.model) AS total
      -- Sorted byte by byte, which is much quicker than by a language.
      FROM (SELECT date_trunc('hour', d.at, 'UTC') AS hour, d.connection COLLATE "C" AS connection, d.model COLLATE "C" AS model, d.bucket, sum(d.rows::float8) AS rows
            FROM etl.deliveries d WHERE d.outcome = 'done' AND d.at > timestamptz 'epoch' GROUP BY 1, 2, 3, 4) g) b
GROUP BY b.hour, b.connection, b.model
