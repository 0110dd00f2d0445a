-- Is everything in step? Two forms of one answer: for programs and for people.

-- Seeded by etl.setup(), and the user's from then on.
CREATE TABLE etl.thresholds (
  -- A component, or one of its kind by its whole name: "sync lag", "sync lag res.partner".
  component text PRIMARY KEY,
  -- NULL: never.
  warn float8 CHECK (warn OPERATOR(pg_catalog.>) '-Infinity' AND warn OPERATOR(pg_catalog.<) 'Infinity'),
  fail float8 CHECK (fail OPERATOR(pg_catalog.>) '-Infinity' AND fail OPERATOR(pg_catalog.<) 'Infinity'),
  -- What they count, for people.
  unit text
);
COMMENT ON TABLE etl.thresholds IS 'From what value on a component of etl.health() warns and fails: change them.';
ALTER TABLE etl.thresholds ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader ON etl.thresholds FOR SELECT TO etl_reader USING (true);
CREATE POLICY admin ON etl.thresholds FOR ALL TO etl_admin USING (true) WITH CHECK (true);
CREATE POLICY worker ON etl.thresholds FOR ALL TO etl_worker USING (true) WITH CHECK (true);
SELECT pg_catalog.pg_extension_config_dump('etl.thresholds', '');

-- API: Private. The thresholds as they are delivered, from the library.
CREATE FUNCTION etl._default_thresholds(OUT component text, OUT warn float8, OUT fail float8, OUT unit text, OUT is_floor bool)
  RETURNS SETOF record LANGUAGE c IMMUTABLE AS 'MODULE_PATHNAME', 'default_thresholds_wrapper';
COMMENT ON FUNCTION etl._default_thresholds() IS 'The thresholds as they are delivered.';

-- API: Private.
CREATE FUNCTION etl._seed_thresholds() RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
  INSERT INTO etl.thresholds (component, warn, fail, unit) SELECT d.component, d.warn, d.fail, d.unit || CASE WHEN d.is_floor THEN ', at least' ELSE '' END FROM etl._default_thresholds() d ON CONFLICT DO NOTHING
$$;
COMMENT ON FUNCTION etl._seed_thresholds() IS 'Makes the rows of etl.thresholds that are missing.';
ALTER FUNCTION etl._seed_thresholds() OWNER TO etl_worker;

-- API: Private. Refuses what no component is called; while a dump is restored it looks on.
CREATE FUNCTION etl._threshold_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  IF NOT etl._is_set_up() THEN
    RETURN coalesce(new, old);
  ELSIF new.component IS NOT NULL AND NOT EXISTS (SELECT FROM etl._default_thresholds() d WHERE new.component = d.component OR starts_with(new.component, d.component || ' ')) THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('no component is called "%s"', new.component),
      DETAIL = (SELECT 'Known are ' || string_agg(d.component, ', ') || '.' FROM etl._default_thresholds() d), HINT = 'One of a kind by its whole name, as in etl.health_report(): "sync lag res.partner".';
  END IF;
  new.unit := coalesce(new.unit, (SELECT d.unit || CASE WHEN d.is_floor THEN ', at least' ELSE '' END FROM etl._default_thresholds() d WHERE new.component = d.component OR starts_with(new.component, d.component || ' ')));
  RETURN coalesce(new, old);
END
$$;
COMMENT ON FUNCTION etl._threshold_changed() IS 'Checks a changed threshold.';
ALTER FUNCTION etl._threshold_changed() OWNER TO etl_worker;
CREATE TRIGGER etl_threshold_changed BEFORE INSERT OR UPDATE OR DELETE ON etl.thresholds
  FOR EACH ROW WHEN (current_user OPERATOR(pg_catalog.<>) 'etl_worker'::pg_catalog.name) EXECUTE FUNCTION etl._threshold_changed();

-- API: Private. Afterwards: an INSERT that met a row changed nothing.
CREATE FUNCTION etl._threshold_audited() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  IF etl._is_set_up() THEN
    PERFORM etl._audit('threshold', coalesce(new.component, old.component), to_jsonb(old), to_jsonb(new));
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION etl._threshold_audited() IS 'Leaves a row in the audit log for a changed threshold.';
ALTER FUNCTION etl._threshold_audited() OWNER TO etl_worker;
CREATE TRIGGER etl_threshold_audited AFTER INSERT OR UPDATE OR DELETE ON etl.thresholds
  FOR EACH ROW WHEN (current_user OPERATOR(pg_catalog.<>) 'etl_worker'::pg_catalog.name) EXECUTE FUNCTION etl._threshold_audited();

