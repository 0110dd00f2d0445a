-- Pulls: what a run merges, how it begins and ends, how it is compared and put back. Which mirrors there are: mirror.sql.

-- API: Private. A run that was ended by somebody else writes no more.
CREATE FUNCTION etl._must_hold(connection text, model text, run bigint) RETURNS void
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM FROM etl.pulls p WHERE p.connection = $1 AND p.model = $2 AND p.run_id = $3 FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('run %s was ended by somebody else', run),
      HINT = 'The mirror was removed, or rolled back.';
  END IF;
END
$$;
COMMENT ON FUNCTION etl._must_hold(text, text, bigint) IS 'Raises where a run is not the open one of its mirror any more.';

-- API: Private. Says to etl._outbox_inserted() that a mirror is being written, or no longer.
CREATE FUNCTION etl._merging(is_on bool) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$ SELECT set_config('pg_etl.merging', CASE WHEN is_on THEN 'on' ELSE '' END, true) $$;
COMMENT ON FUNCTION etl._merging(bool) IS 'Says that a mirror is being written.';

-- API: Private. Merges one page: rows that are as they were stay untouched, and the others are kept as they were before the run.
-- `names` are the fields that were asked for; a table of the old shape keeps the whole record in its column raw as well. A table that was
-- filled a moment ago has no statistics, and looks small enough to be scanned for each row of the page: its index is the right way always.
CREATE FUNCTION etl._merge(connection text, model text, rel regclass, names text[], page json, run bigint, OUT inserted bigint, OUT updated bigint)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
  whole bool := etl._is_whole(rel, names);
  kept text[] := CASE WHEN whole THEN names || 'raw'::text ELSE names END;
  stamp bool := etl._has_column(rel, 'synced_at') AND NOT 'synced_at' = ANY (names);
BEGIN
  PERFORM etl._must_hold(connection, model, run);
  PERFORM etl._merging(true);
  EXECUTE format($sql$
    WITH page AS MATERIALIZED (
      SELECT * FROM %1$s AS r(id bigint%2$s)
    ),
    -- Before the insert: a row that meets a conflict is locked, and so written, even where nothing of it changes.
    before AS MATERIALIZED (
      SELECT p.id, CASE WHEN m.%4$I IS NOT NULL THEN to_jsonb(m) END AS row FROM page p LEFT JOIN %3$s m ON m.%4$I = p.id
      WHERE m.%4$I IS NULL OR m._etl_deleted_at IS NOT NULL OR m._etl_hidden_at IS NOT NULL OR ROW(0%5$s) IS DISTINCT FROM ROW(0%6$s)
    ),
    merged AS (
      INSERT INTO %3$s AS m (%4$I, _etl_synced_at, _etl_run_id%7$s%9$s)
      SELECT p.id, now(), $2%6$s%10$s FROM page p WHERE p.id IN (SELECT b.id FROM before b)
      ON CONFLICT (%4$I) DO UPDATE
        SET (_etl_synced_at, _etl_run_id, _etl_deleted_at, _etl_hidden_at%7$s%9$s) = ROW(now(), $2, NULL, NULL%8$s%10$s)
      RETURNING m.%4$I AS id, m.xmax = 0 AS fresh
    ),
    images AS (
      INSERT INTO etl.before_images (connection, model, run_id, tab, inserted, rows)
      SELECT $3, $4, $2, $5, coalesce((SELECT array_agg(g.id) FROM merged g WHERE g.fresh), '{}'), coalesce((SELECT jsonb_agg(b.row) FROM before b WHERE b.row IS NOT NULL), '[]')
      WHERE EXISTS (SELECT FROM merged)
    )
    SELECT count(*) FILTER (WHERE g.fresh), count(*) FILTER (WHERE NOT g.fresh) FROM merged g
    $sql$,
    CASE WHEN whole THEN 'jsonb_array_elements($1::jsonb) AS e(raw), jsonb_to_record(e.raw)' ELSE 'json_to_recordset($1)' END,
    etl._columns(rel, names, '', true), rel, etl._mirror_id(rel),
    etl._columns(rel, kept, 'm.'), etl._columns(rel, kept, 'p.'), etl._columns(rel, kept, ''), etl._columns(rel, kept, 'excluded.'),
    CASE WHEN stamp THEN ', synced_at' ELSE '' END, CASE WHEN stamp THEN ', now()' ELSE '' END)
  INTO inserted, updated USING page, run, connection, model, rel::text;
  PERFORM etl._merging(false);
