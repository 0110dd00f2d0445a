-- Two ways: what a pull read is taken into the rows of tracked tables. The worker collects facts, crates/core/src/two_way.rs decides, and
-- what follows is written by functions of the tables' owners.

-- API: Private. Calls the function that etl.track() made for a job of a track (look, apply, make, remove, backfill), as the table's owner, so
-- that nothing of it runs with the worker's rights, whatever its owner made of it. Returns what it returned, as a list; NULL where
-- there is no such function of the owner's any more.
CREATE FUNCTION etl._as_owner(track int, job text, argument jsonb) RETURNS jsonb
  LANGUAGE c VOLATILE STRICT SECURITY INVOKER SET search_path = pg_catalog, pg_temp
  AS 'MODULE_PATHNAME', 'as_owner_wrapper';
COMMENT ON FUNCTION etl._as_owner(int, text, jsonb) IS 'Does a job of a track with the rights of the table''s owner.';

-- API: Private. Whether an owner's function answered what a job answers: it is the owner's, and may be anything by now.
CREATE FUNCTION etl._is_answer(job text, answer jsonb) RETURNS bool
  LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
  SELECT NOT EXISTS (SELECT FROM jsonb_array_elements(answer) e WHERE CASE job
    WHEN 'look' THEN jsonb_typeof(e -> 'etl_record_key') = 'string' AND jsonb_typeof(e -> 'etl_local') IN ('object', 'null') AND jsonb_typeof(e -> 'etl_typed') IN ('object', 'null')
    WHEN 'remove' THEN jsonb_typeof(e -> 'etl_k') = 'string' AND jsonb_typeof(e -> 'etl_state') = 'string'
    ELSE jsonb_typeof(e) = 'string' END IS NOT TRUE)
$$;
COMMENT ON FUNCTION etl._is_answer(text, jsonb) IS 'Whether an owner''s function answered what a job answers.';

-- API: Private. Does a job for many records; where that fails, for halves of them, so that one stops no other. answers: what was returned;
-- failures: {record key: why}; busy: records left for later, because somebody has locks that it needs.
CREATE FUNCTION etl._for_each(track int, job text, items jsonb, OUT answers jsonb, OUT failures jsonb, OUT busy text[])
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  most int := jsonb_array_length(items) - 1;
  -- Pairs of places, from and to; the next one last.
  stack int[] := ARRAY[0, most];
  low int;
  high int;
  answer jsonb;
BEGIN
  answers := '[]';
  failures := '{}';
  busy := '{}';
  -- Triggers of statements fire for no rows too.
  IF most < 0 THEN
    RETURN;
  END IF;
  WHILE cardinality(stack) > 0 LOOP
    low := stack [cardinality(stack) - 1];
    high := stack [cardinality(stack)];
    stack := trim_array(stack, 2);
    BEGIN
      answer := etl._as_owner(track, job, CASE WHEN high - low = most THEN items ELSE (SELECT jsonb_agg(items -> i ORDER BY i) FROM generate_series(low, high) i) END);
      IF NOT coalesce(etl._is_answer(job, answer), false) THEN
        RAISE SQLSTATE 'ETL01';
      END IF;
      answers := answers || answer;
    EXCEPTION WHEN SQLSTATE 'ETL01' THEN
      RAISE LOG USING MESSAGE = format('pg_etl: the functions that etl.track() made for %s are not what they were: nothing is taken in', (SELECT k.tab FROM etl.tracks k WHERE k.id = $1)),
        HINT = 'Call etl.track() again.';
      busy := ARRAY(SELECT items -> i ->> 'k' FROM generate_series(low, most) i);
      EXIT;
    WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
      -- Nobody waits for them, once for each record least of all.
      busy := ARRAY(SELECT items -> i ->> 'k' FROM generate_series(low, most) i);
      EXIT;
    WHEN assert_failure OR OTHERS THEN
      IF low = high THEN
        failures := failures || jsonb_build_object(items -> low ->> 'k', SQLERRM);
      ELSE
        stack := stack || ARRAY[(low + high) / 2 + 1, high, low, (low + high) / 2];
      END IF;
    END;
  END LOOP;
