-- How long what is over is kept.

-- API: Private. Days for which a kind of rows is kept: ops.odoo_sync_config, key "retention".
CREATE FUNCTION etl._kept_days(kind text) RETURNS float8
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN jsonb_typeof(c.value) = 'number' AND (c.value #>> '{}')::numeric BETWEEN 1 AND 36500 THEN (c.value #>> '{}')::float8
    ELSE CASE kind WHEN 'done_days' THEN 7 WHEN 'images_days' THEN 7 WHEN 'runs_days' THEN 90 ELSE 365 END END
  FROM (SELECT (SELECT s.value -> kind FROM ops.odoo_sync_config s WHERE s.key = 'retention') AS value) c
$$;
COMMENT ON FUNCTION etl._kept_days(text) IS 'Days for which a kind of rows is kept.';

-- API: Public. At most so many rows of each kind in one call, which reads twenty times as many of the outbox. after: "next" of the call before.
CREATE FUNCTION etl.apply_retention(most int DEFAULT 100000, after bigint DEFAULT 0) RETURNS jsonb
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  done_before timestamptz;
  place bigint := coalesce(after, 0);
  read bigint := 0;
  ended bool := false;
  seen record;
  rows bigint := 0;
  runs bigint := 0;
  audit bigint;
  report jsonb;
  refused text;
  size int := 5000;
  kept int := 0;
BEGIN
  PERFORM etl._must_be_set_up();
  IF most IS NULL OR most < 1 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'most must be at least 1', HINT = 'SELECT etl.apply_retention();';
  END IF;
  done_before := now() - make_interval(secs => 86400 * etl._kept_days('done_days'));
  -- In the order of ids, which is that of time: no index is kept for this, and what is young ends it.
  WHILE rows < most AND read < 20 * most::bigint LOOP
    BEGIN
      WITH batch AS MATERIALIZED (SELECT o.id, o.created_at, o.model, o.record_key, o.odoo_id FROM ops.odoo_outbox o WHERE o.id > place ORDER BY o.id LIMIT size),
      -- Older rows of the same record that somebody may send again: what was delivered after them says that they are overtaken.
      dead AS MATERIALIZED (SELECT d.id, d.model, d.record_key, CASE WHEN d.record_key IS NULL THEN etl._odoo_id(d.payload) END AS odoo_id
        FROM etl.failures f JOIN ops.odoo_outbox d ON d.id = f.id),
      -- Whoever puts a row back in the queue meanwhile, or has it locked, keeps it.
      over AS MATERIALIZED (SELECT o.id FROM ops.odoo_outbox o JOIN batch b ON b.id = o.id
        WHERE o.status IN ('done', 'cancelled') AND coalesce(o.finished_at, o.created_at) < done_before
          AND NOT EXISTS (SELECT FROM dead d WHERE d.record_key = o.record_key AND d.model = o.model AND d.id < o.id)
          AND NOT EXISTS (SELECT FROM dead d WHERE d.odoo_id = o.odoo_id AND d.model = o.model AND d.id < o.id)
          -- By these a two-way table knows its own values when they come back, as long as its mirror is not pulled.
          AND NOT EXISTS (SELECT FROM etl.images i WHERE i.digest = md5(o.record_key)::uuid AND o.id = ANY (i.sent || ARRAY(SELECT e.value::bigint FROM jsonb_each_text(i.forgotten) e)))
        ORDER BY o.id LIMIT most - rows FOR UPDATE OF o SKIP LOCKED),
      gone AS (DELETE FROM ops.odoo_outbox o USING over v WHERE o.id = v.id RETURNING o.id)
      -- Where not all of them might go, the next batch begins behind the last that did.
      SELECT CASE WHEN (SELECT count(*) FROM gone) >= most - rows THEN (SELECT max(g.id) FROM gone g) ELSE max(b.id) END AS last, bool_and(b.created_at >= done_before) AS young, (SELECT count(*) FROM gone) AS gone INTO seen FROM batch b;
    EXCEPTION
    -- Somebody's lock keeps all of them, and the worker waits for nobody.
    WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
      RAISE;
    WHEN OTHERS THEN
      -- A table or a trigger of the user's keeps one of these: ever smaller batches find it, and the rest goes all the same.
      refused := SQLERRM;
      IF size > 1 THEN
        size := size / 2;
        CONTINUE;
      END IF;
      SELECT min(o.id) AS last, false AS young, 0::bigint AS gone INTO seen FROM ops.odoo_outbox o WHERE o.id > place;
      kept := kept + 1;
    END;
    ended := seen.last IS NULL OR seen.young;
    rows := rows + coalesce(seen.gone, 0);
    read := read + size;
    place := coalesce(seen.last, place);
    EXIT WHEN ended OR kept >= 100;
    size := least(size * 2, 5000);
  END LOOP;
  BEGIN
    DELETE FROM ops.odoo_sync_runs r WHERE r.id IN (SELECT s.id FROM ops.odoo_sync_runs s
      WHERE s.status <> 'running' AND coalesce(s.finished_at, s.started_at) < now() - make_interval(secs => 86400 * etl._kept_days('runs_days')) ORDER BY s.id LIMIT most);
    GET DIAGNOSTICS runs = ROW_COUNT;
  EXCEPTION
  WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
    RAISE;
  WHEN OTHERS THEN
    refused := SQLERRM;
  END;
  DELETE FROM etl.audit_log a WHERE a.id IN (SELECT l.id FROM etl.audit_log l
    WHERE l.at < now() - make_interval(secs => 86400 * etl._kept_days('audit_days')) ORDER BY l.id LIMIT most);
  GET DIAGNOSTICS audit = ROW_COUNT;
  DELETE FROM etl.alerts a WHERE a.told = '{}' AND a.resolved_at < now() - make_interval(secs => 86400 * etl._kept_days('runs_days'));
  DELETE FROM etl.messages m WHERE NOT EXISTS (SELECT FROM ops.odoo_outbox o WHERE o.id = m.id);
  PERFORM etl._fold_deliveries(make_interval(secs => 86400 * etl._kept_days('runs_days'))), etl._fold_runs(make_interval(secs => 86400 * etl._kept_days('runs_days')));
  report := jsonb_build_object('rows', rows, 'runs', runs, 'audit', audit, 'more', (NOT ended AND kept < 100) OR greatest(runs, audit) >= most)
    || CASE WHEN ended THEN '{}' ELSE jsonb_build_object('next', place) END
    || CASE WHEN refused IS NULL THEN '{}' ELSE jsonb_build_object('refused', refused) END;
  IF rows + runs + audit > 0 THEN
    PERFORM etl._audit('apply_retention', 'ops', NULL, report);
  END IF;
  RETURN report;
END
$$;
COMMENT ON FUNCTION etl.apply_retention(int, bigint) IS
  'Deletes what is over and old: delivered and cancelled rows after 7 days, runs after 90, audit entries after 365 (never before 30), or as "retention" in ops.odoo_sync_config says. Dead letters stay, and with them younger rows of their records; so do rows of two-way tables until their records are pulled. The worker does it by itself. Where "more" is true, SELECT etl.apply_retention(after => …) with "next" goes on.';
ALTER FUNCTION etl.apply_retention(int, bigint) OWNER TO etl_worker;
