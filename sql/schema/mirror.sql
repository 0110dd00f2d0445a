-- Copies of Odoo's models. A mirror is an ordinary table of the user's; what is mirrored, and how, is said by ops.odoo_sync_config
-- (key odoo_to_sb:<model>, for another connection than "odoo" odoo_to_sb:<model>@<connection>), how far by ops.odoo_sync_checkpoints.
-- What is here is derived, and forgotten without harm.

-- How each mirror's pulls go. A run belongs to the worker session `owner`; where that is gone, the next one goes on with it.
CREATE TABLE etl.pulls (
  connection text NOT NULL,
  model text NOT NULL,
  -- Somebody wants one now.
  asked_at timestamptz,
  asked_mode text CHECK (asked_mode OPERATOR(pg_catalog.=) ANY ('{changes,full,reconcile}'::pg_catalog.text[])),
  -- Somebody wants a comparison, which changes nothing; after what is asked.
  verify_asked_at timestamptz,
  owner bigint,
  run_id bigint,
  mode text,
  -- It was asked for; else it was due.
  was_asked bool NOT NULL DEFAULT false,
  -- Changes since then, as Odoo writes a time.
  floor text,
  -- Every record up to this id is merged.
  done_to bigint NOT NULL DEFAULT 0,
  started_at timestamptz,
  read bigint NOT NULL DEFAULT 0,
  inserted bigint NOT NULL DEFAULT 0,
  updated bigint NOT NULL DEFAULT 0,
  deleted bigint NOT NULL DEFAULT 0,
  hidden bigint NOT NULL DEFAULT 0,
  -- The last run that ended, and when; the last one that succeeded.
  last_run bigint,
  ended_at timestamptz,
  finished_at timestamptz,
  reconciled_at timestamptz,
  failures int NOT NULL DEFAULT 0,
  not_before timestamptz,
  error_class text,
  last_error text,
  remedy text,
  -- The fields that a run ever took and that have a column, and those that the last one took.
  fields text[],
  pulled text[],
  PRIMARY KEY (connection, model)
);
COMMENT ON TABLE etl.pulls IS 'How the pulls of each mirror go: the open run and how far it came, the last one that ended, the last error.';

-- Rows of mirrors as they were before a run changed them; one row per page. `inserted` are ids that were not there.
CREATE TABLE etl.before_images (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  connection text NOT NULL,
  model text NOT NULL,
  run_id bigint NOT NULL,
  -- The table, by name: a mirror may move to another.
  tab text NOT NULL,
  at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  inserted bigint[] NOT NULL DEFAULT '{}',
  rows jsonb NOT NULL DEFAULT '[]'
);
CREATE INDEX before_images_run ON etl.before_images (run_id, id);
CREATE INDEX before_images_at ON etl.before_images (at);
COMMENT ON TABLE etl.before_images IS 'Rows of mirrors as they were before each run, kept for etl.rollback_run().';

-- Fields whose column and Odoo disagree. What could be applied without harm was.
CREATE TABLE etl.schema_drift (
  connection text NOT NULL,
  model text NOT NULL,
  field text NOT NULL,
  what text NOT NULL CHECK (what OPERATOR(pg_catalog.=) ANY ('{added,removed,retyped,"not mirrored"}'::pg_catalog.text[])),
  detail text NOT NULL,
  -- What would mend it; NULL where nothing need be done.
  remedy text,
  noticed_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  PRIMARY KEY (connection, model, field)
);
COMMENT ON TABLE etl.schema_drift IS 'Fields that Odoo has otherwise than the mirror, and the SQL that would mend it.';

ALTER TABLE etl.pulls ENABLE ROW LEVEL SECURITY;
ALTER TABLE etl.before_images ENABLE ROW LEVEL SECURITY;
ALTER TABLE etl.schema_drift ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader ON etl.pulls FOR SELECT TO etl_reader USING (true);
CREATE POLICY reader ON etl.schema_drift FOR SELECT TO etl_reader USING (true);
CREATE POLICY worker ON etl.pulls FOR ALL TO etl_worker USING (true) WITH CHECK (true);
CREATE POLICY worker ON etl.before_images FOR ALL TO etl_worker USING (true) WITH CHECK (true);
CREATE POLICY worker ON etl.schema_drift FOR ALL TO etl_worker USING (true) WITH CHECK (true);

