-- What health is judged by, as one JSON object. Reads state only; never the network.
SELECT jsonb_build_object(
  'set_up', true,
  'preloaded', $1::bool,
  'enabled', $2::bool,
  'library_version', etl._library_version(),
  'extension_version', (SELECT x.extversion FROM pg_extension x WHERE x.extname = 'pg_etl'),
  'workers', coalesce((SELECT jsonb_agg(jsonb_build_object('state', w.state, 'detail', w.detail)) FROM etl._workers() w), '[]'),
  'queued', (SELECT count(*) FROM etl.queue),
  'oldest_due_seconds', coalesce((SELECT extract(epoch FROM now() - min(q.due)) FROM etl.queue q WHERE q.due <= now()), 0),
  'dead_letters', (SELECT count(*) FROM ops.odoo_outbox o WHERE o.status = 'failed'),
  'done_last_hour', (SELECT count(*) FROM ops.odoo_outbox o WHERE o.status = 'done' AND o.finished_at > now() - interval '1 hour'),
  'failed_last_hour', (SELECT count(*) FROM ops.odoo_outbox o WHERE o.status = 'failed' AND o.finished_at > now() - interval '1 hour'),
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
    FROM etl.connections c LEFT JOIN etl.connection_state s ON s.connection = c.name), '[]'))
