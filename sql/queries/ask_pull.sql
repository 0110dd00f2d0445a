-- Asks for pulls of mirrors ($1 connections, $2 models, $3 mode); returns when that was, in seconds of the epoch.
WITH unpaused AS MATERIALIZED (SELECT etl._unpause_mirrors(w.m, w.c) FROM unnest($1, $2) AS w(c, m)),
asked AS (
  INSERT INTO etl.pulls AS p (connection, model, asked_at, asked_mode)
  SELECT w.c, w.m, now(), $3 FROM unnest($1, $2) AS w(c, m) ORDER BY 1, 2
  ON CONFLICT (connection, model) DO UPDATE SET asked_at = now(), not_before = NULL,
    -- A comparison changes nothing, so whatever else is asked goes before it.
    asked_mode = CASE WHEN 'full' IN (p.asked_mode, excluded.asked_mode) THEN 'full'
                      WHEN p.asked_mode IS NULL OR p.asked_mode = 'verify' THEN excluded.asked_mode ELSE p.asked_mode END
  RETURNING 1)
SELECT extract(epoch FROM clock_timestamp())::float8 FROM (SELECT count(*) FROM asked) a, (SELECT count(*) FROM unpaused) u
