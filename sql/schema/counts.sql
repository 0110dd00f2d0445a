-- What a scan of the outbox would say, kept as it changes: how many rows are in which state, which were given up, and what was
-- delivered when, how fast. Derived like the queue, and made anew by etl._recount().

-- Differences: whoever changes rows adds a line, and nobody waits for anybody. Their sum is the number of rows. etl._fold_counts() adds
-- up what has come together. "queued" are here the rows that wait and those on the wire: a claim changes nothing.
CREATE TABLE etl.counts (
  connection text NOT NULL,
  model text,
  operation text,
  status text,
  rows bigint NOT NULL
);
COMMENT ON TABLE etl.counts IS 'How many rows the outbox has, as differences to be added up. etl.outbox_summary shows them.';

CREATE TABLE etl.failures (id bigint PRIMARY KEY);
COMMENT ON TABLE etl.failures IS 'The dead letters: an index on the status would cost every delivery more than this.';

-- By minute; what is older than two hours by hour, than three days by day, and what is older than runs are kept in one sum, dated 1970.
CREATE TABLE etl.deliveries (
  at timestamptz NOT NULL,
  connection text NOT NULL,
  model text NOT NULL,
  -- done, failed or retried.
  outcome text NOT NULL,
  -- The error class; of what was delivered ''.
  class text NOT NULL,
  -- Of what was delivered the time from its insertion: 4 × log2 of the milliseconds, rounded up.
  bucket smallint NOT NULL,
  rows bigint NOT NULL,
  PRIMARY KEY (at, connection, model, outcome, class, bucket)
) WITH (fillfactor = 50);
COMMENT ON TABLE etl.deliveries IS 'What became of rows that were sent, by minute and later by hour. etl.error_rate_hourly and etl.delivery_latency show it.';

-- Runs of days that are over for a day; those of younger ones are counted where they are.
CREATE TABLE etl.run_days (
  day date NOT NULL,
  direction text,
  connection text NOT NULL,
  model text,
  runs bigint NOT NULL,
  succeeded bigint NOT NULL,
  failed bigint NOT NULL,
  running bigint NOT NULL,
  mean_seconds float8,
  max_seconds float8
);
CREATE INDEX run_days_day ON etl.run_days (day);
COMMENT ON TABLE etl.run_days IS 'Sync runs of days that are over. etl.sync_runs_daily shows it.';

ALTER TABLE etl.run_days ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader ON etl.run_days FOR SELECT TO etl_reader USING (true);
CREATE POLICY worker ON etl.run_days FOR ALL TO etl_worker USING (true) WITH CHECK (true);
ALTER TABLE etl.counts ENABLE ROW LEVEL SECURITY;
ALTER TABLE etl.failures ENABLE ROW LEVEL SECURITY;
ALTER TABLE etl.deliveries ENABLE ROW LEVEL SECURITY;
CREATE POLICY reader ON etl.counts FOR SELECT TO etl_reader USING (true);
CREATE POLICY reader ON etl.failures FOR SELECT TO etl_reader USING (true);
CREATE POLICY reader ON etl.deliveries FOR SELECT TO etl_reader USING (true);
CREATE POLICY worker ON etl.counts FOR ALL TO etl_worker USING (true) WITH CHECK (true);
CREATE POLICY worker ON etl.failures FOR ALL TO etl_worker USING (true) WITH CHECK (true);
CREATE POLICY worker ON etl.deliveries FOR ALL TO etl_worker USING (true) WITH CHECK (true);

-- API: Private. Waits for its turn, or does not: one at a time does what a number stands for, until its transaction ends. Out of reach of SQL's
-- advisory locks, which everybody may take. 1: counts, 2: alerts.
CREATE FUNCTION etl._take_turn(turn int, waits bool) RETURNS bool
  LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'take_turn_wrapper';
COMMENT ON FUNCTION etl._take_turn(int, bool) IS 'Whether nobody else does what this number stands for, until the transaction ends.';

-- API: Private. Adds up the differences. One at a time: nobody else deletes them, so nobody is waited for.
CREATE FUNCTION etl._fold_counts() RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  -- With an older snapshot what another one has added up meanwhile would be an error.
  IF current_setting('transaction_isolation') <> 'read committed'
      OR NOT EXISTS (SELECT FROM etl.counts c GROUP BY c.connection, c.model, c.operation, c.status HAVING count(*) > 1) OR NOT etl._take_turn(1, false) THEN
    RETURN;
  END IF;
  WITH gone AS (DELETE FROM etl.counts RETURNING *)
  INSERT INTO etl.counts (connection, model, operation, status, rows)
    SELECT g.connection, g.model, g.operation, g.status, sum(g.rows) FROM gone g GROUP BY g.connection, g.model, g.operation, g.status HAVING sum(g.rows) <> 0;
