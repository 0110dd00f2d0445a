-- Bookkeeping of sync runs in ops.odoo_sync_runs. The worker keeps its own runs with the same functions.

-- API: Private.
CREATE FUNCTION etl._must_be_object(meta jsonb) RETURNS void
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF jsonb_typeof(meta) <> 'object' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'meta must be a JSON object', HINT = 'For example ''{"model": "res.partner"}''.';
  END IF;
END
$$;
COMMENT ON FUNCTION etl._must_be_object(jsonb) IS 'Refuses what a run cannot keep beside what it counts.';

-- API: Public.
CREATE FUNCTION etl.start_run(direction text, meta jsonb DEFAULT '{}') RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  run bigint;
BEGIN
  PERFORM etl._must_be_set_up();
  IF $1 IS NULL OR $1 NOT IN ('odoo_to_sb', 'sb_to_odoo') THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = format('direction "%s" is not known', $1),
      HINT = 'Use ''odoo_to_sb'' (Odoo into this database) or ''sb_to_odoo'' (this database into Odoo).';
  END IF;
  PERFORM etl._must_be_object($2);
  INSERT INTO ops.odoo_sync_runs (direction, status, started_at, meta)
    VALUES ($1, 'running', clock_timestamp(), coalesce($2, '{}')) RETURNING id INTO run;
  PERFORM etl._audit('start_run', run::text, NULL, jsonb_build_object('direction', $1, 'meta', $2));
  RETURN run;
END
$$;
COMMENT ON FUNCTION etl.start_run(text, jsonb) IS 'Opens a sync run (direction odoo_to_sb or sb_to_odoo) and returns its id.';
ALTER FUNCTION etl.start_run(text, jsonb) OWNER TO etl_worker;

-- API: Public.
CREATE FUNCTION etl.finish_run(run_id bigint, error text DEFAULT NULL, meta jsonb DEFAULT '{}') RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  outcome text := CASE WHEN $2 IS NULL THEN 'succeeded' ELSE 'failed' END;
  was jsonb;
BEGIN
  PERFORM etl._must_be_set_up();
  PERFORM etl._must_be_object($3);
  SELECT jsonb_build_object('status', r.status) INTO was FROM ops.odoo_sync_runs r WHERE r.id = $1 FOR UPDATE;
  UPDATE ops.odoo_sync_runs r
    SET status = outcome, finished_at = clock_timestamp(), error = left($2, 2000),
        meta = CASE WHEN jsonb_typeof(r.meta) = 'object' THEN r.meta ELSE '{}' END || coalesce($3, '{}')
    WHERE r.id = $1 AND r.status IN ('queued', 'running');
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'no_data_found',
      MESSAGE = format('sync run %s does not exist or is finished already', $1),
      HINT = 'SELECT id, status, finished_at FROM ops.odoo_sync_runs ORDER BY id DESC LIMIT 10;';
  END IF;
  PERFORM etl._audit('finish_run', $1::text, was, jsonb_build_object('status', outcome, 'error', left($2, 2000)));
  RETURN outcome;
END
$$;
COMMENT ON FUNCTION etl.finish_run(bigint, text, jsonb) IS 'Closes a sync run: succeeded, or failed where an error is given. meta is merged into the run''s.';
ALTER FUNCTION etl.finish_run(bigint, text, jsonb) OWNER TO etl_worker;
