-- State belongs to the user: ordinary tables in schema ops, made or adopted by etl.setup(), never members of the extension
-- (members lose rows, owners, grants and triggers on DROP EXTENSION and on restore).

-- API: Private.
CREATE FUNCTION etl._must_be_set_up() RETURNS void
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  IF NOT etl._is_set_up() THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = 'pg_etl is not set up in this database',
      HINT = 'SELECT etl.setup();';
  END IF;
END
$$;
COMMENT ON FUNCTION etl._must_be_set_up() IS 'Raises 55000 with a HINT until etl.setup() has run.';
ALTER FUNCTION etl._must_be_set_up() OWNER TO etl_worker;

-- API: Private. The trigger tells: it is what the old tables lack, and it goes with DROP EXTENSION. Somebody may have dropped the others.
CREATE FUNCTION etl._is_set_up() RETURNS bool
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
  -- By catalog: before setup this role has no right on schema ops, and a look-up by name would need one.
  SELECT EXISTS (SELECT FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = 'ops' AND c.relname = 'odoo_outbox' AND t.tgname = 'etl_outbox_updated')
     AND 3 = (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname = 'ops' AND c.relkind IN ('r', 'p') AND c.relname IN ('odoo_sync_runs', 'odoo_sync_config', 'odoo_sync_checkpoints'))
     AND EXISTS (SELECT FROM etl.instance)
$$;
COMMENT ON FUNCTION etl._is_set_up() IS 'Whether etl.setup() has run in this database.';
ALTER FUNCTION etl._is_set_up() OWNER TO etl_worker;

-- API: Private. The columns of the state tables: what a fresh table gets and an old one lacks.
-- `def` is the default, a constant or now(): a column that is added with it shows it in old rows without a rewrite.
CREATE FUNCTION etl._state_columns() RETURNS TABLE (tab text, col text, typ text, not_null bool, def text)
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  VALUES
    ('odoo_sync_runs', 'id', 'bigint', true, NULL::text),
    ('odoo_sync_runs', 'direction', 'text', true, NULL),
    ('odoo_sync_runs', 'status', 'text', true, '''queued'''),
    ('odoo_sync_runs', 'created_at', 'timestamp with time zone', true, 'now()'),
    ('odoo_sync_runs', 'started_at', 'timestamp with time zone', false, NULL),
    ('odoo_sync_runs', 'finished_at', 'timestamp with time zone', false, NULL),
    ('odoo_sync_runs', 'meta', 'jsonb', false, '''{}'''),
    ('odoo_sync_runs', 'error', 'text', false, NULL),
    ('odoo_outbox', 'id', 'bigint', true, NULL),
    ('odoo_outbox', 'model', 'text', true, NULL),
    ('odoo_outbox', 'operation', 'text', true, NULL),
    ('odoo_outbox', 'payload', 'jsonb', true, NULL),
    ('odoo_outbox', 'idempotency_key', 'text', true, NULL),
    ('odoo_outbox', 'status', 'text', true, '''queued'''),
    ('odoo_outbox', 'attempts', 'integer', true, '0'),
    ('odoo_outbox', 'locked_at', 'timestamp with time zone', false, NULL),
    ('odoo_outbox', 'locked_by', 'text', false, NULL),
    ('odoo_outbox', 'last_error', 'text', false, NULL),
    ('odoo_outbox', 'created_at', 'timestamp with time zone', true, 'now()'),
    ('odoo_outbox', 'next_run_at', 'timestamp with time zone', true, 'now()'),
    ('odoo_outbox', 'connection', 'text', true, '''odoo'''),
    ('odoo_outbox', 'record_key', 'text', false, NULL),
    ('odoo_outbox', 'priority', 'smallint', true, '0'),
    ('odoo_outbox', 'odoo_id', 'bigint', false, NULL),
    ('odoo_outbox', 'error_class', 'text', false, NULL),
    ('odoo_outbox', 'crashes', 'integer', true, '0'),
    ('odoo_outbox', 'claim', 'bigint', false, NULL),
    ('odoo_outbox', 'finished_at', 'timestamp with time zone', false, NULL),
    ('odoo_outbox', 'run_id', 'bigint', false, NULL),
    ('odoo_outbox', 'went_with', 'bigint', false, NULL),
    ('odoo_sync_config', 'key', 'text', true, NULL),
    ('odoo_sync_config', 'value', 'jsonb', true, NULL),
    ('odoo_sync_config', 'updated_at', 'timestamp with time zone', true, 'now()'),
    ('odoo_sync_checkpoints', 'key', 'text', true, NULL),
    ('odoo_sync_checkpoints', 'cursor', 'jsonb', true, NULL),
    ('odoo_sync_checkpoints', 'updated_at', 'timestamp with time zone', true, 'now()')