END
$$;
COMMENT ON FUNCTION etl._fold_counts() IS 'Adds up the differences of etl.counts.';
ALTER FUNCTION etl._fold_counts() OWNER TO etl_worker;

-- API: Private. Counts anew, in one scan. Rows and their differences are of one transaction, so one snapshot sees both or neither.
CREATE FUNCTION etl._recount() RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  -- In the order in which TRUNCATE and etl.setup() take them.
  LOCK TABLE ops.odoo_outbox IN ACCESS SHARE MODE;
  PERFORM FROM etl.instance i FOR UPDATE;
  PERFORM etl._take_turn(1, true);
  -- What was truncated by somebody whose snapshot was older than a row is still in the queue.
  DELETE FROM etl.queue q WHERE NOT EXISTS (SELECT FROM ops.odoo_outbox o WHERE o.id = q.id);
  WITH scanned AS MATERIALIZED (
    SELECT coalesce(o.connection, 'odoo') AS connection, o.model, o.operation, o.status, count(*) AS rows, array_agg(o.id) FILTER (WHERE o.status = 'failed') AS failed
    FROM ops.odoo_outbox o GROUP BY 1, 2, 3, 4),
  gone AS (DELETE FROM etl.counts),
  counted AS (
    INSERT INTO etl.counts (connection, model, operation, status, rows)
    SELECT s.connection, s.model, s.operation, CASE s.status WHEN 'processing' THEN 'queued' ELSE s.status END, sum(s.rows) FROM scanned s GROUP BY 1, 2, 3, 4),
  dead AS MATERIALIZED (SELECT u.id FROM scanned s CROSS JOIN LATERAL unnest(s.failed) AS u (id)),
  well AS (DELETE FROM etl.failures f WHERE NOT EXISTS (SELECT FROM dead d WHERE d.id = f.id)),
  ill AS (INSERT INTO etl.failures (id) SELECT d.id FROM dead d ON CONFLICT DO NOTHING)
  UPDATE etl.instance i SET unseen = u.rows
    FROM (SELECT greatest((SELECT coalesce(sum(s.rows), 0) FROM scanned s WHERE s.status = 'queued') - (SELECT count(*) FROM etl.queue), 0) AS rows) u WHERE i.unseen <> u.rows;
END
$$;
COMMENT ON FUNCTION etl._recount() IS 'Derives etl.counts and etl.failures from the outbox.';
ALTER FUNCTION etl._recount() OWNER TO etl_worker;

-- API: Private. AFTER UPDATE of a row by anything but claim and settle.
CREATE FUNCTION etl._outbox_counted() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  INSERT INTO etl.counts (connection, model, operation, status, rows) VALUES
    (coalesce(old.connection, 'odoo'), old.model, old.operation, CASE old.status WHEN 'processing' THEN 'queued' ELSE old.status END, -1),
    (coalesce(new.connection, 'odoo'), new.model, new.operation, CASE new.status WHEN 'processing' THEN 'queued' ELSE new.status END, 1);
  IF new.status = 'failed' THEN
    INSERT INTO etl.failures (id) VALUES (new.id) ON CONFLICT DO NOTHING;
  ELSIF old.status = 'failed' THEN
    DELETE FROM etl.failures f WHERE f.id = old.id;
  END IF;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION etl._outbox_counted() IS 'Keeps the counts in step with a row changed by hand.';

-- API: Private. Minutes that are over become hours, and these days; what is old becomes one sum, dated 1970, so that counters never go back.
CREATE FUNCTION etl._fold_deliveries(kept interval) RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
  WITH placed AS MATERIALIZED (
    SELECT d.at, CASE WHEN d.at < now() - kept THEN timestamptz 'epoch'
        WHEN d.at < date_trunc('day', now() - interval '3 d', 'UTC') THEN date_trunc('day', d.at, 'UTC')
        WHEN d.at < date_trunc('hour', now() - interval '2 h', 'UTC') THEN date_trunc('hour', d.at, 'UTC') ELSE d.at END AS place
    FROM (SELECT DISTINCT x.at FROM etl.deliveries x) d),
  gone AS (DELETE FROM etl.deliveries d USING placed p WHERE d.at = p.at AND p.place <> p.at RETURNING d.*, p.place)
  INSERT INTO etl.deliveries AS d (at, connection, model, outcome, class, bucket, rows)
    SELECT g.place, g.connection, g.model, g.outcome, g.class, g.bucket, sum(g.rows)
    FROM gone g GROUP BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (at, connection, model, outcome, class, bucket) DO UPDATE SET rows = d.rows + excluded.rows;
