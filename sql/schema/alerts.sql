-- Who is told what turned in the health report. etl.check_alerts() decides (crates/core/src/alerts) and puts messages into the outbox, as rows for a
-- connection of kind slack, webhook, github or smtp: they are claimed, delivered and settled like any other row.

CREATE TABLE etl.alert_rules (
  name text PRIMARY KEY,
  -- A component of etl.health_report(), the words that several begin with, or * for all.
  component text NOT NULL,
  -- From which status on: warn or fail.
  status text NOT NULL CHECK (status OPERATOR(pg_catalog.=) ANY ('{warn,fail}'::pg_catalog.text[])),
  -- Names of connections.
  channels text[] NOT NULL,
  -- After which it is said again; NULL: never.
  renotify interval,
  -- Between these nobody is told; what is still so afterwards is told then.
  quiet_from time,
  quiet_to time,
  timezone text NOT NULL
);
COMMENT ON TABLE etl.alert_rules IS 'Who is told what turns in the health report: written by etl.set_alert().';
CREATE TABLE etl.alerts (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  component text NOT NULL,
  status text NOT NULL,
  value text NOT NULL,
  threshold text NOT NULL,
  remedy text NOT NULL,
  opened_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  -- When it was last seen not to pass.
  seen_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  acknowledged_at timestamptz,
  acknowledged_by text,
  resolved_at timestamptz,
  -- By channel what it was told last: {"status", "at": seconds since 1970}.
  told jsonb NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX alerts_one_open ON etl.alerts (component) WHERE resolved_at IS NULL;
CREATE INDEX alerts_told ON etl.alerts (id) WHERE resolved_at IS NULL OR told OPERATOR(pg_catalog.<>) '{}'::pg_catalog.jsonb;
COMMENT ON TABLE etl.alerts IS 'What turned in the health report, since when, and who knows.';
-- What a row for a channel says. Not in the row itself: whoever may write to the outbox would speak in our name.
CREATE TABLE etl.messages (
  id bigint PRIMARY KEY,
  -- Whom it is for: the row may have been turned to somebody else.
  channel text NOT NULL,
  message jsonb NOT NULL
);
COMMENT ON TABLE etl.messages IS 'What rows of the outbox for channels say, by their ids.';
SELECT pg_catalog.pg_extension_config_dump('etl.messages', '');
SELECT pg_catalog.pg_extension_config_dump('etl.alerts', '');
SELECT pg_catalog.pg_extension_config_dump('etl.alerts_id_seq', '');
ALTER TABLE etl.messages ENABLE ROW LEVEL SECURITY;
CREATE POLICY worker ON etl.messages FOR ALL TO etl_worker USING (true) WITH CHECK (true);
ALTER TABLE etl.alert_rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE etl.alerts ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader ON etl.alert_rules FOR SELECT TO etl_reader USING (true);
CREATE POLICY reader ON etl.alerts FOR SELECT TO etl_reader USING (true);
CREATE POLICY worker ON etl.alert_rules FOR ALL TO etl_worker USING (true) WITH CHECK (true);
CREATE POLICY worker ON etl.alerts FOR ALL TO etl_worker USING (true) WITH CHECK (true);
SELECT pg_catalog.pg_extension_config_dump('etl.alert_rules', '');

-- API: Private. The names of all components, from the library; of a family, the words that all of its names begin with.
CREATE FUNCTION etl._components(OUT component text, OUT is_family bool) RETURNS SETOF record
  LANGUAGE c IMMUTABLE AS 'MODULE_PATHNAME', 'components_wrapper';
COMMENT ON FUNCTION etl._components() IS 'What components of the health report are called.';

-- API: Public.
CREATE FUNCTION etl.set_alert(name text, channels text[], component text DEFAULT '*', status text DEFAULT 'warn', renotify interval DEFAULT '4 h',
    quiet_hours text DEFAULT NULL, timezone text DEFAULT 'UTC') RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  hours text[] := regexp_match($6, '^\s*((?:[01]?[0-9]|2[0-3]):[0-5][0-9])\s*-\s*((?:[01]?[0-9]|2[0-3]):[0-5][0-9])\s*$');
  odd text;
  before jsonb;
  made etl.alert_rules;
BEGIN
  PERFORM etl._must_be_set_up();
  IF $1 IS NULL OR $1 = '' OR length($1) > 63 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_name', MESSAGE = 'a rule has a name of 1 to 63 characters', HINT = 'SELECT etl.set_alert(''on-call'', ARRAY[''slack'']);';
  ELSIF $3 IS NULL OR ($3 <> '*' AND NOT EXISTS (SELECT FROM etl._components() c WHERE $3 = c.component OR (c.is_family AND starts_with($3, c.component || ' ')))) THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('no component is called "%s"', $3),
      DETAIL = (SELECT 'Known are ' || string_agg(c.component, ', ' ORDER BY c.component) || '.' FROM etl._components() c), HINT = 'As in etl.health_report(), or * for all of them.';
  ELSIF $4 IS NULL OR $4 NOT IN ('warn', 'fail') THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'status is warn or fail', HINT = 'It says from which status on somebody is told.';
  ELSIF $2 IS NULL OR cardinality($2) = 0 THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a rule needs a channel', HINT = 'SELECT etl.drop_alert(…); ends a rule.';
  ELSIF $5 < interval '1 min' OR NOT isfinite($5) THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'renotify is less than a minute, or for ever', HINT = 'NULL: nothing is said twice.';
  ELSIF $6 IS NOT NULL AND (hours IS NULL OR hours [1]::time = hours [2]::time) THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'quiet_hours is not understood', HINT = 'For example ''22:00-07:00''.';
  ELSIF NOT EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = $7) THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('time zone "%s" is not known', $7), HINT = 'For example ''Europe/Brussels''.';
  END IF;
  SELECT x INTO odd FROM unnest($2) x WHERE NOT EXISTS (SELECT FROM etl.connections c WHERE c.name = x AND c.kind IN ('slack', 'webhook', 'github', 'smtp')) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = format('"%s" is no channel', odd),
      HINT = format('A channel is a connection of kind slack, webhook, github or smtp: SELECT etl.set_connection(%L, ''webhook'', ''https://…'', secret => ''vault:…'');', odd);
  END IF;
  SELECT to_jsonb(r) INTO before FROM etl.alert_rules r WHERE r.name = $1 FOR UPDATE;
  INSERT INTO etl.alert_rules AS r (name, component, status, channels, renotify, quiet_from, quiet_to, timezone)
    VALUES ($1, $3, $4, $2, $5, hours [1]::time, hours [2]::time, $7)
    ON CONFLICT ON CONSTRAINT alert_rules_pkey DO UPDATE SET component = excluded.component, status = excluded.status, channels = excluded.channels, renotify = excluded.renotify,
      quiet_from = excluded.quiet_from, quiet_to = excluded.quiet_to, timezone = excluded.timezone
    RETURNING r.* INTO made;
  PERFORM etl._audit('set_alert', $1, before, to_jsonb(made));
  PERFORM etl._wake();