END
$$;
COMMENT ON FUNCTION etl._merge(text, text, regclass, text[], json, bigint) IS 'Merges a page of records into a mirror; leaves unchanged rows alone and keeps the others as they were.';

-- API: Private. A stretch of ids that Odoo listed, beside the mirror's: `missing` are not in it or marked as gone, `lost` are in it
-- and not in the list.
CREATE FUNCTION etl._compare(rel regclass, after bigint, upto bigint, ids bigint[], OUT missing bigint[], OUT lost bigint[])
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format($sql$
    WITH mine AS MATERIALIZED (
      SELECT m.%2$I AS id FROM %1$s m WHERE m.%2$I > $1 AND m.%2$I <= $2 AND m._etl_deleted_at IS NULL AND m._etl_hidden_at IS NULL
    ),
    listed AS MATERIALIZED (SELECT unnest($3) AS id)
    -- Sets, for nobody knows how many they are: a join of the two may be planned as a loop in a loop.
    SELECT coalesce((SELECT array_agg(l.id ORDER BY l.id) FROM (SELECT id FROM listed EXCEPT SELECT id FROM mine) l), '{}'),
           coalesce((SELECT array_agg(m.id ORDER BY m.id) FROM (SELECT id FROM mine EXCEPT SELECT id FROM listed) m), '{}')
    $sql$, rel, etl._mirror_id(rel))
  INTO missing, lost USING after, upto, ids;
END
$$;
COMMENT ON FUNCTION etl._compare(regclass, bigint, bigint, bigint[]) IS 'What of a list of ids a mirror lacks, and what it has beyond it.';

-- API: Private. Marks records as deleted in Odoo, or as no longer shown; the rows stay.
CREATE FUNCTION etl._mark_gone(connection text, model text, rel regclass, deleted bigint[], hidden bigint[], run bigint,
    OUT marked_deleted bigint, OUT marked_hidden bigint)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM etl._must_hold(connection, model, run);
  PERFORM etl._merging(true);
  EXECUTE format($sql$
    WITH before AS MATERIALIZED (
      SELECT m.%2$I AS id, to_jsonb(m) AS row FROM %1$s m
      WHERE m.%2$I = ANY ($1) AND m._etl_deleted_at IS NULL OR m.%2$I = ANY ($2) AND m._etl_deleted_at IS NULL AND m._etl_hidden_at IS NULL
    ),
    marked AS (
      UPDATE %1$s m SET _etl_deleted_at = CASE WHEN b.id = ANY ($1) THEN now() END,
        _etl_hidden_at = CASE WHEN b.id = ANY ($1) THEN m._etl_hidden_at ELSE now() END, _etl_synced_at = now(), _etl_run_id = $3
      FROM before b WHERE m.%2$I = b.id RETURNING m.%2$I AS id
    ),
    kept AS (
      INSERT INTO etl.before_images (connection, model, run_id, tab, rows)
      SELECT $4, $5, $3, $6, (SELECT jsonb_agg(b.row) FROM before b) WHERE EXISTS (SELECT FROM before)
    )
    SELECT count(*) FILTER (WHERE g.id = ANY ($1)), count(*) FILTER (WHERE NOT g.id = ANY ($1)) FROM marked g
    $sql$, rel, etl._mirror_id(rel))
  INTO marked_deleted, marked_hidden USING deleted, hidden, run, connection, model, rel::text;
  PERFORM etl._merging(false);
END
$$;
COMMENT ON FUNCTION etl._mark_gone(text, text, regclass, bigint[], bigint[], bigint) IS 'Marks rows of a mirror as deleted in Odoo or no longer shown.';

-- API: Private. Sees that a mirror has a column for each of `columns` ([{"name", "type"}]; `known` are all fields that Odoo has) and writes down where it and Odoo disagree.
-- Returns the fields that can be merged. With the installer's rights, for a mirror is its owner's and gets new columns; so it touches
-- only tables that were made mirrors, which their owners did.
CREATE FUNCTION etl._notice_drift(connection text, model text, rel regclass, columns jsonb, skipped jsonb, known text[]) RETURNS text[]
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  -- A mirror that keeps whole records keeps its shape.
  whole bool := etl._is_whole(rel, ARRAY(SELECT e ->> 'name' FROM jsonb_array_elements(columns) e));
  had text[] := (SELECT p.fields FROM etl.pulls p WHERE p.connection = $1 AND p.model = $2);
  usable text[] := '{}';
  c record;
  found_type text;
