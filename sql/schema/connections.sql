-- Endpoints, what is known of them, and the one door to secrets.

CREATE TABLE etl.connections (
  name text PRIMARY KEY,
  kind text NOT NULL,
  url text NOT NULL,
  options jsonb NOT NULL DEFAULT '{}',
  secret text,
  updated_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE etl.connections IS 'Endpoints, written by etl.set_connection(). The column secret holds a reference (vault:NAME, env:NAME, file:NAME).';
ALTER TABLE etl.connections ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader ON etl.connections FOR SELECT TO etl_reader, etl_worker USING (true);
SELECT pg_catalog.pg_extension_config_dump('etl.connections', '');

-- What the worker learned of an endpoint. API: Private; etl.connections_status shows it.
CREATE TABLE etl.connection_state (
  connection text PRIMARY KEY REFERENCES etl.connections (name) ON DELETE CASCADE,
  paused_at timestamptz,
  paused_reason text,
  -- The worker paused it, for the endpoint would not have us: it goes on by itself when what it was refused with is mended.
  refused bool NOT NULL DEFAULT false,
  -- Circuit breaker: closed while failures is 0; open until the next probe at probe_at.
  failures int NOT NULL DEFAULT 0,
  probe_at timestamptz,
  throttled_until timestamptz,
  protocol text,
  version text,
  last_ok_at timestamptz,
  last_error_at timestamptz,
  last_error_class text,
  last_error text,
  remedy text,
  -- Why the secret could not be read when that was last tried.
  secret_error text,
  -- When the first API key of its user ends.
  key_ends_at timestamptz,
  run_id bigint
);
COMMENT ON TABLE etl.connection_state IS 'What the worker learned of each endpoint: pause, circuit breaker, protocol, last answer.';
ALTER TABLE etl.connection_state ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader ON etl.connection_state FOR SELECT TO etl_reader USING (true);
CREATE POLICY worker ON etl.connection_state FOR ALL TO etl_worker USING (true) WITH CHECK (true);

-- Odoo's fields_get, kept so that a new worker and etl.explain() need not ask again. API: Private.
CREATE TABLE etl.model_fields (
  connection text NOT NULL REFERENCES etl.connections (name) ON DELETE CASCADE,
  model text NOT NULL,
  fields jsonb NOT NULL,
  fetched_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  PRIMARY KEY (connection, model)
);
COMMENT ON TABLE etl.model_fields IS 'The fields of each Odoo model, as fields_get answered.';
ALTER TABLE etl.model_fields ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader ON etl.model_fields FOR SELECT TO etl_reader USING (true);
CREATE POLICY worker ON etl.model_fields FOR ALL TO etl_worker USING (true) WITH CHECK (true);

-- API: Public.
CREATE FUNCTION etl.set_connection(name text, kind text, url text, options jsonb DEFAULT '{}', secret text DEFAULT NULL) RETURNS void
  LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
  AS 'MODULE_PATHNAME', 'set_connection_wrapper';
COMMENT ON FUNCTION etl.set_connection(text, text, text, jsonb, text) IS
  'Makes or replaces a connection. kind: odoo; slack, webhook, github and smtp are channels for alerts; airbyte and firecrawl are kept for later. secret is a reference: vault:NAME, env:NAME or file:NAME; a changed url needs it named again.';

-- API: Public.
CREATE FUNCTION etl.test_connection(name text) RETURNS jsonb
  LANGUAGE c VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
  AS 'MODULE_PATHNAME', 'test_connection_wrapper';
COMMENT ON FUNCTION etl.test_connection(text) IS
  'Asks the endpoint now: reachable, authenticated, version, protocol, and the rights that the user lacks. Runs in a background worker; sees committed settings only.';

-- API: Public.
CREATE FUNCTION etl.pause(connection text DEFAULT 'odoo', reason text DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  was jsonb;
BEGIN
  PERFORM etl._must_be_set_up();
  PERFORM etl._connection_must_exist($1);
  SELECT jsonb_build_object('paused_at', s.paused_at, 'reason', s.paused_reason) INTO was
    FROM etl.connection_state s WHERE s.connection = $1 FOR UPDATE;
  INSERT INTO etl.connection_state AS s (connection, paused_at, paused_reason)
    VALUES ($1, now(), coalesce($2, 'paused by ' || session_user))
    ON CONFLICT ON CONSTRAINT connection_state_pkey DO UPDATE
      SET paused_at = coalesce(s.paused_at, excluded.paused_at), paused_reason = excluded.paused_reason, refused = false;
  PERFORM etl._audit('pause', $1, was, jsonb_build_object('reason', $2));
  RETURN 'paused';
END
$$;
COMMENT ON FUNCTION etl.pause(text, text) IS 'Stops deliveries of a connection; rows stay queued. A call on its way is finished and settled.';

-- API: Private. A database that is not the one its state speaks of is a copy: every connection is paused, once, before anything is sent, and
-- the queue is derived from what came along.
CREATE FUNCTION etl._move_in() RETURNS bool
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM etl.instance i WHERE i.fingerprint <> etl._fingerprint()) THEN
    RETURN false;
  END IF;
  -- The lock of etl.setup(), which takes tables in another order.
  PERFORM pg_advisory_xact_lock(123589684356204);
  UPDATE etl.instance i SET fingerprint = etl._fingerprint() WHERE i.fingerprint <> etl._fingerprint();
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO etl.connection_state AS s (connection, paused_at, paused_reason, remedy)
    SELECT c.name, now(), 'this database is a copy or was restored: nothing is sent before you say so',
           format('If this database is to deliver from now on: SELECT etl.resume(%L);', c.name)
    FROM etl.connections c
    ON CONFLICT ON CONSTRAINT connection_state_pkey DO UPDATE
      SET paused_at = coalesce(s.paused_at, excluded.paused_at), paused_reason = excluded.paused_reason, refused = false,
          remedy = excluded.remedy, run_id = NULL;
  PERFORM etl._rebuild_queue();
  RETURN true;
END
$$;
COMMENT ON FUNCTION etl._move_in() IS 'Pauses everything where this database is a copy; returns whether it was one.';
ALTER FUNCTION etl._move_in() OWNER TO etl_worker;

-- API: Public.
CREATE FUNCTION etl.resume(connection text DEFAULT 'odoo') RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  was jsonb;
BEGIN
  PERFORM etl._must_be_set_up();
  PERFORM etl._connection_must_exist($1);
  -- A copy that nobody has looked at yet: the others pause now, and this one goes on because you say so.
  PERFORM etl._move_in();
  SELECT jsonb_build_object('paused_at', s.paused_at, 'reason', s.paused_reason) INTO was
    FROM etl.connection_state s WHERE s.connection = $1;
  INSERT INTO etl.connection_state AS s (connection) VALUES ($1)
    ON CONFLICT ON CONSTRAINT connection_state_pkey DO UPDATE
      SET paused_at = NULL, paused_reason = NULL, refused = false, failures = 0, probe_at = NULL, throttled_until = NULL, remedy = NULL;
  PERFORM etl._audit('resume', $1, was, NULL);
  PERFORM etl._wake();
  RETURN 'resumed';
END
$$;
COMMENT ON FUNCTION etl.resume(text) IS 'Starts a paused connection again, closes its circuit breaker and wakes the worker.';

-- API: Private.
CREATE FUNCTION etl._connection_must_exist(connection text) RETURNS void
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM etl.connections c WHERE c.name = $1) THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object',
      MESSAGE = format('connection "%s" does not exist', $1),
      DETAIL = coalesce('Connections: ' || (SELECT string_agg(c.name, ', ' ORDER BY c.name) FROM etl.connections c) || '.', 'There is no connection yet.'),
      HINT = format('SELECT etl.set_connection(%L, ''odoo'', ''https://…'', ''{"database":"…","login":"…"}'', secret => ''vault:…'');', $1);
  END IF;