$$;
COMMENT ON FUNCTION etl._state_columns() IS 'The columns of the state tables in schema ops.';

-- API: Private. Makes one state table, or adds what an existing one lacks. Appends to the report.
CREATE FUNCTION etl._adopt_table(tab text, key text, serial bool, INOUT report jsonb)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rel regclass := to_regclass(format('ops.%I', tab));
  owner name := (SELECT r.rolname FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE n.nspname = 'ops');
  c record;
  found_type text;
BEGIN
  IF rel IS NULL THEN
    EXECUTE format('CREATE TABLE ops.%I (%s, PRIMARY KEY (%I))', tab,
      (SELECT string_agg(format('%I %s%s%s', s.col, CASE WHEN serial AND s.col = key THEN 'bigserial' ELSE s.typ END,
                                CASE WHEN s.not_null THEN ' NOT NULL' ELSE '' END, coalesce(' DEFAULT ' || s.def, '')), ', ')
       FROM etl._state_columns() s WHERE s.tab = _adopt_table.tab), key);
    EXECUTE format('ALTER TABLE ops.%I OWNER TO %I', tab, owner);
    report := jsonb_set(report, '{created}', report -> 'created' || to_jsonb('ops.' || tab));
    RETURN;
  END IF;

  IF (SELECT k.relkind FROM pg_class k WHERE k.oid = rel) <> 'r' THEN
    RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
      MESSAGE = format('ops.%s exists and is not an ordinary table', tab),
      HINT = 'pg_etl keeps its state in ordinary tables. Rename this object and run etl.setup() again.';
  END IF;
  report := jsonb_set(report, '{adopted}', report -> 'adopted' || to_jsonb('ops.' || tab));
  FOR c IN SELECT s.* FROM etl._state_columns() s WHERE s.tab = _adopt_table.tab LOOP
    SELECT format_type(a.atttypid, NULL) INTO found_type
      FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = c.col AND NOT a.attisdropped;
    IF found_type IS NULL THEN
      IF c.not_null AND c.def IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_column',
          MESSAGE = format('ops.%s exists without its column "%s"', tab, c.col),
          HINT = format('Add it (ALTER TABLE ops.%s ADD COLUMN %I %s) with values for the existing rows, or rename the table, and run etl.setup() again.', tab, c.col, c.typ);
      END IF;
      EXECUTE format('ALTER TABLE ops.%I ADD COLUMN %I %s%s%s', tab, c.col, c.typ,
        coalesce(' DEFAULT ' || c.def, ''), CASE WHEN c.not_null THEN ' NOT NULL' ELSE '' END);
      report := jsonb_set(report, '{migrated}', report -> 'migrated' || to_jsonb(format('ops.%s.%s added', tab, c.col)));
    ELSIF found_type <> c.typ AND NOT (found_type = 'character varying' AND c.typ = 'text')
        AND NOT (found_type IN ('bigint', 'smallint') AND c.typ = 'integer') AND NOT (found_type = 'integer' AND c.typ = 'bigint') THEN
      RAISE EXCEPTION USING ERRCODE = 'datatype_mismatch',
        MESSAGE = format('ops.%s.%s is %s, not %s', tab, c.col, found_type, c.typ),
        HINT = format('ALTER TABLE ops.%s ALTER COLUMN %I TYPE %s, and run etl.setup() again.', tab, c.col, c.typ);
    ELSIF c.col IN ('last_error', 'error', 'error_class', 'locked_by') AND EXISTS (SELECT FROM pg_attribute a
        WHERE a.attrelid = rel AND a.attname = c.col AND a.atttypmod <> -1) THEN
      RAISE EXCEPTION USING ERRCODE = 'datatype_mismatch',
        MESSAGE = format('ops.%s.%s has a limited length, and messages may be longer', tab, c.col),
        HINT = format('ALTER TABLE ops.%s ALTER COLUMN %I TYPE text, and run etl.setup() again.', tab, c.col);
    ELSIF c.def IS NOT NULL AND NOT EXISTS (SELECT FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
        WHERE d.adrelid = rel AND a.attname = c.col) THEN
      EXECUTE format('ALTER TABLE ops.%I ALTER COLUMN %I SET DEFAULT %s', tab, c.col, c.def);
      report := jsonb_set(report, '{migrated}', report -> 'migrated' || to_jsonb(format('ops.%s.%s default', tab, c.col)));
    END IF;
  END LOOP;
