-- What health is judged by, as one JSON object. Reads state only; never the network.
-- $1 whether the library is preloaded, $2 etl.enabled
SELECT jsonb_build_object(
  'set_up', true,
  'preloaded', $1::bool,
  'enabled', $2::bool,
  'standby', pg_is_in_recovery(),
  'loaded_version', etl._library_version(),
  'extension_version', (SELECT x.extversion FROM pg_extension x WHERE x.extname = 'pg_etl'),
  'copied', EXISTS (SELECT FROM etl.instance i WHERE i.fingerprint <> etl._fingerprint()),
  'workers', coalesce((SELECT jsonb_agg(jsonb_build_object('state', w.state, 'detail', w.detail)) FROM etl._workers() w), '[]'),
  'queued', q.queued,
  'oldest_due_seconds', coalesce(extract(epoch FROM now() - q.oldest_due), 0),
  -- One snapshot: what the outbox calls queued is in the queue, unless it came in behind the triggers' back.
  'unseen', greatest(o.queued - q.queued, 0),
  'dead_letters', o.failed,
  'done_last_hour', o.done_last_hour,
  'failed_last_hour', o.failed_last_hour,
  'oldest_run_seconds', (SELECT extract(epoch FROM now() - min(r.started_at)) FROM ops.odoo_sync_runs r WHERE r.status = 'running'),
  'unknown_connections', coalesce((SELECT jsonb_agg(DISTINCT q.connection) FROM etl.queue q
    WHERE NOT EXISTS (SELECT FROM etl.connections c WHERE c.name = q.connection)), '[]'),
  'connections', coalesce((SELECT jsonb_agg(jsonb_build_object(
      'name', c.name, 'kind', c.kind, 'has_secret', c.secret IS NOT NULL,
      'paused', s.paused_at IS NOT NULL, 'paused_reason', s.paused_reason, 'failures', coalesce(s.failures, 0),
      'last_error', s.last_error, 'remedy', s.remedy,
      'probe_in_seconds', extract(epoch FROM s.probe_at - now()),
      'ok_seconds_ago', extract(epoch FROM now() - s.last_ok_at),
      'throttled_seconds', extract(epoch FROM s.throttled_until - now()),
      'version', s.version, 'protocol', s.protocol) ORDER BY c.name)
    FROM etl.connections c LEFT JOIN etl.connection_state s ON s.connection = c.name), '[]'),
  'mirrors', coalesce((SELECT jsonb_agg(jsonb_build_object(
      'connection', m.connection, 'model', m.model, 'paused', m.config ->> 'paused',
      'lag_seconds', extract(epoch FROM now() - (x.cursor ->> 'at')::timestamptz), 'every_seconds', etl._seconds(m.config, 'every_seconds', 300),
      'failures', coalesce(p.failures, 0), 'last_error', p.last_error, 'remedy', p.remedy) ORDER BY m.connection, m.model)
    FROM etl._mirrors() m LEFT JOIN etl.pulls p ON p.connection = m.connection AND p.model = m.model
    LEFT JOIN ops.odoo_sync_checkpoints x ON x.key = etl._mirror_key(m.connection, m.model)), '[]'),
  'drift', coalesce((SELECT jsonb_agg(jsonb_build_object('model', d.model, 'field', d.field, 'detail', d.detail, 'remedy', d.remedy) ORDER BY d.model, d.field)
    FROM etl.schema_drift d WHERE d.remedy IS NOT NULL), '[]'),
  'stuck_backfills', coalesce((SELECT jsonb_agg(jsonb_build_object('tab', t.tab, 'rows', t.backfilled_rows, 'error', t.backfill_error) ORDER BY t.tab)
    FROM etl.tracks t WHERE t.backfill_error IS NOT NULL AND t.backfill_asked_at IS NOT NULL), '[]'))
FROM (SELECT count(*) AS queued, min(q.due) FILTER (WHERE q.due <= now()) AS oldest_due FROM etl.queue q) q
CROSS JOIN (
  SELECT count(*) FILTER (WHERE o.status = 'queued') AS queued,
         count(*) FILTER (WHERE o.status = 'failed') AS failed,
         count(*) FILTER (WHERE o.status = 'done' AND o.finished_at > now() - interval '1 hour') AS done_last_hour,
         count(*) FILTER (WHERE o.status = 'failed' AND o.finished_at > now() - interval '1 hour') AS failed_last_hour
  FROM ops.odoo_outbox o) o
