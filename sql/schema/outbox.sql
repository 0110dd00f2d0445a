-- The outbox's hot path. ops.odoo_outbox is the truth and belongs to the user; queue, claims, holds and links are
-- derived from it, narrow, and rebuilt from it by etl._rebuild_queue(). States: docs/state-machines.md.

-- Rows that wait, whatever for. A row leaves when it is claimed and comes back when it must be tried again.
CREATE TABLE etl.queue (
  id bigint PRIMARY KEY,
  connection text NOT NULL,
  -- -priority: what goes first sorts first.
  rank int NOT NULL,
  -- Order holds per key: a row waits for every queued row of its key with a smaller id.
  key_hash bigint,
  due timestamptz NOT NULL,
  -- Due when it was queued; neither scheduled nor tried before.
  fresh bool NOT NULL,
  -- Rows that were in the hands of a worker when it died, kept apart in halves until the one that kills is alone.
  lot bigint
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX queue_fresh ON etl.queue (connection, rank, id) WHERE fresh;
CREATE INDEX queue_due ON etl.queue (connection, due, id) WHERE NOT fresh;
CREATE INDEX queue_key ON etl.queue (connection, key_hash, id) WHERE key_hash IS NOT NULL;
COMMENT ON TABLE etl.queue IS 'Rows of ops.odoo_outbox that wait: derived, narrow, rebuilt by etl.setup().';

-- One row per claim whose calls are not settled yet.
CREATE TABLE etl.claims (
  claim bigint PRIMARY KEY,
  connection text NOT NULL,
  owner bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  ids bigint[] NOT NULL,
  keys bigint[] NOT NULL
);
-- Written and deleted all the time, and read rarely: compressing them would cost more than it saves.
ALTER TABLE etl.claims ALTER COLUMN ids SET STORAGE EXTERNAL, ALTER COLUMN keys SET STORAGE EXTERNAL;
COMMENT ON TABLE etl.claims IS 'Claims on the wire: the fencing token, its owner''s session number, its rows and their keys.';

-- Keys whose later rows wait, because a request with an unknown outcome may still run in Odoo.
CREATE TABLE etl.holds (
  connection text NOT NULL,
  key_hash bigint NOT NULL,
  after_id bigint NOT NULL,
  until timestamptz NOT NULL,
  -- After a create: one that runs late finds the record and does nothing, unless a delete came between.
  deletes_only bool NOT NULL DEFAULT false,
  PRIMARY KEY (connection, key_hash)
);
COMMENT ON TABLE etl.holds IS 'Record keys whose later rows wait for etl.unknown_grace after an unknown outcome.';

-- Which Odoo record a record key became.
CREATE TABLE etl.links (
  connection text NOT NULL,
  model text NOT NULL,
  -- md5 of the key: a key may be longer than an index entry.
  digest uuid NOT NULL,
  record_key text NOT NULL,
  odoo_id bigint NOT NULL,
  -- What tells them apart comes first: whoever looks for thousands of them compares no names.
  PRIMARY KEY (digest, connection, model)
);
CREATE INDEX links_odoo_id ON etl.links (connection, model, odoo_id);
COMMENT ON TABLE etl.links IS 'The Odoo record of each record key that was delivered.';
-- Of rows that were made for records of Odoo nothing else says which record is theirs.
SELECT pg_catalog.pg_extension_config_dump('etl.links', '');

ALTER TABLE etl.queue ENABLE ROW LEVEL SECURITY;
ALTER TABLE etl.claims ENABLE ROW LEVEL SECURITY;
ALTER TABLE etl.holds ENABLE ROW LEVEL SECURITY;
ALTER TABLE etl.links ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader ON etl.queue FOR SELECT TO etl_reader USING (true);
CREATE POLICY reader ON etl.claims FOR SELECT TO etl_reader USING (true);
CREATE POLICY reader ON etl.holds FOR SELECT TO etl_reader USING (true);
CREATE POLICY reader ON etl.links FOR SELECT TO etl_reader USING (true);
CREATE POLICY worker ON etl.queue FOR ALL TO etl_worker USING (true) WITH CHECK (true);
CREATE POLICY worker ON etl.claims FOR ALL TO etl_worker USING (true) WITH CHECK (true);
CREATE POLICY worker ON etl.holds FOR ALL TO etl_worker USING (true) WITH CHECK (true);
CREATE POLICY worker ON etl.links FOR ALL TO etl_worker USING (true) WITH CHECK (true);

-- API: Private. The Odoo id that a payload names: odoo_id, else id; 0, null, false or absent mean not known.
CREATE FUNCTION etl._odoo_id(payload jsonb) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN jsonb_typeof(payload) = 'object' THEN coalesce(
    substring(payload ->> 'odoo_id' FROM '^[1-9][0-9]{0,17}$'),
    substring(payload ->> 'id' FROM '^[1-9][0-9]{0,17}$'))::bigint END
$$;
COMMENT ON FUNCTION etl._odoo_id(jsonb) IS 'The Odoo id that a payload names, or NULL.';

-- API: Private. Rows with one hash go one after another. The record key names the record; else its Odoo id does, also where
-- a call names exactly one. NULL: nothing is known of the record, so nothing waits for it.
CREATE FUNCTION etl._key_hash(model text, record_key text, payload jsonb) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE
    WHEN record_key IS NOT NULL THEN hashtextextended(concat(model, E'\x1f', record_key), 0)
    WHEN etl._odoo_id(payload) IS NOT NULL THEN hashtextextended(concat(model, E'\x1f#', etl._odoo_id(payload)), 0)
    WHEN jsonb_typeof(payload -> 'ids') = 'array' AND jsonb_array_length(payload -> 'ids') = 1
      THEN hashtextextended(concat(model, E'\x1f#', payload -> 'ids' ->> 0), 0)
  END
$$;
COMMENT ON FUNCTION etl._key_hash(text, text, jsonb) IS 'What keeps the rows of one record in order.';

-- API: Private. A create of such values is one request; others write what a load cannot carry after it.
CREATE FUNCTION etl._is_flat(payload jsonb) RETURNS bool
  LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT NOT jsonb_path_exists(payload, '$.* ? (@.type() == "array" || @.type() == "object")')
$$;
COMMENT ON FUNCTION etl._is_flat(jsonb) IS 'Whether every value is a scalar.';

-- API: Private. A time that can be reckoned with: NULL is now, and the infinities are far away.
CREATE FUNCTION etl._due(next_run_at timestamptz) RETURNS timestamptz
  LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT least(greatest(coalesce(next_run_at, now()), timestamptz 'epoch'), timestamptz '9999-12-31 00:00:00+00')
$$;
COMMENT ON FUNCTION etl._due(timestamptz) IS 'When a row is due, within reckonable bounds.';

-- API: Private. Whether a row that came while a pull was writing to a mirror says what the mirror's row says: then a trigger on the mirror
-- sends back what just came. Odoo's false, an empty text and NULL are one.
CREATE FUNCTION etl._is_echo(rel regclass, payload jsonb) RETURNS bool
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  record jsonb;
BEGIN
  IF etl._odoo_id(payload) IS NULL OR NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = rel AND c.relkind IN ('r', 'p')) THEN
    RETURN false;
  END IF;
  EXECUTE format('SELECT CASE WHEN jsonb_typeof(j -> ''raw'') = ''object'' THEN j -> ''raw'' ELSE ''{}'' END || j FROM %s m CROSS JOIN to_jsonb(m) j WHERE m.%I = $1', rel, etl._mirror_id(rel))
    INTO record USING etl._odoo_id(payload);
  RETURN coalesce((SELECT bool_and(record ? f.key AND coalesce(nullif(nullif(f.value, 'false'), '""'), 'null') = coalesce(nullif(nullif(record -> f.key, 'false'), '""'), 'null'))
                   FROM jsonb_each(payload) f WHERE f.key NOT IN ('id', 'odoo_id')), false);
