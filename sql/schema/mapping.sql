-- The mapping of a tracked table as text: what each field of Odoo is made of, and what is sent of a row.

-- API: Private. The key of a row as a text expression: one column's text, or a JSON list of several. Told apart byte by byte, whatever the
-- column's collation takes for the same.
CREATE FUNCTION etl._key_expression(prefix text, key_columns text[]) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN cardinality(key_columns) = 1 THEN format('(%L || %I::text) COLLATE "C"', prefix, key_columns [1])
    ELSE format('(%L || jsonb_build_array(%s)::text) COLLATE "C"', prefix, (SELECT string_agg(format('%I', k), ', ' ORDER BY n) FROM unnest(key_columns) WITH ORDINALITY AS u(k, n))) END
$$;
COMMENT ON FUNCTION etl._key_expression(text, text[]) IS 'The record key of a row, as an expression over its columns.';

-- API: Private. One field of a mapping as an expression over the row's columns; NULL for a constant.
--   "column" | {"column": c} | {"sql": expression} | {"column": c, "ref": table} | {"column": c, "by": field} | {"lines": table, …}: lines.sql
CREATE FUNCTION etl._value_expression(t etl.tracks, field text, mapping jsonb) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  col text := CASE jsonb_typeof(mapping) WHEN 'string' THEN mapping #>> '{}' ELSE mapping ->> 'column' END;
  keys text[] := CASE jsonb_typeof(mapping) WHEN 'object' THEN ARRAY(SELECT k FROM jsonb_object_keys(mapping) k WHERE k <> 'once' ORDER BY k) ELSE ARRAY['column'] END;
  rel regclass := etl._table(t.tab);
  type oid;
  target regclass;
  other record;
  example text := 'A field is mapped to "column", {"value": …}, {"sql": "expression"}, {"column": "…", "ref": "schema.table"}, {"column": "…", "by": "code"} or {"lines": "schema.table", "column": "…", "fields": {…}}.';
BEGIN
  IF jsonb_typeof(mapping) = 'string' THEN
    -- A text has itself as a key.
    mapping := jsonb_build_object('column', mapping);
  END IF;
  IF jsonb_typeof(mapping) <> 'object' OR keys NOT IN (ARRAY['column'], ARRAY['value'], ARRAY['sql'], ARRAY['column', 'ref'], ARRAY['by', 'column']) THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('the mapping of %s is not understood: %s', field, mapping), HINT = example;
  ELSIF mapping ? 'value' THEN
    -- It is the same for every row.
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
    SELECT k.prefix, k.key_columns INTO other FROM (SELECT t.prefix, t.key_columns WHERE target = rel AND t.prefix <> ''
      UNION ALL SELECT o.prefix, o.key_columns FROM etl._tracks_of(target) o WHERE o.connection = t.connection) k LIMIT 1;
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
  RETURN CASE type WHEN 'json'::regtype THEN format('%I::jsonb', col) WHEN 'bytea'::regtype THEN format('encode(%I, ''base64'')', col)
    ELSE etl._sent_expression(t, type::regtype::text, format('%I', col)) END;
END
$$;
COMMENT ON FUNCTION etl._value_expression(etl.tracks, text, jsonb) IS 'One field of a mapping as an SQL expression over the row.';


-- API: Private. A column as it is compared with what comes back from Odoo, whose times have whole seconds.
CREATE FUNCTION etl._sent_expression(t etl.tracks, type text, col text) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE WHEN t.two_way IS NOT NULL AND starts_with(type, 'timestamp') THEN format('date_trunc(''second'', %s)', col) ELSE col END $$;
COMMENT ON FUNCTION etl._sent_expression(etl.tracks, text, text) IS 'A column as it is compared with what comes back from Odoo.';

