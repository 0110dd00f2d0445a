-- Tracked tables: which go to Odoo, the rows that they had before, and their records. The triggers are in capture.sql.

-- API: Public. With the rights of whoever calls, who must own the table.
CREATE FUNCTION etl.track("table" regclass, model text, fields jsonb, key text[] DEFAULT NULL, connection text DEFAULT 'odoo', on_delete text DEFAULT 'delete',
    on_truncate text DEFAULT 'error', condition text DEFAULT NULL, priority smallint DEFAULT 0, two_way text DEFAULT NULL, context jsonb DEFAULT NULL,
    on_odoo_create text DEFAULT 'ignore', on_odoo_delete text DEFAULT 'keep') RETURNS jsonb
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  k record;
  t etl.tracks;
  mapping jsonb;
  described jsonb;
  f record;
  made regprocedure;
  other record;
  inward text[];
  odd text;
BEGIN
  PERFORM etl._must_be_set_up();
  SELECT c.relkind, c.relpersistence, n.nspname, c.relname, r.rolname AS owner INTO k
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = $1;
  IF k.relkind IS NULL OR k.relkind NOT IN ('r', 'p') OR k.relpersistence = 't' THEN
    RAISE EXCEPTION USING ERRCODE = 'wrong_object_type', MESSAGE = format('%s is not an ordinary table', $1), HINT = 'Tables and partitioned tables can be tracked.';
  ELSIF NOT pg_has_role(k.owner, 'USAGE') THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('%s belongs to %s', $1, k.owner), HINT = 'A table is tracked by its owner.';
  ELSIF jsonb_typeof($3) IS DISTINCT FROM 'object' OR $3 = '{}' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'fields is not an object that maps fields of Odoo to columns',
      HINT = 'For example ''{"name": "full_name", "email": "email", "parent_id": {"column": "company", "ref": "companies"}}''.';
  ELSIF $6 IS NULL OR $6 NOT IN ('delete', 'archive', 'ignore') OR $7 IS NULL OR $7 NOT IN ('error', 'delete') THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'on_delete or on_truncate is not known',
      HINT = 'on_delete is delete, archive or ignore; on_truncate is error or delete.';
  ELSIF jsonb_typeof($11) <> 'object' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'context is not an object',
      HINT = 'For example ''{"lang": "de_DE", "allowed_company_ids": [2]}''.';
  ELSIF $12 IS NULL OR $12 NOT IN ('ignore', 'insert') OR $13 IS NULL OR $13 NOT IN ('keep', 'delete') OR ($10 IS NULL AND ($12 <> 'ignore' OR $13 <> 'keep')) THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'on_odoo_create or on_odoo_delete is not known, or two_way is not given',
      HINT = 'on_odoo_create is ignore or insert; on_odoo_delete is keep or delete; both go with two_way => ''odoo'', ''local'' or ''newest''.';
  ELSIF $10 IS NOT NULL AND $10 NOT IN ('odoo', 'local', 'newest') THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('two_way "%s" is not known', $10),
      HINT = 'It says who wins a field that both sides changed: odoo, local or newest. NULL: nothing comes back from Odoo.';
  ELSIF $10 IS NOT NULL AND etl._mirror_table($5, $2) IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('%s is not mirrored: nothing comes back from Odoo', $2),
      HINT = format('SELECT etl.mirror(%L%s); first.', $2, CASE WHEN $5 = 'odoo' THEN '' ELSE format(', connection => %L', $5) END);
  ELSIF $10 = 'newest' AND NOT etl._has_column(etl._mirror_table($5, $2), 'write_date') AND NOT etl._is_whole(etl._mirror_table($5, $2), '{}') THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('the mirror of %s has no write_date: nobody knows what is newer', $2),
      HINT = 'Let it have one (etl.mirror(…, fields => …)), or choose odoo or local.';
  END IF;
  PERFORM etl._check_policies($1);
  mapping := etl._with_references($3, k.nspname);
  t := jsonb_populate_record(NULL::etl.tracks, jsonb_build_object('connection', $5, 'model', $2, 'tab', format('%I.%I', k.nspname, k.relname), 'home', k.nspname,
    'fields', mapping, 'key_columns', etl._checked_key($1, $4), 'on_delete', $6, 'on_truncate', $7, 'condition', $8, 'priority', coalesce($9, 0), 'two_way', $10, 'context', $11, 'on_odoo_create', $12, 'on_odoo_delete', $13,
    'prefix', format('%s.%s:', k.nspname, k.relname), 'rel', $1::oid));

  described := etl._describe($5, $2, ARRAY(SELECT jsonb_object_keys($3)) || CASE WHEN $6 = 'archive' THEN ARRAY['active'] ELSE '{}' END);
  IF described ? 'error' THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('%s cannot be tracked: %s', $1, described ->> 'error'),
      HINT = coalesce(described ->> 'remedy', 'SELECT etl.test_connection(…) tells more.');
  END IF;
  IF $6 = 'archive' AND NOT described -> 'fields' ? 'active' THEN
    RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = format('records of %s cannot be archived', $2), HINT = 'on_delete => ''delete'' or ''ignore''.';
  END IF;
  FOR f IN SELECT e.key AS name, described -> 'fields' -> e.key AS field FROM jsonb_each($3) e LOOP
    PERFORM etl._check_field($2, f.name, f.field, $3 -> f.name);
    mapping := etl._marked(mapping, f.name, f.field);
    IF jsonb_typeof($3 -> f.name) = 'object' AND $3 -> f.name ? 'lines' THEN
      mapping := jsonb_set(mapping, ARRAY[f.name], etl._checked_lines(t, f.name, f.field));
    ELSIF f.field ->> 'type' = 'one2many' THEN
      RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = format('%s.%s is a list of lines', $2, f.name),
        HINT = format('Map the table of the lines: {%s: {"lines": "…", "column": "…", "fields": {…}}}; column is the one that names the row of %s.', to_json(f.name), t.tab);
    END IF;
  END LOOP;
  t := jsonb_populate_record(t, jsonb_build_object('fields', mapping));
  SELECT c.tab, c.field INTO other FROM etl._lines_elsewhere($5, $2, $1) c;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = format('%s are lines of %s already (%s): its rows would be made twice', $1, other.tab, other.field),
      HINT = format('SELECT etl.untrack(%L); first, or leave %s out of its mapping.', other.tab, other.field);
  END IF;

  -- Before any row: a worker that waits for one has this lock, which ALTER FUNCTION … DEPENDS ON EXTENSION wants.
  PERFORM etl._lock_extension();
  t := etl._register_track(t);
  PERFORM etl._make_sink(t.id);
  IF $10 IS NOT NULL THEN
    inward := ARRAY(SELECT i.field FROM etl._inward(t, etl._mirror_table($5, $2)) i);
    IF inward = '{}' THEN
      RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = format('no field of this mapping can come back from Odoo'),
        DETAIL = 'What is just a column comes back: no expression, no constant, no key, and a field that the mirror has.', HINT = 'Leave two_way out.';
    END IF;
    IF $12 = 'insert' THEN
      SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) INTO odd FROM pg_attribute a
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
          AND NOT a.attname = ANY (ARRAY(SELECT i.col FROM etl._inward(t, etl._mirror_table($5, $2)) i));
      IF odd IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'not_null_violation', MESSAGE = format('a row of %s that is made of a record of Odoo has no value for %s', $1, odd),
          HINT = 'Give these columns a default (a key: GENERATED BY DEFAULT AS IDENTITY, or gen_random_uuid()), map them, or leave on_odoo_create out.';
      ELSIF NOT etl._has_column(etl._mirror_table($5, $2), 'create_uid') AND NOT etl._is_whole(etl._mirror_table($5, $2), '{}') THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('the mirror of %s has no create_uid: nobody knows which records are ours', $2),
          HINT = 'Let it have one (etl.mirror(…, fields => …)), or leave on_odoo_create out.';
      END IF;
    END IF;
  END IF;
  EXECUTE (SELECT s.probe FROM etl._capture_source(t) s);
  FOR f IN SELECT (etl._lines_source(t, c.field, c.mapping)).probe FROM etl._line_captures(t) c LOOP
    EXECUTE f.probe;
  END LOOP;
  PERFORM etl._write_capture(t);
  -- They call what goes with the extension, and so they go with it.
  FOR made IN SELECT g FROM etl._capture_functions(t) g LOOP
    EXECUTE format('ALTER FUNCTION %s DEPENDS ON EXTENSION pg_etl', made);
  END LOOP;
  PERFORM etl._arm(t);
  RETURN jsonb_build_object('track', t.id, 'table', t.tab, 'model', t.model, 'connection', t.connection, 'record_keys', t.prefix || '…',
    'backfilled', t.backfilled_at IS NOT NULL)
    || CASE WHEN $10 IS NULL THEN '{}' ELSE jsonb_build_object('two_way', $10, 'both_ways', to_jsonb(inward),
      'one_way', (SELECT coalesce(jsonb_agg(x ORDER BY x), '[]') FROM jsonb_object_keys(t.fields) x WHERE NOT x = ANY (inward))) END;
