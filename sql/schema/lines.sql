-- Lines: rows of another table that go into a field of a tracked table's records.
--
--   {"lines": table, "column": c, "key": […], "fields": {…}}   one2many: each row is a line, which its key names
--   {"lines": table, "column": c, "each": mapping}              many2many: each row names a record
--
-- c is the column that names the record's row. A change of lines is a change of their record, and joins what of it waits: a new record
-- and its lines go to Odoo in one call.

-- API: Private. A table of lines as _payload_source() and its like take it.
CREATE FUNCTION etl._lines_track(t etl.tracks, mapping jsonb) RETURNS etl.tracks
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_populate_record(t, jsonb_build_object('tab', mapping ->> 'lines', 'prefix', '', 'key_columns', coalesce(mapping -> 'key', jsonb_build_array(mapping ->> 'column')),
    'fields', CASE WHEN mapping ? 'each' THEN jsonb_build_object('each', mapping -> 'each') ELSE mapping -> 'fields' END,
    'condition', NULL, 'context', NULL, 'two_way', NULL, 'on_delete', 'delete'))
$$;
COMMENT ON FUNCTION etl._lines_track(etl.tracks, jsonb) IS 'A table of lines, as if it were tracked.';

-- API: Private. All lines of a row as a JSON list, as an expression over n.etl_key; [] where it has none.
CREATE FUNCTION etl._lines_expression(t etl.tracks, field text, mapping jsonb) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  l etl.tracks := etl._lines_track(t, mapping);
  p record;
BEGIN
  SELECT * INTO p FROM etl._payload_source(l);
  -- Inside the parentheses n is still the row; after them it is a line. Lines go in the order of their keys.
  RETURN format(CASE WHEN mapping ? 'each' THEN '(SELECT coalesce(jsonb_agg(DISTINCT n.v1) FILTER (WHERE n.v1 IS NOT NULL), ''[]'') FROM (SELECT %2$s FROM %3$s WHERE %4$I = n.etl_key) n)'
      ELSE '(SELECT coalesce(jsonb_agg(jsonb_build_object(''key'', n.k) || %1$s ORDER BY n.etl_place), ''[]'')
        FROM (SELECT %2$s, row_number() OVER (ORDER BY %5$s) AS etl_place FROM %3$s WHERE %4$I = n.etl_key) n)' END,
    p.own, p.vals, l.tab, mapping ->> 'column', (SELECT string_agg(format('%I', k), ', ' ORDER BY i) FROM unnest(l.key_columns) WITH ORDINALITY AS u(k, i)));
END
$$;
COMMENT ON FUNCTION etl._lines_expression(etl.tracks, text, jsonb) IS 'All lines of a row, as an SQL expression.';