BEGIN
  IF NOT EXISTS (SELECT FROM etl._mirror_of(rel) o WHERE o.connection = $1 AND o.model = $2) OR NOT has_table_privilege('etl_worker', rel, 'INSERT')
      OR etl._is_ours(rel) THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('%s was not made a mirror by its owner', rel),
      HINT = format('SELECT etl.mirror(%L, ''%s'');', model, rel);
  END IF;
  DELETE FROM etl.schema_drift d WHERE d.connection = $1 AND d.model = $2 AND d.what <> 'added';
  FOR c IN SELECT e.c ->> 'name' AS name, etl._mirror_type(e.c ->> 'type') AS type FROM jsonb_array_elements(columns) AS e(c) WHERE e.c ->> 'name' <> 'id' LOOP
    SELECT format_type(a.atttypid, a.atttypmod) INTO found_type FROM pg_attribute a
      WHERE a.attrelid = rel AND a.attname = c.name AND a.attnum > 0 AND NOT a.attisdropped;
    IF found_type IS NULL AND whole THEN
      usable := usable || c.name;
    ELSIF found_type IS NULL THEN
      EXECUTE format('ALTER TABLE %s ADD COLUMN %I %s', rel, c.name, c.type);
      usable := usable || c.name;
      INSERT INTO etl.schema_drift AS d (connection, model, field, what, detail)
        VALUES ($1, $2, c.name, 'added', format('Odoo has a field that %s lacked: a column %s was added and is filled by a full pull', rel, c.type))
        ON CONFLICT ON CONSTRAINT schema_drift_pkey DO UPDATE SET what = excluded.what, detail = excluded.detail, remedy = NULL, noticed_at = now();
      UPDATE etl.pulls p SET asked_at = coalesce(p.asked_at, now()), asked_mode = 'full' WHERE p.connection = $1 AND p.model = $2;
    ELSIF etl._holds(found_type, c.type) THEN
      usable := usable || c.name;
    ELSE
      INSERT INTO etl.schema_drift (connection, model, field, what, detail, remedy)
        VALUES ($1, $2, c.name, 'retyped', format('Odoo''s field needs %s, and the column is %s: it is not kept in step', c.type, found_type),
          format('ALTER TABLE %s ALTER COLUMN %I TYPE %s USING %I::text::%s; SELECT etl.request_pull(%L, %L, ''full'');', rel, c.name, c.type, c.name, c.type, model, connection))
        ON CONFLICT ON CONSTRAINT schema_drift_pkey DO UPDATE SET what = excluded.what, detail = excluded.detail, remedy = excluded.remedy;
    END IF;
  END LOOP;
  INSERT INTO etl.schema_drift (connection, model, field, what, detail, remedy)
    SELECT $1, $2, f, 'removed', 'Odoo has no such field any more: the column keeps its last values', format('ALTER TABLE %s DROP COLUMN %I;', rel, f)
    FROM unnest(had) f WHERE NOT f = ANY (known) AND etl._has_column(rel, f)
    ON CONFLICT ON CONSTRAINT schema_drift_pkey DO UPDATE SET what = excluded.what, detail = excluded.detail, remedy = excluded.remedy;
  INSERT INTO etl.schema_drift (connection, model, field, what, detail)
    SELECT $1, $2, x ->> 'field', 'not mirrored', x ->> 'why' FROM jsonb_array_elements(skipped) x
    ON CONFLICT ON CONSTRAINT schema_drift_pkey DO UPDATE SET what = excluded.what, detail = excluded.detail, remedy = NULL;
  -- What was removed stays known until its column is gone.
  UPDATE etl.pulls p SET pulled = usable, fields = usable || ARRAY(SELECT f FROM unnest(had) f WHERE NOT f = ANY (usable) AND etl._has_column(rel, f))
    WHERE p.connection = $1 AND p.model = $2;
  RETURN usable;
END
$$;
COMMENT ON FUNCTION etl._notice_drift(text, text, regclass, jsonb, jsonb, text[]) IS 'Adds columns for new fields of Odoo, and notes where a mirror and Odoo disagree.';

-- API: Private. When a mirror's next pull is due: at once where its worker died, where somebody asked, and before the first.
CREATE FUNCTION etl._pull_due(p etl.pulls, config jsonb) RETURNS timestamptz
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN p.run_id IS NOT NULL OR p.verify_asked_at IS NOT NULL THEN now()
    -- One that was rolled back waits for somebody to ask, who thereby lets it go on.
    WHEN config ? 'paused' THEN NULL
    ELSE greatest(p.not_before, CASE WHEN p.asked_at IS NOT NULL OR p.finished_at IS NULL THEN now()
      ELSE p.finished_at + make_interval(secs => etl._seconds(config, 'every_seconds', 300)) END) END