$$;
COMMENT ON FUNCTION etl._fold_deliveries(interval) IS 'Adds up the minutes of etl.deliveries that are over.';
ALTER FUNCTION etl._fold_deliveries(interval) OWNER TO etl_worker;

-- API: Private. Counts the runs of days that are over; those of the last few once more, for a run may end late.
CREATE FUNCTION etl._fold_runs(kept interval) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
DECLARE
  today date := (now() AT TIME ZONE 'UTC')::date;
  upto timestamptz := (today - 1)::timestamp AT TIME ZONE 'UTC';
  since timestamptz;
BEGIN
  -- Two at once would both add what neither sees of the other.
  LOCK TABLE etl.run_days IN SHARE ROW EXCLUSIVE MODE;
  DELETE FROM etl.run_days d WHERE d.day >= today - 4 OR d.day < (now() - kept) AT TIME ZONE 'UTC';
  SELECT coalesce((max(d.day) + 1)::timestamp AT TIME ZONE 'UTC', '-infinity') INTO since FROM etl.run_days d;
  INSERT INTO etl.run_days (day, direction, connection, model, runs, succeeded, failed, running, mean_seconds, max_seconds)
    SELECT x.* FROM etl._runs_by_day(since, upto) x;
END
$$;
COMMENT ON FUNCTION etl._fold_runs(interval) IS 'Adds up the runs of days that are over.';
ALTER FUNCTION etl._fold_runs(interval) OWNER TO etl_worker;

-- API: Private. Runs by day, of those that began in a time; an index of theirs has it.
CREATE FUNCTION etl._runs_by_day(since timestamptz, upto timestamptz)
  RETURNS TABLE (day date, direction text, connection text, model text, runs bigint, succeeded bigint, failed bigint, running bigint, mean_seconds float8, max_seconds float8)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
BEGIN
  RETURN QUERY
    SELECT date_trunc('day', coalesce(r.started_at, r.created_at), 'UTC')::date, r.direction::text, coalesce(r.meta ->> 'connection', 'odoo'), r.meta ->> 'model',
           count(*), count(*) FILTER (WHERE r.status = 'succeeded'), count(*) FILTER (WHERE r.status = 'failed'), count(*) FILTER (WHERE r.status = 'running'),
           (avg(extract(epoch FROM r.finished_at - r.started_at)) FILTER (WHERE isfinite(r.finished_at) AND isfinite(r.started_at)))::float8,
           (max(extract(epoch FROM r.finished_at - r.started_at)) FILTER (WHERE isfinite(r.finished_at) AND isfinite(r.started_at)))::float8
    FROM ops.odoo_sync_runs r
    WHERE coalesce(r.started_at, r.created_at) >= $1 AND coalesce(r.started_at, r.created_at) < $2
    GROUP BY 1, 2, 3, 4;
END
$$;
COMMENT ON FUNCTION etl._runs_by_day(timestamptz, timestamptz) IS 'Sync runs by day, direction, connection and model.';
ALTER FUNCTION etl._runs_by_day(timestamptz, timestamptz) OWNER TO etl_worker;

-- API: Private. A time that somebody may have written by hand; NULL where it is none.
CREATE FUNCTION etl._instant(written text) RETURNS timestamptz
  LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  at timestamptz;
BEGIN
  at := written::timestamptz;
  RETURN CASE WHEN isfinite(at) THEN at END;
EXCEPTION WHEN data_exception THEN
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION etl._instant(text) IS 'A time, or NULL where it is none.';

-- API: Private. When the first row of a connection that waits was due: of those that were scheduled or tried before exactly, of the others
-- among the thousand that go first and the thousand that are oldest.
CREATE FUNCTION etl._oldest_due(connection text) RETURNS timestamptz
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on
AS $$
  SELECT least(
    (SELECT q.due FROM etl.queue q WHERE q.connection = $1 AND NOT q.fresh ORDER BY q.due LIMIT 1),
    (SELECT min(f.due) FROM (SELECT q.due FROM etl.queue q WHERE q.connection = $1 AND q.fresh ORDER BY q.rank, q.id LIMIT 1000) f),
    (SELECT min(f.due) FROM (SELECT q.due, q.connection FROM etl.queue q ORDER BY q.id LIMIT 1000) f WHERE f.connection = $1))
$$;
COMMENT ON FUNCTION etl._oldest_due(text) IS 'When the first row that waits was due.';
ALTER FUNCTION etl._oldest_due(text) OWNER TO etl_worker;