END
$$;
COMMENT ON FUNCTION etl.track(regclass, text, jsonb, text[], text, text, text, text, smallint, text, jsonb, text, text) IS
  'Sends every change of a table to an Odoo model. fields maps fields of Odoo to "column", {"value": …}, {"sql": "…"}, {"column": "…", "ref": "other.table"}, {"column": "…", "by": "code"} or {"lines": "other.table", "column": "…", "fields": {…}}. two_way: what the model''s mirror pulls comes back into the table, and "odoo", "local" or "newest" wins a field that both changed; on_odoo_create "insert" makes rows of records that somebody makes there, on_odoo_delete "delete" deletes rows. context: language and companies. Calling again changes the mapping. Rows that are there already: SELECT etl.backfill(…).';

-- API: Private. Waits until no worker is in a transaction, and keeps them out of one.
CREATE FUNCTION etl._lock_extension() RETURNS void
  LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
  AS 'MODULE_PATHNAME', 'lock_extension_wrapper';
COMMENT ON FUNCTION etl._lock_extension() IS 'Locks the extension until the transaction ends.';

-- API: Private. A mapping with the whole names of the tables that it refers to: a bare one is of the table's own schema.
CREATE FUNCTION etl._with_references(fields jsonb, home name) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_object_agg(e.key, CASE WHEN jsonb_typeof(e.value) = 'object' AND e.value ? 'ref'
      THEN jsonb_set(e.value, '{ref}', to_jsonb(coalesce(etl._qualified(e.value ->> 'ref'), etl._qualified(format('%I.%s', home, e.value ->> 'ref')), e.value ->> 'ref')))
      ELSE e.value END) FROM jsonb_each(fields) e
