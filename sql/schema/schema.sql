-- The room that holds the others. API: everything in schema etl without a leading underscore is public.

DO $$
BEGIN
  IF pg_catalog.to_regnamespace('etl') IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'duplicate_schema',
      MESSAGE = 'schema "etl" exists already and is not part of pg_etl',
      HINT = 'Rename it (ALTER SCHEMA etl RENAME TO …) or drop it, then CREATE EXTENSION pg_etl again.';
  END IF;
END
$$;
CREATE SCHEMA etl;
COMMENT ON SCHEMA etl IS 'pg_etl: functions, views and settings that keep Postgres and Odoo in step. State is in schema ops.';

-- One row once etl.setup() has run: which database this state belongs to. API: Private.
CREATE TABLE etl.instance (
  singleton bool PRIMARY KEY DEFAULT true CHECK (singleton),
  -- System identifier, database OID and etl.instance. A copy of the database does not match and starts paused.
  fingerprint text NOT NULL,
  setup_version text NOT NULL,
  setup_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  -- Rows that the outbox called queued when it was last counted and that the queue did not have: they came in behind its triggers' back.
  unseen bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE etl.instance IS 'Which database this state belongs to: a restored or copied database does not match and starts paused.';
ALTER TABLE etl.instance ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader ON etl.instance FOR SELECT TO etl_reader USING (true);
CREATE POLICY worker ON etl.instance FOR ALL TO etl_worker USING (true) WITH CHECK (true);
SELECT pg_catalog.pg_extension_config_dump('etl.instance', '');

-- API: Private.
CREATE FUNCTION etl._fingerprint() RETURNS text
  LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'fingerprint_wrapper';
COMMENT ON FUNCTION etl._fingerprint() IS 'What tells this database from a copy of it.';
