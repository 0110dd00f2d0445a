SELECT d.day, d.direction, d.connection, d.model, d.runs, d.succeeded, d.failed, d.running, d.mean_seconds, d.max_seconds
FROM etl.run_days d
UNION ALL
SELECT r.day, r.direction, r.connection, r.model, r.runs, r.succeeded, r.failed, r.running, r.mean_seconds, r.max_seconds
FROM (SELECT coalesce((max(d.day) + 1)::timestamp AT TIME ZONE 'UTC', '-infinity') AS at FROM etl.run_days d) f
CROSS JOIN LATERAL etl._runs_by_day(f.at, 'infinity') r