END
$$;
COMMENT ON FUNCTION etl._adopt_table(text, text, bool, jsonb) IS 'Makes or completes one state table.';

-- API: Private. A column that must be unique: the primary key of an old table, or the idempotency key.
CREATE FUNCTION etl._adopt_unique(tab text, col text, INOUT report jsonb)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rel regclass := to_regclass(format('ops.%I', tab));
BEGIN
  IF NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
      WHERE i.indrelid = rel AND i.indisunique AND i.indnkeyatts = 1 AND i.indpred IS NULL AND a.attname = col) THEN
    BEGIN
      EXECUTE format('ALTER TABLE ops.%I ADD UNIQUE (%I)', tab, col);
    EXCEPTION WHEN unique_violation THEN
      RAISE EXCEPTION USING ERRCODE = 'unique_violation',
        MESSAGE = format('ops.%s has rows with the same %s', tab, col), DETAIL = SQLERRM,
        HINT = format('Find them: SELECT %1$I, count(*) FROM ops.%2$I GROUP BY 1 HAVING count(*) > 1; make them unique and run etl.setup() again.', col, tab);
    END;
    IF NOT report -> 'created' @> to_jsonb('ops.' || tab) THEN
      report := jsonb_set(report, '{migrated}', report -> 'migrated' || to_jsonb(format('ops.%s.%s unique', tab, col)));
    END IF;
  END IF;
END
$$;
COMMENT ON FUNCTION etl._adopt_unique(text, text, jsonb) IS 'Sees that a column is unique.';

-- API: Private. A list of allowed values; an older, narrower one on the same column gives way. NOT VALID, then validated:
-- the lock that stops writers is held for a moment only.
CREATE FUNCTION etl._adopt_check(tab text, col text, allowed text[], INOUT report jsonb)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  rel regclass := to_regclass(format('ops.%I', tab));
  ours text := format('%s_%s_check', tab, col);
  c record;
  value text;
  complete bool := false;