$$;
COMMENT ON FUNCTION etl._pull_due(etl.pulls, jsonb) IS 'When a mirror is to be pulled next; NULL: when somebody asks.';

-- API: Private. Takes a mirror's pull for the worker session `owner`: goes on with a run whose owner is gone, else opens one. No row
-- where another session has it, or nothing is asked.
CREATE FUNCTION etl._begin_pull(connection text, model text, owner bigint, OUT run bigint, OUT mode text, OUT floor text, OUT done_to bigint,
    OUT is_new bool, OUT age float8, OUT failures int)
  RETURNS SETOF record
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  p etl.pulls%ROWTYPE;
  checkpoint jsonb;
  config jsonb;
  reconciles bool;
BEGIN
  INSERT INTO etl.pulls (connection, model) VALUES ($1, $2) ON CONFLICT ON CONSTRAINT pulls_pkey DO NOTHING;
  SELECT * INTO p FROM etl.pulls q WHERE q.connection = $1 AND q.model = $2 FOR UPDATE SKIP LOCKED;
  IF NOT FOUND OR (p.run_id IS NOT NULL AND etl._owner_alive(p.owner)) THEN
    RETURN;
  END IF;
  SELECT m.config INTO config FROM etl._mirrors() m WHERE m.connection = $1 AND m.model = $2;
  -- It may have been removed, stopped or done since it was looked at.
  IF config IS NULL OR etl._pull_due(p, config) IS NULL OR etl._pull_due(p, config) > clock_timestamp() THEN
    RETURN;
  ELSIF etl._table(config ->> 'table') IS NULL THEN
    UPDATE etl.pulls q SET failures = q.failures + 1, not_before = now() + interval '5 min', error_class = 'invalid',
      last_error = format('table %s does not exist', config ->> 'table'),
      remedy = format('SELECT etl.mirror(%L); makes it anew, SELECT etl.unmirror(%L); forgets it.', $2, $2)
      WHERE q.connection = $1 AND q.model = $2;
    RETURN;
  END IF;
  is_new := p.run_id IS NULL;
  failures := p.failures;
  age := 0;
  IF p.run_id IS NOT NULL THEN
    -- Its worker died. What it merged stays merged, and it began when it began.
    UPDATE etl.pulls q SET owner = $3 WHERE q.connection = $1 AND q.model = $2;
    SELECT p.run_id, p.mode, p.floor, p.done_to, extract(epoch FROM clock_timestamp() - p.started_at) INTO run, mode, floor, done_to, age;
    RETURN NEXT;
    RETURN;
  END IF;
  SELECT c.cursor INTO checkpoint FROM ops.odoo_sync_checkpoints c WHERE c.key = etl._mirror_key($1, $2);
  floor := checkpoint ->> 'floor';
  done_to := 0;
  reconciles := p.reconciled_at IS NULL OR p.reconciled_at <= now() - make_interval(secs => etl._seconds(config, 'reconcile_seconds', 3600));
  mode := CASE
    WHEN config ? 'paused' THEN 'verify'
    WHEN p.asked_at IS NULL AND p.verify_asked_at IS NOT NULL THEN 'verify'
    WHEN floor IS NULL OR p.asked_mode = 'full' THEN 'full'
    -- Before what is asked for, which comes after it: else whoever asks all the time would never see a deletion.
    WHEN reconciles OR p.asked_mode = 'reconcile' THEN 'reconcile'
    ELSE 'changes' END;
  INSERT INTO ops.odoo_sync_runs (direction, status, started_at, meta)
    VALUES ('odoo_to_sb', 'running', clock_timestamp(), jsonb_build_object('connection', $1, 'model', $2, 'mode', mode, 'checkpoint_before', checkpoint))
    RETURNING id INTO run;
  UPDATE etl.pulls q SET owner = $3, run_id = run, mode = _begin_pull.mode, floor = _begin_pull.floor, done_to = 0, started_at = clock_timestamp(),
    was_asked = q.asked_at IS NOT NULL AND _begin_pull.mode <> 'verify',
    verify_asked_at = CASE WHEN _begin_pull.mode <> 'verify' THEN q.verify_asked_at END,
    -- Ids are compared first; what was asked for comes after it, and whoever asked for that alone may not have been the only one.
    asked_at = CASE WHEN _begin_pull.mode IN ('verify', 'reconcile') THEN q.asked_at END,
    asked_mode = CASE _begin_pull.mode WHEN 'verify' THEN q.asked_mode WHEN 'reconcile' THEN CASE WHEN q.asked_at IS NOT NULL THEN 'changes' END END,
    read = 0, inserted = 0, updated = 0, deleted = 0, hidden = 0
    WHERE q.connection = $1 AND q.model = $2;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION etl._begin_pull(text, text, bigint) IS 'Takes a mirror''s pull: opens a run, or goes on with one whose worker died.';