END
$$;
COMMENT ON FUNCTION etl._is_echo(regclass, jsonb) IS 'Whether a row of the outbox says what was just pulled.';

-- API: Private. AFTER INSERT, once per statement.
CREATE FUNCTION etl._outbox_inserted() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  WITH waiting AS (
    INSERT INTO etl.queue (id, connection, rank, key_hash, due, fresh)
    -- The usual cases are written out: a call of a function of ours for each row costs as much as the row itself.
    SELECT n.id, coalesce(n.connection, 'odoo'), -coalesce(n.priority, 0)::int,
           CASE WHEN n.record_key IS NOT NULL THEN hashtextextended(concat(n.model, E'\x1f', n.record_key), 0)
                ELSE etl._key_hash(n.model, NULL, n.payload) END,
           CASE WHEN n.next_run_at = now() THEN now() ELSE etl._due(n.next_run_at) END, coalesce(n.next_run_at <= now(), true)
    FROM new_rows n WHERE n.status = 'queued'),
  failed AS (INSERT INTO etl.failures (id) SELECT n.id FROM new_rows n WHERE n.status = 'failed' ON CONFLICT DO NOTHING)
  INSERT INTO etl.counts (connection, model, operation, status, rows)
    SELECT coalesce(n.connection, 'odoo'), n.model, n.operation, CASE n.status WHEN 'processing' THEN 'queued' ELSE n.status END, count(*) FROM new_rows n GROUP BY 1, 2, 3, 4;
  -- Where no worker does it.
  IF random() < 0.001 THEN
    PERFORM etl._fold_counts();
  END IF;
  -- A pull is writing to a mirror, and a trigger there enqueues. Whoever says so without a pull stops what is in step anyway.
  IF current_setting('pg_etl.merging', true) = 'on' THEN
    UPDATE ops.odoo_outbox o SET status = 'cancelled', finished_at = now(), last_error = 'an echo: Odoo said so a moment ago'
      FROM new_rows n JOIN etl._mirrors() m ON m.connection = coalesce(n.connection, 'odoo') AND m.model = n.model AND m.rel IS NOT NULL
      WHERE o.id = n.id AND o.status = 'queued' AND o.operation IN ('upsert', 'update') AND etl._is_echo(m.rel, n.payload);
  END IF;
  PERFORM etl._wake();
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION etl._outbox_inserted() IS 'Feeds the queue from what a statement inserted, and wakes the worker at commit.';