-- API: Private. The text of the function that the triggers on a table of lines call.
--
-- Whoever changes lines locks their records' rows first, as an update of them would: two transactions that change lines of one record go
-- one after the other, and the second one sees what the first one did.
CREATE FUNCTION etl._lines_source(t etl.tracks, field text, mapping jsonb, OUT capture text, OUT probe text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  l etl.tracks := etl._lines_track(t, mapping);
  p record;
  q record;
  s record;
  list bool := mapping ? 'each';
  col text := mapping ->> 'column';
  rel regclass := etl._table(l.tab);
  keys text := (SELECT string_agg(format('%I', k), ', ' ORDER BY i) FROM unnest(l.key_columns) WITH ORDINALITY AS u(k, i));
  -- A record's key is of this type, whatever the column is that names it.
  key_type text := (SELECT format_type(a.atttypid, NULL) FROM pg_attribute a WHERE a.attrelid = etl._table(t.tab) AND a.attname = t.key_columns [1]);
  new_side text;
  old_side text;
  was_line text;
  inserted text;
  updated text;
  deleted text;
  send text;
BEGIN
  SELECT * INTO p FROM etl._payload_source(t);
  SELECT * INTO q FROM etl._payload_source(l);
  SELECT * INTO s FROM etl._sending_source(t);
  IF list THEN
    -- The list goes whole: it is enough to know whose it is.
    new_side := format('SELECT n.parent, to_jsonb(n.v1) FROM (SELECT %s, %I AS parent FROM new_rows) n', q.vals, col);
    old_side := format('SELECT n.parent, to_jsonb(n.v1) FROM (SELECT %s, %I AS parent FROM old_rows) n', q.vals, col);
    inserted := format('SELECT x.parent FROM (%s) x(parent, of)', new_side);
    deleted := format('SELECT x.parent FROM (%s) x(parent, of)', old_side);
    updated := format('SELECT x.parent FROM ((%1$s EXCEPT ALL %2$s) UNION ALL (%2$s EXCEPT ALL %1$s)) x(parent, of)', new_side, old_side);
  ELSE
    -- Lines are made in the order of their keys.
    new_side := format('(SELECT %s, %I AS parent, row_number() OVER (ORDER BY %s) AS etl_place FROM %s etl_now WHERE %s) n', q.vals, col, keys, l.tab, etl._key_among(rel, l.key_columns, 'new_rows'));
    old_side := format('(SELECT %s, %I AS parent FROM old_rows) o', q.vals, col);
    was_line := 'SELECT 0 AS etl_place, o.parent, jsonb_build_object(''key'', o.k, ''_delete'', true) AS line FROM ';
    inserted := format('SELECT n.etl_place, n.parent, jsonb_build_object(''key'', n.k) || %s AS line FROM %s', q.own, new_side);
    -- Of a record that waits to be made all of a line is needed.
    updated := format('SELECT n.etl_place, n.parent, jsonb_build_object(''key'', n.k) || CASE WHEN etl_waiting ? (%L || n.parent::%s::text) OR o.k IS NULL OR record_image_ne(ROW(n.parent), ROW(o.parent)) THEN %s ELSE %s END AS line
      FROM %s LEFT JOIN %s ON n.k = o.k WHERE o.k IS NULL OR record_image_ne(ROW(n.parent), ROW(o.parent)) OR %s', t.prefix, key_type, q.own, q.changed, new_side, old_side, q.differs);
    IF t.on_delete <> 'ignore' THEN
      -- One that a trigger put back is there.
      deleted := format('%s(SELECT %s, %I AS parent FROM old_rows etl_was WHERE NOT EXISTS (SELECT FROM %s etl_now WHERE %s AND NOT record_image_ne(ROW(etl_now.%3$I), ROW(etl_was.%3$I)))) o',
        was_line, q.vals, col, l.tab, etl._same_key(rel, l.key_columns, 'etl_was'));
      updated := format('%s UNION ALL %s%s LEFT JOIN %s ON n.k = o.k WHERE n.k IS NULL OR record_image_ne(ROW(n.parent), ROW(o.parent))', updated, was_line, old_side, new_side);
    END IF;
  END IF;
  -- While their record waits to be made, lines go with all of it, so that both become one call: with all other lines too, where nothing
  -- of this transaction has them. What is no more than lines is no change of the record's own fields.
  send := format($src$etl_parents := ARRAY(SELECT DISTINCT x.parent FROM (<changes>) x WHERE x.parent IS NOT NULL);
    PERFORM FROM %1$s WHERE %2$I = ANY (etl_parents) ORDER BY %2$I FOR NO KEY UPDATE;
    etl_waiting := etl.track_%4$s_waiting(ARRAY(SELECT n.k FROM (SELECT %3$s FROM %1$s WHERE %2$I = ANY (etl_parents)) n));
    %5$s
    WITH changes AS MATERIALIZED (SELECT x.parent, %6$s AS lines FROM (<changes>) x WHERE x.parent IS NOT NULL GROUP BY x.parent)
    SELECT %7$L, CASE WHEN etl_waiting ? n.k THEN 'upsert' ELSE 'update' END, %8$s, etl_stamp || row_number() OVER (), n.k, %9$L, %10$s
    FROM (SELECT %3$s FROM %1$s WHERE %2$I = ANY (etl_parents)%11$s) n JOIN changes c ON c.parent = n.etl_key
    CROSS JOIN LATERAL (SELECT CASE WHEN (etl_waiting -> n.k)::bool THEN %12$s WHEN etl_waiting ? n.k THEN %13$s ELSE %14$L::jsonb END AS own, (etl_waiting -> n.k)::bool IS TRUE AS is_whole) w%15$s$src$,
    t.tab, t.key_columns [1], p.vals, t.id, s.head, CASE WHEN list THEN 'NULL::jsonb' ELSE 'jsonb_agg(x.line ORDER BY x.etl_place)' END, t.model,
    CASE WHEN list THEN format('w.own || jsonb_build_object(%L, %s)', field, etl._lines_expression(t, field, mapping))
      ELSE format('w.own || CASE WHEN NOT w.is_whole THEN jsonb_build_object(%1$L, c.lines)
        ELSE coalesce((SELECT jsonb_build_object(%1$L, coalesce(w.own -> %1$L, ''[]'') || jsonb_agg(x.line)) FROM jsonb_array_elements(c.lines) x(line) WHERE x.line ? ''_delete'' HAVING count(*) > 0), ''{}'') END', field) END,
    t.connection, t.priority, coalesce(' AND (' || t.condition || ')', ''), p.known, CASE WHEN t.two_way IS NULL THEN p.own ELSE format('jsonb_strip_nulls(%s)', p.own) END,
    CASE WHEN t.context IS NULL THEN '{}' ELSE jsonb_build_object('_context', t.context) END,
    CASE WHEN t.two_way IS NULL THEN ';' ELSE format(E' RETURNING id, operation)\n    SELECT array_agg(s.id) FILTER (WHERE s.operation = ''upsert'') INTO etl_ids FROM sent s;\n    PERFORM etl.track_%s_sent(etl_ids);', t.id) END);
  capture := format($src$
#variable_conflict use_column
DECLARE
  -- Of this statement, and of no other.
  etl_stamp text := %1$s;
  etl_parents %7$s[];
  -- Of these records all goes; true: and all their lines.
  etl_waiting jsonb := '{}';
  etl_ids bigint[];
BEGIN
  CASE TG_OP
  WHEN 'INSERT' THEN
    %2$s
  WHEN 'UPDATE' THEN
    %3$s
  WHEN 'DELETE' THEN
    %4$s
  WHEN 'TRUNCATE' THEN
    -- With the table of their records they may go.
    IF EXISTS (SELECT FROM %5$s) THEN
      RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = %6$L, HINT = %8$L;
    END IF;
  END CASE;
  RETURN NULL;
END
$src$, s.stamp, replace(send, '<changes>', inserted), replace(send, '<changes>', updated), CASE WHEN deleted IS NULL THEN 'NULL;' ELSE replace(send, '<changes>', deleted) END, t.tab,
    format('%s has lines of a tracked table and cannot be truncated', l.tab), key_type, format('DELETE FROM %s deletes them in Odoo too; SELECT etl.untrack(%L) lets them be.', l.tab, t.tab));
  probe := format('WITH new_rows AS (SELECT * FROM %1$s), old_rows AS (SELECT * FROM %1$s), be AS (SELECT ''{}''::jsonb AS etl_waiting),
    changes AS (SELECT x.parent FROM be, LATERAL (%2$s) x)
    SELECT %3$s, EXISTS (%6$s) FROM (SELECT %4$s FROM %5$s) n JOIN changes c ON c.parent = n.etl_key LIMIT 0',
    l.tab, updated, p.whole, p.vals, t.tab, coalesce(deleted, 'SELECT'));
END
$$;
COMMENT ON FUNCTION etl._lines_source(etl.tracks, text, jsonb) IS 'The text of the function that captures changes of a tracked table''s lines.';

-- API: Private. A track's tables of lines: "capture" is called by the triggers on "rel", whose names begin with "name".
CREATE FUNCTION etl._line_captures(t etl.tracks) RETURNS TABLE (field text, mapping jsonb, rel regclass, capture text, name text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- A table of somebody else's is none.
  SELECT f.key, f.value, (SELECT c.oid::regclass FROM pg_class c WHERE c.oid = etl._table(f.value ->> 'lines') AND c.relowner = (SELECT k.relowner FROM pg_class k WHERE k.oid = t.rel)),
    format('%I.%I', t.home, n.name), n.name
  FROM jsonb_each(t.fields) f CROSS JOIN LATERAL (SELECT format('etl_lines_%s_%s', t.id, left(md5(f.key), 8))) AS n(name)
  WHERE jsonb_typeof(f.value) = 'object' AND f.value ? 'lines' ORDER BY f.key
$$;
COMMENT ON FUNCTION etl._line_captures(etl.tracks) IS 'The tables of a track''s lines, and what captures their changes.';

-- API: Private. The tables of lines of a mapping and their columns, which stay when they are renamed.
CREATE FUNCTION etl._line_tables(fields jsonb) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(jsonb_object_agg(f.key, jsonb_build_object('rel', etl._table(f.value ->> 'lines')::oid::bigint, 'columns', etl._column_numbers(etl._table(f.value ->> 'lines')))), '{}')
  FROM jsonb_each(fields) f WHERE jsonb_typeof(f.value) = 'object' AND etl._table(f.value ->> 'lines') IS NOT NULL
$$;
COMMENT ON FUNCTION etl._line_tables(jsonb) IS 'The tables of lines of a mapping, and their columns.';

-- API: Private. Those of these records of a track that Odoo has not, as far as is known here: an object that has their keys.
CREATE FUNCTION etl._unmade(connection text, model text, prefix text, keys text[]) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- In the order of their index: many are looked for in half the time.
  SELECT coalesce(jsonb_object_agg(u.k, true), '{}') FROM (SELECT k, md5(k)::uuid AS digest FROM unnest($4) k WHERE starts_with(k, $3) ORDER BY 2) u
  WHERE NOT EXISTS (SELECT FROM etl.links l WHERE l.connection = $1 AND l.model = $2 AND l.digest = u.digest)
$$;
COMMENT ON FUNCTION etl._unmade(text, text, text, text[]) IS 'Records of a track that Odoo has not.';

-- API: Private. Those of these records of a track with lines that are not made yet, or wait to be made, whole; "all": each of them. true:
-- with all their lines, for what this transaction enqueued has not got them. What another one enqueued may be refused, and what comes
-- after it is then the first of its record.
CREATE FUNCTION etl._waiting(connection text, model text, prefix text, keys text[], "all" bool) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  -- What was refused may be a part of it, though its record was made.
  WITH refused AS MATERIALIZED (SELECT DISTINCT o.record_key AS k FROM etl.failures f JOIN ops.odoo_outbox o ON o.id = f.id
    WHERE o.connection = $1 AND o.model = $2 AND o.operation = 'upsert')
  SELECT coalesce(jsonb_object_agg(k.k, (l.is_new OR l.is_refused OR $5) AND w.here IS NOT TRUE), '{}')
  FROM unnest($4) AS k(k)
  CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM refused r WHERE r.k = k.k) AS is_refused, NOT EXISTS (SELECT FROM etl.links l WHERE l.connection = $1 AND l.model = $2 AND l.digest = md5(k.k)::uuid) AS is_new) l
  -- A transaction's rows have its time.
  CROSS JOIN LATERAL (SELECT bool_or(o.created_at = now()) AS here, count(*) AS rows FROM etl.queue q JOIN ops.odoo_outbox o ON o.id = q.id
    WHERE q.connection = $1 AND q.key_hash = etl._key_hash($2, k.k, NULL) AND o.operation = 'upsert' AND o.record_key = k.k) w
  WHERE starts_with(k.k, $3) AND ($5 OR l.is_new OR l.is_refused OR w.rows > 0)
$$;
COMMENT ON FUNCTION etl._waiting(text, text, text, text[], bool) IS 'Records of a track with lines of which all goes.';

-- API: Private. A mapping of lines, checked and with all that it leaves out. described: the field in Odoo.
CREATE FUNCTION etl._checked_lines(t etl.tracks, field text, described jsonb) RETURNS jsonb
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  m jsonb := t.fields -> field;
  parent regclass := etl._table(t.tab);
  child regclass := coalesce(to_regclass(m ->> 'lines'), to_regclass(format('%I.%s', t.home, m ->> 'lines')));
  relation text := described ->> 'relation';
  nested jsonb := CASE described ->> 'type' WHEN 'one2many' THEN m -> 'fields' ELSE '{}' END;
  of_lines jsonb;
  k record;
  f record;
BEGIN
  IF described ->> 'type' NOT IN ('one2many', 'many2many') THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('%s.%s has no lines: it is of type %s', t.model, field, described ->> 'type'),
      HINT = '"lines" is for fields of type one2many and many2many.';
  ELSIF jsonb_typeof(m -> 'lines') IS DISTINCT FROM 'string' OR jsonb_typeof(m -> 'column') IS DISTINCT FROM 'string'
      OR EXISTS (SELECT FROM jsonb_object_keys(m) x WHERE x NOT IN ('lines', 'column', 'key', 'model', CASE described ->> 'type' WHEN 'one2many' THEN 'fields' ELSE 'each' END))
      OR (described ->> 'type' = 'one2many' AND (jsonb_typeof(nested) IS DISTINCT FROM 'object' OR nested = '{}'))
      OR (described ->> 'type' = 'many2many' AND (jsonb_typeof(m -> 'each') NOT IN ('string', 'object') OR m -> 'each' ? 'value' OR NOT m ? 'each')) THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('the mapping of %s is not understood: %s', field, m),
      HINT = CASE described ->> 'type' WHEN 'one2many' THEN 'Lines are mapped so: {"lines": "shop.order_lines", "column": "order_id", "fields": {"name": "text", "price_unit": "price"}}; column is the one that names the record''s row.'
        ELSE 'A list of records is mapped so: {"lines": "shop.customer_tags", "column": "customer_id", "each": {"column": "tag", "by": "name"}}; column is the one that names the record''s row.' END;
  END IF;
  SELECT c.relkind, c.relpersistence, n.nspname, c.relname, c.relowner INTO k FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = child;
  IF k.relkind IS NULL OR k.relkind NOT IN ('r', 'p') OR k.relpersistence = 't' OR child = parent THEN
    RAISE EXCEPTION USING ERRCODE = 'wrong_object_type', MESSAGE = format('%s is not a table of lines', m ->> 'lines'), HINT = format('An ordinary table other than %s, one row per line of %s.', t.tab, field);
  ELSIF k.relowner <> (SELECT c.relowner FROM pg_class c WHERE c.oid = parent) THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('%s and %s have different owners', t.tab, child), HINT = 'A table and the table of its lines have one owner.';
  END IF;
  PERFORM etl._check_policies(child);
  IF NOT etl._has_column(child, m ->> 'column') THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_column', MESSAGE = format('%s has no column "%s", which is to name the rows of %s', child, m ->> 'column', t.tab), HINT = 'Correct the mapping.';
  ELSIF cardinality(t.key_columns) <> 1 THEN
    RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = format('%s has a key of several columns, and lines name it by one', t.tab), HINT = 'Track the table of the lines by itself, or choose another key.';
  ELSIF EXISTS (SELECT FROM etl._mirror_of(child)) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = format('%s is a mirror: what is pulled into it would be sent back', child), HINT = 'Take the table that people write to.';
  ELSIF described ->> 'type' = 'one2many' AND EXISTS (SELECT FROM etl._tracks_of(child) o WHERE o.connection = t.connection AND o.model = relation) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = format('%s is tracked for %s already: its rows would be made twice', child, relation), HINT = format('SELECT etl.untrack(%L, %L); first.', child, relation);
  END IF;
  m := m || jsonb_build_object('lines', format('%I.%I', k.nspname, k.relname), 'model', relation);
  IF described ->> 'type' = 'many2many' THEN
    RETURN m || jsonb_build_object('each', etl._with_references(jsonb_build_object('each', m -> 'each'), k.nspname) -> 'each');
  END IF;
  nested := etl._with_references(nested, k.nspname);
  m := m || jsonb_build_object('fields', nested, 'key', to_jsonb(etl._checked_key(child, CASE WHEN jsonb_typeof(m -> 'key') = 'array' THEN ARRAY(SELECT jsonb_array_elements_text(m -> 'key')) END)));
  of_lines := etl._describe(t.connection, relation, ARRAY(SELECT jsonb_object_keys(nested)));
  IF of_lines ? 'error' THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('lines of %s cannot be sent: %s', t.tab, of_lines ->> 'error'),
      HINT = coalesce(of_lines ->> 'remedy', 'SELECT etl.test_connection(…) tells more.');
  END IF;
  FOR f IN SELECT e.key AS name, e.value AS mapping FROM jsonb_each(nested) e LOOP
    PERFORM etl._check_field(relation, f.name, of_lines -> 'fields' -> f.name, f.mapping);
    m := jsonb_set(m, '{fields}', etl._marked(m -> 'fields', f.name, of_lines -> 'fields' -> f.name));
    IF of_lines -> 'fields' -> f.name ->> 'type' = 'one2many' OR (jsonb_typeof(f.mapping) = 'object' AND f.mapping ? 'lines') THEN
      RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = format('%s.%s: lines below lines are not written', relation, f.name), HINT = format('Track %s by itself.', child);
    END IF;
  END LOOP;
  IF NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey [0] WHERE i.indrelid = child AND i.indisvalid AND i.indpred IS NULL AND a.attname = m ->> 'column') THEN
    RAISE WARNING USING MESSAGE = format('no index of %s begins with "%s": each new row of %s reads all of it', child, m ->> 'column', t.tab), HINT = format('CREATE INDEX ON %s (%I);', child, m ->> 'column');
  END IF;
  RETURN m;
END
$$;
COMMENT ON FUNCTION etl._checked_lines(etl.tracks, text, jsonb) IS 'A mapping of lines, checked.';