-- API: Private. The key of a mirror in ops.odoo_sync_config and ops.odoo_sync_checkpoints.
CREATE FUNCTION etl._mirror_key(connection text, model text) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT 'odoo_to_sb:' || model || CASE WHEN connection = 'odoo' THEN '' ELSE '@' || connection END $$;
COMMENT ON FUNCTION etl._mirror_key(text, text) IS 'The key of a mirror''s configuration and checkpoint.';

-- API: Private. Every mirror that is configured; rel is NULL where its table is gone.
CREATE FUNCTION etl._mirrors() RETURNS TABLE (connection text, model text, rel regclass, config jsonb)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(nullif(split_part(k.name, '@', 2), ''), 'odoo'), split_part(k.name, '@', 1), etl._table(c.value ->> 'table'), c.value
  FROM ops.odoo_sync_config c CROSS JOIN LATERAL (SELECT substr(c.key, length('odoo_to_sb:') + 1) AS name) k
  WHERE starts_with(c.key, 'odoo_to_sb:') AND jsonb_typeof(c.value -> 'table') = 'string'
$$;
COMMENT ON FUNCTION etl._mirrors() IS 'Every configured mirror, its table and its configuration.';

-- API: Private. The table of a mirror, for whoever may not read the configuration; NULL where there is none.
CREATE FUNCTION etl._mirror_table(connection text, model text) RETURNS regclass
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$ SELECT m.rel FROM etl._mirrors() m WHERE m.connection = $1 AND m.model = $2 $$;
COMMENT ON FUNCTION etl._mirror_table(text, text) IS 'The table of a mirror.';
ALTER FUNCTION etl._mirror_table(text, text) OWNER TO etl_worker;

-- API: Private. The column that holds the record's id: odoo_id in tables of the old shape, else id.
CREATE FUNCTION etl._mirror_id(rel regclass) RETURNS name
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT a.attname FROM pg_attribute a
  WHERE a.attrelid = rel AND a.attname IN ('odoo_id', 'id') AND a.attnum > 0 AND NOT a.attisdropped
  -- A model may have a field of that name, and an old table an id of its own: the primary key of ours decides, else the old name.
  ORDER BY (rel::text LIKE 'odoo\_raw.%' AND a.attname = 'id') DESC, a.attname = 'odoo_id' DESC LIMIT 1
$$;
COMMENT ON FUNCTION etl._mirror_id(regclass) IS 'The column of a mirror that holds the id of the Odoo record.';

-- API: Private. The types that columns of a mirror have: no other is ever written into a statement, for a type of somebody's making
-- runs what its maker wrote.
CREATE FUNCTION etl._mirror_type(type text) RETURNS text
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF type IN ('boolean', 'integer', 'bigint', 'numeric', 'double precision', 'text', 'date', 'timestamp with time zone', 'bigint[]', 'jsonb') THEN
    RETURN type;
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('columns of a mirror are never of type %s', type),
    HINT = 'Call etl.mirror(), which knows the types.';
END
$$;
COMMENT ON FUNCTION etl._mirror_type(text) IS 'A type, if columns of a mirror may have it.';

-- API: Private. The table of that name, schema and all; NULL where there is none, or the name is none. It asks for no right on the
-- schema: whose table it is, and who may do what with it, others decide.
CREATE FUNCTION etl._table(name text) RETURNS regclass
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  parts text[];
BEGIN
  parts := parse_ident(name);
  RETURN (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE cardinality(parts) = 2 AND n.nspname = parts [1] AND c.relname = parts [2]);
EXCEPTION WHEN invalid_parameter_value THEN
  -- Somebody wrote it by hand: it is one mirror's trouble and not everybody's.
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION etl._table(text) IS 'The table of that name, if there is one.';