-- API: Private. BEFORE UPDATE of a row's status by hand: whoever holds the row loses it, and a replay starts afresh.
CREATE FUNCTION etl._outbox_taken_back() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- A late settle is fenced off by its claim.
  new.claim := NULL;
  new.locked_at := NULL;
  new.locked_by := NULL;
  IF new.status = 'queued' THEN
    new.finished_at := NULL;
    new.error_class := NULL;
    IF new.attempts IS NOT DISTINCT FROM old.attempts THEN
      new.attempts := 0;
    END IF;
    IF new.next_run_at IS NOT DISTINCT FROM old.next_run_at THEN
      new.next_run_at := now();
    END IF;
    new.crashes := 0;
  END IF;
  RETURN new;
END
$$;
COMMENT ON FUNCTION etl._outbox_taken_back() IS 'A status changed by hand takes the row from whoever holds it.';

-- API: Private. AFTER UPDATE of what the queue is derived from, by anything but claim and settle.
CREATE FUNCTION etl._outbox_updated() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  IF new.status <> 'queued' THEN
    DELETE FROM etl.queue q WHERE q.id = old.id;
  ELSE
    -- In place: a claim that runs at the same time then finds this row, and not an old one that is gone beside a new one that it
    -- cannot see.
    INSERT INTO etl.queue (id, connection, rank, key_hash, due, fresh)
      VALUES (new.id, coalesce(new.connection, 'odoo'), -coalesce(new.priority, 0)::int, etl._key_hash(new.model, new.record_key, new.payload),
              etl._due(new.next_run_at), coalesce(new.next_run_at <= now(), true))
      ON CONFLICT (id) DO UPDATE SET connection = excluded.connection, rank = excluded.rank, key_hash = excluded.key_hash,
        due = excluded.due, fresh = excluded.fresh, lot = NULL;
    PERFORM etl._wake();
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION etl._outbox_updated() IS 'Keeps the queue in step with a row changed by hand.';

-- API: Private. AFTER DELETE, once per statement.
CREATE FUNCTION etl._outbox_deleted() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  WITH waiting AS (DELETE FROM etl.queue q USING old_rows o WHERE q.id = o.id AND o.status = 'queued'),
  failed AS (DELETE FROM etl.failures f USING old_rows o WHERE f.id = o.id AND o.status = 'failed')
  INSERT INTO etl.counts (connection, model, operation, status, rows)
    SELECT coalesce(o.connection, 'odoo'), o.model, o.operation, CASE o.status WHEN 'processing' THEN 'queued' ELSE o.status END, -count(*) FROM old_rows o GROUP BY 1, 2, 3, 4;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION etl._outbox_deleted() IS 'Takes deleted rows out of the queue.';

-- API: Private. AFTER TRUNCATE. Links stay: the records are still in Odoo.
CREATE FUNCTION etl._outbox_truncated() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  DELETE FROM etl.queue;
  DELETE FROM etl.holds;
  DELETE FROM etl.messages;
  PERFORM etl._recount();
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION etl._outbox_truncated() IS 'Empties the queue with the outbox.';

