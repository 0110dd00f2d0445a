-- What etl.metrics() says, as one JSON object.
SELECT jsonb_build_object(
  'version', etl._library_version(),
  'rows', coalesce((SELECT jsonb_agg(jsonb_build_object('connection', s.connection, 'model', coalesce(s.model, ''), 'operation', coalesce(s.operation, ''), 'status', coalesce(s.status, ''), 'rows', s.row_count))
    FROM etl.outbox_summary s), '[]'),
  'queues', coalesce((SELECT jsonb_agg(jsonb_build_object('connection', d.connection, 'due', d.due, 'oldest_due_seconds', coalesce(d.oldest_due_seconds, 0))) FROM etl.queue_depth d), '[]'),
  'deliveries', coalesce((SELECT jsonb_agg(jsonb_build_object('connection', g.connection, 'model', g.model, 'outcome', g.outcome, 'class', g.class, 'bucket', g.bucket, 'rows', g.rows))
    FROM (SELECT d.connection, d.model, d.outcome, d.class, d.bucket, sum(d.rows) AS rows FROM etl.deliveries d GROUP BY 1, 2, 3, 4, 5) g), '[]'),
  'mirrors', coalesce((SELECT jsonb_agg(jsonb_build_object('connection', l.connection, 'model', l.model, 'lag_seconds', l.lag_seconds)) FROM etl.sync_lag l), '[]'),
  'connections', coalesce((SELECT jsonb_agg(jsonb_build_object('connection', c.connection, 'kind', c.kind, 'is_open', c.state IN ('ok', 'not used yet'))) FROM etl.connections_status c), '[]'),
  'workers', (SELECT count(*) FROM etl._workers()))