-- API: Private. Makes a mirror where there is no table of that name yet. columns: [{"name", "type"}], id first.
-- Runs with the installer's rights and touches catalogs only.
CREATE FUNCTION etl._create_mirror(tab text, columns jsonb) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  owner name;
BEGIN
  IF to_regnamespace('odoo_raw') IS NULL THEN
    EXECUTE format('CREATE SCHEMA odoo_raw AUTHORIZATION %I',
      (SELECT r.rolname FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE n.nspname = 'ops'));
    COMMENT ON SCHEMA odoo_raw IS 'Copies of Odoo''s models, kept in step by pg_etl.';
  END IF;
  SELECT r.rolname INTO owner FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE n.nspname = 'odoo_raw';
  -- A type is one of those that the library writes; nothing else is run.
  EXECUTE format('CREATE TABLE odoo_raw.%I (%s, _etl_synced_at timestamptz NOT NULL DEFAULT now(), _etl_run_id bigint, _etl_deleted_at timestamptz, _etl_hidden_at timestamptz, PRIMARY KEY (id))', tab,
    (SELECT string_agg(format('%I %s', c ->> 'name', etl._mirror_type(c ->> 'type') || CASE WHEN c ->> 'name' = 'id' THEN ' NOT NULL' ELSE '' END), ', ' ORDER BY n)
     FROM jsonb_array_elements(columns) WITH ORDINALITY AS e(c, n)));
  EXECUTE format('ALTER TABLE odoo_raw.%I OWNER TO %I', tab, owner);
  EXECUTE format('GRANT USAGE ON SCHEMA odoo_raw TO etl_worker, etl_reader');
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON odoo_raw.%I TO etl_worker', tab);
  EXECUTE format('GRANT SELECT ON odoo_raw.%I TO etl_reader', tab);
END
$$;
COMMENT ON FUNCTION etl._create_mirror(text, jsonb) IS 'Makes the table of a new mirror in schema odoo_raw.';

-- API: Private. Sees that an existing table can be a mirror, with the rights of whoever calls: only its owner can make it one.
-- A table with a column raw keeps its shape, the whole record is in there; any other gets a column for each field.
CREATE FUNCTION etl._adopt_mirror(rel regclass, columns jsonb) RETURNS void
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  id name := etl._mirror_id(rel);
  whole bool := etl._is_whole(rel, ARRAY(SELECT e ->> 'name' FROM jsonb_array_elements(columns) e));
  c record;
  found_type text;
  odd text;
BEGIN
  IF (SELECT k.relkind FROM pg_class k WHERE k.oid = rel) NOT IN ('r', 'p') THEN
    RAISE EXCEPTION USING ERRCODE = 'wrong_object_type', MESSAGE = format('%s is not a table', rel),
      HINT = 'Give the name of a table, or leave "table" out: a new one is made in schema odoo_raw.';
  ELSIF id IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_column', MESSAGE = format('%s has no column "id" or "odoo_id"', rel),
      HINT = 'The id of the Odoo record needs a column of type bigint with a unique index.';
  END IF;
  FOR c IN SELECT e.c ->> 'name' AS name, etl._mirror_type(e.c ->> 'type') AS type FROM jsonb_array_elements(columns) AS e(c) LOOP
    SELECT format_type(a.atttypid, a.atttypmod) INTO found_type FROM pg_attribute a
      WHERE a.attrelid = rel AND a.attname = CASE c.name WHEN 'id' THEN id ELSE c.name END AND a.attnum > 0 AND NOT a.attisdropped;
    IF found_type IS NULL THEN
      IF NOT whole THEN
        EXECUTE format('ALTER TABLE %s ADD COLUMN %I %s', rel, c.name, c.type);
      END IF;
    ELSIF NOT etl._holds(found_type, c.type) THEN
      odd := concat_ws('; ', odd, format('%I is %s where Odoo''s field needs %s', c.name, found_type, c.type));
    END IF;
  END LOOP;
  IF odd IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'datatype_mismatch', MESSAGE = format('%s cannot hold this model', rel), DETAIL = odd,
      HINT = 'Change the types (ALTER TABLE … ALTER COLUMN … TYPE …), leave those fields out (fields => …), or name another table.';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
      WHERE i.indrelid = rel AND i.indisunique AND i.indnkeyatts = 1 AND i.indpred IS NULL AND i.indexprs IS NULL AND a.attname = id) THEN
    EXECUTE format('ALTER TABLE %s ADD UNIQUE (%I)', rel, id);
  END IF;
  EXECUTE format('ALTER TABLE %s ADD COLUMN IF NOT EXISTS _etl_synced_at timestamptz, ADD COLUMN IF NOT EXISTS _etl_run_id bigint, '
    'ADD COLUMN IF NOT EXISTS _etl_deleted_at timestamptz, ADD COLUMN IF NOT EXISTS _etl_hidden_at timestamptz', rel);
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO etl_worker', rel);
  EXECUTE format('GRANT USAGE ON SCHEMA %s TO etl_worker', (SELECT k.relnamespace::regnamespace FROM pg_class k WHERE k.oid = rel));
END
$$;
COMMENT ON FUNCTION etl._adopt_mirror(regclass, jsonb) IS 'Makes an existing table a mirror: adds what is missing, refuses types that would lose values.';