BEGIN
  FOR c IN SELECT k.conname, pg_get_constraintdef(k.oid) AS def FROM pg_constraint k
      JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attname = col
      WHERE k.conrelid = rel AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum] LOOP
    complete := true;
    FOREACH value IN ARRAY allowed LOOP
      complete := complete AND strpos(c.def, quote_literal(value)) > 0;
    END LOOP;
    IF NOT complete THEN
      EXECUTE format('ALTER TABLE ops.%I DROP CONSTRAINT %I', tab, c.conname);
      report := jsonb_set(report, '{migrated}', report -> 'migrated' || to_jsonb(format('ops.%s: %s widened', tab, c.conname)));
    END IF;
  END LOOP;
  IF NOT complete THEN
    EXECUTE format('ALTER TABLE ops.%I ADD CONSTRAINT %I CHECK (%I IN (%s)) NOT VALID', tab, ours, col,
      (SELECT string_agg(quote_literal(v), ', ') FROM unnest(allowed) v));
    BEGIN
      EXECUTE format('ALTER TABLE ops.%I VALIDATE CONSTRAINT %I', tab, ours);
    EXCEPTION WHEN check_violation THEN
      RAISE EXCEPTION USING ERRCODE = 'check_violation',
        MESSAGE = format('ops.%s has rows whose %s is none of %s', tab, col, array_to_string(allowed, ', ')),
        HINT = format('Find them: SELECT %1$I, count(*) FROM ops.%2$I WHERE %1$I NOT IN (%3$s) GROUP BY 1; correct them and run etl.setup() again.',
          col, tab, (SELECT string_agg(quote_literal(v), ', ') FROM unnest(allowed) v));
    END;
  END IF;
END
$$;
COMMENT ON FUNCTION etl._adopt_check(text, text, text[], jsonb) IS 'Sees that a column allows the values that it must.';

-- API: Private. The triggers that derive the queue from the outbox. Their names sort after a user's, so that they see what is stored.
CREATE FUNCTION etl._adopt_triggers() RETURNS void
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  CREATE OR REPLACE TRIGGER etl_outbox_inserted AFTER INSERT ON ops.odoo_outbox
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION etl._outbox_inserted();
  -- A claim makes the column claim a new positive number, a settle makes it negative, and a status changed by hand makes it
  -- NULL: so claim and settle fire neither of these, whatever they change.
  CREATE OR REPLACE TRIGGER etl_outbox_taken_back BEFORE UPDATE OF status ON ops.odoo_outbox
    FOR EACH ROW WHEN (new.claim IS NOT DISTINCT FROM old.claim AND new.status IS DISTINCT FROM old.status)
    EXECUTE FUNCTION etl._outbox_taken_back();
  CREATE OR REPLACE TRIGGER etl_outbox_updated
    AFTER UPDATE OF status, connection, model, record_key, payload, priority, next_run_at ON ops.odoo_outbox
    FOR EACH ROW WHEN (
      (new.claim IS NULL OR new.claim IS NOT DISTINCT FROM old.claim)
      AND (old.status = 'queued' OR new.status = 'queued')
      AND (new.status, new.connection, new.model, new.record_key, new.priority, new.next_run_at, new.payload)
          IS DISTINCT FROM (old.status, old.connection, old.model, old.record_key, old.priority, old.next_run_at, old.payload))
    EXECUTE FUNCTION etl._outbox_updated();
  CREATE OR REPLACE TRIGGER etl_outbox_counted AFTER UPDATE OF status, connection, model, operation ON ops.odoo_outbox
    FOR EACH ROW WHEN ((new.claim IS NULL OR new.claim IS NOT DISTINCT FROM old.claim)
      AND (new.status, new.connection, new.model, new.operation) IS DISTINCT FROM (old.status, old.connection, old.model, old.operation))
    EXECUTE FUNCTION etl._outbox_counted();
  CREATE OR REPLACE TRIGGER etl_outbox_deleted AFTER DELETE ON ops.odoo_outbox
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION etl._outbox_deleted();
  CREATE OR REPLACE TRIGGER etl_outbox_truncated AFTER TRUNCATE ON ops.odoo_outbox
    FOR EACH STATEMENT EXECUTE FUNCTION etl._outbox_truncated();
END
$$;
COMMENT ON FUNCTION etl._adopt_triggers() IS 'Puts the triggers on the outbox that derive the queue.';

