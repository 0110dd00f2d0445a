-- Settles rows of one or several claims. A row that was taken back meanwhile (by hand, or by the next owner) has another claim and is
-- left alone. A claim shrinks to the rows that are still on their way, and goes with the last one.
-- $1–$12 one element per row: claim, id, key, status, Odoo id, error class, error, seconds to wait, attempt given back, seconds its
-- key is held (below 0: for deletes alone), the row it went with, the records it refers to (each as its key is hashed, with E'\x1e' between them);
-- $13–$15 one element per claim: its number, and the ids and keys that stay in it, as text
WITH said AS MATERIALIZED (
  SELECT v.*, n.waits, n.due
  FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::float8[], $9::int[],
              $10::float8[], $11::bigint[], $12::text[])
    AS v (claim, id, key, status, odoo_id, class, error, wait, refund, hold, went_with, needs)
  LEFT JOIN LATERAL (
    SELECT bool_or(x.waits) AS waits, max(x.due) AS due
    FROM unnest(string_to_array(v.needs, E'\x1e')) AS u (name) CROSS JOIN LATERAL (
      SELECT true AS waits, NULL::timestamptz AS due FROM etl.claims c WHERE hashtextextended(u.name, 0) = ANY (c.keys)
      UNION ALL
      -- A row that could make it, and not one that changes it if it is there.
      SELECT true, least(q.due, clock_timestamp() + interval '5 min') FROM etl.claims c
      JOIN etl.queue q ON q.connection = c.connection AND q.key_hash = hashtextextended(u.name, 0)
      JOIN ops.odoo_outbox m ON m.id = q.id AND m.operation IN ('create', 'upsert')
      WHERE c.claim = v.claim) x
    ) n ON v.needs IS NOT NULL
),
-- What waits for a record that is still on its way here loses no attempt by it, and never its last one. It comes again together with
-- the row that it waits for: two rows that wait for each other only go when they go together.
verdict AS (
  SELECT s.claim, s.id, s.key, s.odoo_id, s.class, s.error, s.hold, s.went_with,
         CASE WHEN s.waits THEN 'queued' ELSE s.status END AS status,
         CASE WHEN s.waits AND s.due > clock_timestamp() THEN s.due
              WHEN s.waits THEN clock_timestamp() + interval '1 s'
              -- One moment for all: rows that went as one are due as one.
              WHEN s.wait > 0 THEN (SELECT clock_timestamp()) + s.wait * interval '1 s' END AS due,
         CASE WHEN s.waits THEN 1 ELSE s.refund END AS refund
  FROM said s
),
settled AS (
  UPDATE ops.odoo_outbox o
  SET status = v.status,
      odoo_id = coalesce(v.odoo_id, o.odoo_id),
      error_class = CASE WHEN v.status = 'done' THEN NULL ELSE coalesce(v.class, o.error_class) END,
      last_error = CASE WHEN v.status = 'done' THEN NULL ELSE coalesce(v.error, o.last_error) END,
      next_run_at = coalesce(v.due, o.next_run_at),
      attempts = o.attempts - v.refund,
      finished_at = CASE WHEN v.status = 'queued' THEN NULL ELSE now() END,
      went_with = v.went_with,
      locked_at = NULL, locked_by = NULL, claim = -v.claim
  FROM verdict v
  WHERE o.id = v.id AND o.claim = v.claim
  RETURNING o.id, o.status, coalesce(o.connection, 'odoo') AS connection, o.model, o.operation, o.record_key, o.odoo_id, o.priority, o.next_run_at, o.error_class, o.created_at, v.key, v.hold, v.claim
),
requeued AS (
  INSERT INTO etl.queue (id, connection, rank, key_hash, due, fresh)
  SELECT s.id, s.connection, -coalesce(s.priority, 0)::int, s.key, etl._due(s.next_run_at), false
  FROM settled s WHERE s.status = 'queued'
  ON CONFLICT (id) DO NOTHING
),
counted AS (
  INSERT INTO etl.counts (connection, model, operation, status, rows)
  SELECT s.connection, s.model, s.operation, x.status, sum(x.n)
  FROM settled s CROSS JOIN LATERAL (VALUES ('queued', -1), (s.status, 1)) x (status, n)
  WHERE s.status <> 'queued' GROUP BY 1, 2, 3, 4
),
given_up AS (INSERT INTO etl.failures (id) SELECT s.id FROM settled s WHERE s.status = 'failed' ON CONFLICT DO NOTHING),
-- In order: two that settle at once wait for each other's rows in no circle.
noted AS (
  INSERT INTO etl.deliveries AS d (at, connection, model, outcome, class, bucket, rows)
  SELECT date_trunc('minute', now()), s.connection, left(coalesce(s.model, ''), 200), CASE s.status WHEN 'queued' THEN 'retried' ELSE s.status END,
         CASE WHEN s.status = 'done' THEN '' ELSE coalesce(s.error_class, '') END,
         -- Old tables have rows of any time, or of none.
         CASE WHEN s.status = 'done' AND isfinite(s.created_at) THEN ceil(4 / ln(2::float8) * ln(greatest(extract(epoch FROM clock_timestamp() - s.created_at)::float8 * 1000, 1)))::int2 ELSE 0 END, count(*)
  FROM settled s GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
  ON CONFLICT (at, connection, model, outcome, class, bucket) DO UPDATE SET rows = d.rows + excluded.rows
),
linked AS (
  INSERT INTO etl.links AS l (connection, model, digest, record_key, odoo_id)
  SELECT DISTINCT ON (s.connection, s.model, s.record_key) s.connection, s.model, md5(s.record_key)::uuid, s.record_key, s.odoo_id
  FROM settled s
  WHERE s.status = 'done' AND s.record_key IS NOT NULL AND s.odoo_id > 0 AND s.operation IN ('create', 'upsert', 'update')
  ORDER BY s.connection, s.model, s.record_key, s.id DESC
  ON CONFLICT (connection, model, digest) DO UPDATE SET odoo_id = excluded.odoo_id WHERE l.odoo_id <> excluded.odoo_id
),
unlinked AS (
  DELETE FROM etl.links l USING settled s
  WHERE s.status = 'done' AND s.operation = 'delete' AND s.record_key IS NOT NULL
    AND l.connection = s.connection AND l.model = s.model AND l.digest = md5(s.record_key)::uuid
),
held AS (
  INSERT INTO etl.holds AS h (connection, key_hash, after_id, until, deletes_only)
  SELECT DISTINCT ON (s.connection, s.key) s.connection, s.key, s.id, clock_timestamp() + abs(s.hold) * interval '1 s',
         bool_and(s.hold < 0) OVER (PARTITION BY s.connection, s.key)
  FROM settled s WHERE s.hold <> 0 AND s.key IS NOT NULL
  ORDER BY s.connection, s.key, s.id DESC
  ON CONFLICT (connection, key_hash) DO UPDATE SET after_id = excluded.after_id, until = greatest(h.until, excluded.until),
    deletes_only = excluded.deletes_only AND (h.deletes_only OR h.until <= now())
),
remaining AS MATERIALIZED (
  SELECT r.claim, r.ids::bigint[] AS ids, r.keys::bigint[] AS keys FROM unnest($13::bigint[], $14::text[], $15::text[]) AS r (claim, ids, keys)
),
released AS (DELETE FROM etl.claims c USING remaining r WHERE c.claim = r.claim AND cardinality(r.ids) = 0),
shrunk AS (UPDATE etl.claims c SET ids = r.ids, keys = r.keys FROM remaining r WHERE c.claim = r.claim AND cardinality(r.ids) > 0)
SELECT s.claim, count(*) FILTER (WHERE s.status = 'done') AS done,
       count(*) FILTER (WHERE s.status = 'queued') AS retried,
       count(*) FILTER (WHERE s.status = 'failed') AS failed
FROM settled s
GROUP BY s.claim