-- API: Private. Makes the queue what the outbox says. Rows in the hands of a live claim are left alone; a row that says
-- "processing" without one was cut off (restore, DROP EXTENSION): its outcome is not known.
CREATE FUNCTION etl._rebuild_queue() RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  rows bigint;
BEGIN
  LOCK TABLE ops.odoo_outbox IN SHARE ROW EXCLUSIVE MODE;
  WITH cut AS (
    UPDATE ops.odoo_outbox o
      SET status = CASE WHEN o.operation = 'call' AND NOT coalesce(o.payload ? 'unless', false) THEN 'failed' ELSE 'queued' END,
          error_class = 'unknown', crashes = coalesce(o.crashes, 0) + 1, claim = NULL, locked_at = NULL, locked_by = NULL,
          last_error = 'cut off while it was being sent: nobody knows whether it took effect',
          finished_at = CASE WHEN o.operation = 'call' AND NOT coalesce(o.payload ? 'unless', false) THEN now() END
      WHERE o.status = 'processing' AND NOT EXISTS (SELECT FROM etl.claims c WHERE c.claim = o.claim)
      RETURNING o.id, coalesce(o.connection, 'odoo') AS connection, o.operation, o.payload, etl._key_hash(o.model, o.record_key, o.payload) AS key)
  INSERT INTO etl.holds AS h (connection, key_hash, after_id, until, deletes_only)
    SELECT c.connection, c.key, max(c.id), now() + current_setting('etl.unknown_grace')::interval, bool_and(c.operation = 'create' AND etl._is_flat(c.payload))
    FROM cut c WHERE c.key IS NOT NULL AND c.operation <> 'delete' GROUP BY c.connection, c.key
    ON CONFLICT (connection, key_hash) DO UPDATE SET after_id = excluded.after_id, until = greatest(h.until, excluded.until),
      deletes_only = excluded.deletes_only AND (h.deletes_only OR h.until <= now());
  DELETE FROM etl.queue q WHERE NOT EXISTS (SELECT FROM ops.odoo_outbox o WHERE o.id = q.id AND o.status = 'queued');
  INSERT INTO etl.queue (id, connection, rank, key_hash, due, fresh)
    SELECT o.id, coalesce(o.connection, 'odoo'), -coalesce(o.priority, 0)::int, etl._key_hash(o.model, o.record_key, o.payload),
           etl._due(o.next_run_at), coalesce(o.next_run_at <= now(), true)
    FROM ops.odoo_outbox o
    WHERE o.status = 'queued' AND NOT EXISTS (SELECT FROM etl.queue q WHERE q.id = o.id);
  SELECT count(*) INTO rows FROM etl.queue;
  PERFORM etl._recount();
  INSERT INTO etl.links (connection, model, digest, record_key, odoo_id)
    SELECT DISTINCT ON (coalesce(o.connection, 'odoo'), o.model, md5(o.record_key))
           coalesce(o.connection, 'odoo'), o.model, md5(o.record_key)::uuid, o.record_key, o.odoo_id
    FROM ops.odoo_outbox o
    WHERE o.status = 'done' AND o.record_key IS NOT NULL AND o.odoo_id > 0 AND o.operation <> 'delete'
    ORDER BY coalesce(o.connection, 'odoo'), o.model, md5(o.record_key), o.id DESC
    ON CONFLICT DO NOTHING;
  PERFORM etl._wake();
  RETURN rows;
END
$$;
COMMENT ON FUNCTION etl._rebuild_queue() IS 'Derives queue and links from the outbox; returns the rows that wait.';

-- API: Public.
CREATE FUNCTION etl.enqueue(model text, operation text, payload jsonb, record_key text DEFAULT NULL, idempotency_key text DEFAULT NULL,
    connection text DEFAULT 'odoo', priority smallint DEFAULT 0, not_before timestamptz DEFAULT NULL) RETURNS bigint
  LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
  AS 'MODULE_PATHNAME', 'enqueue_wrapper';
COMMENT ON FUNCTION etl.enqueue(text, text, jsonb, text, text, text, smallint, timestamptz) IS
  'Puts a change into the outbox, checked now, and returns its id. The same idempotency key and content give the first row''s id; other content is an error. Higher priority goes first; rows of one record_key always go in order.';