END
$$;
COMMENT ON FUNCTION etl.set_alert(text, text[], text, text, interval, text, text) IS
  'Makes or replaces a rule: these channels (connections of kind slack, webhook, github or smtp) are told when a component of the health report, or any (*), warns or fails; once for each change, and again after "renotify". In quiet_hours ("22:00-07:00") nobody is told; what is still so afterwards is told then.';
ALTER FUNCTION etl.set_alert(text, text[], text, text, interval, text, text) OWNER TO etl_worker;

-- API: Public.
CREATE FUNCTION etl.drop_alert(name text) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  gone jsonb;
BEGIN
  DELETE FROM etl.alert_rules r WHERE r.name = $1 RETURNING to_jsonb(r) INTO gone;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = format('there is no rule "%s"', $1), HINT = 'SELECT * FROM etl.alert_rules;';
  END IF;
  PERFORM etl._audit('drop_alert', $1, gone, NULL);
END
$$;
COMMENT ON FUNCTION etl.drop_alert(text) IS 'Ends a rule. Whoever was told of something is told of its end.';
ALTER FUNCTION etl.drop_alert(text) OWNER TO etl_worker;

-- API: Public.
CREATE FUNCTION etl.ack_alert(id bigint) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  known text;
BEGIN
  UPDATE etl.alerts a SET acknowledged_at = coalesce(a.acknowledged_at, now()), acknowledged_by = coalesce(a.acknowledged_by, session_user)
    WHERE a.id = $1 AND a.resolved_at IS NULL RETURNING a.component INTO known;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('alert %s is not open', $1), HINT = 'SELECT id, component FROM etl.open_alerts;';
  END IF;
  PERFORM etl._audit('ack_alert', $1::text, NULL, jsonb_build_object('component', known));
  RETURN known;