-- API: Private. An index that is missing. One of that name that is there is the user's, whatever it is on.
CREATE FUNCTION etl._adopt_index(name text, target text) RETURNS void
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF to_regclass(format('ops.%I', name)) IS NULL THEN
    EXECUTE format('CREATE INDEX %I ON %s', name, target);
  END IF;
END
$$;
COMMENT ON FUNCTION etl._adopt_index(text, text) IS 'Makes an index that is missing.';

-- API: Private. Views over the state tables: owned by etl_worker, who may read those, so that a reader needs no right on them.
-- sql/views/ holds their text; they are made by etl.setup(), for before it there is nothing to look at.
CREATE FUNCTION etl._adopt_view(name text, body text, comment text) RETURNS void
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('CREATE OR REPLACE VIEW etl.%I AS %s', name, body);
  EXECUTE format('ALTER VIEW etl.%I OWNER TO etl_worker', name);
  EXECUTE format('REVOKE ALL ON etl.%I FROM PUBLIC', name);
  EXECUTE format('GRANT SELECT ON etl.%I TO etl_reader', name);
  EXECUTE format('COMMENT ON VIEW etl.%I IS %L', name, comment);
END
$$;
COMMENT ON FUNCTION etl._adopt_view(text, text, text) IS 'Makes or replaces one public view.';

-- API: Private. The text of the public views, from the library.
CREATE FUNCTION etl._views(OUT name text, OUT body text, OUT comment text)
  RETURNS SETOF record LANGUAGE c IMMUTABLE AS 'MODULE_PATHNAME', 'views_wrapper';
COMMENT ON FUNCTION etl._views() IS 'Name, text and comment of each public view.';

-- API: Private. With the worker's rights, like all that reads or writes rows of the user's tables: with the installer's, their
-- owner's triggers and defaults would run as superuser.
CREATE FUNCTION etl._choose_namespace() RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
  INSERT INTO ops.odoo_sync_config (key, value)
    VALUES ('external_id_namespace', to_jsonb('pg_etl_' || substr(md5(gen_random_uuid()::text), 1, 8)))
    ON CONFLICT (key) DO NOTHING
$$;
COMMENT ON FUNCTION etl._choose_namespace() IS 'Chooses the module prefix of external ids, once.';
ALTER FUNCTION etl._choose_namespace() OWNER TO etl_worker;

-- API: Public. Runs with the installer's rights, and therefore touches catalogs only: rows are for functions of etl_worker.
CREATE FUNCTION etl.setup() RETURNS jsonb
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  report jsonb := '{"created": [], "adopted": [], "migrated": []}';
  installed text := (SELECT x.extversion FROM pg_extension x WHERE x.extname = 'pg_etl');
  before text := (SELECT i.setup_version FROM etl.instance i);
  tab text;
