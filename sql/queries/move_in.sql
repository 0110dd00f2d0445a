-- A database that is not the one its state speaks of is a copy: every connection is paused, once, before anything is sent.
-- $1 the fingerprint of this database. Returns whether it was a copy.
WITH copy AS (
  UPDATE etl.instance i SET fingerprint = $1 WHERE i.fingerprint <> $1 RETURNING 1
),
paused AS (
  INSERT INTO etl.connection_state AS s (connection, paused_at, paused_reason, remedy)
  SELECT c.name, now(), 'this database is a copy or was restored: nothing is sent before you say so',
         format('If this database is to deliver from now on: SELECT etl.resume(%L);', c.name)
  FROM etl.connections c WHERE EXISTS (SELECT FROM copy)
  ON CONFLICT (connection) DO UPDATE
    SET paused_at = coalesce(s.paused_at, excluded.paused_at), paused_reason = excluded.paused_reason, remedy = excluded.remedy,
        run_id = NULL
)
SELECT EXISTS (SELECT FROM copy)