-- API: Private. For whose sake dead rows stay. With the installer's rights, for others' transactions are not everybody's to see; and it
-- says who and since when, and nothing of what they do.
CREATE FUNCTION etl._oldest_snapshot(OUT seconds float8, OUT holder text, OUT remedy text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
  SELECT x.seconds, x.holder, x.remedy FROM (
    SELECT extract(epoch FROM now() - a.xact_start)::float8 AS seconds, format('session %s of %s is in a transaction (%s)', a.pid, a.usename, a.state) AS holder,
           format('SELECT pg_terminate_backend(%s);  if nobody needs it.', a.pid) AS remedy
    FROM pg_stat_activity a WHERE a.datname = current_database() AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL) AND a.xact_start IS NOT NULL AND a.pid <> pg_backend_pid() AND a.backend_type <> 'autovacuum worker'
    UNION ALL
    SELECT extract(epoch FROM now() - p.prepared)::float8, format('a prepared transaction of %s', p.owner), 'SELECT gid, owner, prepared FROM pg_prepared_xacts;  then COMMIT PREPARED or ROLLBACK PREPARED what nobody waits for.'
    FROM pg_prepared_xacts p WHERE p.database = current_database()) x
  ORDER BY x.seconds DESC LIMIT 1
$$;
COMMENT ON FUNCTION etl._oldest_snapshot() IS 'The oldest transaction for whose sake dead rows stay.';

-- API: Private. The jobs of pg_cron in this database that call us; NULL where there is no pg_cron, or it cannot be read. Of its history, which is
-- never pruned, the last 2,000 runs. With the installer's rights, for a job is its user's to see: so neither what it runs nor what it answered
-- is given.
CREATE FUNCTION etl._cron_jobs() RETURNS jsonb
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  jobs jsonb;
BEGIN
  -- By its tables and not by the extension's name: they may be a copy, and then there is nothing to trust.
  IF NOT EXISTS (SELECT FROM pg_extension x JOIN pg_depend d ON d.refobjid = x.oid AND d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'
      JOIN pg_class c ON c.oid = d.objid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE x.extname = 'pg_cron' AND n.nspname = 'cron' AND c.relname = 'job_run_details') THEN
    RETURN NULL;
  END IF;
  EXECUTE $sql$
    WITH recent AS MATERIALIZED (SELECT d.jobid, d.runid, d.status, d.start_time FROM cron.job_run_details d ORDER BY d.runid DESC LIMIT 2000),
    ended AS (SELECT r.jobid, r.status, row_number() OVER (PARTITION BY r.jobid ORDER BY r.runid DESC) AS n FROM recent r WHERE r.status IN ('succeeded', 'failed'))
    SELECT coalesce(jsonb_agg(jsonb_build_object('job', j.jobid, 'name', coalesce(to_jsonb(j) ->> 'jobname', ''), 'active', j.active, 'drains', j.command ~ '\yetl\.drain',
        'failed', j.active AND EXISTS (SELECT FROM ended e WHERE e.jobid = j.jobid AND e.status = 'failed' AND e.n = 1),
        'running_seconds', (SELECT extract(epoch FROM now() - min(r.start_time)) FROM recent r WHERE r.jobid = j.jobid AND r.status = 'running')) ORDER BY j.jobid), '[]')
    FROM cron.job j WHERE j.database = current_database() AND j.command ~ '\yetl\.[a-z_]+\s*\('
  $sql$ INTO jobs;
  RETURN jobs;
EXCEPTION WHEN insufficient_privilege OR undefined_table OR undefined_column THEN
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION etl._cron_jobs() IS 'The jobs of pg_cron that call us, and how they went.';

-- API: Public.
CREATE FUNCTION etl.health() RETURNS jsonb
  LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
  -- A probe does not wait for somebody's lock, and compiles nothing.
  SET lock_timeout = '2s' SET jit = off
  AS 'MODULE_PATHNAME', 'health_wrapper';
COMMENT ON FUNCTION etl.health() IS 'For programs: {"status":"pass|warn|fail","checks":{…},"checked_at":…}. Never calls the network.';
ALTER FUNCTION etl.health() OWNER TO etl_worker;

-- API: Public.
CREATE FUNCTION etl.health_report(OUT component text, OUT status text, OUT value text, OUT threshold text, OUT detail text,
    OUT remedy text, OUT checked_at timestamptz) RETURNS SETOF record
  LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
  -- A probe does not wait for somebody's lock, and compiles nothing.
  SET lock_timeout = '2s' SET jit = off
  AS 'MODULE_PATHNAME', 'health_report_wrapper';
COMMENT ON FUNCTION etl.health_report() IS 'For people: one row per component, worst first, each with what to do about it.';
ALTER FUNCTION etl.health_report() OWNER TO etl_worker;