BEGIN
  -- Two at once would both create. The key is the word "pg_etl" in ASCII.
  PERFORM pg_advisory_xact_lock(123589684356204);
  -- A busy table is waited for, but not so long that everyone queues up behind us.
  PERFORM set_config('lock_timeout', '5s', true);
  IF to_regnamespace('ops') IS NULL THEN
    EXECUTE format('CREATE SCHEMA ops AUTHORIZATION %I', session_user);
    report := jsonb_set(report, '{created}', report -> 'created' || '"schema ops"');
  END IF;

  report := etl._adopt_table('odoo_sync_runs', 'id', true, report);
  report := etl._adopt_table('odoo_outbox', 'id', true, report);
  report := etl._adopt_table('odoo_sync_config', 'key', false, report);
  report := etl._adopt_table('odoo_sync_checkpoints', 'key', false, report);
  report := etl._adopt_unique('odoo_sync_runs', 'id', report);
  report := etl._adopt_unique('odoo_outbox', 'id', report);
  report := etl._adopt_unique('odoo_outbox', 'idempotency_key', report);
  report := etl._adopt_unique('odoo_sync_config', 'key', report);
  report := etl._adopt_unique('odoo_sync_checkpoints', 'key', report);
  report := etl._adopt_check('odoo_sync_runs', 'direction', ARRAY['odoo_to_sb', 'sb_to_odoo'], report);
  report := etl._adopt_check('odoo_sync_runs', 'status', ARRAY['queued', 'running', 'succeeded', 'failed'], report);
  report := etl._adopt_check('odoo_outbox', 'status', ARRAY['queued', 'processing', 'done', 'failed', 'cancelled'], report);
  -- An operation that nobody knows becomes a dead letter with a remedy; a list of allowed ones that is too narrow must go.
  IF EXISTS (SELECT FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attname = 'operation'
      WHERE k.conrelid = to_regclass('ops.odoo_outbox') AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]) THEN
    report := etl._adopt_check('odoo_outbox', 'operation', ARRAY['upsert', 'create', 'update', 'delete', 'call'], report);
  END IF;
  -- Half-filled pages and no index on what claim and settle change: their updates stay on the page (HOT).
  ALTER TABLE ops.odoo_outbox SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
  PERFORM etl._adopt_triggers();
  -- What views and health ask of runs, which may be a million of.
  PERFORM etl._adopt_index('odoo_sync_runs_etl_at', 'ops.odoo_sync_runs ((coalesce(started_at, created_at)))'),
    etl._adopt_index('odoo_sync_runs_etl_running', 'ops.odoo_sync_runs (started_at) WHERE status = ''running'''),
    etl._adopt_index('odoo_sync_runs_etl_failed', 'ops.odoo_sync_runs (id) WHERE status = ''failed''');

  GRANT USAGE ON SCHEMA ops TO etl_worker, etl_operator;
  FOREACH tab IN ARRAY ARRAY['odoo_sync_runs', 'odoo_outbox', 'odoo_sync_config', 'odoo_sync_checkpoints'] LOOP
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON ops.%I TO etl_worker', tab);
    EXECUTE format('GRANT SELECT ON ops.%I TO etl_operator', tab);
  END LOOP;
  FOR tab IN SELECT DISTINCT pg_get_serial_sequence(format('ops.%I', s.tab), 'id') FROM etl._state_columns() s WHERE s.col = 'id' LOOP
    IF tab IS NOT NULL THEN
      EXECUTE format('GRANT USAGE ON SEQUENCE %s TO etl_worker, etl_operator', tab);
    END IF;
  END LOOP;
  GRANT INSERT ON ops.odoo_outbox TO etl_operator;
  GRANT DELETE ON ops.odoo_sync_checkpoints, ops.odoo_outbox, ops.odoo_sync_runs TO etl_worker;
  GRANT INSERT, UPDATE, DELETE ON ops.odoo_sync_config TO etl_admin;

  PERFORM etl._find_tracked_tables();
  PERFORM etl._adopt_view(v.name, v.body, v.comment) FROM etl._views() v;

  -- The namespace of external ids must outlive DROP EXTENSION: with another one, a create whose answer was lost would be
  -- sent again under another name. So it is the user's state, not the extension's.
  PERFORM etl._choose_namespace();
  PERFORM etl._seed_thresholds();

  INSERT INTO etl.instance (fingerprint, setup_version) VALUES (etl._fingerprint(), installed)
    ON CONFLICT (singleton) DO UPDATE SET setup_version = excluded.setup_version, setup_at = now();
  report := report || jsonb_build_object('queued', etl._rebuild_queue(), 'version', installed, 'previous_version', before);
  PERFORM etl._audit('setup', 'ops', NULL, report);
  PERFORM etl._announce();
  RETURN report;
END
$$;
COMMENT ON FUNCTION etl.setup() IS
  'Makes or adopts the state tables in schema ops: creates what is missing, keeps what is there. Safe to call again. Returns what was created, adopted, migrated.';