END
$$;
COMMENT ON FUNCTION etl.ack_alert(bigint) IS 'Says that you know of an alert: nobody is told again unless it gets worse. Returns its component.';
ALTER FUNCTION etl.ack_alert(bigint) OWNER TO etl_worker;

-- API: Private. A message for a channel, as a row of the outbox.
CREATE FUNCTION etl._say(channel text, alerts jsonb) RETURNS bigint
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
  WITH named AS (SELECT gen_random_uuid()::text AS name),
  queued AS (
    -- One key for all that wait: what is over is not told before what began it, and whatever ends the worker, one message at most is told
    -- twice. It is drawn, for whoever may only insert would stop a channel with a row of that key that is due in a thousand years.
    INSERT INTO ops.odoo_outbox (connection, model, operation, payload, idempotency_key, record_key, priority)
    SELECT channel, 'alert', 'create', jsonb_build_object('alerts', jsonb_array_length(alerts)), 'alert:' || n.name, coalesce((
        SELECT o.record_key FROM etl.messages m JOIN ops.odoo_outbox o ON o.id = m.id WHERE m.channel = $1 AND o.status IN ('queued', 'processing') ORDER BY m.id DESC LIMIT 1),
      'alerts:' || n.name), 10 FROM named n
    RETURNING id)
  INSERT INTO etl.messages AS m (id, channel, message)
    -- Databases of one name are told apart by what tells a copy from its original.
    SELECT q.id, channel, jsonb_build_object('id', n.name, 'database', concat(current_database(), ' ', coalesce(nullif(current_setting('etl.instance', true), ''), left(md5(etl._fingerprint()), 6))),
      'at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'alerts', alerts)
    FROM queued q CROSS JOIN named n
    ON CONFLICT (id) DO UPDATE SET channel = excluded.channel, message = excluded.message
    RETURNING m.id
$$;
COMMENT ON FUNCTION etl._say(text, jsonb) IS 'Puts a message for a channel into the outbox.';
ALTER FUNCTION etl._say(text, jsonb) OWNER TO etl_worker;

-- API: Public.
CREATE FUNCTION etl.test_alert(channel text) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  row_id bigint;
BEGIN
  PERFORM etl._must_be_set_up();
  IF NOT EXISTS (SELECT FROM etl.connections c WHERE c.name = $1 AND c.kind IN ('slack', 'webhook', 'github', 'smtp')) THEN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = format('"%s" is no channel', $1), HINT = 'SELECT name, kind FROM etl.connections;  channels are of kind slack, webhook, github or smtp.';
  END IF;
  row_id := etl._say($1, '[{"event": "test", "component": "test", "status": "pass", "value": "", "threshold": "", "remedy": ""}]');
  PERFORM etl._audit('test_alert', $1, NULL, jsonb_build_object('row', row_id));
  RETURN row_id;
END
$$;
COMMENT ON FUNCTION etl.test_alert(text) IS 'Sends a test message to a channel. Returns its row of the outbox, which says what became of it.';
ALTER FUNCTION etl.test_alert(text) OWNER TO etl_worker;

-- API: Public.
CREATE FUNCTION etl.check_alerts() RETURNS jsonb
  LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
  -- The worker's look is waited for; what somebody leaves open is not.
  SET lock_timeout = '2s'
  AS 'MODULE_PATHNAME', 'check_alerts_wrapper';
COMMENT ON FUNCTION etl.check_alerts() IS
  'Looks at the health report and puts messages into the outbox: {"opened","resolved","messages"}. The worker does it by itself, twice a minute; without one, or to be told that it is dead, let pg_cron call it, and etl.drain_outbox().';
ALTER FUNCTION etl.check_alerts() OWNER TO etl_worker;

-- API: Private. What etl.check_alerts() decides by; NULL: there is nothing to decide, or somebody else is at it and is not waited for.
CREATE FUNCTION etl._alert_state(waits bool) RETURNS jsonb
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM etl.alert_rules) AND NOT EXISTS (SELECT FROM etl.alerts a WHERE a.resolved_at IS NULL OR a.told <> '{}') THEN
    RETURN NULL;
  ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
    -- What another look has told meanwhile would be told again.
    RAISE EXCEPTION USING ERRCODE = 'invalid_transaction_state', MESSAGE = 'alerts are looked at in read committed transactions only', HINT = 'SET default_transaction_isolation = ''read committed'';';
  ELSIF NOT etl._take_turn(2, waits) THEN
    RETURN NULL;
  END IF;
  -- A statement of its own: what another one has told before it let the lock go is seen.
  RETURN jsonb_build_object('now', extract(epoch FROM clock_timestamp()),
    'rules', coalesce((SELECT jsonb_agg(jsonb_build_object('component', r.component, 'status', r.status, 'channels', r.channels, 'renotify_seconds', extract(epoch FROM r.renotify),
        'is_quiet', coalesce(CASE WHEN r.quiet_from <= r.quiet_to THEN l.clock >= r.quiet_from AND l.clock < r.quiet_to ELSE l.clock >= r.quiet_from OR l.clock < r.quiet_to END, false)) ORDER BY r.name)
      FROM etl.alert_rules r CROSS JOIN LATERAL (SELECT (now() AT TIME ZONE r.timezone)::time AS clock) l), '[]'),
    'open', coalesce((SELECT jsonb_agg(jsonb_build_object('id', a.id, 'component', a.component, 'status', a.status, 'is_acknowledged', a.acknowledged_at IS NOT NULL, 'is_resolved', a.resolved_at IS NOT NULL,
        'seen_at', extract(epoch FROM a.seen_at), 'told', a.told) ORDER BY a.id)
      FROM etl.alerts a WHERE a.resolved_at IS NULL OR a.told <> '{}'), '[]'));