-- API: Private. Whether two values of a mapping that are equal are sent as the same text, and pg_catalog has the operator that says so.
CREATE FUNCTION etl._is_plain(t etl.tracks, mapping jsonb) RETURNS bool
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN jsonb_typeof(mapping) = 'object' AND mapping ? 'sql' THEN false
    -- An object by then.
    WHEN jsonb_typeof(mapping) = 'object' AND mapping ?| '{ref,by}' THEN true
    ELSE EXISTS (SELECT FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation
      WHERE a.attrelid = etl._table(t.tab) AND a.attname = CASE jsonb_typeof(mapping) WHEN 'string' THEN mapping #>> '{}' ELSE mapping ->> 'column' END
        AND a.atttypid IN ('bool'::regtype, 'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype, 'text'::regtype, 'varchar'::regtype, 'uuid'::regtype,
          'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype, 'json'::regtype, 'jsonb'::regtype)
        AND coalesce(c.collisdeterministic, true)) END
$$;
COMMENT ON FUNCTION etl._is_plain(etl.tracks, jsonb) IS 'Whether values of a mapping are compared by their own operator.';

-- API: Private. What is sent of a row, as text: vals is a select list over a row of the table: its key k, its values v1, …, and etl_key, which
-- its lines name it by; the rest are expressions over two such rows, n and o, the new one and the old one.
--   own      the row's own fields
--   whole    them and its lines
--   known    the same of a row that Odoo may know more of: nothing there is emptied but by somebody who does
--   changed  the fields that are not as they were: as they are sent, for what a type takes for equal may be sent otherwise (citext, a
--            collation that knows no case), and its operators may be in any schema
--   differs  whether any of them is not
CREATE FUNCTION etl._payload_source(t etl.tracks, OUT vals text, OUT own text, OUT whole text, OUT known text, OUT changed text, OUT differs text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  -- A record that was archived for its row's sake comes back with it; the context goes with every row that writes values.
  constants text := ((SELECT coalesce(jsonb_object_agg(f.key, f.value -> 'value'), '{}') FROM jsonb_each(t.fields) f WHERE jsonb_typeof(f.value) = 'object' AND f.value ? 'value')
    || CASE WHEN t.on_delete = 'archive' AND NOT t.fields ? 'active' THEN '{"active": true}'::jsonb ELSE '{}' END
    || CASE WHEN t.context IS NULL THEN '{}' ELSE jsonb_build_object('_context', t.context) END)::text;
  two_way bool := t.two_way IS NOT NULL;
  pairs text[] := '{}';
  of_lines text := '';
  difference text;
  n int := 0;
  f record;
BEGIN
  vals := format('%s AS k', etl._key_expression(t.prefix, t.key_columns));
  changed := '';
  differs := 'false';
  FOR f IN SELECT e.key AS field, e.value AS mapping FROM jsonb_each(t.fields) e WHERE jsonb_typeof(e.value) <> 'object' OR NOT e.value ? 'value' ORDER BY e.key LOOP
    n := n + 1;
    IF jsonb_typeof(f.mapping) = 'object' AND f.mapping ? 'lines' THEN
      vals := vals || CASE WHEN of_lines = '' THEN format(', %I AS etl_key', t.key_columns [1]) ELSE '' END;
      -- No line says nothing, and an empty list of records says that there are none.
      of_lines := of_lines || format(CASE WHEN f.mapping ? 'each' AND NOT two_way THEN ' || jsonb_build_object(%L, %s)'
        ELSE ' || coalesce((SELECT jsonb_build_object(%L, e.list) FROM (SELECT %s AS list) e WHERE e.list <> ''[]''), ''{}'')' END, f.field, etl._lines_expression(t, f.field, f.mapping));
      CONTINUE;
    END IF;
    vals := vals || format(', %s AS v%s', etl._value_expression(t, f.field, f.mapping), n);
    pairs := pairs || format('%L, n.v%s', f.field, n);
    -- What is given only when a record is made is no change.
    CONTINUE WHEN jsonb_typeof(f.mapping) = 'object' AND f.mapping ? 'once';
    difference := format(CASE WHEN etl._is_plain(t, f.mapping) THEN 'n.v%1$s IS DISTINCT FROM o.v%1$s' ELSE 'to_jsonb(n.v%1$s) IS DISTINCT FROM to_jsonb(o.v%1$s)' END, n);
    -- What a pull wrote is not sent back, and what somebody's trigger made of it is.
    changed := changed || CASE WHEN changed = '' THEN '' ELSE ' || ' END || format(
      CASE WHEN two_way THEN 'CASE WHEN CASE WHEN etl_echo -> n.k ? %2$L THEN etl_echo -> n.k -> %2$L <> coalesce(to_jsonb(n.v%1$s), ''null'') ELSE %3$s END'
        ELSE 'CASE WHEN %3$s' END || ' THEN jsonb_build_object(%2$L, n.v%1$s) ELSE ''{}'' END', n, f.field, difference);
    differs := differs || ' OR ' || difference;
  END LOOP;
  changed := coalesce(nullif(changed, ''), '''{}''::jsonb');
  own := format('%L::jsonb || %s', constants, etl._object_expression(pairs));
  whole := own || of_lines;
  known := CASE WHEN two_way THEN format('jsonb_strip_nulls(%s)', whole) ELSE whole END;
END
$$;
COMMENT ON FUNCTION etl._payload_source(etl.tracks) IS 'What is sent of a row of a tracked table, as expressions over it.';
