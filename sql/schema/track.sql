-- Capture: which tables go to Odoo, and the triggers that see their changes. One set-based insert per statement, of what changed.
--
-- The trigger function belongs to the table's owner and runs with the owner's rights, so that an expression of the mapping can do no
-- more than the owner can. It writes through a view of its own, etl.track_<id>, which lets nothing pass but rows of this table's keys
-- for this model and connection.

CREATE TABLE etl.tracks (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  connection text NOT NULL,
  model text NOT NULL,
  -- schema.table as an identifier is written, and the table itself, whatever it is called.
  tab text NOT NULL,
  rel oid NOT NULL,
  key_columns text[] NOT NULL,
  fields jsonb NOT NULL,
  -- The schema of its functions, which stays when the table moves.
  home text NOT NULL,
  -- The table's columns when it was last looked at, and their numbers, which stay when they are renamed.
  column_numbers jsonb NOT NULL,
  on_delete text NOT NULL CHECK (on_delete OPERATOR(pg_catalog.=) ANY ('{delete,archive,ignore}'::pg_catalog.text[])),
  on_truncate text NOT NULL CHECK (on_truncate OPERATOR(pg_catalog.=) ANY ('{error,delete}'::pg_catalog.text[])),
  condition text,
  priority smallint NOT NULL,
  -- The Odoo context of its rows: language and companies.
  context jsonb,
  -- Who wins a field that both sides changed; NULL: nothing comes back from Odoo.
  two_way text CHECK (two_way OPERATOR(pg_catalog.=) ANY ('{odoo,local,newest}'::pg_catalog.text[])),
  -- What becomes of records that somebody makes or deletes in Odoo.
  on_odoo_create text NOT NULL DEFAULT 'ignore' CHECK (on_odoo_create OPERATOR(pg_catalog.=) ANY ('{ignore,insert}'::pg_catalog.text[])),
  on_odoo_delete text NOT NULL DEFAULT 'keep' CHECK (on_odoo_delete OPERATOR(pg_catalog.=) ANY ('{keep,delete}'::pg_catalog.text[])),
  -- Record keys of its rows begin so; it stays when the table is renamed.
  prefix text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  -- Rows that were there before: when they were asked for, how far it came, when it was done.
  backfill_asked_at timestamptz,
  backfill_after text[],
  backfilled_rows bigint NOT NULL DEFAULT 0,
  backfilled_at timestamptz,
  -- What stopped it the last time, and when it is tried again.
  backfill_error text,
  backfill_not_before timestamptz,
  UNIQUE (connection, model, tab)
);
COMMENT ON TABLE etl.tracks IS 'Tables whose changes go to Odoo, written by etl.track().';
ALTER TABLE etl.tracks ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader ON etl.tracks FOR SELECT TO etl_reader USING (true);
CREATE POLICY worker ON etl.tracks FOR ALL TO etl_worker USING (true) WITH CHECK (true);
SELECT pg_catalog.pg_extension_config_dump('etl.tracks', '');
SELECT pg_catalog.pg_extension_config_dump('etl.tracks_id_seq', '');

-- API: Private. The key of a row as a text expression: one column's text, or a JSON list of several.
CREATE FUNCTION etl._key_expression(prefix text, key_columns text[]) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN cardinality(key_columns) = 1 THEN format('%L || %I::text', prefix, key_columns [1])
    ELSE format('%L || jsonb_build_array(%s)::text', prefix, (SELECT string_agg(format('%I', k), ', ' ORDER BY n) FROM unnest(key_columns) WITH ORDINALITY AS u(k, n))) END
$$;
COMMENT ON FUNCTION etl._key_expression(text, text[]) IS 'The record key of a row, as an expression over its columns.';

-- API: Private. One field of a mapping as an expression over the row's columns; NULL for a constant.
--   "column" | {"column": c} | {"sql": expression} | {"column": c, "ref": table} | {"column": c, "by": field}
CREATE FUNCTION etl._value_expression(t etl.tracks, field text, mapping jsonb) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  col text := CASE jsonb_typeof(mapping) WHEN 'string' THEN mapping #>> '{}' ELSE mapping ->> 'column' END;
  keys text[] := CASE jsonb_typeof(mapping) WHEN 'object' THEN ARRAY(SELECT k FROM jsonb_object_keys(mapping) k ORDER BY k) ELSE ARRAY['column'] END;
  rel regclass := t.tab::regclass;
  type oid;
  target regclass;
  other record;
  example text := 'A field is mapped to "column", {"value": …}, {"sql": "expression"}, {"column": "…", "ref": "schema.table"} or {"column": "…", "by": "code"}.';
BEGIN
  IF jsonb_typeof(mapping) = 'string' THEN
    -- A text has itself as a key.
    mapping := jsonb_build_object('column', mapping);
  END IF;
  IF jsonb_typeof(mapping) <> 'object' OR keys NOT IN (ARRAY['column'], ARRAY['value'], ARRAY['sql'], ARRAY['column', 'ref'], ARRAY['by', 'column']) THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('the mapping of %s is not understood: %s', field, mapping), HINT = example;
  ELSIF mapping ? 'value' THEN
    RETURN NULL;
  ELSIF mapping ? 'sql' THEN
    RETURN format('(%s)', mapping ->> 'sql');
  END IF;
  SELECT a.atttypid INTO type FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = col AND a.attnum > 0 AND NOT a.attisdropped;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_column', MESSAGE = format('%s has no column "%s", to which %s is mapped', rel, col, field),
      HINT = 'Correct the mapping, or give an expression: {"sql": "…"}.';
  ELSIF mapping ? 'ref' THEN
    target := to_regclass(mapping ->> 'ref');
    SELECT k.prefix, k.key_columns INTO other FROM (SELECT t.prefix, t.key_columns WHERE target = rel
      UNION ALL SELECT o.prefix, o.key_columns FROM etl._tracks_of(target::text) o WHERE o.connection = t.connection) k LIMIT 1;
    IF NOT FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = format('%s is not tracked, and %s refers to it', mapping ->> 'ref', field),
        HINT = format('SELECT etl.track(%L, …); first.', mapping ->> 'ref');
    ELSIF cardinality(other.key_columns) <> 1 THEN
      RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = format('%s has a key of several columns, and %s refers to it by one', mapping ->> 'ref', field),
        HINT = 'Give an expression that builds its record key: {"sql": "jsonb_build_object(''key'', …)"}.';
    END IF;
    RETURN format('CASE WHEN %1$I IS NOT NULL THEN jsonb_build_object(''key'', %2$L || %1$I::text) END', col, other.prefix);
  ELSIF mapping ? 'by' THEN
    RETURN format('CASE WHEN %1$I IS NOT NULL THEN jsonb_build_object(''by'', jsonb_build_object(%2$L, %1$I)) END', col, mapping ->> 'by');
  END IF;
  RETURN CASE type WHEN 'json'::regtype THEN format('%I::jsonb', col) WHEN 'bytea'::regtype THEN format('encode(%I, ''base64'')', col) ELSE format('%I', col) END;
