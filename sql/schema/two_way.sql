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
  -- Rows of the outbox since then: the last 64, and of those before what Odoo does not have, a thousand at most. And of each field the
  -- youngest of what it has: {field: id}.
  sent bigint[] NOT NULL DEFAULT '{}',
  forgotten jsonb NOT NULL DEFAULT '{}',
  -- What was last taken from Odoo, by field: {"value", "at"}, the moment of the transaction.
  applied jsonb NOT NULL DEFAULT '{}',
  run_id bigint,
  -- The retention asks by the record alone.
  PRIMARY KEY (digest, track)
);
CREATE INDEX images_odoo_id ON etl.images (track, odoo_id);
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
SELECT pg_catalog.pg_extension_config_dump('etl.held_back', '');

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
CREATE INDEX applying_record ON etl.applying (track, record_key);
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

-- API: Private. What Odoo says of a model's fields, and the contexts in which it is read and written; for whoever may not read them.
CREATE FUNCTION etl._fields_of(connection text, model text, OUT fields jsonb, OUT inward jsonb, OUT outward jsonb)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
  SELECT coalesce((SELECT f.fields FROM etl.model_fields f WHERE f.connection = $1 AND f.model = $2), '{}'),
    coalesce((SELECT m.config -> 'context' FROM etl._mirrors() m WHERE m.connection = $1 AND m.model = $2), '{}'),
    coalesce((SELECT c.value -> 'context' FROM ops.odoo_sync_config c WHERE c.key = 'sb_to_odoo:' || $2), '{}')
$$;
COMMENT ON FUNCTION etl._fields_of(text, text) IS 'What Odoo says of a model''s fields, and the contexts in which it is read and written.';
ALTER FUNCTION etl._fields_of(text, text) OWNER TO etl_worker;

-- API: Private. The fields that come back from Odoo: those that are just a column which can be written, and holds what Odoo has as Odoo
-- has it. type: what a value is cast to; prefix and of_model: of the records that a reference names.
CREATE FUNCTION etl._inward(t etl.tracks, rel regclass) RETURNS TABLE (field text, col text, type text, prefix text, of_model text)
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  WITH described AS MATERIALIZED (SELECT d.* FROM etl._fields_of(t.connection, t.model) d),
  mapped AS (
    SELECT f.key AS field, f.value AS mapping, CASE jsonb_typeof(f.value) WHEN 'string' THEN f.value #>> '{}' ELSE f.value ->> 'column' END AS col,
      d.fields -> f.key AS described,
      -- One language's value is none of another's, and one company's none of another's.
      (d.fields -> f.key -> 'translate' IS NULL OR coalesce(t.context ->> 'lang', d.outward ->> 'lang') IS NOT DISTINCT FROM d.inward ->> 'lang')
        AND (d.fields -> f.key -> 'company_dependent' IS NULL
          OR coalesce(t.context -> 'allowed_company_ids', d.outward -> 'allowed_company_ids') IS NOT DISTINCT FROM d.inward -> 'allowed_company_ids') AS is_same_value
    FROM jsonb_each(t.fields) f, described d
    WHERE jsonb_typeof(f.value) = 'string' OR NOT f.value ?| '{lines,once,by}'
  )
  -- Without a length: what is too long for its column is refused and not cut.
  SELECT m.field, m.col, format_type(a.atttypid, CASE WHEN a.atttypid = 'varchar'::regtype THEN NULL ELSE a.atttypmod END), r.prefix, r.model
  FROM mapped m
  JOIN pg_attribute a ON a.attrelid = etl._table(t.tab) AND a.attname = m.col AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a'
  JOIN pg_type y ON y.oid = a.atttypid AND y.typcategory <> 'A' AND y.typtype IN ('b', 'e', 'd') AND y.oid NOT IN ('bytea'::regtype, 'json'::regtype, 'bpchar'::regtype)
  LEFT JOIN LATERAL (SELECT o.prefix, o.model FROM etl._tracks_of(etl._table(m.mapping ->> 'ref')) o WHERE o.connection = t.connection AND cardinality(o.key_columns) = 1
      AND o.model = coalesce(m.described ->> 'relation', o.model) ORDER BY o.id LIMIT 1) r
    ON jsonb_typeof(m.mapping) = 'object' AND m.mapping ? 'ref'
  WHERE NOT m.col = ANY (t.key_columns)
    AND (r.prefix IS NOT NULL OR jsonb_typeof(m.mapping) = 'string' OR NOT m.mapping ? 'ref')
    AND m.is_same_value
    AND CASE coalesce(m.described ->> 'type', '')
      -- An id in a number; what names its record otherwise would become a number.
      WHEN 'many2one' THEN r.prefix IS NOT NULL OR y.typcategory = 'N'
      WHEN 'many2one_reference' THEN y.typcategory = 'N'
      WHEN 'datetime' THEN coalesce(nullif(y.typbasetype, 0), y.oid) IN ('timestamp'::regtype, 'timestamptz'::regtype)
      WHEN 'date' THEN coalesce(nullif(y.typbasetype, 0), y.oid) = 'date'::regtype
      ELSE NOT m.described ->> 'type' = ANY ('{one2many,many2many,reference,properties,properties_definition,binary}') IS TRUE END
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
    FROM unnest(t.key_columns) WITH ORDINALITY AS u(k, n) JOIN pg_attribute a ON a.attrelid = etl._table(t.tab) AND a.attname = u.k;
  SELECT etl._object_expression(array_agg(format('%L, %s', i.field, etl._sent_expression(t, i.type, format('t.%I', i.col))) ORDER BY i.field)),
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

-- API: Private. Odoo's values of a mapping, as an expression over a mirror's row m. A reference to a record that is no row here is left out;
-- of several rows that one record has, it is the one that "base", an expression too, names.
CREATE FUNCTION etl._remote_expression(t etl.tracks, rel regclass, base text) RETURNS text
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
    string_agg(format($x$CASE WHEN nullif(%1$s, 'null') IS NULL THEN jsonb_build_object(%2$L, NULL) ELSE coalesce((SELECT jsonb_build_object(%2$L, substr(l.record_key, %3$s)) FROM etl.links l
      WHERE l.connection = %4$L AND l.model = %5$L AND l.odoo_id = (%1$s)::bigint AND starts_with(l.record_key, %6$L)
      ORDER BY (l.record_key = %7$s -> %2$L ->> 'key') DESC NULLS LAST, l.record_key LIMIT 1), '{}') END$x$,
      v.value, v.field, length(v.prefix) + 1, t.connection, v.of_model, v.prefix, base), ' || ') FILTER (WHERE v.prefix IS NOT NULL))
  FROM v
$$;
COMMENT ON FUNCTION etl._remote_expression(etl.tracks, regclass, text) IS 'Odoo''s values of a mapping, as an expression over a mirror''s row.';

-- API: Private. Values of a row as the capture would send them.
CREATE FUNCTION etl._as_sent(vals jsonb, prefixes jsonb) RETURNS jsonb
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT CASE WHEN prefixes = '{}' THEN vals ELSE (
    SELECT jsonb_object_agg(f.key, CASE WHEN prefixes ? f.key AND f.value <> 'null' THEN jsonb_build_object('key', (prefixes ->> f.key) || (f.value #>> '{}')) ELSE f.value END)
    FROM jsonb_each(vals) f) END
$$;
COMMENT ON FUNCTION etl._as_sent(jsonb, jsonb) IS 'Values of a row as the capture would send them.';
