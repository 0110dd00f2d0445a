-- Two ways: what a pull brings is taken into tracked tables too, where etl.track(two_way => …) says so. What becomes of each field is
-- decided in crates/core/src/two_way.rs; here are the facts for it, and what follows from it.
--
-- A field image is a value as the capture would send it. By it an echo is known: what a pull wrote into a row is not sent, and what was
-- sent is no change of Odoo's when it comes back.

-- What is known of both sides of a record.
CREATE TABLE etl.images (
  track int NOT NULL,
  -- md5 of the key, as in etl.links.
  digest uuid NOT NULL,
  record_key text NOT NULL,
  odoo_id bigint,
  -- The mirror's values when it was last looked at; NULL: something of it was not dealt with.
  remote jsonb,
  -- What both sides agreed on, by field.
  base jsonb NOT NULL DEFAULT '{}',
  -- Rows of the outbox since then, at most the last 64.
  sent bigint[] NOT NULL DEFAULT '{}',
  -- What was last taken from Odoo, by field: {"value", "at"}, the moment of the transaction.
  applied jsonb NOT NULL DEFAULT '{}',
  run_id bigint,
  PRIMARY KEY (track, digest)
);
COMMENT ON TABLE etl.images IS 'What both sides of each record of a two-way table last agreed on, and what was sent since.';
SELECT pg_catalog.pg_extension_config_dump('etl.images', '');

-- Records that were left for later, because somebody was writing to their rows, and when Odoo was asked for them. Apart from
-- etl.images, where whoever writes to a row has its image locked too.
CREATE TABLE etl.held_back (
  track int NOT NULL,
  odoo_id bigint NOT NULL,
  asked timestamptz NOT NULL,
  PRIMARY KEY (track, odoo_id)
);
COMMENT ON TABLE etl.held_back IS 'Records of two-way tables that are looked at again when nobody is writing to their rows.';

