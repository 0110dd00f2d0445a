-- What health is judged by, as one JSON object. Reads state only, and of the outbox nothing that grows with it; never the network.
-- $1 whether the library is preloaded, $2 etl.enabled
WITH depth AS MATERIALIZED (SELECT c.connection, sum(c.rows) AS rows FROM etl.counts c WHERE c.status = 'queued' GROUP BY c.connection HAVING sum(c.rows) > 0),
recent AS MATERIALIZED (SELECT d.outcome, d.bucket, d.rows FROM etl.deliveries d WHERE d.at > now() - interval '1 hour'),
hour AS (SELECT coalesce(sum(r.rows) FILTER (WHERE r.outcome = 'done'), 0) AS done, coalesce(sum(r.rows) FILTER (WHERE r.outcome = 'failed'), 0) AS failed FROM recent r)
SELECT jsonb_build_object(
  'set_up', true,
  'preloaded', $1::bool,
  'enabled', $2::bool,
  'standby', pg_is_in_recovery(),
  'today', extract(epoch FROM now()) / 86400,
  'loaded_version', etl._library_version(),
  'extension_version', (SELECT x.extversion FROM pg_extension x WHERE x.extname = 'pg_etl'),
  'copied', EXISTS (SELECT FROM etl.instance i WHERE i.fingerprint <> etl._fingerprint()),
  'workers', coalesce((SELECT jsonb_agg(jsonb_build_object('state', w.state, 'detail', w.detail)) FROM etl._workers() w), '[]'),
  'thresholds', coalesce((SELECT jsonb_object_agg(t.component, jsonb_build_object('warn', t.warn, 'fail', t.fail)) FROM etl.thresholds t), '{}'),
  'queued', greatest((SELECT coalesce(sum(d.rows), 0) FROM depth d) - (SELECT coalesce(sum(cardinality(c.ids)), 0) FROM etl.claims c), 0),
  'oldest_due_seconds', coalesce(greatest((SELECT extract(epoch FROM now() - min(etl._oldest_due(c.name))) FROM etl.connections c), 0), 0),
  -- What the outbox calls queued is in the queue, unless it came in behind the triggers' back: of the newest rows it is seen at once, of
  -- the others when they are counted.
  'unseen', greatest((SELECT count(*) FROM (SELECT o.id, o.status FROM ops.odoo_outbox o ORDER BY o.id DESC LIMIT 1000) o
      WHERE o.status = 'queued' AND NOT EXISTS (SELECT FROM etl.queue q WHERE q.id = o.id)), (SELECT i.unseen FROM etl.instance i)),
  'dead_letters', greatest((SELECT coalesce(sum(c.rows), 0) FROM etl.counts c WHERE c.status = 'failed'), 0),
  'done_last_hour', h.done,
  'failed_last_hour', h.failed,
  'latency_p95_seconds', (SELECT power(2, min(b.bucket) / 4.0) / 1000 FROM (SELECT r.bucket, sum(sum(r.rows)) OVER (ORDER BY r.bucket) AS upto FROM recent r WHERE r.outcome = 'done' GROUP BY r.bucket) b
    WHERE b.upto >= 0.95 * h.done),
  'oldest_done_days', (SELECT extract(epoch FROM now() - coalesce(o.finished_at, o.created_at)) / 86400
    FROM (SELECT o.id, o.status, o.model, o.record_key, o.odoo_id, o.finished_at, o.created_at FROM ops.odoo_outbox o ORDER BY o.id LIMIT 1000) o
    WHERE o.status IN ('done', 'cancelled') AND isfinite(coalesce(o.finished_at, o.created_at))
      -- What a two-way table still knows its own values by is kept until that is pulled; what overtook a dead letter, as long as that.
      AND NOT EXISTS (SELECT FROM etl.images i WHERE i.digest = md5(o.record_key)::uuid AND o.id = ANY (i.sent || ARRAY(SELECT e.value::bigint FROM jsonb_each_text(i.forgotten) e)))
      AND NOT EXISTS (SELECT FROM (SELECT f.id FROM etl.failures f ORDER BY f.id LIMIT 1000) f JOIN ops.odoo_outbox d ON d.id = f.id
        WHERE d.id < o.id AND d.model = o.model AND (d.record_key = o.record_key OR d.record_key IS NULL AND etl._odoo_id(d.payload) = o.odoo_id)) ORDER BY o.id LIMIT 1),
  'done_days', etl._kept_days('done_days'),
  -- Of tables that go both ways; NULL where there are none.
  'conflicts', CASE WHEN EXISTS (SELECT FROM etl.tracks t WHERE t.two_way IS NOT NULL) THEN
    (SELECT jsonb_build_object('decided', count(*) FILTER (WHERE c.winner IS NOT NULL), 'apart', count(*) FILTER (WHERE c.winner IS NULL)) FROM etl.conflicts c WHERE c.at > now() - interval '1 day') END,
  'oldest_run_seconds', (SELECT extract(epoch FROM now() - min(r.started_at)) FROM ops.odoo_sync_runs r WHERE r.status = 'running' AND isfinite(r.started_at)),
  'unknown_connections', coalesce((SELECT jsonb_agg(u.name) FROM (SELECT left(d.connection, 63) AS name FROM depth d
    WHERE NOT EXISTS (SELECT FROM etl.connections c WHERE c.name = d.connection) ORDER BY d.rows DESC LIMIT 5) u), '[]'),
  'connections', coalesce((SELECT jsonb_agg(jsonb_build_object(
      'name', c.name, 'kind', c.kind, 'has_secret', c.secret IS NOT NULL,
      'paused', s.paused_at IS NOT NULL, 'paused_reason', s.paused_reason, 'failures', coalesce(s.failures, 0),
      'last_error', s.last_error, 'remedy', s.remedy,
      'probe_in_seconds', extract(epoch FROM s.probe_at - now()),
      'ok_seconds_ago', extract(epoch FROM now() - s.last_ok_at),
      'throttled_seconds', extract(epoch FROM s.throttled_until - now()),
      'version', s.version, 'protocol', s.protocol, 'secret_error', s.secret_error,
      -- What has ended is no longer asked for: the answer is old.
      'key_days', CASE WHEN s.key_ends_at > now() THEN extract(epoch FROM s.key_ends_at - now()) / 86400 END) ORDER BY c.name)
    FROM etl.connections c LEFT JOIN etl.connection_state s ON s.connection = c.name), '[]'),
  'mirrors', coalesce((SELECT jsonb_agg(jsonb_build_object(
      'connection', m.connection, 'model', m.model, 'paused', m.config ->> 'paused',
      'lag_seconds', extract(epoch FROM now() - etl._instant(x.cursor ->> 'at')), 'every_seconds', etl._seconds(m.config, 'every_seconds', 300),
      'failures', coalesce(p.failures, 0), 'last_error', p.last_error, 'remedy', p.remedy) ORDER BY m.connection, m.model)
    FROM etl._mirrors() m LEFT JOIN etl.pulls p ON p.connection = m.connection AND p.model = m.model
    LEFT JOIN ops.odoo_sync_checkpoints x ON x.key = etl._mirror_key(m.connection, m.model)), '[]'),
  'drift', coalesce((SELECT jsonb_agg(jsonb_build_object('model', d.model, 'field', d.field, 'detail', d.detail, 'remedy', d.remedy) ORDER BY d.model, d.field)
    FROM etl.schema_drift d WHERE d.remedy IS NOT NULL), '[]'),
  'stuck_backfills', coalesce((SELECT jsonb_agg(jsonb_build_object('tab', t.tab, 'rows', t.backfilled_rows, 'error', t.backfill_error) ORDER BY t.tab)
    FROM etl.tracks t WHERE t.backfill_error IS NOT NULL), '[]'),
  'tables', coalesce((SELECT jsonb_agg(jsonb_build_object('name', format('%I.%I', n.nspname, c.relname), 'live', pg_stat_get_live_tuples(c.oid), 'dead', pg_stat_get_dead_tuples(c.oid)))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('ops', 'etl') AND c.relkind = 'r' AND pg_stat_get_dead_tuples(c.oid) > 0
      -- They empty themselves all the time, and are vacuumed the sooner; should that be stopped, the oldest snapshot says so.
      AND (n.nspname <> 'etl' OR c.relname NOT IN ('queue', 'claims', 'counts'))), '[]'),
  'oldest_snapshot', (SELECT to_jsonb(s) FROM etl._oldest_snapshot() s WHERE s.seconds IS NOT NULL),
  'cron_jobs', etl._cron_jobs())
FROM hour h
