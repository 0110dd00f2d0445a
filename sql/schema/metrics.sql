-- For those who watch from elsewhere: numbers for Prometheus, lines for a terminal.

-- API: Public.
CREATE FUNCTION etl.metrics() RETURNS text
  LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on SET lock_timeout = '2s' SET jit = off
  AS 'MODULE_PATHNAME', 'metrics_wrapper';
COMMENT ON FUNCTION etl.metrics() IS 'Metrics as OpenMetrics text, for a Prometheus. Never calls the network.';
ALTER FUNCTION etl.metrics() OWNER TO etl_worker;

-- API: Public.
CREATE FUNCTION etl.failed_syncs(n int DEFAULT 20) RETURNS TABLE (run_id bigint, direction text, connection text, model text, started_at timestamptz, finished_at timestamptz, error text)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  PERFORM etl._must_be_set_up();
  PERFORM etl._must_be_count(n);
  RETURN QUERY SELECT r.id, r.direction, r.meta ->> 'connection', r.meta ->> 'model', r.started_at, r.finished_at, r.error
    FROM ops.odoo_sync_runs r WHERE r.status = 'failed' ORDER BY r.id DESC LIMIT n;
END
$$;
COMMENT ON FUNCTION etl.failed_syncs(int) IS 'The last n sync runs that failed, and why.';
ALTER FUNCTION etl.failed_syncs(int) OWNER TO etl_worker;

-- API: Private.
CREATE FUNCTION etl._must_be_count(n int) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF n IS NULL OR n NOT BETWEEN 1 AND 10000 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'n must be between 1 and 10000', HINT = 'SELECT * FROM etl.log_tail(50);';
  END IF;
END
$$;
COMMENT ON FUNCTION etl._must_be_count(int) IS 'Refuses a number of lines that nobody reads.';

-- API: Public. What happened last, of all that leaves a trace: runs, dead letters, connections, conflicts. No payload, and nothing of the audit log,
-- which is the admins'.
CREATE FUNCTION etl.log_tail(n int DEFAULT 50) RETURNS TABLE (at timestamptz, level text, source text, message text)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  PERFORM etl._must_be_set_up();
  PERFORM etl._must_be_count(n);
  RETURN QUERY
    SELECT x.at, x.level, x.source, x.message FROM (
      (SELECT coalesce(r.finished_at, r.started_at, r.created_at) AS at, CASE r.status WHEN 'failed' THEN 'error' ELSE 'info' END AS level, format('run %s', r.id) AS source,
              concat_ws(' ', r.direction, r.meta ->> 'connection', r.meta ->> 'model', r.meta ->> 'mode', r.status,
                (SELECT string_agg(format('%s %s', m.value, m.key), ', ' ORDER BY m.key) FROM jsonb_each_text(CASE WHEN jsonb_typeof(r.meta) = 'object' THEN r.meta END) m
                 WHERE m.key IN ('done', 'failed', 'retried', 'calls', 'read', 'inserted', 'updated', 'deleted', 'hidden') AND m.value <> '0'), ': ' || r.error) AS message
       FROM ops.odoo_sync_runs r ORDER BY r.id DESC LIMIT n)
      UNION ALL
      (SELECT coalesce(o.finished_at, o.created_at), 'error', format('row %s', o.id), concat_ws(' ', o.connection, o.model, o.operation, 'given up:', o.error_class, left(o.last_error, 300))
       FROM (SELECT f.id FROM etl.failures f ORDER BY f.id DESC LIMIT n) f JOIN ops.odoo_outbox o ON o.id = f.id)
      UNION ALL
      SELECT s.paused_at, 'error', format('connection %s', s.connection), concat_ws(' ', 'paused:', s.paused_reason) FROM etl.connection_state s WHERE s.paused_at IS NOT NULL
      UNION ALL
      SELECT s.last_error_at, 'warning', format('connection %s', s.connection), concat_ws(' ', s.last_error_class, left(s.last_error, 300)) FROM etl.connection_state s WHERE s.last_error_at IS NOT NULL
      UNION ALL
      (SELECT c.at, CASE WHEN c.winner IS NULL THEN 'warning' ELSE 'info' END, 'conflict', concat_ws(' ', c.model, c.record_key, c.field, coalesce('won by ' || c.winner, 'not decided'))
       FROM etl.conflicts c ORDER BY c.at DESC LIMIT n)) x
    ORDER BY x.at DESC NULLS LAST LIMIT n;
END
$$;
COMMENT ON FUNCTION etl.log_tail(int) IS 'The last n events, newest first: runs, dead letters, connections, conflicts.';
ALTER FUNCTION etl.log_tail(int) OWNER TO etl_worker;
