-- Settles rows of one claim. A row that was taken back meanwhile (by hand, or by the next owner) has another claim and is
-- left alone. The claim shrinks to the rows that are still on their way, and goes with the last one.
-- $1 claim; $2–$10 one element per row: id, key, status, Odoo id, error class, error, seconds to wait, attempt given back,
-- seconds its key is held; $11 and $12: ids and keys that stay in the claim
WITH verdict AS MATERIALIZED (
  SELECT * FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::float8[], $9::int[], $10::float8[])
    AS v (id, key, status, odoo_id, class, error, wait, refund, hold)
),
settled AS (
  UPDATE ops.odoo_outbox o
  SET status = v.status,
      odoo_id = coalesce(v.odoo_id, o.odoo_id),
      error_class = CASE WHEN v.status = 'done' THEN NULL ELSE coalesce(v.class, o.error_class) END,
      last_error = CASE WHEN v.status = 'done' THEN NULL ELSE coalesce(v.error, o.last_error) END,
      next_run_at = CASE WHEN v.wait > 0 THEN clock_timestamp() + v.wait * interval '1 s' ELSE o.next_run_at END,
      attempts = o.attempts - v.refund,
      finished_at = CASE WHEN v.status = 'queued' THEN NULL ELSE clock_timestamp() END,
      locked_at = NULL, locked_by = NULL, claim = -$1
  FROM verdict v
  WHERE o.id = v.id AND o.claim = $1
  RETURNING o.id, o.status, o.connection, o.model, o.operation, o.record_key, o.odoo_id, o.priority, o.next_run_at, v.key, v.hold
),
requeued AS (
  INSERT INTO etl.queue (id, connection, rank, key_hash, due, fresh)
  SELECT s.id, s.connection, -coalesce(s.priority, 0)::int, s.key, etl._due(s.next_run_at), false
  FROM settled s WHERE s.status = 'queued'
  ON CONFLICT (id) DO NOTHING
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
  INSERT INTO etl.holds AS h (connection, key_hash, after_id, until)
  SELECT DISTINCT ON (s.connection, s.key) s.connection, s.key, s.id, clock_timestamp() + s.hold * interval '1 s'
  FROM settled s WHERE s.hold > 0 AND s.key IS NOT NULL
  ORDER BY s.connection, s.key, s.id DESC
  ON CONFLICT (connection, key_hash) DO UPDATE SET after_id = excluded.after_id, until = greatest(h.until, excluded.until)
),
released AS (DELETE FROM etl.claims c WHERE c.claim = $1 AND cardinality($11::bigint[]) = 0),
shrunk AS (UPDATE etl.claims c SET ids = $11, keys = $12::bigint[] WHERE c.claim = $1 AND cardinality($11::bigint[]) > 0)
SELECT count(*) FILTER (WHERE s.status = 'done') AS done,
       count(*) FILTER (WHERE s.status = 'queued') AS retried,
       count(*) FILTER (WHERE s.status = 'failed') AS failed
FROM settled s