-- API: Private. A number of seconds of a configuration, or its default.
CREATE FUNCTION etl._seconds(config jsonb, name text, fallback float8) RETURNS float8
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN jsonb_typeof(config -> name) = 'number' AND (config ->> name)::float8 BETWEEN 1 AND 31536000
    THEN (config ->> name)::float8 ELSE fallback END
$$;
COMMENT ON FUNCTION etl._seconds(jsonb, text, float8) IS 'A number of seconds of a configuration, or its default.';

-- API: Private. The run is over: the checkpoint moves where it succeeded, and only there.
CREATE FUNCTION etl._end_pull(connection text, model text, owner bigint, floor text, error_class text, error text, remedy text)
  RETURNS void
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  p etl.pulls%ROWTYPE;
  tally jsonb;
  -- A comparison and a look at all ids read no changes: what is synced is no newer than before.
  moved bool;
BEGIN
  SELECT * INTO p FROM etl.pulls q WHERE q.connection = $1 AND q.model = $2 AND q.owner = $3 AND q.run_id IS NOT NULL FOR UPDATE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  moved := $6 IS NULL AND p.mode IN ('changes', 'full');
  tally := jsonb_build_object('read', p.read, 'inserted', p.inserted, 'updated', p.updated, 'unchanged', p.read - p.inserted - p.updated,
    'deleted', p.deleted, 'hidden', p.hidden);
  UPDATE ops.odoo_sync_runs r SET status = CASE WHEN $6 IS NULL THEN 'succeeded' ELSE 'failed' END, finished_at = clock_timestamp(),
    error = left($6, 2000), meta = coalesce(r.meta, '{}') || tally WHERE r.id = p.run_id AND r.status = 'running';
  IF moved THEN
    INSERT INTO ops.odoo_sync_checkpoints AS c (key, cursor)
      VALUES (etl._mirror_key($1, $2), jsonb_build_object('floor', coalesce($4, p.floor), 'run', p.run_id, 'at', to_jsonb(p.started_at)))
      ON CONFLICT (key) DO UPDATE SET cursor = excluded.cursor, updated_at = now();
  END IF;
  UPDATE etl.pulls q SET owner = NULL, run_id = NULL, done_to = 0, last_run = q.run_id, ended_at = clock_timestamp(),
    finished_at = CASE WHEN moved THEN clock_timestamp() ELSE q.finished_at END,
    reconciled_at = CASE WHEN $6 IS NULL AND q.mode IN ('full', 'reconcile') THEN clock_timestamp() ELSE q.reconciled_at END,
    failures = CASE WHEN $6 IS NULL THEN 0 ELSE q.failures + 1 END,
    -- Full jitter below a ceiling that doubles: 5 s, 10 s, … 10 min.
    not_before = CASE WHEN $6 IS NOT NULL THEN clock_timestamp() + make_interval(secs => greatest(1, random() * least(600, 5 * 2 ^ least(q.failures, 10)))) END,
    -- What was asked for is asked again.
    asked_at = CASE WHEN $6 IS NULL OR NOT q.was_asked THEN q.asked_at ELSE coalesce(q.asked_at, now()) END,
    asked_mode = CASE WHEN $6 IS NULL OR NOT q.was_asked THEN q.asked_mode ELSE coalesce(q.asked_mode, q.mode) END,
    error_class = $5, last_error = left($6, 2000), remedy = $7
    WHERE q.connection = $1 AND q.model = $2;
  DELETE FROM etl.before_images b WHERE b.at < now() - make_interval(secs => 86400 * etl._kept_days('images_days'));
  DELETE FROM etl.conflicts c WHERE c.at < now() - interval '90 days';
END
$$;
COMMENT ON FUNCTION etl._end_pull(text, text, bigint, text, text, text, text) IS 'Closes a pull''s run and, where it succeeded, moves the checkpoint.';