END
$$;
COMMENT ON FUNCTION etl._for_each(int, text, jsonb) IS 'Does a job of a track for many records, of which one stops no other.';

-- API: Private. What is known of each field of the records `ids`, which Odoo was asked for at `asked`; of those left for later, where ids
-- is NULL. Their rows are locked from here on. Only what is not as it was when it was last looked at.
CREATE FUNCTION etl._look_in(track int, rel regclass, ids bigint[], asked timestamptz) RETURNS TABLE (record_key text, facts jsonb)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET timezone = 'UTC'
AS $$
DECLARE
  t etl.tracks;
  prefixes jsonb;
  items jsonb;
  looked record;
  one record;
  answer jsonb;
BEGIN
  SELECT k.* INTO t FROM etl.tracks k WHERE k.id = $1 AND k.two_way IS NOT NULL;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  prefixes := (SELECT coalesce(jsonb_object_agg(i.field, i.prefix) FILTER (WHERE i.prefix IS NOT NULL), '{}') FROM etl._inward(t, rel) i);
  IF ids IS NULL THEN
    ids := ARRAY(SELECT b.odoo_id FROM etl.held_back b WHERE b.track = t.id ORDER BY b.asked LIMIT 1000);
    -- Of those whose row is no row any more nothing is left to look at.
    DELETE FROM etl.held_back b WHERE b.track = t.id AND b.odoo_id = ANY (ids) AND t.on_odoo_create = 'ignore'
      AND NOT EXISTS (SELECT FROM etl.links l WHERE l.connection = t.connection AND l.model = t.model AND l.odoo_id = b.odoo_id AND starts_with(l.record_key, t.prefix));
    IF t.on_odoo_delete = 'keep' THEN
      EXECUTE format('DELETE FROM etl.held_back b USING %s m WHERE b.track = $1 AND b.odoo_id = ANY ($2) AND m.%I = b.odoo_id AND m._etl_deleted_at IS NOT NULL', rel, etl._mirror_id(rel))
        USING t.id, ids;
    END IF;
  END IF;
  -- Until all rows were sent, only what both sides agreed on before can have changed on either.
  EXECUTE format($sql$
    WITH found AS (
      INSERT INTO etl.applying (track, record_key, digest, odoo_id, asked, dated, remote, unresolved)
      SELECT $1, l.record_key, l.digest, l.odoo_id, coalesce($3, (SELECT b.asked FROM etl.held_back b WHERE b.track = $1 AND b.odoo_id = l.odoo_id), now()), %1$s, r.remote,
        NOT r.remote ?& $7 OR NOT $8
      FROM %2$s m
      JOIN etl.links l ON l.connection = $4 AND l.model = $5 AND l.odoo_id = m.%3$I AND starts_with(l.record_key, $6)
      LEFT JOIN etl.images i ON i.track = $1 AND i.digest = l.digest
      CROSS JOIN LATERAL (SELECT %4$s AS remote) x
      CROSS JOIN LATERAL (SELECT CASE WHEN $8 THEN x.remote ELSE (SELECT jsonb_object_agg(e.key, e.value) FROM jsonb_each(x.remote) e WHERE i.base ? e.key) END AS remote) r
      WHERE m.%3$I = ANY ($2) AND m._etl_deleted_at IS NULL AND r.remote IS NOT NULL AND (i.remote IS NULL OR i.sent <> '{}' OR i.forgotten <> '{}' OR r.remote <> i.remote)
      RETURNING applying.record_key, applying.remote)
    SELECT jsonb_agg(jsonb_build_object('k', f.record_key, 'r', f.remote)) FROM found f
    $sql$, coalesce(etl._dated(t.connection, t.model, rel), 'NULL::timestamptz'), rel, etl._mirror_id(rel), etl._remote_expression(t, rel, 'i.base'))
  INTO items
  USING t.id, ids, asked, t.connection, t.model, t.prefix, ARRAY(SELECT jsonb_object_keys(prefixes)), t.backfilled_at IS NOT NULL;
  -- What is as it was needs no second look.
  EXECUTE format('DELETE FROM etl.held_back b USING %s m WHERE b.track = $1 AND b.odoo_id = ANY ($2) AND m.%I = b.odoo_id AND m._etl_deleted_at IS NULL
      AND EXISTS (SELECT FROM etl.links l WHERE l.connection = $3 AND l.model = $4 AND l.odoo_id = b.odoo_id AND starts_with(l.record_key, $5))
      AND NOT EXISTS (SELECT FROM etl.applying a WHERE a.track = $1 AND a.odoo_id = b.odoo_id)', rel, etl._mirror_id(rel))
    USING t.id, ids, t.connection, t.model, t.prefix;
  IF items IS NULL THEN
    RETURN;
  END IF;
  SELECT * INTO looked FROM etl._for_each(t.id, 'look', items);
  PERFORM etl._note_looked(t.id, looked.answers, prefixes);
  UPDATE etl.applying a SET held = false WHERE a.track = t.id AND a.record_key = ANY (looked.busy);
  -- A value that its column cannot hold stops no other field.
  FOR one IN SELECT a.record_key AS key, e.key AS field, e.value FROM etl.applying a CROSS JOIN LATERAL jsonb_each(a.remote) e WHERE a.track = t.id AND looked.failures ? a.record_key ORDER BY 1, 2 LOOP
    BEGIN
      answer := etl._as_owner(t.id, 'look', jsonb_build_array(jsonb_build_object('k', one.key, 'r', jsonb_build_object(one.field, one.value))));
      IF NOT etl._is_answer('look', answer) THEN
        RAISE SQLSTATE 'ETL01' USING MESSAGE = 'the function that etl.track() made for the table is not what it was';
      END IF;
      PERFORM etl._note_looked(t.id, answer, prefixes);
    EXCEPTION WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
      UPDATE etl.applying a SET held = false WHERE a.track = t.id AND looked.failures ? a.record_key;
      EXIT;
    WHEN assert_failure OR OTHERS THEN
      UPDATE etl.applying a SET held = coalesce(a.held, true), typed = coalesce(a.typed, '{}') || jsonb_build_object(one.field, one.value), local = coalesce(a.local, '{}'),
          as_sent = coalesce(a.as_sent, '{}') || jsonb_build_object(one.field, one.value),
          refused = coalesce(a.refused, '{}') || jsonb_build_object(one.field, SQLERRM), fates = coalesce(a.fates, '{}') || jsonb_build_object(one.field, 'take')
        WHERE a.track = t.id AND a.record_key = one.key AND a.held IS DISTINCT FROM false;
    END;
  END LOOP;
  RETURN QUERY
    WITH fields AS MATERIALIZED (
      SELECT a.record_key, f.key AS field, f.value, a.local -> f.key IS DISTINCT FROM a.typed -> f.key AS differs, a.dated, a.asked, i.base -> f.key AS base,
             i.applied -> f.key -> 'value' AS applied, (i.applied -> f.key ->> 'at')::timestamptz AS applied_at, i.sent, i.forgotten
      FROM etl.applying a CROSS JOIN LATERAL jsonb_each(a.as_sent) f LEFT JOIN etl.images i ON i.track = a.track AND i.digest = a.digest
      WHERE a.track = t.id AND a.held AND NOT coalesce(a.refused ? f.key, false)
    ),
    enqueued AS MATERIALIZED (
      SELECT r.record_key, o.id, o.payload, o.created_at, o.status, o.status = 'done' AND o.finished_at <= r.asked AS had
      FROM (SELECT DISTINCT f.record_key, f.asked, f.sent, f.forgotten FROM fields f WHERE f.sent <> '{}' OR f.forgotten <> '{}') r
      CROSS JOIN LATERAL (SELECT unnest(r.sent) UNION SELECT e.value::bigint FROM jsonb_each_text(r.forgotten) e) AS u(id)
      JOIN ops.odoo_outbox o ON o.id = u.id AND o.status <> 'cancelled'
    ),
    -- Every change of each field that was sent since both sides agreed, the youngest first.
    sent AS (
      SELECT f.record_key, f.field,
             (array_agg(CASE WHEN r.status = 'failed' THEN 'refused' WHEN r.status <> 'done' THEN 'waits' WHEN r.had THEN 'before' ELSE 'late' END ORDER BY r.id DESC)) [1] AS state,
             (array_agg(r.created_at ORDER BY r.id DESC)) [1] AS at,
             (array_agg(p.value ORDER BY r.id DESC)) [1] AS newest,
             bool_or(NOT r.had AND p.value = f.value) AS ours,
             (array_agg(p.value ORDER BY r.id DESC) FILTER (WHERE r.had)) [1] AS last_had
      FROM enqueued r CROSS JOIN LATERAL jsonb_each(r.payload) p JOIN fields f ON f.record_key = r.record_key AND f.field = p.key
      GROUP BY f.record_key, f.field
    )
    SELECT f.record_key, jsonb_object_agg(f.field, jsonb_build_object(
        'moved', d.id IS NOT NULL OR coalesce(s.last_had, f.base) IS DISTINCT FROM f.value, 'is_unclear', d.id IS NOT NULL, 'differs', f.differs, 'sent', coalesce(s.state, 'before'), 'is_ours', coalesce(s.ours, false),
        'odoo_is_newer', coalesce(f.dated > s.at, true), 'is_resent', coalesce(f.applied = s.newest AND f.applied_at = s.at, false), 'again', coalesce(f.applied = f.value AND f.applied_at = s.at, false)))
    FROM fields f LEFT JOIN sent s ON s.record_key = f.record_key AND s.field = f.field
    -- What was sent before this one, and is forgotten, may be what was read while this one was on its way.
    LEFT JOIN enqueued d ON d.record_key = f.record_key AND d.id = (f.forgotten ->> f.field)::bigint AND NOT d.had AND d.status <> 'failed'
    GROUP BY f.record_key;
END
$$;
COMMENT ON FUNCTION etl._look_in(int, regclass, bigint[], timestamptz) IS 'What is known of both sides of records that were just read from Odoo.';

-- API: Private. Writes down what rows have: [{record key, its values, Odoo's as its columns hold them}].
CREATE FUNCTION etl._note_looked(track int, answers jsonb, prefixes jsonb) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE etl.applying a SET held = nullif(l.etl_local, 'null') IS NOT NULL, local = nullif(l.etl_local, 'null'), typed = coalesce(a.typed, '{}') || coalesce(nullif(l.etl_typed, 'null'), '{}'),
    as_sent = coalesce(a.as_sent, '{}') || coalesce(etl._as_sent(nullif(l.etl_typed, 'null'), $3), '{}')
  FROM jsonb_to_recordset($2) AS l(etl_record_key text, etl_local jsonb, etl_typed jsonb) WHERE a.track = $1 AND a.record_key = l.etl_record_key
$$;
COMMENT ON FUNCTION etl._note_looked(int, jsonb, jsonb) IS 'Writes down what the rows of records that are taken in have.';

-- API: Private. Does what was decided: fates is {record key: {field: fate}}. Returns how many records it wrote.
CREATE FUNCTION etl._apply_in(track int, run bigint, fates jsonb) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET timezone = 'UTC'
AS $$
DECLARE
  t etl.tracks;
  changes jsonb;
  applied record;
  one record;
  answer jsonb;
  kept text := 'a trigger or a policy kept the row as it was';
  written bigint;
BEGIN
  SELECT k.* INTO STRICT t FROM etl.tracks k WHERE k.id = $1;
  UPDATE etl.applying a SET fates = coalesce(a.fates, '{}') || d.value,
      image = (SELECT jsonb_object_agg(f.key, a.typed -> f.key) FROM jsonb_each_text(d.value) f WHERE f.value IN ('take', 'take, resend', 'odoo', 'odoo, resend')),
      echo = (SELECT jsonb_object_agg(f.key, a.as_sent -> f.key) FROM jsonb_each_text(d.value) f WHERE f.value IN ('take', 'odoo'))
    FROM jsonb_each($3) d WHERE a.track = $1 AND a.record_key = d.key;
  SELECT jsonb_agg(jsonb_build_object('k', a.record_key, 'v', a.image)) INTO changes FROM etl.applying a WHERE a.track = $1 AND a.image IS NOT NULL;
  IF changes IS NOT NULL THEN
    -- Says where to look; what is an echo is said by etl.applying alone.
    PERFORM set_config('pg_etl.applying', $1::text, true);
    SELECT * INTO applied FROM etl._for_each($1, 'apply', changes);
    UPDATE etl.applying a SET held = false WHERE a.track = $1 AND a.record_key = ANY (applied.busy);
    UPDATE etl.applying a SET refused = coalesce(a.refused, '{}') || (SELECT jsonb_object_agg(k, kept) FROM jsonb_object_keys(a.image) k)
      WHERE a.track = $1 AND a.image IS NOT NULL AND a.held AND NOT applied.answers ? a.record_key AND NOT applied.failures ? a.record_key;
    -- One field that the table refuses stops no other.
    FOR one IN SELECT a.record_key AS key, e.key AS field, e.value, a.echo FROM etl.applying a CROSS JOIN LATERAL jsonb_each(a.image) e WHERE a.track = $1 AND applied.failures ? a.record_key ORDER BY 1, 2 LOOP
      BEGIN
        UPDATE etl.applying a SET echo = CASE WHEN one.echo ? one.field THEN jsonb_build_object(one.field, one.echo -> one.field) ELSE '{}' END WHERE a.track = $1 AND a.record_key = one.key;
        answer := etl._as_owner($1, 'apply', jsonb_build_array(jsonb_build_object('k', one.key, 'v', jsonb_build_object(one.field, one.value))));
        IF NOT answer ? one.key THEN
          UPDATE etl.applying a SET refused = coalesce(a.refused, '{}') || jsonb_build_object(one.field, kept) WHERE a.track = $1 AND a.record_key = one.key;
        END IF;
      EXCEPTION WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
        UPDATE etl.applying a SET held = false WHERE a.track = $1 AND applied.failures ? a.record_key;
        EXIT;
      WHEN assert_failure OR OTHERS THEN
        UPDATE etl.applying a SET refused = coalesce(a.refused, '{}') || jsonb_build_object(one.field, SQLERRM) WHERE a.track = $1 AND a.record_key = one.key;
      END;
    END LOOP;
    PERFORM set_config('pg_etl.applying', '', true);
    UPDATE etl.applying a SET image = a.image - ARRAY(SELECT jsonb_object_keys(a.refused)) WHERE a.track = $1 AND a.refused IS NOT NULL AND a.image IS NOT NULL;
  END IF;
  INSERT INTO etl.conflicts (connection, model, odoo_id, tab, record_key, field, odoo_value, local_value, winner, detail, run_id)
    SELECT t.connection, t.model, a.odoo_id, t.tab, a.record_key, f.key, a.as_sent -> f.key, a.local -> f.key,
      CASE WHEN a.refused ? f.key OR f.value = 'quarrel' THEN NULL WHEN f.value = 'local' THEN 'local' ELSE 'odoo' END,
      CASE WHEN f.value = 'quarrel' THEN 'each side rewrites what the other one wrote: both are left as they are'
           WHEN a.refused ? f.key THEN left('the table refused it: ' || (a.refused ->> f.key), 2000) END, $2
    FROM etl.applying a CROSS JOIN LATERAL jsonb_each_text(a.fates) f
    WHERE a.track = $1 AND a.held AND (f.value IN ('odoo', 'odoo, resend', 'local', 'quarrel') OR coalesce(a.refused ? f.key, false))
      -- What is refused is tried again whenever it is read, and said once.
      AND NOT (coalesce(a.refused ? f.key, false) AND EXISTS (SELECT FROM etl.conflicts c WHERE c.connection = t.connection AND c.model = t.model AND c.odoo_id = a.odoo_id
        AND c.field = f.key AND c.odoo_value IS NOT DISTINCT FROM a.as_sent -> f.key AND c.winner IS NULL));
  WITH seen AS MATERIALIZED (
    -- What was sent since both sides agreed; what Odoo had of it when it was asked is in the base from here on.
    SELECT a.digest, u.id, u.field, o.payload, o.status, o.status = 'done' AND o.finished_at <= a.asked AS had, o.id IS NULL AS gone
    FROM etl.applying a JOIN etl.images i ON i.track = a.track AND i.digest = a.digest
    CROSS JOIN LATERAL (SELECT s.id, NULL AS field FROM unnest(i.sent) AS s(id) UNION ALL SELECT e.value::bigint, e.key FROM jsonb_each_text(i.forgotten) e) u
    LEFT JOIN ops.odoo_outbox o ON o.id = u.id
    WHERE a.track = $1 AND a.held)
  INSERT INTO etl.images AS i (track, digest, record_key, odoo_id, remote, base, applied, run_id, sent, forgotten)
    SELECT a.track, a.digest, a.record_key, a.odoo_id, CASE WHEN s.settled THEN a.remote END,
      coalesce((SELECT jsonb_object_agg(h.field, h.value) FROM (SELECT DISTINCT ON (p.key) p.key AS field, p.value FROM seen n CROSS JOIN LATERAL jsonb_each(n.payload) p
          WHERE n.digest = a.digest AND n.had AND a.fates ? p.key ORDER BY p.key, n.id DESC) h), '{}') || s.base,
      coalesce((SELECT jsonb_object_agg(k, jsonb_build_object('value', a.as_sent -> k, 'at', now())) FROM jsonb_object_keys(a.image) k), '{}'), CASE WHEN a.image <> '{}' THEN $2 END,
      -- Rows that are not known of yet stay: they were enqueued by what was just written.
      ARRAY(SELECT n.id FROM seen n WHERE n.digest = a.digest AND (n.gone OR n.had OR n.status = 'cancelled' OR (n.status = 'failed' AND n.id < (SELECT max(x.id) FROM seen x WHERE x.digest = a.digest AND x.had)))),
      coalesce((SELECT jsonb_object_agg(n.field, n.id) FROM seen n WHERE n.digest = a.digest AND n.field IS NOT NULL
        AND (n.gone OR n.had OR n.status = 'cancelled' OR EXISTS (SELECT FROM seen x WHERE x.digest = a.digest AND x.had AND x.id > n.id AND x.payload ? n.field))), '{}')
    FROM etl.applying a CROSS JOIN LATERAL (
      SELECT a.refused IS NULL AND NOT a.unresolved AND coalesce(bool_and(f.value <> 'later'), true) AS settled,
        coalesce(jsonb_object_agg(f.key, a.as_sent -> f.key) FILTER (WHERE NOT coalesce(a.refused ? f.key, false) AND f.value <> 'later'), '{}') AS base
      FROM jsonb_each_text(a.fates) f) s
    WHERE a.track = $1 AND a.held
    ORDER BY a.record_key
    -- Of a new image nothing was sent; of an old one "sent" and "forgotten" are what is to go.
    ON CONFLICT ON CONSTRAINT images_pkey DO UPDATE SET odoo_id = excluded.odoo_id, remote = excluded.remote, base = i.base || excluded.base,
      applied = i.applied || excluded.applied, run_id = coalesce(excluded.run_id, i.run_id),
      sent = ARRAY(SELECT u FROM unnest(i.sent) u WHERE NOT u = ANY (excluded.sent) ORDER BY u),
      forgotten = CASE WHEN i.forgotten = '{}' THEN '{}' ELSE (SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}') FROM jsonb_each(i.forgotten) e WHERE excluded.forgotten -> e.key IS DISTINCT FROM e.value) END;
  SELECT count(*) INTO written FROM etl.applying a WHERE a.track = $1 AND a.image <> '{}' AND a.held;
  INSERT INTO etl.held_back AS b (track, odoo_id, asked)
    SELECT DISTINCT ON (a.odoo_id) a.track, a.odoo_id, a.asked FROM etl.applying a WHERE a.track = $1 AND a.held IS FALSE ORDER BY a.odoo_id
    ON CONFLICT ON CONSTRAINT held_back_pkey DO UPDATE SET asked = excluded.asked;
  DELETE FROM etl.held_back b USING etl.applying a WHERE a.track = $1 AND a.held IS NOT FALSE AND b.track = a.track AND b.odoo_id = a.odoo_id;
  DELETE FROM etl.applying a WHERE a.track = $1;
  RETURN written;
END
$$;
COMMENT ON FUNCTION etl._apply_in(int, bigint, jsonb) IS 'Writes what Odoo changed into a tracked table, and keeps what both sides agree on.';

-- API: Private. What is kept of the rows that were sent of a record, and the youngest of each field of those that are not: a record may
-- change a thousand times before it is looked at, and each change copies the list. Looked at once in 64 rows: whoever changes them waits for it.
CREATE FUNCTION etl._kept_sent(ids bigint[], added int, OUT kept bigint[], OUT forgotten jsonb)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  kept := ids;
  forgotten := '{}';
  IF cardinality(ids) > 64 AND cardinality(ids) / 64 > (cardinality(ids) - added) / 64 THEN
    WITH old AS MATERIALIZED (SELECT o.id, o.status, o.payload FROM ops.odoo_outbox o WHERE o.id = ANY (ids [:cardinality(ids) - 64]))
    SELECT ARRAY(SELECT w.id FROM (SELECT o.id FROM old o WHERE o.status NOT IN ('done', 'cancelled') ORDER BY o.id DESC LIMIT 1000) w ORDER BY w.id) || ids [cardinality(ids) - 63:],
      (SELECT coalesce(jsonb_object_agg(k, o.id ORDER BY o.id), '{}') FROM old o CROSS JOIN LATERAL jsonb_object_keys(o.payload) k WHERE o.status = 'done')
      INTO kept, forgotten;
  END IF;
END
$$;
COMMENT ON FUNCTION etl._kept_sent(bigint[], int) IS 'What is kept of the rows that were sent of a record.';

-- API: Private. Rows that a track's triggers enqueued, noted with their records.
CREATE FUNCTION etl._note_sent(track int, prefix text, ids bigint[]) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO etl.images AS i (track, digest, record_key, sent)
    SELECT $1, md5(o.record_key)::uuid, o.record_key, array_agg(o.id ORDER BY o.id) FROM ops.odoo_outbox o
    WHERE o.id = ANY ($3) AND starts_with(o.record_key, $2) GROUP BY o.record_key ORDER BY o.record_key
    ON CONFLICT ON CONSTRAINT images_pkey DO UPDATE SET (sent, forgotten) = (SELECT k.kept, i.forgotten || k.forgotten FROM etl._kept_sent(i.sent || excluded.sent, cardinality(excluded.sent)) k)
$$;
COMMENT ON FUNCTION etl._note_sent(int, text, bigint[]) IS 'Notes what was enqueued of two-way records.';

-- API: Private. What a pull is writing into a track's rows in this transaction: {record key: {field: value}}.
CREATE FUNCTION etl._echoes(track int) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT coalesce(jsonb_object_agg(a.record_key, a.echo), '{}') FROM etl.applying a WHERE a.track = $1 AND a.echo IS NOT NULL $$;
COMMENT ON FUNCTION etl._echoes(int) IS 'What a pull is writing into a tracked table.';
