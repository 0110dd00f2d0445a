-- The worker's doors into Postgres.

-- API: Private. Called by triggers and by what makes work due: wakes the worker when the transaction commits.
CREATE FUNCTION etl._wake() RETURNS void
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'wake_wrapper';
COMMENT ON FUNCTION etl._wake() IS 'Wakes this database''s worker at commit, once per transaction.';

-- API: Private. An owner is alive while the session that took its number holds its lock.
CREATE FUNCTION etl._owner_alive(owner bigint) RETURNS bool
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'owner_alive_wrapper';
COMMENT ON FUNCTION etl._owner_alive(bigint) IS 'Whether the worker session with this number still runs.';

-- API: Private.
CREATE FUNCTION etl._workers(OUT pid int, OUT state text, OUT detail text, OUT started_at timestamptz, OUT delivered bigint)
  RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'workers_wrapper';
COMMENT ON FUNCTION etl._workers() IS 'The background workers of this database, from shared memory; none without shared_preload_libraries.';

-- API: Private. The version of the loaded library, which may be newer than the extension''s SQL.
CREATE FUNCTION etl._library_version() RETURNS text
  LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'library_version_wrapper';
COMMENT ON FUNCTION etl._library_version() IS 'Version of the loaded library.';

-- API: Private. Tells the launcher, at commit, that a database has the extension now.
CREATE FUNCTION etl._announce() RETURNS void
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'announce_wrapper';
COMMENT ON FUNCTION etl._announce() IS 'Tells the launcher, at commit, to look for databases that need a worker.';

CREATE SEQUENCE etl.owner_seq AS bigint;
CREATE SEQUENCE etl.claim_seq AS bigint;
CREATE SEQUENCE etl.lot_seq AS bigint;

-- API: Private. The locks of DROP EXTENSION pg_etl, in the order in which writers and the worker take them.
CREATE FUNCTION etl._lock_for_drop() RETURNS void
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'lock_for_drop_wrapper';
COMMENT ON FUNCTION etl._lock_for_drop() IS 'Locks the extension and then the outbox, so that DROP EXTENSION meets no writer in a deadlock.';

-- API: Private. Runs at the start of every DROP EXTENSION of this database, and must stop none: neither where the library is gone
-- nor where the user may not drop this extension.
CREATE FUNCTION etl._before_drop() RETURNS event_trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF current_query() ~* 'pg_etl' THEN
    PERFORM etl._lock_for_drop();
  END IF;
EXCEPTION WHEN undefined_file OR undefined_function OR insufficient_privilege THEN
  NULL;
END
$$;
COMMENT ON FUNCTION etl._before_drop() IS 'Takes the locks of DROP EXTENSION pg_etl in an order without deadlocks.';
CREATE EVENT TRIGGER pg_etl_before_drop ON ddl_command_start WHEN TAG IN ('DROP EXTENSION') EXECUTE FUNCTION etl._before_drop();
COMMENT ON EVENT TRIGGER pg_etl_before_drop IS 'DROP EXTENSION pg_etl while rows are written: no deadlock.';