-- API: Private. Who asks for a pull wants it, whatever was put back before.
CREATE FUNCTION etl._unpause_mirrors(model text, connection text) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  WITH paused AS MATERIALIZED (
    SELECT c.key, c.value -> 'paused' AS reason FROM ops.odoo_sync_config c JOIN etl._mirrors() m ON c.key = etl._mirror_key(m.connection, m.model)
    WHERE c.value ? 'paused' AND ($1 IS NULL OR m.model = $1) AND ($2 IS NULL OR m.connection = $2)),
  resumed AS (UPDATE ops.odoo_sync_config c SET value = c.value - 'paused', updated_at = now() FROM paused p WHERE c.key = p.key RETURNING p.key, p.reason)
  SELECT etl._audit('resume_mirror', r.key, jsonb_build_object('paused', r.reason), NULL) FROM resumed r
$$;
COMMENT ON FUNCTION etl._unpause_mirrors(text, text) IS 'Lets mirrors be pulled again that a rollback stopped.';

-- API: Public. For an automation rule in Odoo, through PostgREST: returns at once.
CREATE FUNCTION etl.request_pull(model text DEFAULT NULL, connection text DEFAULT NULL, mode text DEFAULT 'changes') RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  asked bigint;
BEGIN
  PERFORM etl._must_be_set_up();
  IF $3 IS NULL OR $3 NOT IN ('changes', 'full', 'reconcile') THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('mode "%s" is not known', $3),
      HINT = 'Use changes (what changed since), full (every record) or reconcile (every id, to find what was deleted).';
  END IF;
  PERFORM etl._unpause_mirrors($1, $2);
  INSERT INTO etl.pulls AS p (connection, model, asked_at, asked_mode)
    SELECT m.connection, m.model, now(), $3 FROM etl._mirrors() m
    WHERE ($1 IS NULL OR m.model = $1) AND ($2 IS NULL OR m.connection = $2)
    ORDER BY 1, 2
    ON CONFLICT ON CONSTRAINT pulls_pkey DO UPDATE SET asked_at = now(), not_before = NULL,
      asked_mode = CASE WHEN 'full' IN (p.asked_mode, excluded.asked_mode) THEN 'full'
                        WHEN 'reconcile' IN (p.asked_mode, excluded.asked_mode) THEN 'reconcile' ELSE 'changes' END;
  GET DIAGNOSTICS asked = ROW_COUNT;
  IF asked = 0 AND $1 IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = format('%s is not mirrored', $1),
      HINT = format('SELECT etl.mirror(%L);', $1);
  END IF;
  PERFORM etl._wake();
  RETURN asked;
END
$$;
COMMENT ON FUNCTION etl.request_pull(text, text, text) IS 'Asks the worker to pull a model (or all) from Odoo at once, and returns how many mirrors that concerns.';
ALTER FUNCTION etl.request_pull(text, text, text) OWNER TO etl_worker;

-- API: Public.
CREATE FUNCTION etl.pull(model text DEFAULT NULL, "full" bool DEFAULT false, connection text DEFAULT NULL, max_time interval DEFAULT '10 min') RETURNS jsonb
  LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
  AS 'MODULE_PATHNAME', 'pull_wrapper';
COMMENT ON FUNCTION etl.pull(text, bool, text, interval) IS
  'Pulls what changed in Odoo into the mirrors now, in a background worker, and waits for it: one entry per model with its run and counts. full: every record.';
ALTER FUNCTION etl.pull(text, bool, text, interval) OWNER TO etl_worker;

-- API: Private. A page beside the mirror: records that it lacks, that are otherwise, and that have changed in Odoo since its last pull.
CREATE FUNCTION etl._differences(rel regclass, names text[], page json, since timestamptz, OUT missing bigint[], OUT different bigint[], OUT behind bigint[])
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
  whole bool := etl._is_whole(rel, names);
  kept text[] := CASE WHEN whole THEN names || 'raw'::text ELSE names END;
  dated text := CASE WHEN 'write_date' = ANY (names) AND etl._has_column(rel, 'write_date') THEN 'p.write_date' ELSE 'NULL::timestamptz' END;
