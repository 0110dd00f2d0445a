-- Who changed what. Every call of the API that changes how things are leaves one row; what is enqueued, delivered or pulled has rows of its
-- own, in the outbox and in ops.odoo_sync_runs.

CREATE TABLE etl.audit_log (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  actor text NOT NULL,
  action text NOT NULL,
  target text NOT NULL,
  before jsonb,
  after jsonb
);
COMMENT ON TABLE etl.audit_log IS 'Every call that changes how things are: who, when, what, before and after. Holds references to secrets, never a secret. What was enqueued, delivered or pulled is in the outbox and in ops.odoo_sync_runs.';
ALTER TABLE etl.audit_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader ON etl.audit_log FOR SELECT TO etl_admin USING (true);
CREATE POLICY worker ON etl.audit_log FOR INSERT TO etl_worker WITH CHECK (true);
-- What is old enough may go, by etl.apply_retention(); nothing else ever does.
CREATE POLICY old ON etl.audit_log FOR SELECT TO etl_worker USING (at OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) '30 days'::pg_catalog.interval));
CREATE POLICY trim ON etl.audit_log FOR DELETE TO etl_worker USING (at OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) '30 days'::pg_catalog.interval));
SELECT pg_catalog.pg_extension_config_dump('etl.audit_log', '');
SELECT pg_catalog.pg_extension_config_dump('etl.audit_log_id_seq', '');

-- API: Private.
CREATE FUNCTION etl._is_worker() RETURNS bool
  LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'is_worker_wrapper';
COMMENT ON FUNCTION etl._is_worker() IS 'Whether this process is one of ours.';

-- API: Private. The session's user is who acted, whatever SECURITY DEFINER function it came through.
CREATE FUNCTION etl._audit(action text, target text, before jsonb DEFAULT NULL, after jsonb DEFAULT NULL) RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
  AS $$ INSERT INTO etl.audit_log (actor, action, target, before, after)
        -- The worker's session belongs to nobody who acts.
        VALUES (CASE WHEN etl._is_worker() THEN 'pg_etl worker' ELSE session_user::text END, action, target, before, after) $$;
COMMENT ON FUNCTION etl._audit(text, text, jsonb, jsonb) IS 'Leaves one row in etl.audit_log.';
ALTER FUNCTION etl._audit(text, text, jsonb, jsonb) OWNER TO etl_worker;
