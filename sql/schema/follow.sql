-- What follows the names of tracked tables, their columns and their lines, and refuses what would break their triggers.

-- API: Private. A mapping in which another table is called otherwise.
CREATE FUNCTION etl._referred(fields jsonb, was text, now_called text) RETURNS jsonb
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN (SELECT jsonb_object_agg(f.key, CASE
      WHEN jsonb_typeof(f.value) <> 'object' THEN f.value
      WHEN f.value ->> 'ref' = was THEN jsonb_set(f.value, '{ref}', to_jsonb(now_called))
      WHEN f.value ? 'fields' THEN jsonb_set(f.value, '{fields}', etl._referred(f.value -> 'fields', was, now_called))
      WHEN f.value ? 'each' THEN f.value || etl._referred(jsonb_build_object('each', f.value -> 'each'), was, now_called)
      ELSE f.value END)
    FROM jsonb_each(fields) f);
END
$$;
COMMENT ON FUNCTION etl._referred(jsonb, text, text) IS 'A mapping in which another table is called otherwise.';

-- API: Private. A mapping in which a column is called otherwise.
CREATE FUNCTION etl._renamed(fields jsonb, was text, now_called text) RETURNS jsonb
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT jsonb_object_agg(f.key, CASE
    WHEN jsonb_typeof(f.value) = 'string' AND f.value #>> '{}' = was THEN to_jsonb(now_called)
    WHEN jsonb_typeof(f.value) = 'object' AND NOT f.value ? 'lines' AND f.value ->> 'column' = was THEN jsonb_set(f.value, '{column}', to_jsonb(now_called))
    ELSE f.value END)
  FROM jsonb_each(fields) f
$$;
COMMENT ON FUNCTION etl._renamed(jsonb, text, text) IS 'A mapping in which a column is called otherwise.';

-- API: Private. A tracked table is called otherwise now, or its columns are.
CREATE FUNCTION etl._moved_track(track int, tab text, home text, fields jsonb, keys text[]) RETURNS etl.tracks
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
  UPDATE etl.tracks k SET tab = $2, rel = etl._table($2), home = $3, fields = $4, key_columns = $5, column_numbers = etl._column_numbers(etl._table($2)), line_tables = etl._line_tables($4)
  WHERE k.id = $1 RETURNING k.*
$$;
COMMENT ON FUNCTION etl._moved_track(int, text, text, jsonb, text[]) IS 'Follows a tracked table''s new names.';

-- API: Private. Rows came to a tracked table, or changed there, and nobody enqueued them. why: what a person should know of it.
CREATE FUNCTION etl._is_not_backfilled(track int, why text DEFAULT NULL) RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
  UPDATE etl.tracks k SET backfilled_at = NULL, backfill_after = NULL, backfill_asked_at = CASE WHEN k.two_way IS NULL THEN k.backfill_asked_at ELSE now() END,
    backfill_error = coalesce($2, k.backfill_error) WHERE k.id = $1
$$;
COMMENT ON FUNCTION etl._is_not_backfilled(int, text) IS 'Notes that a tracked table has rows that were not enqueued.';

-- API: Private. What a person should know of a track whose triggers somebody disabled; NULL where all are as they should be.
CREATE FUNCTION etl._disarmed(t etl.tracks) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT format('the triggers on %1$s are disabled: what is written meanwhile is not sent. ALTER TABLE %1$s ENABLE TRIGGER ALL; then SELECT etl.backfill(%2$L);', g.tgrelid::regclass, t.tab)
  FROM pg_trigger g WHERE g.tgfoid IN (SELECT f FROM etl._capture_functions(t) f) AND g.tgenabled NOT IN ('O', 'A') ORDER BY g.tgrelid LIMIT 1
$$;
COMMENT ON FUNCTION etl._disarmed(etl.tracks) IS 'Which triggers of a track are disabled.';

