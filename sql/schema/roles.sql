-- Who may do what. Roles belong to the whole cluster: they are made once and stay after DROP EXTENSION.

DO $$
DECLARE
  role_name text;
BEGIN
  FOREACH role_name IN ARRAY ARRAY['etl_reader', 'etl_operator', 'etl_admin', 'etl_worker'] LOOP
    IF pg_catalog.to_regrole(role_name) IS NULL THEN
      EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role_name);
    END IF;
  END LOOP;
  -- The worker acts as etl_worker: whoever could become it would hold every right of the worker.
  IF EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) 'etl_worker'
      AND (r.rolcanlogin OR r.rolsuper OR r.rolcreaterole OR r.rolbypassrls OR r.rolreplication OR r.rolcreatedb))
    OR EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) m.roleid
      JOIN pg_catalog.pg_roles u ON u.oid OPERATOR(pg_catalog.=) m.member
      WHERE r.rolname OPERATOR(pg_catalog.=) 'etl_worker' AND NOT u.rolsuper) THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_authorization_specification',
      MESSAGE = 'role "etl_worker" exists and can log in, has special rights or has members',
      HINT = 'pg_etl''s worker runs as etl_worker. ALTER ROLE etl_worker NOLOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS, revoke its memberships, and try again.';
  END IF;
END
$$;
GRANT etl_reader TO etl_operator;
GRANT etl_operator TO etl_admin;
