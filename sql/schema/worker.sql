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