-- API: Private. Whether what was made for a track is what its table needs now: its functions' text and owner, and who may write through
-- its view. To make them anew locks the view, and every writer waits for that.
CREATE FUNCTION etl._is_as_made(t etl.tracks) RETURNS bool
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT NOT EXISTS (SELECT FROM etl._track_functions(t) f LEFT JOIN pg_proc p ON p.oid = to_regprocedure(f.name || f.types)
      WHERE p.prosrc IS DISTINCT FROM f.body OR p.proowner <> c.relowner OR NOT p.prosecdef)
    AND ARRAY(SELECT u FROM etl._sink_users(t.id) u) = ARRAY[c.relowner]
  FROM pg_class c WHERE c.oid = etl._table(t.tab)
$$;
COMMENT ON FUNCTION etl._is_as_made(etl.tracks) IS 'Whether what was made for a track is what its table needs now.';

-- API: Private. After a restore tables have other numbers, and so have their columns.
CREATE FUNCTION etl._find_tracked_tables() RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
  UPDATE etl.tracks k SET rel = etl._table(k.tab), column_numbers = etl._column_numbers(etl._table(k.tab)), line_tables = etl._line_tables(k.fields)
  WHERE etl._table(k.tab) IS NOT NULL AND (k.rel <> etl._table(k.tab)::oid OR k.line_tables <> etl._line_tables(k.fields))
$$;
COMMENT ON FUNCTION etl._find_tracked_tables() IS 'Finds the tracked tables of a restored database by their names.';

-- API: Private. Other tracks that refer to it.
CREATE FUNCTION etl._follow_references(was text, now_called text) RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$ UPDATE etl.tracks k SET fields = etl._referred(k.fields, $1, $2) WHERE k.fields::text LIKE '%"ref"%' $$;
COMMENT ON FUNCTION etl._follow_references(text, text) IS 'Follows a tracked table''s new name in the mappings of others.';

