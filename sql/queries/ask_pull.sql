-- Asks for pulls of mirrors ($1 connections, $2 models, $3 mode, or verify); returns when that was, in seconds of the epoch.
WITH unpaused AS MATERIALIZED (SELECT etl._unpause_mirrors(w.m, w.c) FROM unnest($1, $2) AS w(c, m) WHERE $3 <> 'verify'),
asked AS (
  INSERT INTO etl.pulls AS p (connection, model, asked_at, asked_mode, verify_asked_at)
  SELECT w.c, w.m, CASE WHEN $3 <> 'verify' THEN now() END, nullif($3, 'verify'), CASE WHEN $3 = 'verify' THEN now() END
  FROM unnest($1, $2) AS w(c, m) ORDER BY 1, 2
  ON CONFLICT (connection, model) DO UPDATE SET not_before = NULL, verify_asked_at = coalesce(excluded.verify_asked_at, p.verify_asked_at),
    asked_at = coalesce(excluded.asked_at, p.asked_at),
    asked_mode = CASE WHEN 'full' IN (p.asked_mode, excluded.asked_mode) THEN 'full' ELSE coalesce(p.asked_mode, excluded.asked_mode) END
  RETURNING 1)
SELECT extract(epoch FROM clock_timestamp())::float8 FROM (SELECT count(*) FROM asked) a, (SELECT count(*) FROM unpaused) u