END
$$;
COMMENT ON FUNCTION etl._alert_state(bool) IS 'The rules, and the alerts whose end not everybody knows.';
ALTER FUNCTION etl._alert_state(bool) OWNER TO etl_worker;

-- API: Private. Writes down what was decided, and puts the messages into the outbox, in one transaction.
CREATE FUNCTION etl._apply_alerts(step jsonb) RETURNS jsonb
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  opened bigint;
  resolved bigint;
  messages bigint;
BEGIN
  UPDATE etl.alerts a SET status = c.value ->> 'status', value = coalesce(c.value ->> 'value', a.value), told = c.value -> 'told',
      -- Who knew of a warning does not know of a failure.
      acknowledged_at = CASE WHEN a.status = 'fail' OR c.value ->> 'status' = 'warn' THEN a.acknowledged_at END,
      seen_at = CASE WHEN (c.value ->> 'is_seen')::bool THEN clock_timestamp() ELSE a.seen_at END
    FROM jsonb_array_elements(step -> 'changed') c WHERE a.id = (c.value ->> 'id')::bigint;
  UPDATE etl.alerts a SET resolved_at = clock_timestamp()
    FROM jsonb_array_elements(step -> 'changed') c WHERE a.id = (c.value ->> 'id')::bigint AND (c.value ->> 'is_resolved')::bool AND a.resolved_at IS NULL;
  GET DIAGNOSTICS resolved = ROW_COUNT;
  INSERT INTO etl.alerts (component, status, value, threshold, remedy, told)
    SELECT o.value ->> 'component', o.value ->> 'status', o.value ->> 'value', o.value ->> 'threshold', o.value ->> 'remedy', o.value -> 'told' FROM jsonb_array_elements(step -> 'opened') o;
  GET DIAGNOSTICS opened = ROW_COUNT;
  -- An issue for each alert: what was done of one is not done again because of another.
  SELECT count(etl._say(m.key, l.alerts)) INTO messages
    FROM jsonb_each(step -> 'messages') m JOIN etl.connections c ON c.name = m.key
    CROSS JOIN LATERAL (SELECT m.value WHERE c.kind <> 'github' UNION ALL SELECT jsonb_build_array(e.value) FROM jsonb_array_elements(m.value) e WHERE c.kind = 'github') l(alerts);
  RETURN jsonb_build_object('opened', opened, 'resolved', resolved, 'messages', messages);
END
$$;
COMMENT ON FUNCTION etl._apply_alerts(jsonb) IS 'Writes down what a look at the health report changed.';
ALTER FUNCTION etl._apply_alerts(jsonb) OWNER TO etl_worker;
