-- What there is to do, per connection. $1: kinds of connections.
SELECT c.name, c.kind, c.url, c.options, c.secret,
       s.paused_at IS NOT NULL AS paused,
       coalesce(s.refused, false) AS refused,
       coalesce(s.failures, 0) AS failures,
       extract(epoch FROM s.probe_at - now())::float8 AS probe_in,
       extract(epoch FROM s.throttled_until - now())::float8 AS throttled_for,
       s.protocol, s.run_id,
       EXISTS (SELECT FROM etl.queue q WHERE q.connection = c.name AND q.fresh) AS has_fresh,
       extract(epoch FROM (SELECT min(q.due) FROM etl.queue q WHERE q.connection = c.name AND NOT q.fresh) - now())::float8 AS due_in,
       extract(epoch FROM (SELECT min(h.until) FROM etl.holds h WHERE h.connection = c.name AND h.until > now()) - now())::float8 AS held_for
FROM etl.connections c
LEFT JOIN etl.connection_state s ON s.connection = c.name
WHERE c.kind = ANY ($1)
ORDER BY c.name