-- API: Private. The columns of a table that are called otherwise now; "numbers" is what they were. One that is gone and was sent, and a
-- renamed one in an expression, are refused: nobody can follow them.
CREATE FUNCTION etl._new_names(t etl.tracks, rel regclass, numbers jsonb) RETURNS TABLE (was text, now_called text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  c record;
BEGIN
  -- A restored table has other numbers: what still has its name was not renamed.
  FOR c IN SELECT e.key AS col, (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = rel AND a.attnum = e.value::int2 AND NOT a.attisdropped) AS found_name
      FROM jsonb_each_text(numbers) e WHERE NOT etl._has_column(rel, e.key) LOOP
    IF etl._expressions(t) ~ ('\y' || regexp_replace(c.col, '([^[:alnum:]_])', '\\\1', 'g') || '\y') OR (c.found_name IS NULL AND etl._uses(t, c.col)) THEN
      RAISE EXCEPTION USING ERRCODE = 'dependent_objects_still_exist', MESSAGE = format('column %s of %s is sent to Odoo (%s)', c.col, rel, t.model),
        HINT = format('SELECT etl.untrack(%L, %L); first, and track it again as it is then.', etl._qualified(t.rel::regclass::text), t.model);
    END IF;
    was := c.col;
    now_called := c.found_name;
    IF now_called IS NOT NULL THEN
      RETURN NEXT;
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION etl._new_names(etl.tracks, regclass, jsonb) IS 'The columns of a table that are called otherwise now.';

-- API: Private. A mapping of lines, whose table or whose columns may be called otherwise now.
CREATE FUNCTION etl._followed_lines(t etl.tracks, mapping jsonb, rel regclass, numbers jsonb) RETURNS jsonb
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tab text := etl._qualified(rel::text);
  m jsonb := mapping;
  c record;
BEGIN
  -- Without it nothing is sent that anybody could write.
  IF tab IS NULL THEN
    RETURN mapping;
  ELSIF (SELECT k.relowner FROM pg_class k WHERE k.oid = rel) <> (SELECT k.relowner FROM pg_class k WHERE k.oid = t.rel) THEN
    RAISE EXCEPTION USING ERRCODE = 'dependent_objects_still_exist', MESSAGE = format('%s and %s, whose lines it has, have one owner while they are tracked', tab, t.tab),
      HINT = format('SELECT etl.untrack(%L, %L); first.', t.tab, t.model);
  END IF;
  m := jsonb_set(m, '{lines}', to_jsonb(tab));
  FOR c IN SELECT n.was, n.now_called FROM etl._new_names(etl._lines_track(t, mapping || jsonb_build_object('key', coalesce(mapping -> 'key', '[]') || jsonb_build_array(mapping ->> 'column'))), rel, numbers) n LOOP
    m := m || CASE WHEN m ->> 'column' = c.was THEN jsonb_build_object('column', c.now_called) ELSE '{}' END
      || CASE WHEN m ? 'key' THEN jsonb_build_object('key', (SELECT jsonb_agg(CASE WHEN k = c.was THEN c.now_called ELSE k END ORDER BY i) FROM jsonb_array_elements_text(m -> 'key') WITH ORDINALITY AS u(k, i))) ELSE '{}' END
      || CASE WHEN m ? 'each' THEN etl._renamed(jsonb_build_object('each', m -> 'each'), c.was, c.now_called)
           ELSE jsonb_build_object('fields', etl._renamed(m -> 'fields', c.was, c.now_called)) END;
  END LOOP;
  -- What names them is still there.
  IF m ? 'key' THEN
    PERFORM etl._checked_key(rel, ARRAY(SELECT jsonb_array_elements_text(m -> 'key')));
  END IF;
  RETURN m;
END
$$;
COMMENT ON FUNCTION etl._followed_lines(etl.tracks, jsonb, regclass, jsonb) IS 'A mapping of lines that follows their table''s names.';

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
  why text;
BEGIN
  FOR t IN
    SELECT k.* FROM etl.tracks k
    WHERE tg_tag = 'ALTER SCHEMA' OR EXISTS (SELECT FROM pg_event_trigger_ddl_commands() d CROSS JOIN LATERAL (SELECT k.rel AS oid UNION ALL SELECT (l.value ->> 'rel')::oid FROM jsonb_each(k.line_tables) l) r
      WHERE d.classid = 'pg_class'::regclass AND (d.objid = r.oid OR EXISTS (SELECT FROM pg_partition_tree(r.oid) p WHERE p.relid = d.objid)
        OR EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = d.objid AND g.tgfoid IN (SELECT f FROM etl._capture_functions(k) f))))
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
    FOR c IN SELECT n.was, n.now_called FROM etl._new_names(t, rel, t.column_numbers) n LOOP
      fields := etl._renamed(fields, c.was, c.now_called);
      keys := array_replace(keys, c.was, c.now_called);
    END LOOP;
    FOR c IN SELECT l.key AS field, (l.value ->> 'rel')::oid::regclass AS rel, l.value -> 'columns' AS columns FROM jsonb_each(t.line_tables) l LOOP
      fields := jsonb_set(fields, ARRAY[c.field], etl._followed_lines(t, fields -> c.field, c.rel, c.columns));
    END LOOP;
    IF tg_tag = 'ALTER TABLE' THEN
      PERFORM etl._check_policies(r::regclass) FROM (SELECT t.rel AS r UNION SELECT (l.value ->> 'rel')::oid FROM jsonb_each(t.line_tables) l) x;
      BEGIN
        PERFORM etl._checked_key(rel, keys);
      EXCEPTION WHEN invalid_foreign_key OR not_null_violation THEN
        RAISE EXCEPTION USING ERRCODE = 'dependent_objects_still_exist', MESSAGE = format('%s is tracked, and Odoo knows its rows by %s: %s', tab, array_to_string(keys, ', '), SQLERRM),
          HINT = format('SELECT etl.untrack(%L, %L); first. What takes its place is named in the same ALTER TABLE.', tab, t.model);
      END;
    END IF;
    t := etl._moved_track(t.id, tab, home, fields, keys);
    IF NOT etl._is_as_made(t) THEN
      PERFORM etl._make_sink(t.id);
      PERFORM etl._write_capture(t);
    END IF;
    why := etl._disarmed(t);
    IF why IS NOT NULL THEN
      PERFORM etl._is_not_backfilled(t.id, why);
    END IF;
    -- A new partition is empty, and one that is attached may have rows.
    IF etl._arm(t) > 0 AND tg_tag <> 'CREATE TABLE' THEN
      PERFORM etl._is_not_backfilled(t.id);
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION etl._after_alter() IS 'Follows a tracked table''s new names and refuses to let go of columns that are sent to Odoo.';

