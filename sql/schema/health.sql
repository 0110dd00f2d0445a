-- Is everything in step? Two forms of one answer: for programs and for people.

-- API: Public.
CREATE FUNCTION etl.health() RETURNS jsonb
  LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
  AS 'MODULE_PATHNAME', 'health_wrapper';
COMMENT ON FUNCTION etl.health() IS 'For programs: {"status":"pass|warn|fail","checks":{…},"checked_at":…}. Never calls the network.';
ALTER FUNCTION etl.health() OWNER TO etl_worker;

-- API: Public.
CREATE FUNCTION etl.health_report(OUT component text, OUT status text, OUT value text, OUT threshold text, OUT detail text,
    OUT remedy text, OUT checked_at timestamptz) RETURNS SETOF record
  LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
  AS 'MODULE_PATHNAME', 'health_report_wrapper';
COMMENT ON FUNCTION etl.health_report() IS 'For people: one row per component, worst first, each with what to do about it.';
ALTER FUNCTION etl.health_report() OWNER TO etl_worker;