END
$$;
COMMENT ON FUNCTION etl._value_expression(etl.tracks, text, jsonb) IS 'One field of a mapping as an SQL expression over the row.';

-- API: Private. The tracks of a table, for whoever may not read them all.
CREATE FUNCTION etl._tracks_of(tab text) RETURNS SETOF etl.tracks
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$ SELECT t.* FROM etl.tracks t WHERE to_regclass(t.tab) = to_regclass($1) $$;
COMMENT ON FUNCTION etl._tracks_of(text) IS 'The tracks of a table.';
ALTER FUNCTION etl._tracks_of(text) OWNER TO etl_worker;

-- API: Private. Whether the rows that were there before are on their way: then an update need say no more than what changed.
CREATE FUNCTION etl._is_backfilled(track int) RETURNS bool
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$ SELECT t.backfilled_at IS NOT NULL FROM etl.tracks t WHERE t.id = $1 $$;
COMMENT ON FUNCTION etl._is_backfilled(int) IS 'Whether the rows that a table had when it was tracked were enqueued.';
ALTER FUNCTION etl._is_backfilled(int) OWNER TO etl_worker;

-- API: Private. The text of a track's functions: what its triggers call, and what enqueues rows that were there before.
--
-- The new side of a change is the row as it is when the statement is over: a trigger of the user's may have changed it again, and what
-- that statement enqueued came first.
CREATE FUNCTION etl._capture_source(t etl.tracks, OUT capture text, OUT backfill text, OUT probe text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rel regclass := t.tab::regclass;
  -- It goes with every row that writes values.
  context jsonb := CASE WHEN t.context IS NULL THEN '{}' ELSE jsonb_build_object('_context', t.context) END;
  filter text := coalesce(' WHERE (' || t.condition || ')', '');
  and_filter text := coalesce(' AND (' || t.condition || ')', '');
  -- A record that was archived for its row's sake comes back with it.
  constants text := ((SELECT coalesce(jsonb_object_agg(f.key, f.value -> 'value'), '{}') FROM jsonb_each(t.fields) f WHERE jsonb_typeof(f.value) = 'object' AND f.value ? 'value')
    || CASE WHEN t.on_delete = 'archive' AND NOT t.fields ? 'active' THEN '{"active": true}'::jsonb ELSE '{}' END || context)::text;
  keys text := (SELECT string_agg(format('%I', k), ', ' ORDER BY i) FROM unnest(t.key_columns) WITH ORDINALITY AS u(k, i));
  vals text := '';
  whole text;
  pairs_of_all text[] := '{}';
  changed text := '';
  ours text := '';
  theirs text := '';
  n int := 0;
  f record;
  gone_operation text := CASE t.on_delete WHEN 'delete' THEN '''delete''' WHEN 'archive' THEN '''update''' ELSE 'NULL' END;
  gone_payload text := CASE t.on_delete WHEN 'archive' THEN format('%L::jsonb', '{"active": false}'::jsonb || context) ELSE '''{}''::jsonb' END;
  two_way bool := t.two_way IS NOT NULL;
  head text := CASE WHEN two_way THEN 'WITH sent AS (' ELSE '' END
    || format('INSERT INTO etl.track_%s (model, operation, payload, idempotency_key, record_key, connection, priority)', t.id);
  -- What is sent of a two-way record is noted with it.
  tail text := CASE WHEN two_way THEN format(E' RETURNING id)\n    SELECT array_agg(s.id) INTO ids FROM sent s;\n    PERFORM etl.track_%s_sent(ids);', t.id) ELSE ';' END;
  stamp text := format('concat(''track:%s:'', to_hex((extract(epoch FROM clock_timestamp()) * 1000000)::bigint), '':'', left(gen_random_uuid()::text, 18), '':'')', t.id);
  new_side text;
  old_side text;
  pairs text;
BEGIN
  FOR f IN SELECT e.key AS field, etl._value_expression(t, e.key, e.value) AS expression FROM jsonb_each(t.fields) e ORDER BY e.key LOOP
    CONTINUE WHEN f.expression IS NULL;
    n := n + 1;
    vals := vals || format(', %s AS v%s', f.expression, n);
    pairs_of_all := pairs_of_all || format('%L, n.v%s', f.field, n);
    -- What a pull wrote is not sent back, and what somebody's trigger made of it is.
    changed := changed || CASE WHEN n = 1 THEN '' ELSE ' || ' END || format(
      CASE WHEN two_way THEN 'CASE WHEN CASE WHEN echo -> n.k ? %2$L THEN echo -> n.k -> %2$L <> coalesce(to_jsonb(n.v%1$s), ''null'') ELSE n.v%1$s IS DISTINCT FROM o.v%1$s END'
        ELSE 'CASE WHEN n.v%1$s IS DISTINCT FROM o.v%1$s' END || ' THEN jsonb_build_object(%2$L, n.v%1$s) ELSE ''{}'' END', n, f.field);
    ours := ours || format(', n.v%s', n);
    theirs := theirs || format(', o.v%s', n);
  END LOOP;
  whole := format('%L::jsonb || %s', constants, etl._object_expression(pairs_of_all));
  vals := format('%s AS k%s', etl._key_expression(t.prefix, t.key_columns), vals);
  new_side := format('(SELECT %s FROM %s WHERE (%s) IN (SELECT %s FROM new_rows)%s) n', vals, t.tab, keys, keys, and_filter);
  old_side := format('(SELECT %s FROM old_rows%s) o', vals, filter);
  pairs := format('%s FULL JOIN %s ON n.k = o.k WHERE n.k IS NULL OR o.k IS NULL OR ROW(0%s) IS DISTINCT FROM ROW(0%s)%s', new_side, old_side, ours, theirs,
    CASE WHEN two_way THEN ' OR echo ? n.k' ELSE '' END);

  capture := format($src$
DECLARE
  -- Of this statement, and of no other.
  stamp text := %1$s;
%15$s  CASE TG_OP
  WHEN 'INSERT' THEN
    %2$s
    SELECT %3$L, 'upsert', %4$s, stamp || row_number() OVER (), n.k, %5$L, %6$s FROM %7$s%18$s%16$s
  WHEN 'UPDATE' THEN
    IF etl._is_backfilled(%8$s) THEN
      %2$s
      SELECT %3$L, c.operation, c.payload, stamp || row_number() OVER (), c.k, %5$L, %6$s
      FROM (SELECT coalesce(n.k, o.k) AS k, CASE WHEN n.k IS NULL THEN %9$s WHEN o.k IS NULL THEN 'upsert' ELSE 'update' END AS operation,
              CASE WHEN n.k IS NULL THEN %10$s WHEN o.k IS NULL THEN %4$s ELSE %11$s END AS payload
            FROM %12$s) c
      WHERE c.operation IS NOT NULL%17$s%16$s
    ELSE
      -- What was not enqueued before may be new to Odoo: the whole record goes.
      %2$s
      SELECT %3$L, c.operation, c.payload, stamp || row_number() OVER (), c.k, %5$L, %6$s
      FROM (SELECT coalesce(n.k, o.k) AS k, CASE WHEN n.k IS NULL THEN %9$s ELSE 'upsert' END AS operation,
              CASE WHEN n.k IS NULL THEN %10$s ELSE %4$s END AS payload
            FROM %12$s) c
      WHERE c.operation IS NOT NULL%16$s
    END IF;
  WHEN 'DELETE' THEN
    %13$s
  WHEN 'TRUNCATE' THEN
    %14$s
  END CASE;
  RETURN NULL;
END
$src$,
    stamp, head, t.model, whole, t.connection, t.priority, new_side, t.id, gone_operation, gone_payload, CASE WHEN context = '{}' THEN '' ELSE format('%L::jsonb || ', context) END || coalesce(nullif(changed, ''), '''{}''::jsonb'), pairs,
    CASE t.on_delete WHEN 'ignore' THEN 'NULL;' ELSE format('%s
    SELECT %L, %s, %s, stamp || row_number() OVER (), o.k, %L, %s FROM %s%s', head, t.model, gone_operation, gone_payload, t.connection, t.priority, old_side, CASE WHEN two_way THEN ' WHERE NOT coalesce(echo -> o.k ? ''_deleted'', false)' ELSE '' END || tail) END,
    CASE t.on_truncate WHEN 'delete' THEN
      -- A partition is not the table: what is still there stays.
      format('%s
    SELECT %L, ''delete'', ''{}''::jsonb, stamp || row_number() OVER (), k.record_key, %L, %s FROM etl.track_%s_keys() k
    WHERE NOT EXISTS (SELECT FROM %s WHERE %s = k.record_key)%s', head, t.model, t.connection, t.priority, t.id, t.tab, etl._key_expression(t.prefix, t.key_columns), tail)
    ELSE format('RAISE EXCEPTION USING ERRCODE = ''feature_not_supported'', MESSAGE = %L, HINT = %L;',
      format('%s is tracked and cannot be truncated', t.tab),
      format('DELETE FROM %1$s deletes its records in Odoo too; SELECT etl.untrack(%2$L) lets them be; SELECT etl.track(%2$L, …, on_truncate => ''delete'') makes TRUNCATE delete them.', t.tab, t.tab)) END,
    CASE WHEN two_way THEN format($two$  ids bigint[];
  echo jsonb := '{}';
BEGIN
  IF current_setting('pg_etl.applying', true) = '%1$s' THEN
    echo := etl.track_%1$s_echoes();
  END IF;
$two$, t.id) ELSE E'BEGIN\n' END,
    tail, CASE WHEN two_way THEN format(' AND (c.operation <> ''update'' OR c.payload <> %L)', context) ELSE '' END,
    CASE WHEN two_way THEN ' WHERE NOT echo ? ''''' ELSE '' END);

  -- Two statements: with "nothing or above" in one, the plan would walk the index from its beginning for each chunk.
  backfill := format('%s IF after IS NULL THEN %s ELSE %s END IF; END', CASE WHEN two_way THEN 'DECLARE ids bigint[]; BEGIN' ELSE 'BEGIN' END,
    etl._chunk_source(t, vals, whole, stamp, keys, filter),
    etl._chunk_source(t, vals, whole, stamp, keys, format(' WHERE (%s) > (%s)%s', keys,
      (SELECT string_agg(format('(after)[%s]::%s', i, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY i)
         FROM unnest(t.key_columns) WITH ORDINALITY AS u(k, i) JOIN pg_attribute a ON a.attrelid = rel AND a.attname = k), and_filter)));
  -- Runs the mapping on no row, as the triggers do: what is wrong with it shows now and not when somebody writes.
  probe := format('WITH new_rows AS (SELECT * FROM %1$s), old_rows AS (SELECT * FROM %1$s) SELECT %2$s, %3$s FROM (SELECT ''{}''::jsonb AS echo) e, %4$s LIMIT 0', t.tab, whole, coalesce(nullif(changed, ''), 'NULL'), pairs);
END
$$;
COMMENT ON FUNCTION etl._capture_source(etl.tracks) IS 'The text of the functions that capture a table''s changes.';

-- API: Private. The statement that enqueues one chunk of a table. Its rows are locked, and so as they are now: a change that comes after
-- it is enqueued after it.
CREATE FUNCTION etl._chunk_source(t etl.tracks, vals text, whole text, stamp text, keys text, filter text) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format($src$
    WITH chunk AS MATERIALIZED (SELECT * FROM %1$s%2$s ORDER BY %3$s LIMIT rows FOR NO KEY UPDATE),
    enqueued AS (
      INSERT INTO etl.track_%13$s (model, operation, payload, idempotency_key, record_key, connection, priority)
      SELECT %5$L, 'upsert', %6$s, %7$s || row_number() OVER (), n.k, %8$L, least(%9$s, -10) FROM (SELECT %10$s FROM chunk) n%4$s
    )
    SELECT (SELECT count(*) FROM chunk), (SELECT ARRAY[%11$s] FROM chunk ORDER BY %12$s LIMIT 1)%14$s;
$src$, t.tab, filter, keys, CASE WHEN t.two_way IS NOT NULL THEN ' RETURNING id' ELSE '' END, t.model, whole, stamp, t.connection, t.priority, vals,
    (SELECT string_agg(format('%I::text', k), ', ' ORDER BY i) FROM unnest(t.key_columns) WITH ORDINALITY AS u(k, i)),
    (SELECT string_agg(format('%I DESC', k), ', ' ORDER BY i) FROM unnest(t.key_columns) WITH ORDINALITY AS u(k, i)), t.id,
    CASE WHEN t.two_way IS NULL THEN ' INTO sent, last'
      ELSE format(', (SELECT array_agg(q.id) FROM enqueued q) INTO sent, last, ids; PERFORM etl.track_%s_sent(ids)', t.id) END)
$$;
COMMENT ON FUNCTION etl._chunk_source(etl.tracks, text, text, text, text, text) IS 'The statement that enqueues one chunk of a table.';

-- API: Private. Whether two tracks send the same of the same rows.
CREATE FUNCTION etl._is_same_mapping(a etl.tracks, b etl.tracks) RETURNS bool
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT (a.fields, a.condition, a.key_columns, a.context, a.two_way IS NULL, a.on_odoo_create) IS NOT DISTINCT FROM (b.fields, b.condition, b.key_columns, b.context, b.two_way IS NULL, b.on_odoo_create) $$;
COMMENT ON FUNCTION etl._is_same_mapping(etl.tracks, etl.tracks) IS 'Whether two tracks send the same of the same rows.';

-- API: Private. Writes a track down, or changes it. Returns it.
CREATE FUNCTION etl._register_track(t etl.tracks) RETURNS etl.tracks
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  before etl.tracks;
  stored etl.tracks;
BEGIN
  PERFORM etl._must_be_set_up();
  -- The mapping runs as the table's owner: it is the owner's to say. (The session's user, for here the function's own rights are in force.)
  IF NOT pg_has_role(session_user, (SELECT c.relowner FROM pg_class c WHERE c.oid = t.tab::regclass), 'MEMBER') THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('%s belongs to somebody else', t.tab), HINT = 'A table is tracked by its owner.';
  ELSIF EXISTS (SELECT FROM etl._mirror_of(t.tab)) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = format('%s is a mirror: what is pulled into it would be sent back', t.tab),
      HINT = 'Track the table that people write to.';
  END IF;
  SELECT k.* INTO before FROM etl.tracks k WHERE k.connection = t.connection AND k.model = t.model AND k.tab = t.tab FOR UPDATE;
  IF FOUND THEN
    -- A field that was not sent before is sent with the next backfill; the old rows keep their keys.
    UPDATE etl.tracks k SET key_columns = t.key_columns, fields = t.fields, column_numbers = etl._column_numbers(t.tab::regclass), on_delete = t.on_delete, on_truncate = t.on_truncate, condition = t.condition,
        priority = t.priority, context = t.context, two_way = t.two_way, on_odoo_create = t.on_odoo_create, on_odoo_delete = t.on_odoo_delete,
        backfill_asked_at = CASE WHEN t.two_way IS NULL OR etl._is_same_mapping(k, t) THEN k.backfill_asked_at ELSE now() END,
        backfilled_at = CASE WHEN etl._is_same_mapping(k, t) THEN k.backfilled_at END,
        backfill_after = CASE WHEN etl._is_same_mapping(k, t) THEN k.backfill_after END,
        backfilled_rows = CASE WHEN etl._is_same_mapping(k, t) THEN k.backfilled_rows ELSE 0 END, backfill_error = NULL, backfill_not_before = NULL
      WHERE k.id = before.id RETURNING k.* INTO stored;
    IF NOT etl._is_same_mapping(before, t) THEN
      UPDATE etl.images i SET remote = NULL WHERE i.track = before.id;
      DELETE FROM etl.held_back b WHERE b.track = before.id;
    END IF;
  ELSE
    -- In step both ways means whole: what is there already goes too.
    INSERT INTO etl.tracks (connection, model, tab, rel, home, key_columns, fields, column_numbers, on_delete, on_truncate, condition, priority, context, two_way, on_odoo_create, on_odoo_delete, backfill_asked_at, prefix)
      VALUES (t.connection, t.model, t.tab, t.tab::regclass, t.home, t.key_columns, t.fields, etl._column_numbers(t.tab::regclass), t.on_delete, t.on_truncate, t.condition, t.priority,
        t.context, t.two_way, t.on_odoo_create, t.on_odoo_delete, CASE WHEN t.two_way IS NOT NULL THEN now() END,
        -- Another table may have had this name, and its records have its keys.
        CASE WHEN EXISTS (SELECT FROM etl.tracks k WHERE k.connection = t.connection AND k.model = t.model AND k.prefix = t.prefix)
          THEN format('%s#%s:', rtrim(t.prefix, ':'), t.tab::regclass::oid) ELSE t.prefix END)
      RETURNING * INTO stored;
  END IF;
  PERFORM etl._audit('track', t.tab, to_jsonb(before), to_jsonb(stored));
  PERFORM etl._wake();
  RETURN stored;
END
$$;
COMMENT ON FUNCTION etl._register_track(etl.tracks) IS 'Writes a track down, or changes it.';

-- API: Private. What the table's owner may write through: changes of records with this track's keys, and nothing else. Catalogs only.
CREATE FUNCTION etl._make_sink(track int) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  t etl.tracks;
  owner name;
  other name;
  door text;
BEGIN
  SELECT k.* INTO STRICT t FROM etl.tracks k WHERE k.id = track;
  SELECT r.rolname INTO owner FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = t.tab::regclass;
  EXECUTE format('CREATE OR REPLACE VIEW etl.track_%s AS SELECT model, operation, payload, idempotency_key, record_key, connection, priority, id FROM ops.odoo_outbox '
    'WHERE model = %L AND connection = %L AND starts_with(record_key, %L) AND operation IN (''upsert'', ''update'', ''delete'') '
    'AND NOT payload ?| ''{id,odoo_id}'' WITH CHECK OPTION', t.id, t.model, t.connection, t.prefix);
  EXECUTE format('ALTER VIEW etl.track_%s OWNER TO etl_worker', t.id);
  EXECUTE format('COMMENT ON VIEW etl.track_%s IS %L', t.id, format('Through this the triggers on %s enqueue.', t.tab));
  -- The keys that Odoo has, or will have.
  EXECUTE format($sql$
    CREATE OR REPLACE FUNCTION etl.track_%1$s_keys() RETURNS TABLE (record_key text) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS %2$L $sql$, t.id, format($body$
    SELECT k.key FROM (SELECT l.record_key AS key FROM etl.links l WHERE l.connection = %1$L AND l.model = %2$L AND starts_with(l.record_key, %3$L)
      UNION SELECT o.record_key FROM ops.odoo_outbox o WHERE o.connection = %1$L AND o.model = %2$L AND o.status IN ('queued', 'processing') AND starts_with(o.record_key, %3$L)) k
    WHERE (SELECT o.operation FROM ops.odoo_outbox o WHERE o.connection = %1$L AND o.model = %2$L AND o.record_key = k.key AND o.status IN ('queued', 'processing')
           ORDER BY o.id DESC LIMIT 1) IS DISTINCT FROM 'delete' $body$, t.connection, t.model, t.prefix));
  EXECUTE format('COMMENT ON FUNCTION etl.track_%s_keys() IS %L', t.id, format('The record keys of %s that Odoo has or will have.', t.tab));
  IF t.two_way IS NOT NULL THEN
    EXECUTE format('CREATE OR REPLACE FUNCTION etl.track_%s_sent(ids bigint[]) RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %L',
      t.id, format('SELECT etl._note_sent(%s, %L, ids)', t.id, t.prefix));
    EXECUTE format('CREATE OR REPLACE FUNCTION etl.track_%s_echoes() RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %L',
      t.id, format('SELECT etl._echoes(%s)', t.id));
    EXECUTE format('COMMENT ON FUNCTION etl.track_%s_sent(bigint[]) IS %L', t.id, format('Notes what the triggers on %s enqueued.', t.tab));
    EXECUTE format('COMMENT ON FUNCTION etl.track_%s_echoes() IS %L', t.id, format('What a pull is writing into %s.', t.tab));
  END IF;
  FOREACH door IN ARRAY ARRAY['keys()', 'sent(bigint[])', 'echoes()'] LOOP
    CONTINUE WHEN to_regprocedure(format('etl.track_%s_%s', t.id, door)) IS NULL;
    EXECUTE format('ALTER FUNCTION etl.track_%s_%s OWNER TO etl_worker', t.id, door);
    EXECUTE format('REVOKE ALL ON FUNCTION etl.track_%s_%s FROM PUBLIC', t.id, door);
    EXECUTE format('GRANT EXECUTE ON FUNCTION etl.track_%s_%s TO %I', t.id, door, owner);
  END LOOP;
  -- Whoever owned the table before loses what came with it.
  FOR other IN SELECT DISTINCT r.rolname FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
      WHERE c.oid = format('etl.track_%s', t.id)::regclass AND r.rolname NOT IN ('etl_worker', owner) LOOP
    EXECUTE format('REVOKE ALL ON etl.track_%s FROM %I', t.id, other);
    FOREACH door IN ARRAY ARRAY['keys()', 'sent(bigint[])', 'echoes()'] LOOP
      IF to_regprocedure(format('etl.track_%s_%s', t.id, door)) IS NOT NULL THEN
        EXECUTE format('REVOKE ALL ON FUNCTION etl.track_%s_%s FROM %I', t.id, door, other);
      END IF;
    END LOOP;
  END LOOP;
  EXECUTE format('REVOKE ALL ON etl.track_%s FROM PUBLIC', t.id);
  EXECUTE format('GRANT INSERT (model, operation, payload, idempotency_key, record_key, connection, priority), SELECT (id) ON etl.track_%s TO %I', t.id, owner);
  EXECUTE format('GRANT EXECUTE ON FUNCTION etl._is_backfilled(int) TO %I', owner);
  EXECUTE format('GRANT USAGE ON SCHEMA etl TO %I', owner);
  -- A view's insert takes its defaults with the rights of whoever inserts.
  IF pg_get_serial_sequence('ops.odoo_outbox', 'id') IS NOT NULL THEN
    EXECUTE format('GRANT USAGE ON SEQUENCE %s TO %I', pg_get_serial_sequence('ops.odoo_outbox', 'id'), owner);
  END IF;
END
$$;
COMMENT ON FUNCTION etl._make_sink(int) IS 'Makes the view through which a track''s triggers enqueue.';

-- API: Private. The names of a track's functions: in the table's schema, and its owner's.
CREATE FUNCTION etl._capture_names(t etl.tracks, OUT capture text, OUT backfill text, OUT look text, OUT apply text, OUT make text, OUT remove text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%I.etl_capture_%s', t.home, t.id), format('%I.etl_backfill_%s', t.home, t.id), format('%I.etl_look_%s', t.home, t.id), format('%I.etl_apply_%s', t.home, t.id),
    format('%I.etl_make_%s', t.home, t.id), format('%I.etl_remove_%s', t.home, t.id)
$$;
COMMENT ON FUNCTION etl._capture_names(etl.tracks) IS 'The names of the functions that capture a table''s changes.';

-- API: Private. Those that there are, with their arguments.
CREATE FUNCTION etl._capture_functions(t etl.tracks) RETURNS SETOF regprocedure
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT f.found FROM etl._capture_names(t) n
  CROSS JOIN LATERAL (VALUES (to_regprocedure(n.capture || '()')), (to_regprocedure(n.backfill || '(text[], int)')), (to_regprocedure(n.look || '(jsonb)')),
    (to_regprocedure(n.apply || '(jsonb)')), (to_regprocedure(n.make || '(jsonb)')), (to_regprocedure(n.remove || '(jsonb)'))) AS f(found)
  WHERE f.found IS NOT NULL
$$;
COMMENT ON FUNCTION etl._capture_functions(etl.tracks) IS 'The functions of a track that there are.';

-- API: Private. Makes or replaces a track's functions, with the rights of whoever calls; they are the table's owner's.
CREATE FUNCTION etl._write_capture(t etl.tracks) RETURNS void
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  source record;
  names record;
  inward record;
  settings text;
  made regprocedure;
  mirror regclass := etl._mirror_table(t.connection, t.model);
  owner name := (SELECT r.rolname FROM pg_class k JOIN pg_roles r ON r.oid = k.relowner WHERE k.oid = t.tab::regclass);
BEGIN
  SELECT * INTO source FROM etl._capture_source(t);
  SELECT * INTO names FROM etl._capture_names(t);
  -- Keys and values read the same whoever writes.
  settings := format('SECURITY DEFINER SET search_path = pg_catalog, %I, pg_temp SET timezone = ''UTC'' SET datestyle = ''ISO, YMD'' '
    'SET intervalstyle = ''iso_8601'' SET bytea_output = ''hex'' SET extra_float_digits = 1', t.home);
  EXECUTE format('CREATE OR REPLACE FUNCTION %s() RETURNS trigger LANGUAGE plpgsql %s AS %L', names.capture, settings, source.capture);
  EXECUTE format('CREATE OR REPLACE FUNCTION %s(after text[], rows int, OUT sent bigint, OUT last text[]) LANGUAGE plpgsql VOLATILE %s AS %L',
    names.backfill, settings, source.backfill);
  EXECUTE format('COMMENT ON FUNCTION %s() IS %L', names.capture, format('Sends changes of %s to Odoo (%s): made by etl.track().', t.tab, t.model));
  EXECUTE format('COMMENT ON FUNCTION %s(text[], int) IS %L', names.backfill, format('Sends rows of %s that were there before to Odoo (%s): made by etl.track().', t.tab, t.model));
  -- Where the mirror is gone, nothing is taken in; what there was stays.
  IF t.two_way IS NOT NULL AND EXISTS (SELECT FROM etl._inward(t, mirror)) THEN
    SELECT * INTO inward FROM etl._two_way_source(t, mirror);
    EXECUTE format('CREATE OR REPLACE FUNCTION %s(items jsonb) RETURNS TABLE (record_key text, local jsonb, typed jsonb) LANGUAGE plpgsql VOLATILE %s AS %L', names.look, settings, inward.look);
    EXECUTE format('CREATE OR REPLACE FUNCTION %s(changes jsonb) RETURNS SETOF text LANGUAGE plpgsql VOLATILE %s AS %L', names.apply, settings, inward.apply);
    EXECUTE format('CREATE OR REPLACE FUNCTION %s(item jsonb) RETURNS text LANGUAGE plpgsql VOLATILE %s AS %L', names.make, settings, inward.make);
    EXECUTE format('CREATE OR REPLACE FUNCTION %s(keys jsonb) RETURNS SETOF text LANGUAGE plpgsql VOLATILE %s AS %L', names.remove, settings, inward.remove);
    EXECUTE format('COMMENT ON FUNCTION %s(jsonb) IS %L', names.make, format('Makes rows of %s for records that somebody made in Odoo (%s): made by etl.track().', t.tab, t.model));
    EXECUTE format('COMMENT ON FUNCTION %s(jsonb) IS %L', names.remove, format('Deletes rows of %s whose records were deleted in Odoo (%s): made by etl.track().', t.tab, t.model));
    EXECUTE format('COMMENT ON FUNCTION %s(jsonb) IS %L', names.look, format('Locks rows of %s that changed in Odoo (%s): made by etl.track().', t.tab, t.model));
    EXECUTE format('COMMENT ON FUNCTION %s(jsonb) IS %L', names.apply, format('Writes what changed in Odoo (%s) into %s: made by etl.track().', t.model, t.tab));
  END IF;
  FOR made IN SELECT f FROM etl._capture_functions(t) f LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO %I', made, owner);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made);
    IF made <> to_regprocedure(names.capture || '()') THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO etl_worker', made);
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION etl._write_capture(etl.tracks) IS 'Makes or replaces the functions that capture a table''s changes.';

-- API: Private. Puts the triggers on a tracked table and its partitions, and takes them from what is none of them any more, with the
-- rights of whoever calls. A statement fires the triggers of the table that it names, and of no other. Returns how many got them now.
CREATE FUNCTION etl._arm(t etl.tracks) RETURNS int
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  part regclass;
  armed int := 0;
  capture text := (SELECT n.capture FROM etl._capture_names(t) n);
  g record;
BEGIN
  FOR part IN SELECT p.relid FROM pg_partition_tree(t.tab::regclass) p UNION SELECT t.tab::regclass LOOP
    CONTINUE WHEN EXISTS (SELECT FROM pg_trigger x WHERE x.tgrelid = part AND x.tgname = format('etl_capture_%s_truncate', t.id));
    EXECUTE format('CREATE TRIGGER etl_capture_%s_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION %s()', t.id, part, capture);
    EXECUTE format('CREATE TRIGGER etl_capture_%s_update AFTER UPDATE ON %s REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION %s()', t.id, part, capture);
    EXECUTE format('CREATE TRIGGER etl_capture_%s_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION %s()', t.id, part, capture);
    EXECUTE format('CREATE TRIGGER etl_capture_%s_truncate AFTER TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION %s()', t.id, part, capture);
    armed := armed + 1;
  END LOOP;
  FOR g IN SELECT x.tgrelid::regclass AS tab, x.tgname FROM pg_trigger x
      WHERE x.tgfoid = to_regprocedure(capture || '()') AND x.tgrelid <> t.tab::regclass
        AND NOT EXISTS (SELECT FROM pg_partition_tree(t.tab::regclass) p WHERE p.relid = x.tgrelid) LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', g.tgname, g.tab);
  END LOOP;
  RETURN armed;
END
$$;
COMMENT ON FUNCTION etl._arm(etl.tracks) IS 'Puts the triggers on a tracked table and its partitions.';

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
  -- A bare name is one of the table's own schema.
  mapping := (SELECT jsonb_object_agg(e.key, CASE WHEN jsonb_typeof(e.value) = 'object' AND e.value ? 'ref'
      THEN jsonb_set(e.value, '{ref}', to_jsonb(coalesce(etl._qualified(e.value ->> 'ref'), etl._qualified(format('%I.%s', k.nspname, e.value ->> 'ref')), e.value ->> 'ref')))
      ELSE e.value END) FROM jsonb_each($3) e);
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
    IF f.field IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'undefined_column', MESSAGE = format('%s has no field %s', $2, f.name),
        HINT = 'Names of fields are those of Odoo''s database, as developer mode shows them.';
    ELSIF (f.field -> 'readonly')::bool IS TRUE THEN
      RAISE EXCEPTION USING ERRCODE = 'generated_always', MESSAGE = format('%s.%s cannot be written: Odoo computes it, or keeps it read-only', $2, f.name),
        HINT = 'Leave it out.';
    ELSIF jsonb_typeof($3 -> f.name) = 'object' AND $3 -> f.name ? 'by' AND f.field ->> 'type' <> 'many2one' THEN
      RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('%s.%s refers to no record: "by" does not fit', $2, f.name),
        HINT = '"by" is for fields of type many2one.';
    ELSIF f.field ->> 'type' = 'one2many' THEN
      RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = format('%s.%s is a list of lines', $2, f.name),
        HINT = format('Track the table of the lines: SELECT etl.track(…, %L, ''{%s: {"column": "…", "ref": %s}, …}'');', f.field ->> 'relation', to_json(f.field ->> 'relation_field'), to_json(t.tab));
    END IF;
  END LOOP;

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
  PERFORM etl._write_capture(t);
  -- They call what goes with the extension, and so they go with it.
  FOR made IN SELECT g FROM etl._capture_functions(t) g LOOP
    EXECUTE format('ALTER FUNCTION %s DEPENDS ON EXTENSION pg_etl', made);
  END LOOP;
  IF NOT has_schema_privilege('etl_worker', k.nspname, 'USAGE') THEN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO etl_worker', k.nspname);
  END IF;
  PERFORM etl._arm(t);
  RETURN jsonb_build_object('track', t.id, 'table', t.tab, 'model', t.model, 'connection', t.connection, 'record_keys', t.prefix || '…',
    'backfilled', t.backfilled_at IS NOT NULL)
    || CASE WHEN $10 IS NULL THEN '{}' ELSE jsonb_build_object('two_way', $10, 'both_ways', to_jsonb(inward),
      'one_way', (SELECT coalesce(jsonb_agg(x ORDER BY x), '[]') FROM jsonb_object_keys(t.fields) x WHERE NOT x = ANY (inward))) END;
END
$$;
COMMENT ON FUNCTION etl.track(regclass, text, jsonb, text[], text, text, text, text, smallint, text, jsonb, text, text) IS
  'Sends every change of a table to an Odoo model. fields maps fields of Odoo to "column", {"value": …}, {"sql": "…"}, {"column": "…", "ref": "other.table"} or {"column": "…", "by": "code"}. two_way: what the model''s mirror pulls comes back into the table, and "odoo", "local" or "newest" wins a field that both changed; on_odoo_create "insert" makes rows of records that somebody makes there, on_odoo_delete "delete" deletes rows. context: language and companies. Calling again changes the mapping. Rows that are there already: SELECT etl.backfill(…).';

-- API: Private. The columns that name a row: those given, or the primary key; never null and unique.
CREATE FUNCTION etl._checked_key(rel regclass, given text[]) RETURNS text[]
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  found_key text[];
  odd text;
BEGIN
  SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u(n, place) JOIN pg_attribute a ON a.attrelid = rel AND a.attnum = u.n ORDER BY u.place)
    INTO found_key
    FROM pg_index i
    WHERE i.indrelid = rel AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND CASE WHEN given IS NULL THEN i.indisprimary
               ELSE (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM unnest(i.indkey::int2[]) n JOIN pg_attribute a ON a.attrelid = rel AND a.attnum = n)
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
  FOR t IN SELECT k.* FROM etl._tracks_of($1::text) k WHERE ($2 IS NULL OR k.model = $2) AND ($3 IS NULL OR k.connection = $3) LOOP
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
  ELSIF to_regclass(t.tab) IS NOT NULL AND EXISTS (SELECT FROM pg_trigger g WHERE g.tgname = format('etl_capture_%s_insert', track) AND g.tgrelid = to_regclass(t.tab)) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = format('%s is still tracked', t.tab), HINT = format('SELECT etl.untrack(%L);', t.tab);
  END IF;
  EXECUTE format('DROP VIEW IF EXISTS etl.track_%s', track);
  EXECUTE format('DROP FUNCTION IF EXISTS etl.track_%1$s_keys(), etl.track_%1$s_sent(bigint[]), etl.track_%1$s_echoes()', track);
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
      WHERE to_regclass(t.tab) = $1 AND ($2 IS NULL OR t.model = $2) AND ($3 IS NULL OR t.connection = $3) RETURNING t.*)
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
  done record;
  waits bool := false;
BEGIN
  FOR t IN SELECT k.* FROM etl.tracks k WHERE k.backfill_asked_at IS NOT NULL ORDER BY k.backfill_asked_at, k.id LOOP
    -- The outbox is no place to keep a table in; and what stops one table stops no other.
    IF t.backfill_not_before > now()
        OR (SELECT count(*) FROM (SELECT FROM etl.queue q WHERE q.connection = t.connection AND q.rank >= 10 LIMIT most_waiting) w) >= most_waiting
        OR NOT pg_try_advisory_xact_lock(hashtext('pg_etl backfill'), t.id) THEN
      waits := true;
      CONTINUE;
    END IF;
    BEGIN
      EXECUTE format('SELECT sent, last FROM %s($1, $2)', (SELECT n.backfill FROM etl._capture_names(t) n)) INTO done USING t.backfill_after, chunk;
    EXCEPTION WHEN OTHERS THEN
      UPDATE etl.tracks k SET backfill_error = left(SQLERRM, 500), backfill_not_before = now() + interval '30 s' WHERE k.id = t.id;
      waits := true;
      CONTINUE;
    END;
    UPDATE etl.tracks k SET backfill_after = coalesce(done.last, k.backfill_after), backfilled_rows = k.backfilled_rows + done.sent,
        backfill_asked_at = CASE WHEN done.sent = chunk THEN k.backfill_asked_at END,
        backfilled_at = CASE WHEN done.sent = chunk THEN k.backfilled_at ELSE now() END, backfill_error = NULL, backfill_not_before = NULL
      WHERE k.id = t.id;
    IF done.sent < chunk AND t.on_odoo_create = 'insert' THEN
      -- What is in Odoo already has no row yet.
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
  FROM etl._tracks_of($1::text) t JOIN etl.links l ON l.connection = t.connection AND l.model = t.model AND starts_with(l.record_key, t.prefix)
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

-- API: Private. A mapping in which another table is called otherwise.
CREATE FUNCTION etl._referred(fields jsonb, was text, now_called text) RETURNS jsonb
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_object_agg(f.key, CASE WHEN jsonb_typeof(f.value) = 'object' AND f.value ->> 'ref' = was THEN jsonb_set(f.value, '{ref}', to_jsonb(now_called)) ELSE f.value END)
  FROM jsonb_each(fields) f
$$;
COMMENT ON FUNCTION etl._referred(jsonb, text, text) IS 'A mapping in which another table is called otherwise.';

-- API: Private. A mapping in which a column is called otherwise.
CREATE FUNCTION etl._renamed(fields jsonb, was text, now_called text) RETURNS jsonb
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_object_agg(f.key, CASE
    WHEN jsonb_typeof(f.value) = 'string' AND f.value #>> '{}' = was THEN to_jsonb(now_called)
    WHEN jsonb_typeof(f.value) = 'object' AND f.value ->> 'column' = was THEN jsonb_set(f.value, '{column}', to_jsonb(now_called))
    ELSE f.value END)
  FROM jsonb_each(fields) f
$$;
COMMENT ON FUNCTION etl._renamed(jsonb, text, text) IS 'A mapping in which a column is called otherwise.';

-- API: Private. A tracked table is called otherwise now, or its columns are.
CREATE FUNCTION etl._moved_track(track int, tab text, home text, fields jsonb, keys text[]) RETURNS etl.tracks
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
  UPDATE etl.tracks k SET tab = $2, rel = $2::regclass, home = $3, fields = $4, key_columns = $5, column_numbers = etl._column_numbers($2::regclass)
  WHERE k.id = $1 RETURNING k.*
$$;
COMMENT ON FUNCTION etl._moved_track(int, text, text, jsonb, text[]) IS 'Follows a tracked table''s new names.';

-- API: Private. Rows came to a tracked table that nobody enqueued.
CREATE FUNCTION etl._is_not_backfilled(track int) RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$ UPDATE etl.tracks k SET backfilled_at = NULL WHERE k.id = $1 $$;
COMMENT ON FUNCTION etl._is_not_backfilled(int) IS 'Notes that a tracked table has rows that were not enqueued.';

-- API: Private. After a restore tables have other numbers, and so have their columns.
CREATE FUNCTION etl._find_tracked_tables() RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
  UPDATE etl.tracks k SET rel = etl._table(k.tab), column_numbers = etl._column_numbers(etl._table(k.tab))
  WHERE etl._table(k.tab) IS NOT NULL AND k.rel <> etl._table(k.tab)::oid
$$;
COMMENT ON FUNCTION etl._find_tracked_tables() IS 'Finds the tracked tables of a restored database by their names.';

-- API: Private. Other tracks that refer to it.
CREATE FUNCTION etl._follow_references(was text, now_called text) RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$ UPDATE etl.tracks k SET fields = etl._referred(k.fields, $1, $2) WHERE k.fields::text LIKE '%"ref"%' $$;
COMMENT ON FUNCTION etl._follow_references(text, text) IS 'Follows a tracked table''s new name in the mappings of others.';

-- API: Private. A tracked table was altered: a new name is followed, and what would break its triggers is refused, now and not when
-- somebody writes. Text and catalogs only: nothing of the mapping is run with these rights.
CREATE FUNCTION etl._after_alter() RETURNS event_trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on SET check_function_bodies = off
AS $$
DECLARE
  t etl.tracks;
  c record;
  rel regclass;
  tab text;
  home text;
  fields jsonb;
  keys text[];
  found_name text;
BEGIN
  FOR t IN
    SELECT k.* FROM etl.tracks k
    WHERE tg_tag = 'ALTER SCHEMA' OR EXISTS (SELECT FROM pg_event_trigger_ddl_commands() d
      WHERE d.classid = 'pg_class'::regclass AND (d.objid = k.rel OR EXISTS (SELECT FROM pg_partition_tree(k.rel) p WHERE p.relid = d.objid)
        OR EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = d.objid AND g.tgfoid = to_regprocedure(format('%I.etl_capture_%s()', k.home, k.id)))))
  LOOP
    rel := t.rel::regclass;
    tab := etl._qualified(rel::text);
    -- The functions are where the triggers say, whatever their schema is called now.
    home := (SELECT n.nspname FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE g.tgrelid = rel AND g.tgname = format('etl_capture_%s_insert', t.id) AND p.proname = format('etl_capture_%s', t.id));
    -- It is gone, or somebody took its triggers away.
    CONTINUE WHEN tab IS NULL OR home IS NULL;
    fields := t.fields;
    keys := t.key_columns;
    IF tab <> t.tab THEN
      PERFORM etl._follow_references(t.tab, tab);
      fields := etl._referred(fields, t.tab, tab);
    END IF;
    FOR c IN SELECT e.key AS col, e.value::int2 AS number FROM jsonb_each_text(t.column_numbers) e LOOP
      -- A restored table has other numbers: what still has its name was not renamed.
      CONTINUE WHEN etl._has_column(rel, c.col);
      found_name := (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = rel AND a.attnum = c.number AND NOT a.attisdropped);
      -- One that nothing uses may go; one in an expression cannot be followed.
      IF etl._expressions(t) ~ ('\y' || regexp_replace(c.col, '([^[:alnum:]_])', '\\\1', 'g') || '\y') OR (found_name IS NULL AND etl._uses(t, c.col)) THEN
        RAISE EXCEPTION USING ERRCODE = 'dependent_objects_still_exist',
          MESSAGE = format('column %s of %s is sent to Odoo (%s)', c.col, rel, t.model),
          HINT = format('SELECT etl.untrack(%L, %L); first, and track it again as it is then.', tab, t.model);
      END IF;
      CONTINUE WHEN found_name IS NULL;
      fields := etl._renamed(fields, c.col, found_name);
      keys := array_replace(keys, c.col, found_name);
    END LOOP;
    t := etl._moved_track(t.id, tab, home, fields, keys);
    PERFORM etl._make_sink(t.id);
    PERFORM etl._write_capture(t);
    IF etl._arm(t) > 0 THEN
      -- A partition came, perhaps with rows.
      PERFORM etl._is_not_backfilled(t.id);
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION etl._after_alter() IS 'Follows a tracked table''s new names and refuses to let go of columns that are sent to Odoo.';

-- API: Private. The columns of a table and their numbers, which stay when they are renamed.
CREATE FUNCTION etl._column_numbers(rel regclass) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT coalesce(jsonb_object_agg(a.attname, a.attnum), '{}') FROM pg_attribute a WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped $$;
COMMENT ON FUNCTION etl._column_numbers(regclass) IS 'The columns of a table and their numbers.';

-- API: Private. The expressions of a track, as one text to look for names in.
CREATE FUNCTION etl._expressions(t etl.tracks) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT concat_ws(' ', t.condition, (SELECT string_agg(f.value ->> 'sql', ' ') FROM jsonb_each(t.fields) f WHERE jsonb_typeof(f.value) = 'object')) $$;
COMMENT ON FUNCTION etl._expressions(etl.tracks) IS 'The expressions of a track as one text.';

-- API: Private. Whether a track sends a column, or names rows by it.
CREATE FUNCTION etl._uses(t etl.tracks, col text) RETURNS bool
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT col = ANY (t.key_columns) OR EXISTS (SELECT FROM jsonb_each(t.fields) f
    WHERE CASE jsonb_typeof(f.value) WHEN 'string' THEN f.value #>> '{}' WHEN 'object' THEN f.value ->> 'column' END = col)
$$;
COMMENT ON FUNCTION etl._uses(etl.tracks, text) IS 'Whether a track sends a column, or names rows by it.';

-- API: Private. A tracked table was dropped: so is its track. What is enqueued still goes.
CREATE FUNCTION etl._after_table_drop() RETURNS event_trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  t etl.tracks;
  made regprocedure;
BEGIN
  FOR t IN SELECT k.* FROM pg_event_trigger_dropped_objects() d JOIN etl.tracks k ON k.tab = format('%I.%I', d.schema_name, d.object_name)
      WHERE d.object_type = 'table' LOOP
    FOR made IN SELECT g FROM etl._capture_functions(t) g LOOP
      EXECUTE format('DROP FUNCTION %s', made);
    END LOOP;
    PERFORM etl._forget_track(t.id);
  END LOOP;
END
$$;
COMMENT ON FUNCTION etl._after_table_drop() IS 'Forgets the tracks of a table that was dropped.';

CREATE EVENT TRIGGER pg_etl_after_alter ON ddl_command_end WHEN TAG IN ('ALTER TABLE', 'CREATE TABLE', 'ALTER SCHEMA') EXECUTE FUNCTION etl._after_alter();
COMMENT ON EVENT TRIGGER pg_etl_after_alter IS 'Follows the names of tracked tables and columns; refuses to drop a column that is sent to Odoo.';
CREATE EVENT TRIGGER pg_etl_after_table_drop ON sql_drop WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED') EXECUTE FUNCTION etl._after_table_drop();
COMMENT ON EVENT TRIGGER pg_etl_after_table_drop IS 'Forgets the tracks of a table that was dropped.';