$$;
COMMENT ON FUNCTION etl._with_references(jsonb, name) IS 'A mapping with the whole names of the tables that it refers to.';

-- API: Private. A mapping that says which field is given only when a record is made; "field" is what Odoo says of it.
CREATE FUNCTION etl._marked(fields jsonb, name text, field jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN field ->> 'writable' = 'once' AND NOT (jsonb_typeof(fields -> name) = 'object' AND fields -> name ?| '{value,lines}')
    THEN jsonb_set(fields, ARRAY[name], CASE jsonb_typeof(fields -> name) WHEN 'string' THEN jsonb_build_object('column', fields -> name) ELSE fields -> name END || '{"once": true}')
    ELSE fields END
$$;
COMMENT ON FUNCTION etl._marked(jsonb, text, jsonb) IS 'A mapping that says which field is given only when a record is made.';

-- API: Private. Refuses a mapping to a field that cannot be written so; "field" is what Odoo says of it.
CREATE FUNCTION etl._check_field(model text, name text, field jsonb, mapping jsonb) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF field IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_column', MESSAGE = format('%s has no field %s', model, name),
      HINT = 'Names of fields are those of Odoo''s database, as developer mode shows them.';
  ELSIF field ->> 'writable' = 'never' THEN
    RAISE EXCEPTION USING ERRCODE = 'generated_always', MESSAGE = format('%s.%s cannot be written: Odoo computes it, or keeps it read-only', model, name),
      HINT = 'Leave it out.';
  ELSIF jsonb_typeof(mapping) = 'object' AND mapping ? 'by' AND field ->> 'type' <> 'many2one' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('%s.%s refers to no record: "by" does not fit', model, name),
      HINT = '"by" is for fields of type many2one.';
  END IF;
END
$$;
COMMENT ON FUNCTION etl._check_field(text, text, jsonb, jsonb) IS 'Refuses a mapping to a field that cannot be written so.';

-- API: Private. The tracks that send a table's rows to this model as lines of their records.
CREATE FUNCTION etl._lines_elsewhere(connection text, model text, rel regclass) RETURNS TABLE (tab text, field text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
  SELECT k.tab, f.key FROM etl.tracks k CROSS JOIN LATERAL jsonb_each(k.fields) f
  WHERE k.connection = $1 AND jsonb_typeof(f.value) = 'object' AND f.value ? 'fields' AND f.value ->> 'model' = $2 AND etl._table(f.value ->> 'lines') = $3
$$;
COMMENT ON FUNCTION etl._lines_elsewhere(text, text, regclass) IS 'The tracks that send a table''s rows as lines.';

-- API: Private. The columns that name a row: those given, or the primary key; never null and unique.
CREATE FUNCTION etl._checked_key(rel regclass, given text[]) RETURNS text[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_key text[];
  odd text;
BEGIN
  -- Its first columns: those that it INCLUDEs are no part of the key.
  SELECT ARRAY(SELECT a.attname::text FROM unnest(x.key) WITH ORDINALITY AS u(n, place) JOIN pg_attribute a ON a.attrelid = rel AND a.attnum = u.n ORDER BY u.place)
    INTO found_key
    FROM pg_index i CROSS JOIN LATERAL (SELECT (i.indkey::int2[]) [0:i.indnkeyatts - 1] AS key) x
    WHERE i.indrelid = rel AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND CASE WHEN given IS NULL THEN i.indisprimary
               ELSE (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM unnest(x.key) n JOIN pg_attribute a ON a.attrelid = rel AND a.attnum = n)
                  = (SELECT array_agg(g ORDER BY g) FROM unnest(given) g) END
    LIMIT 1;
  IF found_key IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_foreign_key',
      MESSAGE = CASE WHEN given IS NULL THEN format('%s has no primary key', rel) ELSE format('no unique index of %s has just these columns: %s', rel, array_to_string(given, ', ')) END,
      HINT = 'Rows are told apart in Odoo by a key that is unique and never null: add one (ALTER TABLE … ADD PRIMARY KEY …), or name its columns: key => ARRAY[''…''].';
  END IF;
  SELECT string_agg(a.attname, ', ') INTO odd FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = ANY (found_key) AND NOT a.attnotnull;
  IF odd IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'not_null_violation', MESSAGE = format('%s of %s may be null', odd, rel),
      HINT = format('ALTER TABLE %s ALTER COLUMN %s SET NOT NULL;', rel, odd);
  END IF;
  RETURN found_key;
END
$$;
COMMENT ON FUNCTION etl._checked_key(regclass, text[]) IS 'The columns that name a row of a tracked table.';

-- API: Public.
CREATE FUNCTION etl.untrack("table" regclass, model text DEFAULT NULL, connection text DEFAULT NULL) RETURNS int
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  t etl.tracks;
  made regprocedure;
  stopped int := 0;
BEGIN
  PERFORM etl._must_be_set_up();
  FOR t IN SELECT k.* FROM etl._tracks_of($1) k WHERE ($2 IS NULL OR k.model = $2) AND ($3 IS NULL OR k.connection = $3) LOOP
    -- With its triggers.
    FOR made IN SELECT g FROM etl._capture_functions(t) g LOOP
      EXECUTE format('DROP FUNCTION %s CASCADE', made);
    END LOOP;
    PERFORM etl._forget_track(t.id);
    stopped := stopped + 1;
  END LOOP;
  IF stopped = 0 THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = format('%s is not tracked%s', $1, coalesce(' for ' || $2, '')), HINT = 'SELECT tab, model, connection FROM etl.tracks;';
  END IF;
  RETURN stopped;
END
$$;
COMMENT ON FUNCTION etl.untrack(regclass, text, text) IS 'Stops sending a table''s changes to Odoo. What is enqueued still goes; records and their links stay.';

-- API: Private.
CREATE FUNCTION etl._forget_track(track int) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  t etl.tracks;
BEGIN
  SELECT k.* INTO t FROM etl.tracks k WHERE k.id = track;
  IF NOT FOUND THEN
    RETURN;
  ELSIF EXISTS (SELECT FROM pg_trigger g WHERE g.tgname = format('etl_capture_%s_insert', track) AND g.tgrelid = etl._table(t.tab)) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = format('%s is still tracked', t.tab), HINT = format('SELECT etl.untrack(%L);', t.tab);
  END IF;
  EXECUTE format('DROP VIEW IF EXISTS etl.track_%s', track);
  EXECUTE format('DROP FUNCTION IF EXISTS etl.track_%1$s_keys(), etl.track_%1$s_sent(bigint[]), etl.track_%1$s_echoes(), etl.track_%1$s_waiting(text[])', track);
  PERFORM etl._delete_track(track);
END
$$;
COMMENT ON FUNCTION etl._forget_track(int) IS 'Forgets a track whose triggers are gone.';

-- API: Private. The extension's own table, which nobody but its functions writes.
CREATE FUNCTION etl._delete_track(track int) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  gone etl.tracks;
BEGIN
  DELETE FROM etl.images i WHERE i.track = $1;
  DELETE FROM etl.held_back b WHERE b.track = $1;
  DELETE FROM etl.tracks t WHERE t.id = $1 RETURNING t.* INTO gone;
  IF FOUND THEN
    PERFORM etl._audit('untrack', gone.tab, to_jsonb(gone), NULL);
  END IF;
END
$$;
COMMENT ON FUNCTION etl._delete_track(int) IS 'Deletes a track''s row.';

-- API: Public.
CREATE FUNCTION etl.backfill("table" regclass, model text DEFAULT NULL, connection text DEFAULT NULL) RETURNS jsonb
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  asked jsonb;
BEGIN
  PERFORM etl._must_be_set_up();
  WITH begun AS (
    UPDATE etl.tracks t SET backfill_asked_at = now(), backfill_after = NULL, backfilled_rows = 0, backfill_error = NULL, backfill_not_before = NULL
      WHERE etl._table(t.tab) = $1 AND ($2 IS NULL OR t.model = $2) AND ($3 IS NULL OR t.connection = $3) RETURNING t.*)
  SELECT jsonb_agg(jsonb_build_object('track', b.id, 'model', b.model, 'connection', b.connection)) INTO asked FROM begun b;
  IF asked IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = format('%s is not tracked', $1), HINT = format('SELECT etl.track(%L, …); first.', $1);
  END IF;
  PERFORM etl._audit('backfill', $1::text, NULL, asked);
  PERFORM etl._wake();
  RETURN jsonb_build_object('table', $1::text, 'rows', (SELECT greatest(c.reltuples, 0)::bigint FROM pg_class c WHERE c.oid = $1), 'tracks', asked);
END
$$;
COMMENT ON FUNCTION etl.backfill(regclass, text, text) IS
  'Enqueues the rows that a tracked table has already, in chunks, behind live changes (priority -10). The worker does it; etl.tracks shows how far it is.';
ALTER FUNCTION etl.backfill(regclass, text, text) OWNER TO etl_worker;

-- API: Private. One chunk of a backfill, by the worker: "nothing" is asked, a chunk is "sent", or it "waits" for what it sent before.
CREATE FUNCTION etl._backfill_chunk(chunk int, most_waiting bigint) RETURNS text
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  t etl.tracks;
  answer jsonb;
  done record;
  disarmed text;
  waits bool := false;
BEGIN
  BEGIN
    PERFORM etl._follow_owners();
  EXCEPTION WHEN OTHERS THEN
    -- Somebody has a lock that it needs: the next look does it.
    RAISE LOG 'pg_etl: a tracked table has a new owner, who cannot be given the rights yet: %', SQLERRM;
  END;
  FOR t IN SELECT k.* FROM etl.tracks k WHERE k.backfill_asked_at IS NOT NULL ORDER BY k.backfill_asked_at, k.id LOOP
    -- The outbox is no place to keep a table in; and what stops one table stops no other.
    IF t.backfill_not_before > now()
        OR (SELECT count(*) FROM (SELECT FROM etl.queue q WHERE q.connection = t.connection AND q.rank >= 10 LIMIT most_waiting) w) >= most_waiting
        OR NOT pg_try_advisory_xact_lock(hashtext('pg_etl backfill'), t.id) THEN
      waits := true;
      CONTINUE;
    END IF;
    BEGIN
      disarmed := etl._disarmed(t);
      IF disarmed IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = disarmed;
      END IF;
      -- Nothing is put off inside of it.
      SET CONSTRAINTS ALL IMMEDIATE;
      answer := etl._as_owner(t.id, 'backfill', jsonb_build_object('after', t.backfill_after, 'rows', chunk));
      IF answer IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('the functions that etl.track() made for %s are not what they were', t.tab),
          HINT = format('Call etl.track(%L, %L, …) again.', t.tab, t.model);
      END IF;
      SELECT (a ->> 'sent')::bigint AS sent, CASE WHEN jsonb_typeof(a -> 'last') = 'array' THEN ARRAY(SELECT jsonb_array_elements_text(a -> 'last')) END AS last INTO done
        FROM jsonb_array_elements(answer) a;
      -- It is the owner's, and may be anything by now.
      IF (done.sent BETWEEN 0 AND chunk) IS NOT TRUE OR (done.sent = chunk AND (cardinality(done.last) IS DISTINCT FROM cardinality(t.key_columns) OR done.last IS NOT DISTINCT FROM t.backfill_after)) THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('the function that etl.track() made for the backfill of %s answers something else', t.tab),
          HINT = format('Call etl.track(%L, %L, …) again.', t.tab, t.model);
      END IF;
    EXCEPTION WHEN OTHERS THEN
      UPDATE etl.tracks k SET backfill_error = left(SQLERRM, 500), backfill_not_before = now() + interval '30 s' WHERE k.id = t.id;
      waits := true;
      CONTINUE;
    END;
    UPDATE etl.tracks k SET backfill_after = coalesce(done.last, k.backfill_after), backfilled_rows = k.backfilled_rows + done.sent,
        backfill_asked_at = CASE WHEN done.sent = chunk THEN k.backfill_asked_at END,
        backfilled_at = CASE WHEN done.sent = chunk THEN k.backfilled_at ELSE now() END, backfill_error = NULL, backfill_not_before = NULL
      WHERE k.id = t.id;
    IF done.sent < chunk AND t.two_way IS NOT NULL THEN
      -- What is in Odoo already has no row yet, and what changed there meanwhile was not taken in.
      UPDATE etl.pulls p SET asked_at = now(), asked_mode = 'full', not_before = NULL WHERE p.connection = t.connection AND p.model = t.model;
    END IF;
    RETURN 'sent';
  END LOOP;
  RETURN CASE WHEN waits THEN 'waits' ELSE 'nothing' END;
END
$$;
COMMENT ON FUNCTION etl._backfill_chunk(int, bigint) IS 'Enqueues one chunk of a table that is backfilled.';

-- API: Public. A tracked table's records: key is what etl.track() calls the row by, one column''s text or a JSON list.
CREATE FUNCTION etl.tracked_records("table" regclass, model text DEFAULT NULL, connection text DEFAULT NULL)
  RETURNS TABLE (key text, odoo_id bigint, external_id text, model text, connection text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
  SELECT substr(l.record_key, length(t.prefix) + 1), l.odoo_id, etl._external_id(l.connection, l.model, l.record_key), l.model, l.connection
  FROM etl._tracks_of($1) t JOIN etl.links l ON l.connection = t.connection AND l.model = t.model AND starts_with(l.record_key, t.prefix)
  WHERE ($2 IS NULL OR t.model = $2) AND ($3 IS NULL OR t.connection = $3)
$$;
COMMENT ON FUNCTION etl.tracked_records(regclass, text, text) IS 'The Odoo id and external id of every row of a tracked table that Odoo has: join it by key.';
ALTER FUNCTION etl.tracked_records(regclass, text, text) OWNER TO etl_worker;

-- API: Private.
CREATE FUNCTION etl._external_id(connection text, model text, record_key text) RETURNS text
  LANGUAGE c STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
  AS 'MODULE_PATHNAME', 'external_id_wrapper';
COMMENT ON FUNCTION etl._external_id(text, text, text) IS 'The external id that a record key has in Odoo.';
ALTER FUNCTION etl._external_id(text, text, text) OWNER TO etl_worker;

-- API: Private. The name of a table with its schema; NULL where there is none.
CREATE FUNCTION etl._qualified(tab text) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(tab) $$;
COMMENT ON FUNCTION etl._qualified(text) IS 'The name of a table with its schema.';
