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
  -- The same of the tables of its lines: {field: {"rel": oid, "columns": {…}}}.
  line_tables jsonb NOT NULL DEFAULT '{}',
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

-- API: Private. The tracks of a table, for whoever may not read them all.
CREATE FUNCTION etl._tracks_of(rel regclass) RETURNS SETOF etl.tracks
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$ SELECT t.* FROM etl.tracks t WHERE etl._table(t.tab) = $1 $$;
COMMENT ON FUNCTION etl._tracks_of(regclass) IS 'The tracks of a table.';
ALTER FUNCTION etl._tracks_of(regclass) OWNER TO etl_worker;

-- API: Private. Whether the rows that were there before are on their way: then an update need say no more than what changed.
CREATE FUNCTION etl._is_backfilled(track int) RETURNS bool
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$ SELECT t.backfilled_at IS NOT NULL FROM etl.tracks t WHERE t.id = $1 $$;
COMMENT ON FUNCTION etl._is_backfilled(int) IS 'Whether the rows that a table had when it was tracked were enqueued.';
ALTER FUNCTION etl._is_backfilled(int) OWNER TO etl_worker;

-- API: Private. How two values of a key column are told to be equal, where its type is from an extension, which may be in any schema;
-- NULL where pg_catalog has the operator.
CREATE FUNCTION etl._key_operator(rel regclass, col text) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname)
  FROM pg_attribute a JOIN pg_type d ON d.oid = a.atttypid JOIN pg_type y ON y.oid = coalesce(nullif(d.typbasetype, 0), d.oid)
  JOIN pg_opclass c ON c.opcintype = y.oid AND c.opcdefault JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
  JOIN pg_amop p ON p.amopfamily = c.opcfamily AND p.amopstrategy = 3 AND p.amoplefttype = y.oid AND p.amoprighttype = y.oid
  JOIN pg_operator o ON o.oid = p.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
  WHERE a.attrelid = rel AND a.attname = col AND y.typtype = 'b' AND y.typcategory <> 'A' AND y.typnamespace <> 'pg_catalog'::regnamespace
$$;
COMMENT ON FUNCTION etl._key_operator(regclass, text) IS 'The equality of a key column whose type is from an extension.';

-- API: Private. Whether the rows etl_now and "other" have the same key, as an expression: as an index finds it, and byte by byte, as
-- record keys are.
CREATE FUNCTION etl._same_key(rel regclass, key_columns text[], other text) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT string_agg(format('etl_now.%1$I %2$s %3$s.%1$I', u.k, coalesce(x.op, '='), other)
    || CASE WHEN x.op IS NOT NULL OR x.collated THEN format(' AND etl_now.%1$I::text COLLATE "C" = %2$s.%1$I::text', u.k, other) ELSE '' END, ' AND ' ORDER BY u.i)
  FROM unnest(key_columns) WITH ORDINALITY AS u(k, i)
  CROSS JOIN LATERAL (SELECT etl._key_operator(rel, u.k) AS op, (SELECT a.attcollation <> 0 FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = u.k) AS collated) x
$$;
COMMENT ON FUNCTION etl._same_key(regclass, text[], text) IS 'Whether two rows of a tracked table have the same key, as an expression.';

-- API: Private. Whether the row etl_now is among "rows", by its key, as an expression.
CREATE FUNCTION etl._key_among(rel regclass, key_columns text[], rows text) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN bool_or(etl._key_operator(rel, k) IS NOT NULL) THEN format('EXISTS (SELECT FROM %s etl_row WHERE %s)', rows, etl._same_key(rel, key_columns, 'etl_row'))
    ELSE format('(%1$s) IN (SELECT %1$s FROM %2$s)', string_agg(format('%I', k), ', ' ORDER BY i), rows) END
  FROM unnest(key_columns) WITH ORDINALITY AS u(k, i)
$$;
COMMENT ON FUNCTION etl._key_among(regclass, text[], text) IS 'Whether a row is among those of a statement, as an expression.';