END
$$;
COMMENT ON FUNCTION etl._connection_must_exist(text) IS 'Raises 42704 with the names there are.';
ALTER FUNCTION etl._connection_must_exist(text) OWNER TO etl_worker;
ALTER FUNCTION etl.test_connection(text) OWNER TO etl_worker;
ALTER FUNCTION etl.pause(text, text) OWNER TO etl_worker;
ALTER FUNCTION etl.resume(text) OWNER TO etl_worker;

-- The one door to the vault, for the installer's rights only (the worker takes them for this one call) and only for references
-- that a connection holds. Nobody may call it: a trigger that somebody put on the outbox runs as etl_worker.
-- API: Private.
CREATE FUNCTION etl._vault_secret(reference text) RETURNS text
  LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  value text;
BEGIN
  IF NOT EXISTS (SELECT FROM etl.connections c WHERE c.secret = reference) OR reference NOT LIKE 'vault:%' THEN
    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
      MESSAGE = 'no connection holds this secret reference';
  END IF;
  -- Functions inside a view run with its caller's rights, and these are the installer's: whoever could make such a view would have
  -- them. So it counts only where it and its schema belong to superusers, as Supabase Vault's do.
  IF NOT EXISTS (SELECT FROM pg_class k JOIN pg_namespace n ON n.oid = k.relnamespace
      JOIN pg_roles ko ON ko.oid = k.relowner JOIN pg_roles no ON no.oid = n.nspowner
      WHERE n.nspname = 'vault' AND k.relname = 'decrypted_secrets' AND ko.rolsuper AND no.rolsuper) THEN
    RETURN NULL;
  END IF;
  EXECUTE 'SELECT decrypted_secret::text FROM vault.decrypted_secrets WHERE name = $1 LIMIT 1'
    INTO value USING substr(reference, 7);
  RETURN value;
END
$$;
COMMENT ON FUNCTION etl._vault_secret(text) IS 'Reads a vault:NAME reference that a connection holds; NULL where there is no such secret.';
