-- Claims due rows of one connection: out of the queue, into a claim, attempt counted. One statement, so one snapshot.
-- Two laps go round the queue, each in windows: one over the rows that are due as they came (by rank and id), one over those that were
-- scheduled or tried before (by due time and id). Without the cursors a window full of blocked rows would hide what is behind it.
-- $1 connection, $2 and $3 cursor of the first lap, $4 rows of a window, $5 claim, $6 owner, $7 bytes wanted, $8 locked_by, $9 run,
-- $10 and $11 cursor of the second lap (µs since 1970, id), $12 most calls that are sent at most once: what a crash makes dead letters,
-- $13 largest payload in bytes, $14 rows wanted
WITH seen AS MATERIALIZED (
  (SELECT q.id, q.key_hash AS k, q.lot, q.rank, q.due, false AS fresh
   FROM etl.queue q
   WHERE q.connection = $1 AND NOT q.fresh AND q.due <= now()
     AND (q.due, q.id) > (timestamptz 'epoch' + $10 * interval '1 microsecond', $11)
   ORDER BY q.due, q.id LIMIT greatest($4 / 4, 1))
  UNION ALL
  (SELECT q.id, q.key_hash, q.lot, q.rank, NULL, true
   FROM etl.queue q
   WHERE q.connection = $1 AND q.fresh AND (q.rank, q.id) > ($2, $3)
   ORDER BY q.rank, q.id LIMIT $4)
),
-- Rows of one record that were tried before may have gone as one, and may have taken effect: an older one that went again by itself
-- would set the record back. What is due of them comes along, whatever the window is. A row is as urgent as what waits behind it.
win AS MATERIALIZED (
  SELECT u.id, u.k, u.lot, u.fresh, u.rank AS own, min(u.rank) OVER back AS rank,
         u.k IS NOT NULL AND NOT u.fresh AND coalesce(NOT lead(u.fresh) OVER back, false) AS follows
  FROM (
    SELECT s.id, s.k, s.lot, s.rank, s.fresh FROM seen s
    UNION ALL
    SELECT m.id, d.k, m.lot, m.rank, false
    FROM (SELECT DISTINCT s.k FROM seen s WHERE s.k IS NOT NULL AND NOT s.fresh) d
    CROSS JOIN LATERAL (
      SELECT q.id, q.lot, q.rank, q.fresh, q.due FROM etl.queue q
      WHERE q.connection = $1 AND q.key_hash = d.k ORDER BY q.id LIMIT 2000) m
    WHERE NOT m.fresh AND m.due <= now() AND NOT EXISTS (SELECT FROM seen s WHERE s.id = m.id)
  ) u
  WINDOW back AS (PARTITION BY coalesce(u.k, u.id), u.k IS NULL ORDER BY u.id DESC)
),
busy AS MATERIALIZED (SELECT DISTINCT unnest(c.keys) AS k FROM etl.claims c WHERE c.connection = $1),
-- Per key the first id that must wait: the key is on its way, an older row of it is not in this window, or it is held.
bar AS MATERIALIZED (
  SELECT w.k, CASE WHEN EXISTS (SELECT FROM busy b WHERE b.k = w.k) THEN 0 ELSE least(
    (SELECT b.id FROM etl.queue b
     WHERE b.connection = $1 AND b.key_hash = w.k AND b.id < w.hi AND NOT b.id = ANY (w.ids) ORDER BY b.id LIMIT 1),
    CASE WHEN (SELECT EXISTS (SELECT FROM etl.holds h WHERE h.connection = $1))
      THEN (SELECT h.after_id + 1 FROM etl.holds h WHERE h.connection = $1 AND h.key_hash = w.k AND NOT h.deletes_only AND h.until > now()) END) END AS id
  FROM (SELECT k, max(id) AS hi, array_agg(id) AS ids FROM win WHERE k IS NOT NULL GROUP BY k) w
),
-- What does not wait, the most urgent first: of one record its rows in order, for each is as urgent as what waits behind it.
may AS MATERIALIZED (
  SELECT w.*, row_number() OVER (ORDER BY w.rank, w.id) AS nth FROM win w LEFT JOIN bar b ON b.k = w.k WHERE b.id IS NULL OR w.id < b.id
),
-- A row that somebody has locked is left alone, and with it the younger rows of its key. The queue's row is locked too: one that was
-- replaced since this statement began is not taken, for its successor cannot be seen. Few are locked that are not taken.
got AS MATERIALIZED (
  SELECT o.id, CASE WHEN pg_column_compression(o.payload) IS NULL THEN pg_column_size(o.payload)
                    ELSE octet_length(o.payload::text) END AS bytes,
         o.operation = 'call' AND NOT o.payload ? 'unless' AS once,
         -- As they are now, when they are locked. What was judged above is as old as this statement's snapshot.
         q.key_hash AS k, q.due <= clock_timestamp() AS due
  FROM ops.odoo_outbox o JOIN etl.queue q ON q.id = o.id
  WHERE o.id = ANY (ARRAY(SELECT m.id FROM may m WHERE m.nth - 2000 <= $14))
    AND o.status = 'queued' AND coalesce(o.connection, 'odoo') = $1
    AND NOT (o.operation = 'delete' AND EXISTS (SELECT FROM etl.holds h WHERE h.connection = $1 AND h.key_hash = q.key_hash
      AND h.deletes_only AND h.until > now() AND h.after_id < o.id))
  FOR UPDATE OF o, q SKIP LOCKED
),
-- What was got as it was judged, together with all older rows of its key. Nothing else counts below: rows that cannot go would use up
-- what is wanted.
ready AS MATERIALIZED (
  SELECT x.* FROM (
    -- From the window and not from the few of it that the planner expects here: it would compare each with each.
    SELECT w.id, w.k, w.lot, w.rank, w.own, w.fresh, w.follows, g.bytes, g.once,
           bool_and(g.id IS NOT NULL AND g.due AND g.k IS NOT DISTINCT FROM w.k)
             OVER (PARTITION BY coalesce(w.k, w.id), w.k IS NULL ORDER BY w.id) AS all_got
    FROM win w LEFT JOIN got g ON g.id = w.id) x
  WHERE x.all_got
),
-- What is cut off for its bytes or its number is the least urgent. Rows that come along have some room more.
free AS MATERIALIZED (
  SELECT x.id, x.k, x.lot, x.bytes, x.own, x.fresh,
         bool_and(x.wanted) OVER (PARTITION BY coalesce(x.k, x.id), x.k IS NULL ORDER BY x.id) AS free
  FROM (
    SELECT r.*, (NOT r.once OR count(*) FILTER (WHERE r.once) OVER urgent <= $12)
             AND (sum(r.bytes) OVER urgent - r.bytes) / CASE WHEN r.follows THEN 2 ELSE 1 END < $7
             AND count(*) OVER urgent - CASE WHEN r.follows THEN 2000 ELSE 0 END <= $14 AS wanted
    FROM ready r WINDOW urgent AS (ORDER BY r.rank, r.id)) x
),
-- Rows that were in the hands of a worker when it died go by themselves, half of them at a time: a claim takes rows of one lot, or
-- of none. Of which, the row with the smallest id says: no older row of its key is free, so there is always progress.
judged AS MATERIALIZED (
  SELECT f.id, f.k, f.bytes, f.lot, f.own, f.fresh,
         bool_and(f.free AND f.lot IS NOT DISTINCT FROM l.lot) OVER (PARTITION BY coalesce(f.k, f.id), f.k IS NULL ORDER BY f.id) AS chosen
  FROM free f CROSS JOIN (SELECT o.lot FROM free o WHERE o.free ORDER BY o.id LIMIT 1) l
),
chosen AS MATERIALIZED (SELECT j.id, j.k, j.bytes, j.lot FROM judged j WHERE j.chosen),
-- The first that could have gone and was left for the next claim: the lap goes on there. Where nothing is chosen and nothing lies
-- before it, that would be this window once more, and for ever.
cut AS MATERIALIZED (
  SELECT c.own AS rank, c.id FROM (
    SELECT j.own, j.id FROM judged j WHERE j.fresh AND NOT j.chosen
    UNION ALL
    SELECT m.own, m.id FROM may m WHERE m.fresh AND m.nth - 2000 > $14) c
  WHERE EXISTS (SELECT FROM chosen) OR EXISTS (SELECT FROM seen s WHERE s.fresh AND (s.rank, s.id) < (c.own, c.id))
  ORDER BY c.own, c.id LIMIT 1
),
dequeued AS (DELETE FROM etl.queue q WHERE q.id = ANY (ARRAY(SELECT c.id FROM chosen c))),
claimed AS (
  INSERT INTO etl.claims (claim, connection, owner, ids, keys)
  SELECT $5, $1, $6, array_agg(c.id ORDER BY c.id), coalesce(array_agg(DISTINCT c.k) FILTER (WHERE c.k IS NOT NULL), '{}')
  FROM chosen c HAVING count(*) > 0
),
marked AS (
  UPDATE ops.odoo_outbox o
  SET status = 'processing', attempts = coalesce(o.attempts, 0) + 1, locked_at = clock_timestamp(), locked_by = $8, claim = $5, run_id = $9
  FROM chosen c
  -- By id and not by the place of the row: one that was changed since this statement began is found by it, its place is not.
  WHERE o.id = c.id
  RETURNING c.k, c.bytes, c.lot, o.id, o.model, o.operation, o.payload, o.record_key, o.idempotency_key, o.attempts, o.odoo_id, o.connection, o.priority
)
SELECT lap.rank AS lap_rank, lap.id AS lap_id, due_lap.due AS due_lap_due, due_lap.id AS due_lap_id,
       m.id, m.model, m.operation,
       -- NULL: larger than anything that is sent. It is not even read.
       CASE WHEN m.bytes <= $13 THEN m.payload::text END AS payload, m.record_key, m.idempotency_key, m.attempts::int AS attempts,
       coalesce(m.priority, 0)::int AS priority,
       coalesce(m.odoo_id, CASE WHEN m.record_key IS NOT NULL THEN (SELECT l.odoo_id FROM etl.links l
         WHERE l.connection = m.connection AND l.model = m.model AND l.digest = md5(m.record_key)::uuid AND l.record_key = m.record_key) END) AS odoo_id, m.k AS key, m.lot, m.odoo_id IS NOT NULL AS own
-- NULL: the window reached the end, the next lap starts at the beginning. What was cut off is where this one goes on.
FROM (VALUES (1)) one
LEFT JOIN (
  SELECT coalesce(l.rank, $2) AS rank, coalesce(l.id, $3) AS id
  FROM (VALUES (1)) here
  LEFT JOIN cut ON true
  LEFT JOIN LATERAL (SELECT s.rank, s.id FROM seen s WHERE s.fresh AND (cut.id IS NULL OR (s.rank, s.id) < (cut.rank, cut.id))
    ORDER BY s.rank DESC, s.id DESC LIMIT 1) l ON true
  WHERE cut.id IS NOT NULL OR (SELECT count(*) FROM seen s WHERE s.fresh) >= $4
) lap ON true
LEFT JOIN (SELECT (extract(epoch FROM max(w.due)) * 1000000)::bigint AS due,
                  max(w.id) FILTER (WHERE w.due = (SELECT max(due) FROM seen)) AS id
           FROM seen w HAVING count(w.due) >= greatest($4 / 4, 1)) due_lap ON true
LEFT JOIN marked m ON true
ORDER BY m.id
