-- Two ways: records that somebody makes or deletes in Odoo, and what is known of a record before anything is sent to it.

-- API: Private. The two-way tables of a model.
CREATE FUNCTION etl._two_way(connection text, model text) RETURNS TABLE (track int, wins text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT t.id, t.two_way FROM etl.tracks t WHERE t.connection = $1 AND t.model = $2 AND t.two_way IS NOT NULL ORDER BY t.id $$;
COMMENT ON FUNCTION etl._two_way(text, text) IS 'The tables that take in what is pulled of a model.';

-- API: Private. Makes rows of records that somebody made in Odoo: those of `ids` that no row has yet, and that were not made by `own`,
-- the connection's user: what is ours has a row, and its link may not be written down yet.
CREATE FUNCTION etl._create_in(track int, rel regclass, ids bigint[], own bigint, run bigint) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET timezone = 'UTC'
AS $$
DECLARE
  t etl.tracks;
  item record;
  answer jsonb;
  made bigint := 0;
  -- What those that were left for later become is said here.
  again bool := ids IS NULL;
  left_from bigint;
BEGIN
  SELECT k.* INTO t FROM etl.tracks k WHERE k.id = $1 AND k.on_odoo_create = 'insert' AND k.backfilled_at IS NOT NULL;
  IF NOT FOUND THEN
    RETURN 0;
  ELSIF again THEN
    ids := ARRAY(SELECT b.odoo_id FROM etl.held_back b WHERE b.track = t.id ORDER BY b.asked LIMIT 1000);
  END IF;
  IF own IS NULL THEN
    -- Which of them are ours is known when Odoo says who we are.
    left_from := 0;
  END IF;
  PERFORM set_config('pg_etl.applying', $1::text, true);
  FOR item IN EXECUTE format('SELECT m.%1$I AS odoo_id, %2$s AS remote FROM %3$s m WHERE m.%1$I = ANY ($1) AND m._etl_deleted_at IS NULL AND m._etl_hidden_at IS NULL AND %4$s <> $2
      AND NOT EXISTS (SELECT FROM etl.links l WHERE l.connection = $3 AND l.model = $4 AND l.odoo_id = m.%1$I AND starts_with(l.record_key, $5))
      -- One whose row was deleted here is not made again by what was read before Odoo knew.
      AND NOT EXISTS (SELECT FROM etl.images i WHERE i.track = $6 AND i.odoo_id = m.%1$I) ORDER BY m.%1$I',
      etl._mirror_id(rel), etl._remote_expression(t, rel, 'NULL::jsonb'), rel,
      CASE WHEN etl._has_column(rel, 'create_uid') THEN 'm.create_uid' ELSE '(nullif(m.raw -> ''create_uid'', ''false''))::bigint' END)
      USING ids, own, t.connection, t.model, t.prefix, t.id LOOP
    BEGIN
      -- What this insert itself enqueues is an echo; what a trigger of the user's adds beside it is not.
      INSERT INTO etl.applying (track, record_key, digest, odoo_id, asked, remote, echo) VALUES ($1, '', md5('')::uuid, item.odoo_id, now(), item.remote, '{}');
      answer := etl._as_owner($1, 'make', item.remote);
      DELETE FROM etl.applying a WHERE a.track = $1;
      IF answer IS NULL THEN
        left_from := item.odoo_id;
        EXIT;
      END IF;
      IF jsonb_typeof(answer -> 0) IS DISTINCT FROM 'string' OR NOT starts_with(answer ->> 0, t.prefix) THEN
        RAISE SQLSTATE 'ETL01' USING MESSAGE = 'the function that etl.track() made for the table names no row of it';
      END IF;
      INSERT INTO etl.links AS l (connection, model, digest, record_key, odoo_id) VALUES (t.connection, t.model, md5(answer ->> 0)::uuid, answer ->> 0, item.odoo_id)
        ON CONFLICT (connection, model, digest) DO UPDATE SET odoo_id = excluded.odoo_id;
      made := made + 1;
    EXCEPTION WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
      -- Somebody has the table: nobody waits for them, once for each record least of all.
      left_from := item.odoo_id;
      EXIT;
    WHEN assert_failure OR OTHERS THEN
      DELETE FROM etl.held_back b WHERE b.track = $1 AND b.odoo_id = item.odoo_id;
      INSERT INTO etl.conflicts (connection, model, odoo_id, tab, record_key, field, odoo_value, detail, run_id)
        SELECT t.connection, t.model, item.odoo_id, t.tab, '', '*', item.remote, left('the table refused a new row: ' || SQLERRM, 2000), run
        WHERE NOT EXISTS (SELECT FROM etl.conflicts c WHERE c.connection = t.connection AND c.model = t.model AND c.odoo_id = item.odoo_id AND c.field = '*'
          AND c.odoo_value = item.remote);
    END;
  END LOOP;
  PERFORM set_config('pg_etl.applying', '', true);
  -- Those that have no row yet, and no others.
  IF left_from IS NOT NULL THEN
    INSERT INTO etl.held_back AS b (track, odoo_id, asked) SELECT $1, u, now() FROM unnest(ids) u WHERE u >= left_from
        AND NOT EXISTS (SELECT FROM etl.links l WHERE l.connection = t.connection AND l.model = t.model AND l.odoo_id = u AND starts_with(l.record_key, t.prefix))
      ON CONFLICT ON CONSTRAINT held_back_pkey DO NOTHING;
  END IF;
  IF again THEN
    DELETE FROM etl.held_back b WHERE b.track = $1 AND b.odoo_id = ANY (ids) AND b.odoo_id < coalesce(left_from, b.odoo_id + 1)
      AND NOT EXISTS (SELECT FROM etl.links l WHERE l.connection = t.connection AND l.model = t.model AND l.odoo_id = b.odoo_id AND starts_with(l.record_key, t.prefix));
  END IF;
  RETURN made;
END
$$;
COMMENT ON FUNCTION etl._create_in(int, regclass, bigint[], bigint, bigint) IS 'Makes rows of records that somebody made in Odoo.';

-- API: Private. Deletes rows whose records somebody deleted in Odoo; for NULL those that were left for later.
CREATE FUNCTION etl._delete_in(track int, rel regclass, ids bigint[], run bigint) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
DECLARE
  t etl.tracks;
  items jsonb;
  looked record;
  removed record;
  -- Rows that somebody is writing to.
  busy text[] := '{}';
  states jsonb;
  gone text[];
BEGIN
  SELECT k.* INTO t FROM etl.tracks k WHERE k.id = $1 AND k.on_odoo_delete = 'delete' AND k.backfilled_at IS NOT NULL;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  IF ids IS NULL THEN
    DELETE FROM etl.held_back b WHERE b.track = $1 AND t.on_odoo_create = 'ignore' AND NOT EXISTS (SELECT FROM etl.links l WHERE l.connection = t.connection AND l.model = t.model AND l.odoo_id = b.odoo_id);
  END IF;
  EXECUTE format('INSERT INTO etl.applying (track, record_key, digest, odoo_id, asked, remote, echo)
    SELECT $1, l.record_key, l.digest, l.odoo_id, now(), ''{}'', ''{"_deleted": true}'' FROM %s m
    JOIN etl.links l ON l.connection = $3 AND l.model = $4 AND l.odoo_id = m.%2$I AND starts_with(l.record_key, $5)
    WHERE m.%2$I = ANY ($2) AND m._etl_deleted_at IS NOT NULL', rel, etl._mirror_id(rel))
    USING $1, coalesce(ids, ARRAY(SELECT b.odoo_id FROM etl.held_back b WHERE b.track = $1 ORDER BY b.asked LIMIT 1000)), t.connection, t.model, t.prefix;
  -- A change of the row that is on its way was made by somebody who did not know. It is looked for when nobody can make one any more.
  IF t.two_way <> 'odoo' THEN
    SELECT jsonb_agg(jsonb_build_object('k', a.record_key, 'r', '{}'::jsonb)) INTO items FROM etl.applying a WHERE a.track = $1;
    IF items IS NULL THEN
      RETURN 0;
    END IF;
    SELECT * INTO looked FROM etl._for_each($1, 'look', items);
    busy := looked.busy || ARRAY(SELECT l.etl_record_key FROM jsonb_to_recordset(looked.answers) AS l(etl_record_key text, etl_local jsonb) WHERE nullif(l.etl_local, 'null') IS NULL);
    WITH kept AS (
      DELETE FROM etl.applying a USING etl.images i, LATERAL (SELECT FROM unnest(i.sent) u JOIN ops.odoo_outbox o ON o.id = u WHERE o.status IN ('queued', 'processing') LIMIT 1) w
      WHERE a.track = $1 AND i.track = a.track AND i.digest = a.digest AND NOT a.record_key = ANY (busy) RETURNING a.odoo_id, a.record_key),
    decided AS (DELETE FROM etl.held_back b USING kept k WHERE b.track = $1 AND b.odoo_id = k.odoo_id)
    INSERT INTO etl.conflicts (connection, model, odoo_id, tab, record_key, field, winner, detail, run_id)
      SELECT t.connection, t.model, k.odoo_id, t.tab, k.record_key, '*', 'local', 'deleted in Odoo, and changed here at the same time: the row is kept', run FROM kept k;
  END IF;
  SELECT coalesce(jsonb_agg(jsonb_build_object('k', a.record_key)), '[]') INTO items FROM etl.applying a WHERE a.track = $1 AND NOT a.record_key = ANY (busy);
  PERFORM set_config('pg_etl.applying', $1::text, true);
  SELECT * INTO removed FROM etl._for_each($1, 'remove', items);
  PERFORM set_config('pg_etl.applying', '', true);
  states := coalesce((SELECT jsonb_object_agg(r.etl_k, r.etl_state) FROM jsonb_to_recordset(removed.answers) AS r(etl_k text, etl_state text)), '{}')
    || coalesce((SELECT jsonb_object_agg(r.key, 'refused: ' || r.value) FROM jsonb_each_text(removed.failures) r), '{}')
    || coalesce((SELECT jsonb_object_agg(k, 'held') FROM unnest(removed.busy || busy) k), '{}');
  gone := ARRAY(SELECT s.key FROM jsonb_each_text(states) s WHERE s.value = 'gone');
  INSERT INTO etl.conflicts (connection, model, odoo_id, tab, record_key, field, detail, run_id)
    SELECT t.connection, t.model, a.odoo_id, t.tab, a.record_key, '*', left('deleted in Odoo, and the table keeps the row: ' || (states ->> a.record_key), 2000), run
    FROM etl.applying a WHERE a.track = $1 AND (states ->> a.record_key = 'kept' OR starts_with(states ->> a.record_key, 'refused'));
  DELETE FROM etl.links l USING etl.applying a WHERE a.track = $1 AND a.record_key = ANY (gone) AND l.connection = t.connection AND l.model = t.model AND l.digest = a.digest;
  DELETE FROM etl.images i USING etl.applying a WHERE a.track = $1 AND a.record_key = ANY (gone) AND i.track = $1 AND i.digest = a.digest;
  DELETE FROM etl.held_back b USING etl.applying a WHERE a.track = $1 AND b.track = $1 AND b.odoo_id = a.odoo_id AND states ->> a.record_key IS DISTINCT FROM 'held';
  INSERT INTO etl.held_back AS b (track, odoo_id, asked) SELECT DISTINCT ON (a.odoo_id) $1, a.odoo_id, now() FROM etl.applying a WHERE a.track = $1 AND states ->> a.record_key = 'held' ORDER BY a.odoo_id
    ON CONFLICT ON CONSTRAINT held_back_pkey DO UPDATE SET asked = excluded.asked;
  DELETE FROM etl.applying a WHERE a.track = $1;
  RETURN cardinality(gone);
END
$$;
COMMENT ON FUNCTION etl._delete_in(int, regclass, bigint[], bigint) IS 'Deletes rows whose records somebody deleted in Odoo.';

-- API: Private. When a mirror's record was written in Odoo, as an expression over its row m; NULL where the mirror does not know.
CREATE FUNCTION etl._dated(connection text, model text, rel regclass) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN EXISTS (SELECT FROM etl.pulls p WHERE p.connection = $1 AND p.model = $2 AND NOT 'write_date' = ANY (p.pulled)) THEN NULL
    WHEN etl._has_column(rel, 'write_date') THEN 'm.write_date'
    WHEN etl._is_whole(rel, '{}') THEN '(m.raw ->> ''write_date'')::timestamptz' END
$$;
COMMENT ON FUNCTION etl._dated(text, text, regclass) IS 'When a mirror''s record was written in Odoo, as an expression over its row.';

-- API: Private. When the records of these rows of the outbox were last written in Odoo, as far as that was pulled and taken in: what
-- somebody writes there later is not overwritten unseen.
CREATE FUNCTION etl._seen(connection text, ids bigint[]) RETURNS TABLE (id bigint, seen text)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET timezone = 'UTC'
AS $$
DECLARE
  t record;
BEGIN
  FOR t IN SELECT k.id, k.model, k.prefix, m.rel, etl._mirror_id(m.rel) AS key, etl._dated(k.connection, k.model, m.rel) AS dated,
             -- Odoo's times have whole seconds: what was written in the one in which the last pull began may be older than what is there now.
             (c.cursor ->> 'floor' || '+00')::timestamptz + make_interval(secs => etl._seconds(m.config, 'overlap_seconds', 900)) AS began,
             -- By our own clock.
             (c.cursor ->> 'at')::timestamptz AS pulled
           FROM etl.tracks k JOIN etl._mirrors() m ON m.connection = k.connection AND m.model = k.model AND m.rel IS NOT NULL
           LEFT JOIN ops.odoo_sync_checkpoints c ON c.key = etl._mirror_key(k.connection, k.model)
           WHERE k.connection = $1 AND k.two_way IS NOT NULL AND EXISTS (SELECT FROM ops.odoo_outbox o WHERE o.id = ANY ($2) AND o.model = k.model) LOOP
    CONTINUE WHEN t.dated IS NULL OR t.key IS NULL;
    BEGIN
      -- A row that is left for later has not taken in what the mirror has.
      RETURN QUERY EXECUTE format('SELECT o.id, to_char(CASE WHEN EXISTS (SELECT FROM etl.held_back b WHERE b.track = $6 AND b.odoo_id = l.odoo_id) THEN timestamptz ''epoch''
            WHEN %1$s >= coalesce($5, ''-infinity'') THEN %1$s - interval ''1 s'' ELSE %1$s END, ''YYYY-MM-DD HH24:MI:SS'')
        FROM ops.odoo_outbox o
        JOIN etl.links l ON l.connection = $1 AND l.model = $3 AND l.digest = md5(o.record_key)::uuid
        JOIN %2$s m ON m.%3$I = l.odoo_id
        WHERE o.id = ANY ($2) AND o.model = $3 AND o.operation IN (''update'', ''upsert'') AND starts_with(o.record_key, $4)
          AND m._etl_deleted_at IS NULL AND m._etl_hidden_at IS NULL
          -- One that was overtaken again and again although all was pulled and taken in since: no pull brings its record as it is.
          AND NOT (o.error_class = ''overtaken'' AND o.attempts > 5
            AND coalesce($7 > o.next_run_at - make_interval(secs => least(o.attempts - 1, 30)), false)
            AND NOT EXISTS (SELECT FROM etl.held_back b WHERE b.track = $6 AND b.odoo_id = l.odoo_id))', t.dated, t.rel, t.key)
        USING $1, $2, t.model, t.prefix, t.began, t.id, t.pulled;
    EXCEPTION WHEN OTHERS THEN
      -- A mirror that cannot be read stops nothing that is sent.
      RAISE LOG 'pg_etl: it is not known what was changed in Odoo of %: %', t.model, SQLERRM;
    END;
  END LOOP;
END
$$;
COMMENT ON FUNCTION etl._seen(text, bigint[]) IS 'When records of two-way tables were last written in Odoo, as far as that was pulled.';

-- API: Private. Asks for pulls of what somebody changed in Odoo before it was sent.
CREATE FUNCTION etl._pull_before_sending(connections text[], models text[]) RETURNS void
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE etl.pulls p SET asked_at = now(), asked_mode = coalesce(p.asked_mode, 'changes'), not_before = NULL
    FROM unnest(connections, models) AS u(connection, model) WHERE p.connection = u.connection AND p.model = u.model AND p.asked_at IS NULL;
  PERFORM etl._wake();
END
$$;
COMMENT ON FUNCTION etl._pull_before_sending(text[], text[]) IS 'Asks for pulls of models whose records somebody changed in Odoo.';