-- API: Private. Whether a column of the first type keeps every value of the second.
CREATE FUNCTION etl._holds(has text, needs text) RETURNS bool
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT has = needs OR CASE needs
    WHEN 'text' THEN has IN ('character varying', 'citext')
    WHEN 'integer' THEN has IN ('bigint', 'numeric')
    WHEN 'bigint' THEN has IN ('integer', 'numeric')
    WHEN 'double precision' THEN has IN ('numeric')
    WHEN 'numeric' THEN has IN ('double precision')
    WHEN 'timestamp with time zone' THEN has IN ('timestamp without time zone')
    WHEN 'bigint[]' THEN has IN ('integer[]', 'jsonb')
    ELSE false END
$$;
COMMENT ON FUNCTION etl._holds(text, text) IS 'Whether a column of the first type keeps every value of the second.';

-- API: Private. Whether a table is in a schema that is not for copies.
CREATE FUNCTION etl._is_ours(rel regclass) RETURNS bool
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = rel AND n.nspname IN ('ops', 'etl', 'pg_catalog', 'information_schema')) $$;
COMMENT ON FUNCTION etl._is_ours(regclass) IS 'Whether a table is in a schema that is not for copies.';

-- API: Private. Writes a mirror's configuration. Keys that are not given keep what they had.
CREATE FUNCTION etl._register_mirror(connection text, model text, tab text, config jsonb) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  place text := etl._mirror_key($1, $2);
  other record;
  before jsonb;
BEGIN
  PERFORM etl._must_be_set_up();
  PERFORM etl._connection_must_exist($1);
  IF etl._is_ours(etl._table($3)) THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_schema_name', MESSAGE = format('%s cannot be a mirror: its schema is not for copies', $3),
      HINT = 'Leave "table" out: a new one is made in schema odoo_raw.';
  END IF;
  IF EXISTS (SELECT FROM etl._tracks_of(etl._table($3))) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = format('%s is tracked: what is pulled into it would be sent back', $3),
      HINT = 'Leave "table" out: the copy gets a table of its own in schema odoo_raw.';
  END IF;
  SELECT m.* INTO other FROM etl._mirrors() m WHERE m.rel = etl._table($3) AND (m.connection, m.model) <> ($1, $2);
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'duplicate_object',
      MESSAGE = format('%s is the mirror of %s of connection "%s" already', $3, other.model, other.connection),
      HINT = 'Name another table: SELECT etl.mirror(…, "table" => ''odoo_raw.…'');';
  END IF;
  SELECT c.value INTO before FROM ops.odoo_sync_config c WHERE c.key = place;
  INSERT INTO ops.odoo_sync_config AS c (key, value) VALUES (place, $4 || jsonb_build_object('table', $3))
    ON CONFLICT (key) DO UPDATE SET value = (c.value - 'paused') || excluded.value, updated_at = now();
  INSERT INTO etl.pulls AS p (connection, model, asked_at, asked_mode) VALUES ($1, $2, now(), 'full')
    ON CONFLICT ON CONSTRAINT pulls_pkey DO UPDATE SET asked_at = now(), asked_mode = 'full', failures = 0, not_before = NULL;
  PERFORM etl._audit('mirror', place, before, $4 || jsonb_build_object('table', $3));
  PERFORM etl._wake();
END
$$;
COMMENT ON FUNCTION etl._register_mirror(text, text, text, jsonb) IS 'Writes the configuration of a mirror and asks for its first pull.';
ALTER FUNCTION etl._register_mirror(text, text, text, jsonb) OWNER TO etl_worker;

-- API: Private. Whether a table has a column.
CREATE FUNCTION etl._has_column(rel regclass, col text) RETURNS bool
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = col AND a.attnum > 0 AND NOT a.attisdropped) $$;
COMMENT ON FUNCTION etl._has_column(regclass, text) IS 'Whether a table has a column.';

-- API: Private. Whether a mirror keeps the whole record in its column raw, as tables of the old shape do.
CREATE FUNCTION etl._is_whole(rel regclass, names text[]) RETURNS bool
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT NOT 'raw' = ANY (names) AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = 'raw' AND NOT a.attisdropped AND a.atttypid = 'jsonb'::regtype)
$$;
COMMENT ON FUNCTION etl._is_whole(regclass, text[]) IS 'Whether a mirror keeps whole records.';

