-- Takes back what dead workers held. Nobody knows what took effect: rows whose sending is safe to repeat go back, in halves, so
-- that a row that kills workers ends up alone; a call that cannot be checked becomes a dead letter.
-- $1 own number, $2 crashes after which a row that is alone is given up, $3 seconds that later rows of its key wait, $4 crashes after
-- which the rows of one record are taken apart too
WITH dead AS MATERIALIZED (
  SELECT c.claim, c.connection, c.ids FROM etl.claims c
  WHERE c.owner <> $1 AND NOT etl._owner_alive(c.owner)
  FOR UPDATE SKIP LOCKED
),
gone AS (DELETE FROM etl.claims c USING dead d WHERE c.claim = d.claim),
mine AS MATERIALIZED (
  SELECT d.claim, o.id, coalesce(o.crashes, 0) AS crashes, cardinality(d.ids) = 1 AS alone,
         etl._key_hash(o.model, o.record_key, o.payload) AS key
  FROM dead d CROSS JOIN LATERAL unnest(d.ids) AS u (id) JOIN ops.odoo_outbox o ON o.id = u.id AND o.claim = d.claim
),
-- The rows of one record may have gone as one, and an older one that went again by itself would set it back: they stay together, but
-- for a record that has been there at every crash.
groups AS MATERIALIZED (
  SELECT m.claim, m.id, m.alone, m.key, m.crashes,
         dense_rank() OVER (PARTITION BY m.claim ORDER BY m.first) AS n
  FROM (SELECT m.*, CASE WHEN m.key IS NULL OR max(m.crashes) OVER k >= $4 THEN m.id ELSE min(m.id) OVER k END AS first
        FROM mine m WINDOW k AS (PARTITION BY m.claim, m.key)) m
),
halves AS MATERIALIZED (
  SELECT g.claim, g.id, g.alone, g.key, g.crashes, g.n * 2 <= max(g.n) OVER (PARTITION BY g.claim) AS first_half FROM groups g
),
lots AS MATERIALIZED (
  SELECT x.claim, x.first_half, nextval('etl.lot_seq') AS lot
  FROM (SELECT DISTINCT h.claim, h.first_half FROM halves h ORDER BY h.claim, h.first_half DESC) x
),
verdict AS MATERIALIZED (
  SELECT o.id, h.claim, l.lot, h.key,
         CASE WHEN h.alone AND h.crashes + 1 >= $2 THEN 'crashed'
              WHEN o.operation = 'call' AND NOT o.payload ? 'unless' THEN 'unknown' END AS class
  FROM halves h JOIN lots l ON l.claim = h.claim AND l.first_half = h.first_half
  JOIN ops.odoo_outbox o ON o.id = h.id AND o.claim = h.claim
),
back AS (
  UPDATE ops.odoo_outbox o
  SET status = CASE WHEN v.class IS NULL THEN 'queued' ELSE 'failed' END,
      error_class = coalesce(v.class, 'unknown'),
      last_error = CASE v.class
        WHEN 'crashed' THEN 'the worker died ' || coalesce(o.crashes, 0) + 1 || ' times while it held this row alone'
        WHEN 'unknown' THEN 'the worker died while this call was on its way: nobody knows whether it took effect. Look in Odoo; if it did not: SELECT etl.replay(' || o.id || ', force => true)'
        ELSE 'the worker died while this row was on its way; sent again' END,
      crashes = coalesce(o.crashes, 0) + 1,
      finished_at = CASE WHEN v.class IS NOT NULL THEN clock_timestamp() END,
      locked_at = NULL, locked_by = NULL, claim = -v.claim
  FROM verdict v WHERE o.id = v.id AND o.claim = v.claim
  RETURNING o.id, o.status, coalesce(o.connection, 'odoo') AS connection, o.model, o.operation, o.payload, o.priority, o.next_run_at, v.key, v.lot
),
requeued AS (
  INSERT INTO etl.queue (id, connection, rank, key_hash, due, fresh, lot)
  SELECT b.id, b.connection, -coalesce(b.priority, 0)::int, b.key, etl._due(b.next_run_at), false, b.lot
  FROM back b WHERE b.status = 'queued'
  ON CONFLICT (id) DO NOTHING
),
counted AS (
  INSERT INTO etl.counts (connection, model, operation, status, rows)
  SELECT b.connection, b.model, b.operation, x.status, sum(x.n) FROM back b CROSS JOIN LATERAL (VALUES ('queued', -1), ('failed', 1)) x (status, n)
  WHERE b.status = 'failed' GROUP BY 1, 2, 3, 4
),
given_up AS (INSERT INTO etl.failures (id) SELECT b.id FROM back b WHERE b.status = 'failed' ON CONFLICT DO NOTHING),
-- The rows on their way were the last of their keys: each key is held after the youngest of them.
held AS (
  INSERT INTO etl.holds AS h (connection, key_hash, after_id, until, deletes_only)
  SELECT b.connection, b.key, max(b.id), clock_timestamp() + $3 * interval '1 s', bool_and(b.operation = 'create' AND etl._is_flat(b.payload))
  FROM back b WHERE b.key IS NOT NULL AND b.operation <> 'delete' AND $3 > 0
  GROUP BY b.connection, b.key
  ON CONFLICT (connection, key_hash) DO UPDATE SET after_id = excluded.after_id, until = greatest(h.until, excluded.until),
    deletes_only = excluded.deletes_only AND (h.deletes_only OR h.until <= now())
)
SELECT count(*) FILTER (WHERE b.status = 'queued') AS retried, count(*) FILTER (WHERE b.status = 'failed') AS failed FROM back b