-- API: Private. REASSIGN OWNED moves tables and functions and tells no event trigger of it: what a new owner needs here is seen to by
-- the DROP OWNED that comes after it, and by the worker. Returns for how many tables. Catalogs only.
CREATE FUNCTION etl._follow_owners() RETURNS int
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  track int;
  followed int := 0;
BEGIN
  FOR track IN SELECT k.id FROM etl.tracks k JOIN pg_class c ON c.oid = etl._table(k.tab)
      WHERE to_regclass(format('etl.track_%s', k.id)) IS NOT NULL AND ARRAY(SELECT u FROM etl._sink_users(k.id) u) <> ARRAY[c.relowner] LOOP
    PERFORM etl._make_sink(track);
    followed := followed + 1;
  END LOOP;
  RETURN followed;
END
$$;
COMMENT ON FUNCTION etl._follow_owners() IS 'Gives the rights of a track to the owner that its table has now.';

-- API: Private. Rights were taken from whoever owned tables before.
CREATE FUNCTION etl._after_drop_owned() RETURNS event_trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  PERFORM etl._follow_owners();
END
$$;
COMMENT ON FUNCTION etl._after_drop_owned() IS 'Gives the rights of a track to the owner that its table has now.';

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
    WHERE CASE jsonb_typeof(f.value) WHEN 'string' THEN f.value #>> '{}' WHEN 'object' THEN CASE WHEN NOT f.value ? 'lines' THEN f.value ->> 'column' END END = col)
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
      EXECUTE format('DROP FUNCTION %s CASCADE', made);
    END LOOP;
    PERFORM etl._forget_track(t.id);
  END LOOP;
  -- The triggers on the table of the records would look for it.
  FOR t IN SELECT k.* FROM pg_event_trigger_dropped_objects() d JOIN etl.tracks k ON EXISTS (SELECT FROM jsonb_each(k.fields) f WHERE jsonb_typeof(f.value) = 'object' AND f.value ->> 'lines' = format('%I.%I', d.schema_name, d.object_name))
      WHERE d.object_type = 'table' LOOP
    RAISE EXCEPTION USING ERRCODE = 'dependent_objects_still_exist', MESSAGE = format('lines of %s, which is tracked, are in this table', t.tab),
      HINT = format('SELECT etl.untrack(%L, %L); first, or drop both in one statement.', t.tab, t.model);
  END LOOP;
END
$$;
COMMENT ON FUNCTION etl._after_table_drop() IS 'Forgets the tracks of a table that was dropped.';

CREATE EVENT TRIGGER pg_etl_after_alter ON ddl_command_end WHEN TAG IN ('ALTER TABLE', 'CREATE TABLE', 'ALTER SCHEMA') EXECUTE FUNCTION etl._after_alter();
COMMENT ON EVENT TRIGGER pg_etl_after_alter IS 'Follows the names of tracked tables and columns; refuses to drop a column that is sent to Odoo.';
CREATE EVENT TRIGGER pg_etl_after_drop_owned ON ddl_command_end WHEN TAG IN ('DROP OWNED') EXECUTE FUNCTION etl._after_drop_owned();
COMMENT ON EVENT TRIGGER pg_etl_after_drop_owned IS 'Follows the owners of tracked tables after REASSIGN OWNED.';
CREATE EVENT TRIGGER pg_etl_after_table_drop ON sql_drop WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED') EXECUTE FUNCTION etl._after_table_drop();
COMMENT ON EVENT TRIGGER pg_etl_after_table_drop IS 'Forgets the tracks of a table that was dropped.';