-- API: Private. A list of a mirror's columns among `names` with a prefix, each after a comma; the id apart.
CREATE FUNCTION etl._columns(rel regclass, names text[], prefix text, typed bool DEFAULT false) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(string_agg(format(', %s%I', prefix, a.attname) || CASE WHEN typed THEN ' ' || format_type(a.atttypid, a.atttypmod) ELSE '' END, '' ORDER BY a.attnum), '')
  FROM pg_attribute a
  WHERE a.attrelid = rel AND a.attname = ANY (names) AND a.attname NOT IN ('id', etl._mirror_id(rel)) AND a.attnum > 0
    AND NOT a.attisdropped AND a.attgenerated = ''
$$;
COMMENT ON FUNCTION etl._columns(regclass, text[], text, bool) IS 'A list of a mirror''s columns, for the statements that write it.';

-- API: Private. What a mirror of a model would consist of, asked from Odoo: {"columns": [{"name", "type"}], "skipped": [{"field", "why"}]}.
CREATE FUNCTION etl._describe(connection text, model text, fields text[] DEFAULT NULL, options jsonb DEFAULT '{}') RETURNS jsonb
  LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
  AS 'MODULE_PATHNAME', 'describe_wrapper';
COMMENT ON FUNCTION etl._describe(text, text, text[], jsonb) IS 'The columns that a mirror of a model has, as Odoo describes it.';
ALTER FUNCTION etl._describe(text, text, text[], jsonb) OWNER TO etl_worker;

-- API: Public. With the rights of whoever calls: an existing table becomes a mirror by its owner only.
CREATE FUNCTION etl.mirror(model text, "table" text DEFAULT NULL, fields text[] DEFAULT NULL, domain jsonb DEFAULT NULL, connection text DEFAULT 'odoo',
    options jsonb DEFAULT '{}') RETURNS jsonb
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  tab text := coalesce($2, 'odoo_raw.' || replace($1, '.', '_'));
  described jsonb;
  made bool := false;
  unknown text;
BEGIN
  PERFORM etl._must_be_set_up();
  SELECT string_agg(k, ', ') INTO unknown FROM jsonb_object_keys(coalesce($6, '{}')) k
    WHERE k NOT IN ('page_size', 'context', 'languages', 'companies', 'every_seconds', 'overlap_seconds', 'reconcile_seconds');
  IF unknown IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('options not known: %s', unknown),
      HINT = 'Options are page_size, context, languages, companies, every_seconds, overlap_seconds, reconcile_seconds.';
  ELSIF $4 IS NOT NULL AND jsonb_typeof($4) <> 'array' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'domain is not a list',
      HINT = 'An Odoo domain, for example ''[["customer_rank", ">", 0]]''.';
  END IF;
  described := etl._describe($5, $1, $3, coalesce($6, '{}'));
  IF described ? 'error' THEN
    RAISE EXCEPTION USING ERRCODE = CASE described ->> 'class' WHEN 'unknown_model' THEN 'undefined_object' WHEN 'forbidden' THEN 'insufficient_privilege'
        ELSE 'object_not_in_prerequisite_state' END,
      MESSAGE = format('%s cannot be mirrored: %s', $1, described ->> 'error'),
      HINT = coalesce(described ->> 'remedy', 'SELECT etl.test_connection(…) tells more.');
  END IF;
  IF to_regclass(tab) IS NULL THEN
    IF $2 IS NOT NULL AND (parse_ident($2))[1] IS DISTINCT FROM 'odoo_raw' THEN
      RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = format('table %s does not exist', $2),
        HINT = 'Create it with a column odoo_id bigint PRIMARY KEY, or leave "table" out: a new one is made in schema odoo_raw.';
    END IF;
    tab := format('odoo_raw.%I', CASE WHEN $2 IS NULL THEN replace($1, '.', '_') ELSE (parse_ident($2))[2] END);
    PERFORM etl._create_mirror(CASE WHEN $2 IS NULL THEN replace($1, '.', '_') ELSE (parse_ident($2))[2] END, described -> 'columns');
    made := true;
  ELSIF NOT EXISTS (SELECT FROM etl._mirror_of(to_regclass(tab)) o WHERE o.connection = $5 AND o.model = $1) THEN
    PERFORM etl._adopt_mirror(to_regclass(tab), described -> 'columns');
  END IF;
  PERFORM etl._register_mirror($5, $1, tab, coalesce($6, '{}') || jsonb_strip_nulls(jsonb_build_object('fields', to_jsonb($3), 'domain', $4)));
  RETURN jsonb_build_object('model', $1, 'table', tab, 'created', made,
    'columns', jsonb_array_length(described -> 'columns'), 'skipped', described -> 'skipped');