-- API: Public.
CREATE FUNCTION etl.explain(outbox_id bigint) RETURNS jsonb
  LANGUAGE c VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
  AS 'MODULE_PATHNAME', 'explain_wrapper';
COMMENT ON FUNCTION etl.explain(bigint) IS 'The request that this row would send, with secrets masked. Sends nothing.';

-- API: Public.
CREATE FUNCTION etl.drain_outbox(max_rows int DEFAULT NULL, max_time interval DEFAULT '15 s', dry_run bool DEFAULT false) RETURNS jsonb
  LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
  AS 'MODULE_PATHNAME', 'drain_outbox_wrapper';
COMMENT ON FUNCTION etl.drain_outbox(int, interval, bool) IS
  'Delivers due rows now, in a background worker, and waits for it: {"claimed","done","retried","failed","calls","remaining","elapsed_ms"}. Rows of the caller''s own open transaction are not visible to it.';

-- API: Public.
CREATE PROCEDURE etl.drain(max_rows int DEFAULT NULL, max_time interval DEFAULT '15 min')
  LANGUAGE plpgsql
AS $$
DECLARE
  deadline timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) max_time;
  left_rows int := max_rows;
  slice jsonb;
  slice_time interval;
BEGIN
  LOOP
    slice_time := LEAST('15 s'::interval, deadline OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp());
    EXIT WHEN slice_time OPERATOR(pg_catalog.<=) '0 s'::interval;
    slice := etl.drain_outbox(left_rows, slice_time);
    -- Nothing is held between slices, neither a snapshot nor a lock.
    COMMIT;
    left_rows := left_rows OPERATOR(pg_catalog.-) (slice OPERATOR(pg_catalog.->>) 'claimed')::int;
    EXIT WHEN (slice OPERATOR(pg_catalog.->>) 'claimed')::int OPERATOR(pg_catalog.=) 0
      OR (slice OPERATOR(pg_catalog.->>) 'remaining')::bigint OPERATOR(pg_catalog.=) 0
      OR left_rows OPERATOR(pg_catalog.<=) 0;
  END LOOP;
END
$$;
COMMENT ON PROCEDURE etl.drain(int, interval) IS 'Drains in slices of 15 s and commits between them, so that a long drain holds no snapshot.';

-- API: Public.
CREATE FUNCTION etl.replay(outbox_id bigint, force bool DEFAULT false) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  r record;
  newer bigint;
BEGIN
  PERFORM etl._must_be_set_up();
  SELECT o.id, o.status, o.model, o.connection, o.record_key, o.payload, o.error_class INTO r
    FROM ops.odoo_outbox o WHERE o.id = $1 FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('outbox row %s does not exist', $1),
      HINT = 'SELECT id, model, last_error FROM etl.dead_letters;';
  ELSIF r.status NOT IN ('failed', 'cancelled') AND NOT ($2 AND r.status = 'done') THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('outbox row %s is %s: only failed and cancelled rows are replayed', $1, r.status),
      HINT = CASE WHEN r.status = 'done' THEN format('To send it a second time: SELECT etl.replay(%s, force => true);', $1)
                  ELSE 'It is delivered by itself; see next_run_at.' END;
  END IF;
  IF NOT coalesce($2, false) THEN
    SELECT min(o.id) INTO newer FROM ops.odoo_outbox o
      WHERE o.id > r.id AND coalesce(o.connection, 'odoo') = coalesce(r.connection, 'odoo') AND o.model = r.model AND o.status = 'done'
        AND (o.record_key = r.record_key OR r.record_key IS NULL AND o.odoo_id = etl._odoo_id(r.payload));
    IF newer IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = format('outbox row %s is older than row %s of the same record, which was delivered', $1, newer),
        DETAIL = 'Replaying it now would overwrite newer values in Odoo.',
        HINT = format('If that is what you want: SELECT etl.replay(%s, force => true);', $1);
    END IF;
  END IF;
  UPDATE ops.odoo_outbox o SET status = 'queued' WHERE o.id = $1;
  PERFORM etl._audit('replay', $1::text, jsonb_build_object('status', r.status, 'error_class', r.error_class), jsonb_build_object('force', $2));
  RETURN 'queued';
END
$$;
COMMENT ON FUNCTION etl.replay(bigint, bool) IS 'Queues a dead letter or cancelled row again. Refused, unless forced, when a younger row of its record was delivered.';

-- API: Public.
CREATE FUNCTION etl.replay_failed(model text DEFAULT NULL, error_class text DEFAULT NULL, connection text DEFAULT NULL,
    since timestamptz DEFAULT NULL, max_rows int DEFAULT NULL) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  rows bigint;