-- What a pull is taking into a table, within its transaction: nobody else ever sees a row.
CREATE TABLE etl.applying (
  track int NOT NULL,
  record_key text NOT NULL,
  digest uuid NOT NULL,
  odoo_id bigint NOT NULL,
  asked timestamptz NOT NULL,
  -- When Odoo's record was written.
  dated timestamptz,
  -- Odoo's values as the mirror has them, as the table's columns would hold them, and as the capture would send them.
  remote jsonb NOT NULL,
  typed jsonb,
  as_sent jsonb,
  local jsonb,
  -- NULL: there is no such row; false: somebody is writing to it.
  held bool,
  fates jsonb,
  -- What is written into the row, and what of it the capture must not send.
  image jsonb,
  echo jsonb,
  -- Why the table would not take a field, by field.
  refused jsonb,
  -- It refers to a record that has no row yet.
  unresolved bool NOT NULL DEFAULT false
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
COMMENT ON TABLE etl.applying IS 'What a pull is writing into two-way tables: empty between transactions.';

-- Fields that both sides changed, with both values.
CREATE TABLE etl.conflicts (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  connection text NOT NULL,
  model text NOT NULL,
  odoo_id bigint NOT NULL,
  tab text NOT NULL,
  record_key text NOT NULL,
  field text NOT NULL,
  odoo_value jsonb,
  local_value jsonb,
  -- Whose value both sides have then; NULL: they stay apart, and detail says why.
  winner text CHECK (winner OPERATOR(pg_catalog.=) ANY ('{odoo,local}'::pg_catalog.text[])),
  detail text,
  run_id bigint
);
CREATE INDEX conflicts_record ON etl.conflicts (connection, model, odoo_id, field);
CREATE INDEX conflicts_at ON etl.conflicts (at);
COMMENT ON TABLE etl.conflicts IS 'Fields that were changed on both sides since they agreed: both values, and which of them won.';
SELECT pg_catalog.pg_extension_config_dump('etl.conflicts', '');
SELECT pg_catalog.pg_extension_config_dump('etl.conflicts_id_seq', '');

ALTER TABLE etl.images ENABLE ROW LEVEL SECURITY;
ALTER TABLE etl.held_back ENABLE ROW LEVEL SECURITY;
ALTER TABLE etl.applying ENABLE ROW LEVEL SECURITY;
ALTER TABLE etl.conflicts ENABLE ROW LEVEL SECURITY;
CREATE POLICY worker ON etl.images FOR ALL TO etl_worker USING (true) WITH CHECK (true);
CREATE POLICY worker ON etl.held_back FOR ALL TO etl_worker USING (true) WITH CHECK (true);
CREATE POLICY worker ON etl.applying FOR ALL TO etl_worker USING (true) WITH CHECK (true);
CREATE POLICY worker ON etl.conflicts FOR ALL TO etl_worker USING (true) WITH CHECK (true);
-- Values of the user's own, like the outbox: not for readers.
CREATE POLICY operator ON etl.conflicts FOR SELECT TO etl_operator USING (true);

-- API: Private. The fields that come back from Odoo: those that are just a column which can be written. type: what a value is cast to;
-- prefix and of_model: of the records that a reference names.
CREATE FUNCTION etl._inward(t etl.tracks, rel regclass) RETURNS TABLE (field text, col text, type text, prefix text, of_model text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH mapped AS (
    SELECT f.key AS field, f.value AS mapping, CASE jsonb_typeof(f.value) WHEN 'string' THEN f.value #>> '{}' ELSE f.value ->> 'column' END AS col
    FROM jsonb_each(t.fields) f
  )
  -- Without a length: what is too long for its column is refused and not cut.
  SELECT m.field, m.col, format_type(a.atttypid, CASE WHEN a.atttypid = 'varchar'::regtype THEN NULL ELSE a.atttypmod END), r.prefix, r.model
  FROM mapped m
  JOIN pg_attribute a ON a.attrelid = t.tab::regclass AND a.attname = m.col AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a'
  JOIN pg_type y ON y.oid = a.atttypid AND y.typcategory <> 'A' AND y.typtype IN ('b', 'e', 'd') AND y.oid NOT IN ('bytea'::regtype, 'json'::regtype, 'bpchar'::regtype)
  LEFT JOIN LATERAL (SELECT o.prefix, o.model FROM etl._tracks_of(m.mapping ->> 'ref') o WHERE o.connection = t.connection AND cardinality(o.key_columns) = 1 LIMIT 1) r
    ON jsonb_typeof(m.mapping) = 'object' AND m.mapping ? 'ref'
  WHERE NOT m.col = ANY (t.key_columns)
    AND (r.prefix IS NOT NULL OR jsonb_typeof(m.mapping) = 'string' OR NOT m.mapping ?| '{ref,by}')
    -- All languages or companies of a field are no value of a column.
    AND NOT (y.oid <> 'jsonb'::regtype AND EXISTS (SELECT FROM pg_attribute x WHERE x.attrelid = rel AND x.attname = m.field AND x.atttypid = 'jsonb'::regtype))
    -- One that two fields are made of cannot follow both.
    AND (SELECT count(*) FROM mapped x WHERE x.col = m.col) = 1
    AND (etl._has_column(rel, m.field) OR etl._is_whole(rel, ARRAY[m.field]))
    -- What is not pulled any more has its old value there.
    AND NOT EXISTS (SELECT FROM etl.pulls p WHERE p.connection = t.connection AND p.model = t.model AND NOT m.field = ANY (p.pulled))
  ORDER BY m.field
$$;
COMMENT ON FUNCTION etl._inward(etl.tracks, regclass) IS 'The fields of a mapping that come back from Odoo, and their columns.';

-- API: Private. Pairs of arguments of jsonb_build_object, which takes a hundred at most, as one expression.
CREATE FUNCTION etl._object_expression(pairs text[]) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(string_agg(g.part, ' || ' ORDER BY g.n), '''{}''::jsonb')
  FROM (SELECT (u.n - 1) / 40 AS n, format('jsonb_build_object(%s)', string_agg(u.pair, ', ' ORDER BY u.n)) AS part
        FROM unnest(pairs) WITH ORDINALITY AS u(pair, n) GROUP BY (u.n - 1) / 40) g
$$;
COMMENT ON FUNCTION etl._object_expression(text[]) IS 'An expression that builds a JSON object of many keys.';

-- API: Private. A value of a JSON object as a column of that type holds it.
CREATE FUNCTION etl._cast_expression(object text, field text, type text) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE type WHEN 'jsonb' THEN format('nullif(%s -> %L, ''null'')', object, field) ELSE format('(%s ->> %L)::%s', object, field, type) END $$;
COMMENT ON FUNCTION etl._cast_expression(text, text, text) IS 'A value of a JSON object as a column of a type holds it.';

-- API: Private. The text of the functions through which a pull sees a tracked table's rows and writes them, as the table's owner.
CREATE FUNCTION etl._two_way_source(t etl.tracks, rel regclass, OUT look text, OUT apply text, OUT make text, OUT remove text)
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  keys text;
  same text;
  these text := format('(SELECT * FROM %s%s)', t.tab, coalesce(' WHERE (' || t.condition || ')', ''));
  locals text;
  remotes text;
  sets text;
  cols text;
BEGIN
  -- A key's text back into columns, so that an index finds the row.
  SELECT string_agg(format('(%s)::%s AS k%s', CASE WHEN cardinality(t.key_columns) = 1 THEN format('substr(e ->> ''k'', %s)', length(t.prefix) + 1)
           ELSE format('substr(e ->> ''k'', %s)::jsonb ->> %s', length(t.prefix) + 1, u.n - 1) END, CASE WHEN a.atttypid = 'bpchar'::regtype THEN 'bpchar' ELSE format_type(a.atttypid, NULL) END, u.n), ', ' ORDER BY u.n),
         string_agg(format('t.%I = x.k%s', u.k, u.n), ' AND ' ORDER BY u.n)
    INTO keys, same
    FROM unnest(t.key_columns) WITH ORDINALITY AS u(k, n) JOIN pg_attribute a ON a.attrelid = t.tab::regclass AND a.attname = u.k;
  SELECT etl._object_expression(array_agg(format('%L, t.%I', i.field, i.col) ORDER BY i.field)),
         etl._object_expression(array_agg(format('%L, %s', i.field, etl._cast_expression('x.r', i.field, i.type)) ORDER BY i.field)),
         string_agg(format('%1$I = CASE WHEN x.v ? %2$L THEN %3$s ELSE t.%1$I END', i.col, i.field, etl._cast_expression('x.v', i.field, i.type)), ', ' ORDER BY i.field),
         string_agg(format('%I', i.col), ', ' ORDER BY i.field)
    INTO locals, remotes, sets, cols
    FROM etl._inward(t, rel) i;
  -- A row that somebody is writing to is left for later: nothing waits, and what is written was seen.
  look := format($src$
#variable_conflict use_column
DECLARE
  etl_held text[];
BEGIN
  SELECT array_agg(h.k) INTO etl_held FROM (
    SELECT x.k FROM (SELECT e ->> 'k' AS k, %1$s FROM jsonb_array_elements($1) e) x JOIN %2$s t ON %3$s FOR NO KEY UPDATE OF t SKIP LOCKED) h;
  RETURN QUERY
    SELECT x.k, CASE WHEN x.k = ANY (etl_held) THEN %4$s END,
      CASE WHEN x.k = ANY (etl_held) THEN (SELECT jsonb_object_agg(p.key, p.value) FROM jsonb_each(%5$s) p WHERE x.r ? p.key) END
    FROM (SELECT e ->> 'k' AS k, e -> 'r' AS r, %1$s FROM jsonb_array_elements($1) e) x JOIN %2$s t ON %3$s;
END
$src$, keys, these, same, locals, remotes);
  apply := format($src$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    UPDATE %1$s t SET %2$s FROM (SELECT e ->> 'k' AS k, e -> 'v' AS v, %3$s FROM jsonb_array_elements($1) e) x WHERE %4$s RETURNING x.k;
  -- Now, and as the table's owner.
  SET CONSTRAINTS ALL IMMEDIATE;
END
$src$, t.tab, sets, keys, same);
  make := format($src$
#variable_conflict use_column
DECLARE
  etl_key text;
BEGIN
  INSERT INTO %1$s AS t (%2$s) SELECT %3$s FROM (SELECT $1 AS r) x RETURNING %4$s INTO etl_key;
  IF NOT EXISTS (SELECT FROM %5$s t WHERE %4$s = etl_key) THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'it does not meet the condition of the track';
  END IF;
  SET CONSTRAINTS ALL IMMEDIATE;
  RETURN etl_key;
END
$src$, t.tab, cols, (SELECT string_agg(etl._cast_expression('x.r', i.field, i.type), ', ' ORDER BY i.field) FROM etl._inward(t, rel) i),
    etl._key_expression(t.prefix, t.key_columns), these);
  -- Its state: gone, kept by a trigger or a policy, or somebody is writing to it.
  remove := format($src$
#variable_conflict use_column
DECLARE
  etl_held text[];
  etl_gone text[];
BEGIN
  WITH h AS MATERIALIZED (
    SELECT x.k, t.ctid AS place, t.tableoid AS part FROM (SELECT e ->> 'k' AS k, %1$s FROM jsonb_array_elements($1) e) x JOIN %2$s t ON %3$s FOR UPDATE OF t SKIP LOCKED),
  d AS (DELETE FROM %2$s t USING h WHERE t.ctid = h.place AND t.tableoid = h.part RETURNING h.k)
  SELECT ARRAY(SELECT h.k FROM h), ARRAY(SELECT d.k FROM d) INTO etl_held, etl_gone;
  SET CONSTRAINTS ALL IMMEDIATE;
  RETURN QUERY
    SELECT x.k, CASE WHEN x.k = ANY (etl_gone) THEN 'gone' WHEN x.k = ANY (etl_held) THEN 'kept' ELSE 'held' END
    FROM (SELECT e ->> 'k' AS k, %1$s FROM jsonb_array_elements($1) e) x WHERE x.k = ANY (etl_gone) OR EXISTS (SELECT FROM %2$s t WHERE %3$s);
END
$src$, keys, t.tab, same);
END
$$;
COMMENT ON FUNCTION etl._two_way_source(etl.tracks, regclass) IS 'The text of the functions through which a pull writes a tracked table.';

-- API: Private. Odoo's values of a mapping, as an expression over a mirror's row m. A reference to a record that is no row here is left out.
CREATE FUNCTION etl._remote_expression(t etl.tracks, rel regclass) RETURNS text
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH v AS (
    SELECT i.*, CASE WHEN etl._has_column(rel, i.field) THEN format('to_jsonb(m.%I)', i.field)
      -- Odoo's false is "nothing" but in a boolean.
      WHEN i.type = 'boolean' THEN format('m.raw -> %L', i.field)
      ELSE format('nullif(m.raw -> %L, ''false'')', i.field) END AS value
    FROM etl._inward(t, rel) i
  )
  SELECT concat_ws(' || ', etl._object_expression(array_agg(format('%L, %s', v.field, v.value) ORDER BY v.field) FILTER (WHERE v.prefix IS NULL)),
    string_agg(format($x$CASE WHEN nullif(%1$s, 'null') IS NULL THEN '{%2$s: null}'::jsonb ELSE coalesce((SELECT jsonb_build_object(%3$L, substr(l.record_key, %4$s)) FROM etl.links l
      WHERE l.connection = %5$L AND l.model = %6$L AND l.odoo_id = (%1$s)::bigint AND starts_with(l.record_key, %7$L) LIMIT 1), '{}') END$x$,
      v.value, to_jsonb(v.field), v.field, length(v.prefix) + 1, t.connection, v.of_model, v.prefix), ' || ') FILTER (WHERE v.prefix IS NOT NULL))
  FROM v
$$;
COMMENT ON FUNCTION etl._remote_expression(etl.tracks, regclass) IS 'Odoo''s values of a mapping, as an expression over a mirror''s row.';

-- API: Private. Values of a row as the capture would send them.
CREATE FUNCTION etl._as_sent(vals jsonb, prefixes jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN prefixes = '{}' THEN vals ELSE (
    SELECT jsonb_object_agg(f.key, CASE WHEN prefixes ? f.key AND f.value <> 'null' THEN jsonb_build_object('key', (prefixes ->> f.key) || (f.value #>> '{}')) ELSE f.value END)
    FROM jsonb_each(vals) f) END
$$;
COMMENT ON FUNCTION etl._as_sent(jsonb, jsonb) IS 'Values of a row as the capture would send them.';

-- API: Private. Whether a function that was made for a track is still what was made: its owner's is the table, and so are the rights it
-- runs with. Anything else under its name would run with the worker's.
CREATE FUNCTION etl._sound(t etl.tracks, name text) RETURNS text
  LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_proc p JOIN pg_class c ON c.oid = etl._table(t.tab) WHERE p.oid = to_regproc(name) AND p.prosecdef AND p.proowner = c.relowner) THEN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('%s() is not the function that etl.track() made', name),
      HINT = format('Call etl.track(%L, %L, …) again.', t.tab, t.model);
  END IF;
  RETURN name;
END
$$;
COMMENT ON FUNCTION etl._sound(etl.tracks, text) IS 'The name of a function of a track, if it is still what was made.';

-- API: Private. What is known of each field of the records `ids`, which Odoo was asked for at `asked`; of those left for later, where ids
-- is NULL. Their rows are locked from here on. Only what is not as it was when it was last looked at.
CREATE FUNCTION etl._look_in(track int, rel regclass, ids bigint[], asked timestamptz) RETURNS TABLE (record_key text, facts jsonb)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET timezone = 'UTC'
AS $$
DECLARE
  t etl.tracks;
  look text;
  prefixes jsonb;
  items jsonb;
  item jsonb;
BEGIN
  SELECT k.* INTO t FROM etl.tracks k WHERE k.id = $1 AND k.two_way IS NOT NULL AND k.backfilled_at IS NOT NULL;
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
  EXECUTE format($sql$
    WITH found AS (
      INSERT INTO etl.applying (track, record_key, digest, odoo_id, asked, dated, remote, unresolved)
      SELECT $1, l.record_key, l.digest, l.odoo_id, coalesce($3, (SELECT b.asked FROM etl.held_back b WHERE b.track = $1 AND b.odoo_id = l.odoo_id), now()), %1$s, r.remote, NOT r.remote ?& $7
      FROM %2$s m
      JOIN etl.links l ON l.connection = $4 AND l.model = $5 AND l.odoo_id = m.%3$I AND starts_with(l.record_key, $6)
      LEFT JOIN etl.images i ON i.track = $1 AND i.digest = l.digest
      CROSS JOIN LATERAL (SELECT %4$s AS remote) r
      WHERE m.%3$I = ANY ($2) AND m._etl_deleted_at IS NULL AND (i.remote IS NULL OR i.sent <> '{}' OR r.remote <> i.remote)
      RETURNING applying.record_key, applying.remote)
    SELECT jsonb_agg(jsonb_build_object('k', f.record_key, 'r', f.remote)) FROM found f
    $sql$, coalesce(etl._dated(t.connection, t.model, rel), 'NULL::timestamptz'), rel, etl._mirror_id(rel), etl._remote_expression(t, rel))
  INTO items
  USING t.id, ids, asked, t.connection, t.model, t.prefix, ARRAY(SELECT jsonb_object_keys(prefixes));
  IF items IS NULL THEN
    RETURN;
  END IF;
  SELECT etl._sound(t, n.look) INTO look FROM etl._capture_names(t) n;
  BEGIN
    PERFORM etl._looked(t.id, look, items, prefixes);
  EXCEPTION WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
    -- Somebody has the whole table: nobody waits for them, once for each record least of all.
    UPDATE etl.applying a SET held = false WHERE a.track = t.id;
  WHEN assert_failure OR OTHERS THEN
    -- One record's value that its column cannot hold stops no other.
    FOR item IN SELECT e FROM jsonb_array_elements(items) e LOOP
      BEGIN
        PERFORM etl._looked(t.id, look, jsonb_build_array(item), prefixes);
      EXCEPTION WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
        UPDATE etl.applying a SET held = false WHERE a.track = t.id AND a.held IS NULL;
        EXIT;
      WHEN assert_failure OR OTHERS THEN
        UPDATE etl.applying a SET held = true, typed = a.remote, local = '{}', as_sent = a.remote,
            refused = (SELECT jsonb_object_agg(f, SQLERRM) FROM jsonb_object_keys(a.remote) f), fates = (SELECT jsonb_object_agg(f, 'take') FROM jsonb_object_keys(a.remote) f)
          WHERE a.track = t.id AND a.record_key = item ->> 'k';
      END;
    END LOOP;
  END;
  RETURN QUERY
    WITH fields AS MATERIALIZED (
      SELECT a.record_key, f.key AS field, f.value, a.local -> f.key IS DISTINCT FROM a.typed -> f.key AS differs, a.dated, a.asked, i.base -> f.key AS base,
             i.applied -> f.key -> 'value' AS applied, (i.applied -> f.key ->> 'at')::timestamptz AS applied_at, i.sent
      FROM etl.applying a CROSS JOIN LATERAL jsonb_each(a.as_sent) f LEFT JOIN etl.images i ON i.track = a.track AND i.digest = a.digest
      WHERE a.track = t.id AND a.held AND a.refused IS NULL
    ),
    enqueued AS MATERIALIZED (
      SELECT r.record_key, o.id, o.payload, o.created_at, o.status, o.status = 'done' AND o.finished_at <= r.asked AS had
      FROM (SELECT DISTINCT f.record_key, f.asked, f.sent FROM fields f WHERE f.sent <> '{}') r
      CROSS JOIN LATERAL unnest(r.sent) u JOIN ops.odoo_outbox o ON o.id = u AND o.status <> 'cancelled'
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
        'moved', coalesce(s.last_had, f.base) IS DISTINCT FROM f.value, 'differs', f.differs, 'sent', coalesce(s.state, 'before'), 'is_ours', coalesce(s.ours, false),
        'odoo_is_newer', coalesce(f.dated > s.at, true), 'is_resent', coalesce(f.applied = s.newest AND f.applied_at = s.at, false), 'again', coalesce(f.applied = f.value AND f.applied_at = s.at, false)))
    FROM fields f LEFT JOIN sent s ON s.record_key = f.record_key AND s.field = f.field
    GROUP BY f.record_key;
END
$$;
COMMENT ON FUNCTION etl._look_in(int, regclass, bigint[], timestamptz) IS 'What is known of both sides of records that were just read from Odoo.';

-- API: Private. Locks the rows of these records and writes down what they have.
CREATE FUNCTION etl._looked(track int, look text, items jsonb, prefixes jsonb) RETURNS void
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  EXECUTE format('UPDATE etl.applying a SET held = l.local IS NOT NULL, local = l.local, typed = l.typed, as_sent = etl._as_sent(l.typed, $3)
    FROM %s($1) AS l(record_key, local, typed) WHERE a.track = $2 AND a.record_key = l.record_key', look) USING items, track, prefixes;
END
$$;
COMMENT ON FUNCTION etl._looked(int, text, jsonb, jsonb) IS 'Locks the rows of records that are taken in.';

-- API: Private. Does what was decided: fates is {record key: {field: fate}}. Returns how many records it wrote.
CREATE FUNCTION etl._apply_in(track int, run bigint, fates jsonb) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET timezone = 'UTC'
AS $$
DECLARE
  t etl.tracks;
  apply text;
  changes jsonb;
  change jsonb;
  field text;
  done text[] := '{}';
  part text[];
  written bigint;
BEGIN
  SELECT k.* INTO STRICT t FROM etl.tracks k WHERE k.id = $1;
  UPDATE etl.applying a SET fates = d.value,
      image = (SELECT jsonb_object_agg(f.key, a.typed -> f.key) FROM jsonb_each_text(d.value) f WHERE f.value IN ('take', 'take, resend', 'odoo', 'odoo, resend')),
      echo = (SELECT jsonb_object_agg(f.key, a.as_sent -> f.key) FROM jsonb_each_text(d.value) f WHERE f.value IN ('take', 'odoo'))
    FROM jsonb_each($3) d WHERE a.track = $1 AND a.record_key = d.key;
  SELECT jsonb_agg(jsonb_build_object('k', a.record_key, 'v', a.image)) INTO changes FROM etl.applying a WHERE a.track = $1 AND a.image IS NOT NULL;
  IF changes IS NOT NULL THEN
    SELECT etl._sound(t, n.apply) INTO apply FROM etl._capture_names(t) n;
    -- Says where to look; what is an echo is said by etl.applying alone.
    PERFORM set_config('pg_etl.applying', $1::text, true);
    BEGIN
      EXECUTE format('SELECT array_agg(k) FROM %s($1) k', apply) INTO done USING changes;
      UPDATE etl.applying a SET refused = (SELECT jsonb_object_agg(f, 'a trigger or a policy kept the row as it was') FROM jsonb_object_keys(a.image) f)
        WHERE a.track = $1 AND a.image IS NOT NULL AND NOT a.record_key = ANY (coalesce(done, '{}'));
    EXCEPTION WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
      UPDATE etl.applying a SET held = false WHERE a.track = $1 AND a.image IS NOT NULL;
    WHEN assert_failure OR OTHERS THEN
      done := '{}';
      <<records>>
      FOR change IN SELECT e FROM jsonb_array_elements(changes) e LOOP
        BEGIN
          EXECUTE format('SELECT array_agg(k) FROM %s($1) k', apply) INTO part USING jsonb_build_array(change);
        EXCEPTION WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
          EXIT records;
        WHEN assert_failure OR OTHERS THEN
          -- One field that the table refuses stops no other.
          FOR field IN SELECT jsonb_object_keys(change -> 'v') LOOP
            BEGIN
              UPDATE etl.applying a SET echo = CASE WHEN a.echo ? field THEN jsonb_build_object(field, a.echo -> field) ELSE '{}' END WHERE a.track = $1 AND a.record_key = change ->> 'k';
              EXECUTE format('SELECT array_agg(k) FROM %s($1) k', apply) INTO part
                USING jsonb_build_array(jsonb_build_object('k', change -> 'k', 'v', jsonb_build_object(field, change -> 'v' -> field)));
              -- Of the next field the whole echo is needed again.
              UPDATE etl.applying a SET echo = coalesce((SELECT jsonb_object_agg(f.key, a.as_sent -> f.key) FROM jsonb_each_text(a.fates) f WHERE f.value IN ('take', 'odoo')), '{}')
                WHERE a.track = $1 AND a.record_key = change ->> 'k';
            EXCEPTION WHEN lock_not_available OR deadlock_detected OR serialization_failure THEN
              EXIT records;
            WHEN assert_failure OR OTHERS THEN
              UPDATE etl.applying a SET refused = coalesce(a.refused, '{}') || jsonb_build_object(field, SQLERRM) WHERE a.track = $1 AND a.record_key = change ->> 'k';
            END;
          END LOOP;
        END;
        done := done || (change ->> 'k');
      END LOOP;
      UPDATE etl.applying a SET held = false WHERE a.track = $1 AND a.image IS NOT NULL AND NOT a.record_key = ANY (done);
    END;
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
  INSERT INTO etl.images AS i (track, digest, record_key, odoo_id, remote, base, applied, run_id)
    SELECT a.track, a.digest, a.record_key, a.odoo_id, CASE WHEN s.settled THEN a.remote END, s.base,
      coalesce((SELECT jsonb_object_agg(k, jsonb_build_object('value', a.as_sent -> k, 'at', now())) FROM jsonb_object_keys(a.image) k), '{}'), CASE WHEN a.image <> '{}' THEN $2 END
    FROM etl.applying a CROSS JOIN LATERAL (
      SELECT a.refused IS NULL AND NOT a.unresolved AND coalesce(bool_and(f.value <> 'later'), true) AS settled,
        coalesce(jsonb_object_agg(f.key, a.as_sent -> f.key) FILTER (WHERE NOT coalesce(a.refused ? f.key, false) AND f.value <> 'later'), '{}') AS base
      FROM jsonb_each_text(a.fates) f) s
    WHERE a.track = $1 AND a.held
    ORDER BY a.record_key
    ON CONFLICT ON CONSTRAINT images_pkey DO UPDATE SET odoo_id = excluded.odoo_id, remote = excluded.remote, base = i.base || excluded.base,
      applied = i.applied || excluded.applied, run_id = coalesce(excluded.run_id, i.run_id),
      -- What Odoo had when it was asked is in the base now.
      sent = CASE WHEN excluded.remote IS NULL THEN i.sent ELSE ARRAY(
        SELECT w.id FROM (SELECT o.id, o.status, o.status = 'done' AND o.finished_at <= x.asked AS had,
                            max(o.id) FILTER (WHERE o.status = 'done' AND o.finished_at <= x.asked) OVER () AS last_had
                          FROM etl.applying x, unnest(i.sent) u JOIN ops.odoo_outbox o ON o.id = u AND o.status <> 'cancelled'
                          WHERE x.track = i.track AND x.digest = i.digest) w
        WHERE NOT w.had AND (w.status <> 'failed' OR w.id > coalesce(w.last_had, 0)) ORDER BY w.id) END;
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

-- API: Private. Rows that a track's triggers enqueued, noted with their records.
CREATE FUNCTION etl._note_sent(track int, prefix text, ids bigint[]) RETURNS void
  LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO etl.images AS i (track, digest, record_key, sent)
    SELECT $1, md5(o.record_key)::uuid, o.record_key, array_agg(o.id ORDER BY o.id) FROM ops.odoo_outbox o
    WHERE o.id = ANY ($3) AND starts_with(o.record_key, $2) GROUP BY o.record_key ORDER BY o.record_key
    ON CONFLICT ON CONSTRAINT images_pkey DO UPDATE SET sent = (i.sent || excluded.sent) [greatest(1, cardinality(i.sent) + cardinality(excluded.sent) - 63):]
$$;
COMMENT ON FUNCTION etl._note_sent(int, text, bigint[]) IS 'Notes what was enqueued of two-way records.';

-- API: Private. What a pull is writing into a track's rows in this transaction: {record key: {field: value}}.
CREATE FUNCTION etl._echoes(track int) RETURNS jsonb
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT coalesce(jsonb_object_agg(a.record_key, a.echo), '{}') FROM etl.applying a WHERE a.track = $1 AND a.echo IS NOT NULL $$;
COMMENT ON FUNCTION etl._echoes(int) IS 'What a pull is writing into a tracked table.';