END
$$;
COMMENT ON FUNCTION etl.mirror(text, text, text[], jsonb, text, jsonb) IS
  'Keeps a copy of an Odoo model in a table, which is made in schema odoo_raw or, where it exists, adopted. Calling again changes fields, domain and options. The first pull begins at commit.';

-- API: Public.
CREATE FUNCTION etl.unmirror(model text, connection text DEFAULT 'odoo') RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  before jsonb;
BEGIN
  PERFORM etl._must_be_set_up();
  IF EXISTS (SELECT FROM etl.tracks t WHERE t.connection = $2 AND t.model = $1 AND t.two_way IS NOT NULL) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = format('two-way tables take in what is pulled of %s', $1),
      DETAIL = (SELECT string_agg(t.tab, ', ' ORDER BY t.tab) FROM etl.tracks t WHERE t.connection = $2 AND t.model = $1 AND t.two_way IS NOT NULL),
      HINT = 'Track them without two_way first, or SELECT etl.untrack(…).';
  END IF;
  UPDATE ops.odoo_sync_config c SET value = c.value - 'table', updated_at = now()
    FROM ops.odoo_sync_config was WHERE was.key = c.key AND c.key = etl._mirror_key($2, $1) AND c.value ? 'table' RETURNING was.value INTO before;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = format('%s of connection "%s" is not mirrored', $1, $2),
      HINT = 'SELECT connection, model, "table" FROM etl.sync_lag;';
  END IF;
  WITH gone AS (DELETE FROM etl.pulls p WHERE p.connection = $2 AND p.model = $1 RETURNING p.run_id)
  UPDATE ops.odoo_sync_runs r SET status = 'failed', finished_at = clock_timestamp(), error = 'the mirror was removed' FROM gone g
    WHERE r.id = g.run_id AND r.status = 'running';
  DELETE FROM etl.schema_drift d WHERE d.connection = $2 AND d.model = $1;
  DELETE FROM ops.odoo_sync_checkpoints k WHERE k.key = etl._mirror_key($2, $1);
  PERFORM etl._audit('unmirror', etl._mirror_key($2, $1), before, NULL);
  RETURN before ->> 'table';
END
$$;
COMMENT ON FUNCTION etl.unmirror(text, text) IS 'Stops mirroring a model. The table stays as it is; its name is returned.';
ALTER FUNCTION etl.unmirror(text, text) OWNER TO etl_worker;

-- API: Private. Which mirror a table is, for whoever may not read the configuration.
CREATE FUNCTION etl._mirror_of(rel regclass) RETURNS TABLE (connection text, model text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$ SELECT m.connection, m.model FROM etl._mirrors() m WHERE m.rel = $1 $$;
COMMENT ON FUNCTION etl._mirror_of(regclass) IS 'Which mirror a table is.';
ALTER FUNCTION etl._mirror_of(regclass) OWNER TO etl_worker;

-- API: Public. The models of the usual deployment. What this Odoo does not have is reported, and holds up nothing.
CREATE FUNCTION etl.mirror_defaults(connection text DEFAULT 'odoo') RETURNS TABLE (model text, "table" text, status text, detail text)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  made jsonb;
BEGIN
  FOREACH model IN ARRAY ARRAY['res.partner', 'account.move', 'account.move.line', 'purchase.order', 'purchase.order.line', 'sale.order', 'sale.order.line',
    'stock.move', 'stock.picking', 'hr.expense', 'hr.expense.sheet', 'ipai.subscription', 'ipai.subscription.line', 'ipai.purchase.requisition',
    'ipai.purchase.req.line', 'ipai.expense.advance', 'ipai.expense.policy'] LOOP
    BEGIN
      made := etl.mirror(model, connection => $1);
      "table" := made ->> 'table';
      status := 'mirrored';
      detail := format('%s columns', made ->> 'columns') || coalesce(format(', without %s', nullif((SELECT string_agg(s ->> 'field', ', ') FROM jsonb_array_elements(made -> 'skipped') s), '')), '');
    EXCEPTION WHEN undefined_object OR insufficient_privilege OR datatype_mismatch THEN
      -- Of this model alone; what stops them all is raised.
      "table" := NULL;
      status := 'not mirrored';
      detail := SQLERRM;
    END;
    RETURN NEXT;
  END LOOP;
END
$$;
COMMENT ON FUNCTION etl.mirror_defaults(text) IS 'Mirrors the 17 models of the usual deployment; says of each what came of it.';