BEGIN
  EXECUTE format($sql$
    WITH page AS MATERIALIZED (SELECT * FROM %1$s AS r(id bigint%2$s)),
    odd AS (
      SELECT p.id, m.%4$I IS NULL AS missing, %7$s >= $2 AND (m.%4$I IS NULL OR %7$s IS DISTINCT FROM %8$s) AS behind
      FROM page p LEFT JOIN %3$s m ON m.%4$I = p.id
      WHERE m.%4$I IS NULL OR m._etl_deleted_at IS NOT NULL OR m._etl_hidden_at IS NOT NULL OR ROW(0%5$s) IS DISTINCT FROM ROW(0%6$s)
    )
    SELECT coalesce(array_agg(id ORDER BY id) FILTER (WHERE missing AND behind IS NOT TRUE), '{}'),
           coalesce(array_agg(id ORDER BY id) FILTER (WHERE NOT missing AND behind IS NOT TRUE), '{}'),
           coalesce(array_agg(id ORDER BY id) FILTER (WHERE behind), '{}') FROM odd
    $sql$,
    CASE WHEN whole THEN 'jsonb_array_elements($1::jsonb) AS e(raw), jsonb_to_record(e.raw)' ELSE 'json_to_recordset($1)' END,
    etl._columns(rel, names, '', true), rel, etl._mirror_id(rel), etl._columns(rel, kept, 'm.'), etl._columns(rel, kept, 'p.'), dated, replace(dated, 'p.', 'm.'))
  INTO missing, different, behind USING page, since;
END
$$;
COMMENT ON FUNCTION etl._differences(regclass, text[], json, timestamptz) IS 'What of a page of records a mirror lacks or has otherwise.';

-- API: Public.
CREATE FUNCTION etl.verify(model text, connection text DEFAULT 'odoo', max_time interval DEFAULT '10 min') RETURNS jsonb
  LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
  AS 'MODULE_PATHNAME', 'verify_wrapper';
COMMENT ON FUNCTION etl.verify(text, text, interval) IS
  'Compares every record of a mirror with Odoo, value by value, and changes nothing: {"clean", "checked", "missing", "extra", "different", "behind"}. behind is what changed in Odoo since the last pull.';
ALTER FUNCTION etl.verify(text, text, interval) OWNER TO etl_worker;

-- API: Public.
CREATE FUNCTION etl.rollback_run(run_id bigint) RETURNS jsonb
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  r record;
  m record;
  i record;
  id name;
  names text[];
  removed bigint := 0;
  restored bigint := 0;
  n bigint;
  stuck bigint[] := '{}';
  part bigint[];