BEGIN
  PERFORM etl._must_be_set_up();
  WITH dead AS MATERIALIZED (
    SELECT o.id FROM ops.odoo_outbox o
      WHERE o.status = 'failed' AND ($1 IS NULL OR o.model = $1) AND ($2 IS NULL OR o.error_class = $2)
        AND ($3 IS NULL OR o.connection = $3) AND ($4 IS NULL OR o.finished_at >= $4)
        -- Nothing that would overwrite newer values; etl.replay(id, force => true) does that one by one.
        -- Two conditions, each of them one hash join.
        AND NOT EXISTS (SELECT FROM ops.odoo_outbox y WHERE y.record_key = o.record_key AND y.model = o.model
          AND coalesce(y.connection, 'odoo') = coalesce(o.connection, 'odoo') AND y.status = 'done' AND y.id > o.id)
        AND (o.record_key IS NOT NULL OR NOT EXISTS (SELECT FROM ops.odoo_outbox y WHERE y.odoo_id = etl._odoo_id(o.payload)
          AND y.model = o.model AND coalesce(y.connection, 'odoo') = coalesce(o.connection, 'odoo') AND y.status = 'done' AND y.id > o.id))
      ORDER BY o.id LIMIT $5 FOR UPDATE OF o SKIP LOCKED)
  UPDATE ops.odoo_outbox o SET status = 'queued' FROM dead d WHERE o.id = d.id;
  GET DIAGNOSTICS rows = ROW_COUNT;
  PERFORM etl._audit('replay_failed', coalesce($1, '*'), NULL,
    jsonb_build_object('error_class', $2, 'connection', $3, 'since', $4, 'rows', rows));
  RETURN rows;
END
$$;
COMMENT ON FUNCTION etl.replay_failed(text, text, text, timestamptz, int) IS
  'Queues the dead letters that match, oldest first, but none whose record has newer values in Odoo; returns how many.';

-- API: Public.
CREATE FUNCTION etl.cancel(outbox_id bigint, reason text DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  was text;
BEGIN
  PERFORM etl._must_be_set_up();
  SELECT o.status INTO was FROM ops.odoo_outbox o WHERE o.id = $1 FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = format('outbox row %s does not exist', $1),
      HINT = 'SELECT id, model, status FROM ops.odoo_outbox WHERE status = ''queued'';';
  ELSIF was NOT IN ('queued', 'failed') THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
      MESSAGE = format('outbox row %s is %s: only queued and failed rows can be cancelled', $1, was),
      HINT = CASE was WHEN 'processing' THEN 'It is on its way. Wait for its outcome.' ELSE 'It is settled: there is nothing left to cancel.' END;
  END IF;
  UPDATE ops.odoo_outbox o
    SET status = 'cancelled', finished_at = now(), last_error = left('cancelled: ' || coalesce($2, 'no reason given'), 2000)
    WHERE o.id = $1;
  PERFORM etl._audit('cancel', $1::text, jsonb_build_object('status', was), jsonb_build_object('reason', $2));
  RETURN 'cancelled';
END
$$;
COMMENT ON FUNCTION etl.cancel(bigint, text) IS 'Takes a queued or failed row out for good, with a reason; etl.replay() brings it back.';

-- These act with the worker's rights, never with the installer's: a trigger that somebody put on the outbox gains nothing.
ALTER FUNCTION etl._outbox_inserted() OWNER TO etl_worker;
ALTER FUNCTION etl._outbox_updated() OWNER TO etl_worker;
ALTER FUNCTION etl._outbox_deleted() OWNER TO etl_worker;
ALTER FUNCTION etl._outbox_truncated() OWNER TO etl_worker;
ALTER FUNCTION etl._rebuild_queue() OWNER TO etl_worker;
ALTER FUNCTION etl.enqueue(text, text, jsonb, text, text, text, smallint, timestamptz) OWNER TO etl_worker;
ALTER FUNCTION etl.explain(bigint) OWNER TO etl_worker;
ALTER FUNCTION etl.drain_outbox(int, interval, bool) OWNER TO etl_worker;
ALTER FUNCTION etl.replay(bigint, bool) OWNER TO etl_worker;
ALTER FUNCTION etl.replay_failed(text, text, text, timestamptz, int) OWNER TO etl_worker;
ALTER FUNCTION etl.cancel(bigint, text) OWNER TO etl_worker;