-- API: Private. The text of a track's functions: what its triggers call, and what enqueues rows that were there before.
--
-- The new side of a change is the row as it is when the statement is over: a trigger of the user's may have changed it again, or put a
-- deleted one back, and what that statement enqueued came first. Names of ours begin with etl_, for a table may have columns of any.
CREATE FUNCTION etl._capture_source(t etl.tracks, OUT capture text, OUT backfill text, OUT probe text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rel regclass := etl._table(t.tab);
  p record;
  context jsonb := CASE WHEN t.context IS NULL THEN '{}' ELSE jsonb_build_object('_context', t.context) END;
  filter text := coalesce(' WHERE (' || t.condition || ')', '');
  and_filter text := coalesce(' AND (' || t.condition || ')', '');
  gone_operation text := CASE t.on_delete WHEN 'delete' THEN '''delete''' WHEN 'archive' THEN '''update''' ELSE 'NULL' END;
  gone_payload text := CASE t.on_delete WHEN 'archive' THEN format('%L::jsonb', '{"active": false}'::jsonb || context) ELSE '''{}''::jsonb' END;
  two_way bool := t.two_way IS NOT NULL;
  head text;
  tail text;
  stamp text;
  new_side text;
  old_side text;
  gone text;
  pairs text;
  -- Numbers are joined faster than texts are.
  id text := coalesce((SELECT format(', %I AS etl_id', a.attname) FROM pg_attribute a WHERE a.attrelid = rel AND ARRAY[a.attname::text] = t.key_columns AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'uuid'::regtype)), '');
  -- Another type's order is not that of the operators in pg_catalog.
  ordered text := (SELECT string_agg(format(CASE WHEN etl._key_operator(rel, k) IS NULL THEN '%I' ELSE '(%I::text COLLATE "C")' END, k), ', ' ORDER BY i) FROM unnest(t.key_columns) WITH ORDINALITY AS u(k, i));
BEGIN
  SELECT * INTO p FROM etl._payload_source(t);
  SELECT * INTO head, tail, stamp FROM etl._sending_source(t);
  new_side := format('(SELECT %s%s FROM %s etl_now WHERE %s%s) n', p.vals, id, t.tab, etl._key_among(rel, t.key_columns, 'new_rows'), and_filter);
  old_side := format('(SELECT %s%s FROM old_rows%s) o', p.vals, id, filter);
  -- OFFSET 0: by the key's index, row by row, whatever plan a session's first and largest DELETE was given.
  gone := format('(SELECT %s FROM old_rows etl_was WHERE NOT EXISTS (SELECT FROM %s etl_now WHERE %s%4$s OFFSET 0)%4$s) o', p.vals, t.tab, etl._same_key(rel, t.key_columns, 'etl_was'), and_filter);
  pairs := format('%s FULL JOIN %s ON %s WHERE n.k IS NULL OR o.k IS NULL OR %s%s', new_side, old_side, CASE WHEN id = '' THEN 'n.k = o.k' ELSE 'n.etl_id = o.etl_id' END, p.differs,
    CASE WHEN two_way THEN ' OR etl_echo ? n.k' ELSE '' END);

  -- Of a record that Odoo has not, or that waits to be made, all goes: what its row was when somebody inserted it may have been refused.
  -- So may have been all of a table that was never sent.
  capture := format($src$
#variable_conflict use_column
DECLARE
  -- Of this statement, and of no other.
  etl_stamp text := %1$s;
  etl_whole bool;
  etl_waiting jsonb := '{}';
%15$s  CASE TG_OP
  WHEN 'INSERT' THEN
    %2$s
    SELECT %3$L, 'upsert', %4$s, etl_stamp || row_number() OVER (), n.k, %5$L, %6$s FROM %7$s%18$s%16$s
  WHEN 'UPDATE' THEN
    etl_whole := etl._is_backfilled(%8$s) IS NOT TRUE;
    IF NOT etl_whole THEN
      etl_waiting := etl.track_%8$s_waiting(ARRAY(SELECT %9$s FROM new_rows));
    END IF;
    %2$s
    SELECT %3$L, c.operation, c.payload, etl_stamp || row_number() OVER (), c.k, %5$L, %6$s
    FROM (SELECT coalesce(n.k, o.k) AS k, CASE WHEN n.k IS NULL THEN %20$s WHEN o.k IS NULL OR etl_whole OR etl_waiting ? n.k THEN 'upsert' ELSE 'update' END AS operation,
            CASE WHEN n.k IS NULL THEN %10$s WHEN o.k IS NULL THEN %4$s WHEN etl_whole OR etl_waiting ? n.k THEN %19$s ELSE %11$s END AS payload
          FROM %12$s) c
    WHERE c.operation IS NOT NULL AND (c.operation <> 'update' OR c.payload <> %17$L)%16$s
  WHEN 'DELETE' THEN
    %13$s
  WHEN 'TRUNCATE' THEN
    %14$s
  END CASE;
  RETURN NULL;
END
$src$,
    stamp, head, t.model, p.whole, t.connection, t.priority, new_side, t.id, etl._key_expression(t.prefix, t.key_columns), gone_payload,
    CASE WHEN context = '{}' THEN '' ELSE format('%L::jsonb || ', context) END || p.changed, pairs,
    CASE t.on_delete WHEN 'ignore' THEN 'NULL;' ELSE format('%s
    SELECT %L, %s, %s, etl_stamp || row_number() OVER (), o.k, %L, %s FROM %s%s', head, t.model, gone_operation, gone_payload, t.connection, t.priority, gone, CASE WHEN two_way THEN ' WHERE NOT coalesce(etl_echo -> o.k ? ''_deleted'', false)' ELSE '' END || tail) END,
    CASE t.on_truncate WHEN 'delete' THEN
      -- A partition is not the table: what is still there stays.
      format('%s
    SELECT %L, ''delete'', ''{}''::jsonb, etl_stamp || row_number() OVER (), k.record_key, %L, %s FROM etl.track_%s_keys() k
    WHERE NOT EXISTS (SELECT FROM %s WHERE %s = k.record_key)%s', head, t.model, t.connection, t.priority, t.id, t.tab, etl._key_expression(t.prefix, t.key_columns), tail)
    ELSE format('RAISE EXCEPTION USING ERRCODE = ''feature_not_supported'', MESSAGE = %L, HINT = %L;',
      format('%s is tracked and cannot be truncated', t.tab),
      format('DELETE FROM %1$s deletes its records in Odoo too; SELECT etl.untrack(%2$L) lets them be; SELECT etl.track(%2$L, …, on_truncate => ''delete'') makes TRUNCATE delete them.', t.tab, t.tab)) END,
    CASE WHEN two_way THEN format($two$  etl_ids bigint[];
  etl_echo jsonb := '{}';
BEGIN
  IF current_setting('pg_etl.applying', true) = '%1$s' THEN
    etl_echo := etl.track_%1$s_echoes();
  END IF;
$two$, t.id) ELSE E'BEGIN\n' END,
    tail, context,
    CASE WHEN two_way THEN ' WHERE NOT (etl_echo ? '''' AND pg_trigger_depth() = 1)' ELSE '' END,
    CASE WHEN two_way THEN format('%s || %s', p.known, p.changed) ELSE p.whole END,
    -- A row that leaves the condition because of what somebody did in Odoo: Odoo knows.
    CASE WHEN two_way THEN format('CASE WHEN NOT etl_echo ? o.k THEN %s END', gone_operation) ELSE gone_operation END);

  -- Two statements: with "nothing or above" in one, the plan would walk the index from its beginning for each chunk.
  backfill := format($src$
#variable_conflict use_column
DECLARE
  etl_after text[] := CASE WHEN jsonb_typeof($1 -> 'after') = 'array' THEN ARRAY(SELECT jsonb_array_elements_text($1 -> 'after')) END;
  etl_rows int := ($1 ->> 'rows')::int;
  etl_sent bigint;
  etl_last text[];
  etl_ids bigint[];
  etl_locked %s[];
BEGIN
  IF etl_after IS NULL THEN%s  ELSE%s  END IF;
  RETURN jsonb_build_object('sent', etl_sent, 'last', etl_last);
END
$src$,
    (SELECT format_type(a.atttypid, NULL) FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = t.key_columns [1]),
    etl._chunk_source(t, p.vals, p.known, stamp, ordered, filter),
    etl._chunk_source(t, p.vals, p.known, stamp, ordered, format(' WHERE (%s) > (%s)%s', ordered,
      (SELECT string_agg(format(CASE WHEN etl._key_operator(rel, k) IS NULL THEN '(etl_after)[%s]::%s' ELSE '(etl_after)[%s]' END, i, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY i)
         FROM unnest(t.key_columns) WITH ORDINALITY AS u(k, i) JOIN pg_attribute a ON a.attrelid = rel AND a.attname = k), and_filter)));
  -- Runs the mapping on no row, as the triggers do: what is wrong with it shows now and not when somebody writes.
  probe := format('WITH new_rows AS (SELECT * FROM %1$s), old_rows AS (SELECT * FROM %1$s) SELECT %2$s, %3$s, EXISTS (SELECT FROM %5$s) FROM (SELECT ''{}''::jsonb AS etl_echo) e, %4$s LIMIT 0', t.tab, p.whole, p.changed, pairs, gone);
END
$$;
COMMENT ON FUNCTION etl._capture_source(etl.tracks) IS 'The text of the functions that capture a table''s changes.';

-- API: Private. How a track's functions enqueue: "head" before the SELECT of the rows, "tail" after it, and a "stamp" for their idempotency keys.
CREATE FUNCTION etl._sending_source(t etl.tracks, OUT head text, OUT tail text, OUT stamp text)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN t.two_way IS NULL THEN '' ELSE 'WITH sent AS (' END
      || format('INSERT INTO etl.track_%s (model, operation, payload, idempotency_key, record_key, connection, priority)', t.id),
    -- What is sent of a two-way record is noted with it.
    CASE WHEN t.two_way IS NULL THEN ';' ELSE format(E' RETURNING id)\n    SELECT array_agg(s.id) INTO etl_ids FROM sent s;\n    PERFORM etl.track_%s_sent(etl_ids);', t.id) END,
    format('concat(''track:%s:'', to_hex((extract(epoch FROM clock_timestamp()) * 1000000)::bigint), '':'', left(gen_random_uuid()::text, 18), '':'')', t.id)
$$;
COMMENT ON FUNCTION etl._sending_source(etl.tracks) IS 'How a track''s functions enqueue, as text.';

-- API: Private. The statements that enqueue one chunk of a table. Its rows are locked, and so as they are now: a change that comes after
-- it is enqueued after it. Lines are locked with the row of their record, and are read by a statement that begins when that is done.
CREATE FUNCTION etl._chunk_source(t etl.tracks, vals text, whole text, stamp text, ordered text, filter text) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN t.line_tables = '{}' THEN '' ELSE format(E'\n    etl_locked := ARRAY(SELECT %4$I FROM %1$s%3$s ORDER BY %2$s LIMIT etl_rows FOR NO KEY UPDATE);', t.tab, ordered, filter, t.key_columns [1]) END || format($src$
    WITH etl_chunk AS MATERIALIZED (%2$s),
    etl_enqueued AS (
      INSERT INTO etl.track_%13$s (model, operation, payload, idempotency_key, record_key, connection, priority)
      SELECT %5$L, 'upsert', %6$s, %7$s || row_number() OVER (), n.k, %8$L, least(%9$s, -10) FROM (SELECT %10$s FROM etl_chunk) n%4$s
    )
    SELECT %3$s, (SELECT ARRAY[%11$s] FROM etl_chunk ORDER BY %12$s LIMIT 1)%14$s;
  $src$, t.tab,
    CASE WHEN t.line_tables = '{}' THEN format('SELECT * FROM %s%s ORDER BY %s LIMIT etl_rows FOR NO KEY UPDATE', t.tab, filter, ordered)
      ELSE format('SELECT * FROM %s WHERE %I %s ANY (etl_locked)', t.tab, t.key_columns [1], coalesce(etl._key_operator(etl._table(t.tab), t.key_columns [1]), '=')) END,
    CASE WHEN t.line_tables = '{}' THEN '(SELECT count(*) FROM etl_chunk)' ELSE 'cardinality(etl_locked)' END,
    CASE WHEN t.two_way IS NOT NULL THEN ' RETURNING id' ELSE '' END, t.model, whole, stamp, t.connection, t.priority, vals,
    (SELECT string_agg(format('%I::text', k), ', ' ORDER BY i) FROM unnest(t.key_columns) WITH ORDINALITY AS u(k, i)),
    (SELECT string_agg(format(CASE WHEN etl._key_operator(etl._table(t.tab), k) IS NULL THEN '%I DESC' ELSE '%I::text COLLATE "C" DESC' END, k), ', ' ORDER BY i) FROM unnest(t.key_columns) WITH ORDINALITY AS u(k, i)), t.id,
    CASE WHEN t.two_way IS NULL THEN ' INTO etl_sent, etl_last'
      ELSE format(', (SELECT array_agg(q.id) FROM etl_enqueued q) INTO etl_sent, etl_last, etl_ids; PERFORM etl.track_%s_sent(etl_ids)', t.id) END)
$$;
COMMENT ON FUNCTION etl._chunk_source(etl.tracks, text, text, text, text, text) IS 'The statement that enqueues one chunk of a table.';

-- API: Private. Whether two tracks send the same of the same rows.
CREATE FUNCTION etl._is_same_mapping(a etl.tracks, b etl.tracks) RETURNS bool
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT (a.fields, a.condition, a.key_columns, a.context, a.two_way IS NULL, a.on_odoo_create) IS NOT DISTINCT FROM (b.fields, b.condition, b.key_columns, b.context, b.two_way IS NULL, b.on_odoo_create) $$;
COMMENT ON FUNCTION etl._is_same_mapping(etl.tracks, etl.tracks) IS 'Whether two tracks send the same of the same rows.';

-- API: Private. Refuses a table whose rows its owner may not see all: one that is hidden from the triggers would count as deleted.
CREATE FUNCTION etl._check_policies(rel regclass) RETURNS void
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  c record;
BEGIN
  SELECT r.rolname AS owner, k.relrowsecurity AND k.relforcerowsecurity AND NOT (r.rolsuper OR r.rolbypassrls) AS is_bound INTO c
    FROM pg_class k JOIN pg_roles r ON r.oid = k.relowner WHERE k.oid = rel;
  IF c.is_bound THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('row level security of %s is forced upon its owner, %s', rel, c.owner),
      DETAIL = 'What is sent to Odoo is read with the owner''s rights, and a row that a policy hides would be deleted there.',
      HINT = format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY; or ALTER ROLE %I BYPASSRLS; else it cannot be tracked (etl.untrack).', rel, c.owner);
  END IF;
END
$$;
COMMENT ON FUNCTION etl._check_policies(regclass) IS 'Refuses a table whose owner may not see all of its rows.';

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
  IF NOT pg_has_role(session_user, (SELECT c.relowner FROM pg_class c WHERE c.oid = etl._table(t.tab)), 'MEMBER') THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('%s belongs to somebody else', t.tab), HINT = 'A table is tracked by its owner.';
  ELSIF (SELECT count(*) FROM jsonb_each(t.fields) f WHERE jsonb_typeof(f.value) = 'object' AND f.value ? 'lines') <> (SELECT count(*) FROM jsonb_object_keys(etl._line_tables(t.fields))) THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = format('a table of lines of %s does not exist', t.tab), HINT = 'Tracks are made by etl.track().';
  ELSIF EXISTS (SELECT FROM jsonb_each(etl._line_tables(t.fields)) l JOIN pg_class c ON c.oid = (l.value ->> 'rel')::oid
      WHERE c.relowner <> (SELECT k.relowner FROM pg_class k WHERE k.oid = etl._table(t.tab))) THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('lines of %s belong to somebody else', t.tab), HINT = 'A table and the table of its lines have one owner.';
  ELSIF EXISTS (SELECT FROM etl._mirror_of(etl._table(t.tab))) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = format('%s is a mirror: what is pulled into it would be sent back', t.tab),
      HINT = 'Track the table that people write to.';
  END IF;
  SELECT k.* INTO before FROM etl.tracks k WHERE k.connection = t.connection AND k.model = t.model AND k.tab = t.tab FOR UPDATE;
  -- Other columns make other record keys, and each record would be made a second time.
  IF before.key_columns <> t.key_columns AND (EXISTS (SELECT FROM etl.links l WHERE l.connection = before.connection AND l.model = before.model AND starts_with(l.record_key, before.prefix))
      OR EXISTS (SELECT FROM ops.odoo_outbox o WHERE o.connection = before.connection AND o.model = before.model AND o.status IN ('queued', 'processing') AND starts_with(o.record_key, before.prefix))) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = format('records of %s are known by %s, and not by %s', t.tab, array_to_string(before.key_columns, ', '), array_to_string(t.key_columns, ', ')),
      DETAIL = 'Odoo has them, or will have them, under external ids that are made of the key: with another one all would be made a second time.',
      HINT = format('Keep the key: SELECT etl.track(%1$L, %2$L, …, key => %3$L). Or SELECT etl.untrack(%1$L, %2$L, %4$L) first: then their records stay in Odoo as they are, and rows are new ones when they are tracked again.',
        t.tab, t.model, before.key_columns, t.connection);
  ELSIF before.id IS NOT NULL THEN
    -- A field that was not sent before is sent with the next backfill; the old rows keep their keys.
    UPDATE etl.tracks k SET key_columns = t.key_columns, fields = t.fields, column_numbers = etl._column_numbers(etl._table(t.tab)), line_tables = etl._line_tables(t.fields), on_delete = t.on_delete, on_truncate = t.on_truncate, condition = t.condition,
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
    INSERT INTO etl.tracks (connection, model, tab, rel, home, key_columns, fields, column_numbers, line_tables, on_delete, on_truncate, condition, priority, context, two_way, on_odoo_create, on_odoo_delete, backfill_asked_at, prefix)
      VALUES (t.connection, t.model, t.tab, etl._table(t.tab), t.home, t.key_columns, t.fields, etl._column_numbers(etl._table(t.tab)), etl._line_tables(t.fields), t.on_delete, t.on_truncate, t.condition, t.priority,
        t.context, t.two_way, t.on_odoo_create, t.on_odoo_delete, CASE WHEN t.two_way IS NOT NULL THEN now() END,
        -- Another table may have had this name, and its records have its keys.
        CASE WHEN EXISTS (SELECT FROM etl.tracks k WHERE k.connection = t.connection AND k.model = t.model AND k.prefix = t.prefix)
          THEN format('%s#%s:', rtrim(t.prefix, ':'), etl._table(t.tab)::oid) ELSE t.prefix END)
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
  waiting text;
BEGIN
  SELECT k.* INTO STRICT t FROM etl.tracks k WHERE k.id = track;
  SELECT r.rolname INTO owner FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = etl._table(t.tab);
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
  -- In the collation of our tables: in another one their indexes are of no use.
  waiting := CASE WHEN t.line_tables = '{}' THEN format('etl._unmade(%L, %L, %L, keys COLLATE "default")', t.connection, t.model, t.prefix)
    ELSE format('etl._waiting(%L, %L, %L, keys COLLATE "default", etl._is_backfilled(%s) IS NOT TRUE)', t.connection, t.model, t.prefix, t.id) END;
  IF t.two_way IS NOT NULL THEN
    -- While a row is made of a record of Odoo's there is no link yet, and a record.
    waiting := format('CASE WHEN current_setting(''pg_etl.applying'', true) = ''%1$s'' AND EXISTS (SELECT FROM etl.applying a WHERE a.track = %1$s AND a.record_key = '''') THEN ''{}'' ELSE %2$s END', t.id, waiting);
  END IF;
  EXECUTE format('CREATE OR REPLACE FUNCTION etl.track_%s_waiting(keys text[]) RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %L',
    t.id, 'SELECT ' || waiting);
  EXECUTE format('COMMENT ON FUNCTION etl.track_%s_waiting(text[]) IS %L', t.id, format('Those records of %s of which all goes.', t.tab));
  FOREACH door IN ARRAY ARRAY['keys()', 'sent(bigint[])', 'echoes()', 'waiting(text[])'] LOOP
    CONTINUE WHEN to_regprocedure(format('etl.track_%s_%s', t.id, door)) IS NULL;
    EXECUTE format('ALTER FUNCTION etl.track_%s_%s OWNER TO etl_worker', t.id, door);
    EXECUTE format('REVOKE ALL ON FUNCTION etl.track_%s_%s FROM PUBLIC', t.id, door);
    EXECUTE format('GRANT EXECUTE ON FUNCTION etl.track_%s_%s TO %I', t.id, door, owner);
  END LOOP;
  -- Whoever owned the table before loses what came with it.
  FOR other IN SELECT r.rolname FROM etl._sink_users(t.id) u JOIN pg_roles r ON r.oid = u WHERE r.rolname <> owner LOOP
    EXECUTE format('REVOKE ALL ON etl.track_%s FROM %I', t.id, other);
    FOREACH door IN ARRAY ARRAY['keys()', 'sent(bigint[])', 'echoes()', 'waiting(text[])'] LOOP
      IF to_regprocedure(format('etl.track_%s_%s', t.id, door)) IS NOT NULL THEN
        EXECUTE format('REVOKE ALL ON FUNCTION etl.track_%s_%s FROM %I', t.id, door, other);
      END IF;
    END LOOP;
  END LOOP;
  EXECUTE format('REVOKE ALL ON etl.track_%s FROM PUBLIC', t.id);
  EXECUTE format('GRANT INSERT (model, operation, payload, idempotency_key, record_key, connection, priority), SELECT (id, operation) ON etl.track_%s TO %I', t.id, owner);
  EXECUTE format('GRANT EXECUTE ON FUNCTION etl._is_backfilled(int) TO %I', owner);
  EXECUTE format('GRANT USAGE ON SCHEMA etl TO %I', owner);
  -- A view's insert takes its defaults with the rights of whoever inserts.
  IF pg_get_serial_sequence('ops.odoo_outbox', 'id') IS NOT NULL THEN
    EXECUTE format('GRANT USAGE ON SEQUENCE %s TO %I', pg_get_serial_sequence('ops.odoo_outbox', 'id'), owner);
  END IF;
END
$$;
COMMENT ON FUNCTION etl._make_sink(int) IS 'Makes the view through which a track''s triggers enqueue.';

-- API: Private. Who may write through a track's view, but the worker: its table's owner, as far as nobody changed that behind our back.
CREATE FUNCTION etl._sink_users(track int) RETURNS SETOF oid
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT x.grantee FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) x WHERE c.oid = to_regclass(format('etl.track_%s', $1)) AND x.grantee NOT IN (0, 'etl_worker'::regrole)
  UNION SELECT x.grantee FROM pg_attribute a CROSS JOIN LATERAL aclexplode(a.attacl) x WHERE a.attrelid = to_regclass(format('etl.track_%s', $1)) AND x.grantee NOT IN (0, 'etl_worker'::regrole)
$$;
COMMENT ON FUNCTION etl._sink_users(int) IS 'Who may write through a track''s view.';

-- API: Private. The names of a track's functions: in the table's schema, and its owner's.
CREATE FUNCTION etl._capture_names(t etl.tracks, OUT capture text, OUT backfill text, OUT look text, OUT apply text, OUT make text, OUT remove text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('%I.etl_capture_%s', t.home, t.id), format('%I.etl_backfill_%s', t.home, t.id), format('%I.etl_look_%s', t.home, t.id), format('%I.etl_apply_%s', t.home, t.id),
    format('%I.etl_make_%s', t.home, t.id), format('%I.etl_remove_%s', t.home, t.id)
$$;
COMMENT ON FUNCTION etl._capture_names(etl.tracks) IS 'The names of the functions that capture a table''s changes.';

-- API: Private. Those that there are, with their arguments; what somebody else put under such a name is not among them.
CREATE FUNCTION etl._capture_functions(t etl.tracks) RETURNS SETOF regprocedure
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT f.found FROM etl._capture_names(t) n
  CROSS JOIN LATERAL (VALUES (to_regprocedure(n.capture || '()')), (to_regprocedure(n.backfill || '(jsonb)')), (to_regprocedure(n.look || '(jsonb)')),
    (to_regprocedure(n.apply || '(jsonb)')), (to_regprocedure(n.make || '(jsonb)')), (to_regprocedure(n.remove || '(jsonb)'))) AS f(found)
  JOIN pg_proc p ON p.oid = f.found AND p.prosecdef
  WHERE p.proowner = coalesce((SELECT c.relowner FROM pg_class c WHERE c.oid = t.rel), p.proowner)
  UNION ALL
  SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE n.nspname = t.home AND starts_with(p.proname, format('etl_lines_%s_', t.id)) AND p.prorettype = 'trigger'::regtype AND p.prosecdef
    AND p.proowner = coalesce((SELECT c.relowner FROM pg_class c WHERE c.oid = t.rel), p.proowner)
$$;
COMMENT ON FUNCTION etl._capture_functions(etl.tracks) IS 'The functions of a track that there are.';

-- API: Private. What a track's functions are: name, arguments and their types, what they return, their text.
CREATE FUNCTION etl._track_functions(t etl.tracks) RETURNS TABLE (name text, arguments text, types text, returned text, body text, comment text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  source record;
  names record;
  inward record;
  mirror regclass := etl._mirror_table(t.connection, t.model);
BEGIN
  SELECT * INTO source FROM etl._capture_source(t);
  SELECT * INTO names FROM etl._capture_names(t);
  RETURN QUERY VALUES
    (names.capture, '', '()', 'trigger', source.capture, format('Sends changes of %s to Odoo (%s): made by etl.track().', t.tab, t.model)),
    (names.backfill, 'asked jsonb', '(jsonb)', 'jsonb', source.backfill, format('Sends rows of %s that were there before to Odoo (%s): made by etl.track().', t.tab, t.model));
  RETURN QUERY SELECT c.capture, '', '()', 'trigger', (etl._lines_source(t, c.field, c.mapping)).capture,
      format('Sends changes of %s, which are lines of %s, to Odoo (%s): made by etl.track().', c.rel, t.tab, t.model)
    FROM etl._line_captures(t) c;
  -- Where the mirror is gone, nothing is taken in; what there was stays.
  IF t.two_way IS NOT NULL AND EXISTS (SELECT FROM etl._inward(t, mirror)) THEN
    SELECT * INTO inward FROM etl._two_way_source(t, mirror);
    RETURN QUERY VALUES
      (names.look, 'items jsonb', '(jsonb)', 'TABLE (etl_record_key text, etl_local jsonb, etl_typed jsonb)', inward.look, format('Locks rows of %s that changed in Odoo (%s): made by etl.track().', t.tab, t.model)),
      (names.apply, 'changes jsonb', '(jsonb)', 'SETOF text', inward.apply, format('Writes what changed in Odoo (%s) into %s: made by etl.track().', t.model, t.tab)),
      (names.make, 'item jsonb', '(jsonb)', 'text', inward.make, format('Makes rows of %s for records that somebody made in Odoo (%s): made by etl.track().', t.tab, t.model)),
      (names.remove, 'keys jsonb', '(jsonb)', 'TABLE (etl_k text, etl_state text)', inward.remove, format('Deletes rows of %s whose records were deleted in Odoo (%s): made by etl.track().', t.tab, t.model));
  END IF;
END
$$;
COMMENT ON FUNCTION etl._track_functions(etl.tracks) IS 'What the functions of a track are.';

-- API: Private. Makes or replaces a track's functions, with the rights of whoever calls; they are the table's owner's.
CREATE FUNCTION etl._write_capture(t etl.tracks) RETURNS void
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  f record;
  made regprocedure;
  written regprocedure[] := '{}';
  other name;
  owner name := (SELECT r.rolname FROM pg_class k JOIN pg_roles r ON r.oid = k.relowner WHERE k.oid = etl._table(t.tab));
BEGIN
  FOR f IN SELECT * FROM etl._track_functions(t) LOOP
    -- Keys and values read the same whoever writes. Nobody who may put functions and operators into the table's schema does so under the
    -- owner's rights.
    EXECUTE format('CREATE OR REPLACE FUNCTION %s(%s) RETURNS %s LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = ''UTC'' SET datestyle = ''ISO, YMD'' '
      'SET intervalstyle = ''iso_8601'' SET bytea_output = ''hex'' SET extra_float_digits = 1 AS %L', f.name, f.arguments, f.returned, f.body);
    made := to_regprocedure(f.name || f.types);
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', made, f.comment);
    written := written || made;
  END LOOP;
  -- Lines that are sent no more, with their triggers.
  FOR made IN SELECT g FROM etl._capture_functions(t) g JOIN pg_proc p ON p.oid = g WHERE p.prorettype = 'trigger'::regtype AND NOT g = ANY (written) LOOP
    EXECUTE format('DROP FUNCTION %s CASCADE', made);
  END LOOP;
  -- What this call has written, whoever made a function of that name before, and nothing else.
  FOREACH made IN ARRAY written LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO %I', made, owner);
    FOR other IN SELECT DISTINCT r.rolname FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee
        WHERE p.oid = made AND r.rolname <> owner LOOP
      EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %I CASCADE', made, other);
    END LOOP;
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made);
  END LOOP;
END
$$;
COMMENT ON FUNCTION etl._write_capture(etl.tracks) IS 'Makes or replaces the functions that capture a table''s changes.';

-- API: Private. Puts the triggers on a tracked table, the tables of its lines and their partitions, and takes them from what is none of
-- them any more, with the rights of whoever calls. A statement fires the triggers of the table that it names, and of no other. Returns
-- how many got them now.
CREATE FUNCTION etl._arm(t etl.tracks) RETURNS int
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  part regclass;
  armed int := 0;
  target record;
  g record;
BEGIN
  FOR target IN SELECT etl._table(t.tab) AS rel, n.capture, format('etl_capture_%s', t.id) AS name FROM etl._capture_names(t) n
      UNION ALL SELECT c.rel, c.capture, c.name FROM etl._line_captures(t) c WHERE c.rel IS NOT NULL LOOP
    FOR part IN SELECT p.relid FROM pg_partition_tree(target.rel) p UNION SELECT target.rel LOOP
      CONTINUE WHEN EXISTS (SELECT FROM pg_trigger x WHERE x.tgrelid = part AND x.tgname = target.name || '_truncate');
      EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION %s()', target.name || '_insert', part, target.capture);
      EXECUTE format('CREATE TRIGGER %I AFTER UPDATE ON %s REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION %s()', target.name || '_update', part, target.capture);
      EXECUTE format('CREATE TRIGGER %I AFTER DELETE ON %s REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION %s()', target.name || '_delete', part, target.capture);
      EXECUTE format('CREATE TRIGGER %I AFTER TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION %s()', target.name || '_truncate', part, target.capture);
      armed := armed + 1;
    END LOOP;
    FOR g IN SELECT x.tgrelid::regclass AS tab, x.tgname FROM pg_trigger x
        WHERE x.tgfoid = to_regprocedure(target.capture || '()') AND x.tgrelid <> target.rel
          AND NOT EXISTS (SELECT FROM pg_partition_tree(target.rel) p WHERE p.relid = x.tgrelid) LOOP
      EXECUTE format('DROP TRIGGER %I ON %s', g.tgname, g.tab);
    END LOOP;
  END LOOP;
  RETURN armed;
END
$$;
COMMENT ON FUNCTION etl._arm(etl.tracks) IS 'Puts the triggers on a tracked table, its lines and its partitions.';
