-- A past that was not: two days of deliveries and nine of sync runs, as the worker would have written them, so that charts by hour and by
-- day have something to show minutes after the cluster was made.
SELECT setseed(0.19);

-- Working days and nights, an hour in which Odoo was slow, and the few that were refused.
WITH hours AS (
  SELECT h, 260 + 240 * sin(extract(hour FROM h) / 24 * 2 * pi() - pi() / 2) AS load, h = date_trunc('hour', now(), 'UTC') - interval '17 h' AS slow
  FROM generate_series(date_trunc('hour', now(), 'UTC') - interval '47 h', date_trunc('hour', now(), 'UTC'), interval '1 h') h),
models (model, share, base) AS (VALUES ('res.partner', 1.0, 21), ('product.template', 0.35, 23), ('sale.order', 0.6, 25)),
done AS (
  SELECT h.h, m.model, greatest(round(m.base + (CASE WHEN h.slow THEN 12 ELSE 0 END) + 3 * (random() + random() + random() + random() - 2) + 9 * power(random(), 12)), 1) AS bucket
  FROM hours h CROSS JOIN models m CROSS JOIN LATERAL generate_series(1, (h.load * m.share * (0.85 + 0.3 * random()) * CASE WHEN h.slow THEN 0.3 ELSE 1 END)::int))
INSERT INTO etl.deliveries (at, connection, model, outcome, class, bucket, rows)
SELECT h, 'odoo', model, 'done', '', bucket, count(*) FROM done GROUP BY 1, 3, 6
UNION ALL
SELECT h, 'odoo', model, 'failed', 'validation', 0, rows FROM (SELECT h.h, m.model, (h.load * m.share * CASE WHEN h.slow THEN 0.06 ELSE 0.018 * power(random(), 3) END)::int AS rows FROM hours h CROSS JOIN models m) f WHERE rows > 0
UNION ALL
SELECT h, 'odoo', model, 'retried', 'server', 0, rows FROM (SELECT h.h, m.model, (h.load * m.share * CASE WHEN h.slow THEN 0.4 ELSE 0.05 * power(random(), 4) END)::int AS rows FROM hours h CROSS JOIN models m) f WHERE rows > 0;

-- Mirrors that ran every half hour; two that broke off.
INSERT INTO ops.odoo_sync_runs (direction, status, created_at, started_at, finished_at, meta, error)
SELECT 'odoo_to_sb', CASE WHEN broken THEN 'failed' ELSE 'succeeded' END, at, at, at + seconds * interval '1 s',
  jsonb_build_object('connection', 'odoo', 'model', model, 'read', round(40 * random())), CASE WHEN broken THEN 'Odoo did not answer' END
FROM (SELECT at, model, 0.4 + 2 * random() * share AS seconds, at BETWEEN now() - interval '18 h' AND now() - interval '17 h' AS broken
      FROM generate_series(now() - interval '9 d', now() - interval '1 h', interval '30 min') at,
           (VALUES ('res.partner', 3.0), ('product.template', 1.5), ('sale.order', 2.0)) m (model, share)) r;

-- Some that are to go tonight.
INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, record_key, next_run_at)
SELECT CASE WHEN n % 3 = 0 THEN 'sale.order' ELSE 'product.template' END, 'upsert', jsonb_build_object('name', 'Price of tomorrow ' || n), 'tomorrow-' || n, 'tomorrow-' || n, now() + interval '8 h'
FROM generate_series(1, 24) n;