BEGIN
  PERFORM etl._must_be_set_up();
  SELECT q.* INTO r FROM ops.odoo_sync_runs q WHERE q.id = $1;
  IF NOT FOUND OR r.direction <> 'odoo_to_sb' OR NOT EXISTS (SELECT FROM etl.before_images b WHERE b.run_id = $1) THEN
    RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('nothing is kept of run %s that could be put back', $1),
      HINT = format('It changed nothing, wrote no mirror, or is older than %s days ("images_days" of "retention" in ops.odoo_sync_config): SELECT id, status, meta FROM ops.odoo_sync_runs WHERE direction = ''odoo_to_sb'' ORDER BY id DESC;', etl._kept_days('images_days'));
  ELSIF r.status = 'running' THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = format('run %s is not over', $1), HINT = 'Wait for it, or SELECT etl.pause(); and wait a moment.';
  END IF;
  SELECT k.* INTO m FROM etl._mirrors() k WHERE k.connection = r.meta ->> 'connection' AND k.model = r.meta ->> 'model';
  IF m.rel IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = format('the mirror of %s is gone', r.meta ->> 'model'), HINT = 'There is nothing to put back into.';
  END IF;
  -- Nobody pulls meanwhile, and nobody after it until somebody asks.
  PERFORM FROM etl.pulls p WHERE p.connection = m.connection AND p.model = m.model FOR UPDATE;
  IF EXISTS (SELECT FROM etl.pulls p WHERE p.connection = m.connection AND p.model = m.model AND p.run_id IS NOT NULL AND etl._owner_alive(p.owner)) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = format('%s is being pulled just now', m.model), HINT = 'Try again in a moment.';
  END IF;
  -- One whose worker died must not go on from where it was.
  WITH cut AS (
    UPDATE etl.pulls p SET run_id = NULL, owner = NULL FROM etl.pulls was
      WHERE p.connection = m.connection AND p.model = m.model AND p.run_id IS NOT NULL AND was.connection = p.connection AND was.model = p.model RETURNING was.run_id)
  UPDATE ops.odoo_sync_runs q SET status = 'failed', finished_at = clock_timestamp(), error = format('run %s was rolled back', $1) FROM cut
    WHERE q.id = cut.run_id AND q.status = 'running';
  UPDATE ops.odoo_sync_config c SET value = c.value || jsonb_build_object('paused', format('run %s was rolled back', $1)), updated_at = now()
    WHERE c.key = etl._mirror_key(m.connection, m.model);
  id := etl._mirror_id(m.rel);
  -- What the pulls write, and nothing of the user's own.
  names := (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
            WHERE a.attrelid = m.rel AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attname <> id
              AND (a.attname = ANY ((SELECT p.fields FROM etl.pulls p WHERE p.connection = m.connection AND p.model = m.model) || ARRAY['raw', 'synced_at'])
                   OR a.attname IN ('_etl_synced_at', '_etl_run_id', '_etl_deleted_at', '_etl_hidden_at')));
  PERFORM etl._merging(true);
  FOR i IN SELECT b.* FROM etl.before_images b WHERE b.run_id = $1 ORDER BY b.id DESC LOOP
    IF etl._table(i.tab) IS DISTINCT FROM m.rel THEN
      stuck := stuck || i.inserted || ARRAY(SELECT (e ->> id)::bigint FROM jsonb_array_elements(i.rows) e);
      CONTINUE;
    END IF;
    EXECUTE format('DELETE FROM %s m WHERE m.%I = ANY ($1) AND m._etl_run_id = $2', m.rel, id) USING i.inserted, $1;
    GET DIAGNOSTICS n = ROW_COUNT;
    removed := removed + n;
    -- A later run has written them: what they are now is not this run's doing alone.
    EXECUTE format('SELECT array_agg(m.%2$I) FROM %1$s m WHERE m._etl_run_id IS DISTINCT FROM $2 AND (m.%2$I = ANY ($1) OR m.%2$I IN (SELECT (e ->> %3$L)::bigint FROM jsonb_array_elements($3) e))', m.rel, id, id)
      INTO part USING i.inserted, $1, i.rows;
    stuck := stuck || coalesce(part, '{}');
    EXECUTE format('INSERT INTO %1$s AS m (%2$I%3$s) SELECT b.%2$I%4$s FROM jsonb_populate_recordset(NULL::%1$s, $1) b
      ON CONFLICT (%2$I) DO UPDATE SET (%5$s) = ROW(%6$s) WHERE m._etl_run_id = $2', m.rel, id,
      etl._columns(m.rel, names, ''), etl._columns(m.rel, names, 'b.'), substr(etl._columns(m.rel, names, ''), 3), substr(etl._columns(m.rel, names, 'excluded.'), 3))
      USING i.rows, $1;
    GET DIAGNOSTICS n = ROW_COUNT;
    restored := restored + n;
  END LOOP;
  PERFORM etl._merging(false);
  DELETE FROM etl.before_images b WHERE b.run_id = $1;
  IF r.meta -> 'checkpoint_before' IS NULL OR r.meta -> 'checkpoint_before' = 'null' THEN
    DELETE FROM ops.odoo_sync_checkpoints c WHERE c.key = etl._mirror_key(m.connection, m.model);
  ELSE
    UPDATE ops.odoo_sync_checkpoints c SET cursor = r.meta -> 'checkpoint_before', updated_at = now() WHERE c.key = etl._mirror_key(m.connection, m.model);
  END IF;
  UPDATE ops.odoo_sync_runs q SET meta = q.meta || jsonb_build_object('rolled_back_at', now()) WHERE q.id = $1;
  PERFORM etl._audit('rollback_run', $1::text, NULL, jsonb_build_object('model', m.model, 'removed', removed, 'restored', restored, 'not_undone', to_jsonb(stuck)));
  RETURN jsonb_build_object('run', $1, 'model', m.model, 'table', m.rel::text, 'removed', removed, 'restored', restored, 'not_undone', to_jsonb(stuck),
    -- What it took into people's own tables is theirs now.
    'taken_in', (SELECT coalesce(jsonb_object_agg(x.tab, x.records), '{}') FROM (SELECT t.tab, count(*) AS records FROM etl.images g JOIN etl.tracks t ON t.id = g.track WHERE g.run_id = $1 GROUP BY t.tab) x),
    'paused', format('pulls of %s wait until somebody asks: SELECT etl.request_pull(%L, %L);', m.model, m.model, m.connection));
END
$$;
COMMENT ON FUNCTION etl.rollback_run(bigint) IS
  'Puts a mirror back as it was before a run, and its checkpoint; not_undone are records that a later run has written, taken_in how many rows of two-way tables it wrote, which stay as they are. Its pulls wait until somebody asks for one. Runs of the last 7 days, or as many as "images_days" of "retention" in ops.odoo_sync_config says.';
ALTER FUNCTION etl.rollback_run(bigint) OWNER TO etl_worker;
