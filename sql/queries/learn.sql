-- What a call taught about its connection. $1 connection, $2 whether it answered as it should, $3 failures in a row, $4 seconds
-- to the next probe, $5 seconds of throttling, $6 reason to pause, $7 error class, $8 error, $9 remedy, $10 protocol, $11 version,
-- $12 whether a pause ends that the worker made because it was refused
WITH known AS (INSERT INTO etl.connection_state (connection) SELECT c.name FROM etl.connections c WHERE c.name = $1 ON CONFLICT (connection) DO NOTHING)
UPDATE etl.connection_state s
SET failures = $3,
    probe_at = now() + $4 * interval '1 s',
    throttled_until = greatest(s.throttled_until, now() + $5 * interval '1 s'),
    paused_at = CASE WHEN $6 IS NOT NULL THEN coalesce(s.paused_at, now()) WHEN NOT ($12 AND s.refused) THEN s.paused_at END,
    refused = CASE WHEN $6 IS NOT NULL THEN s.refused OR s.paused_at IS NULL ELSE s.refused AND NOT $12 END,
    paused_reason = CASE WHEN $6 IS NOT NULL AND s.paused_at IS NULL THEN $6 WHEN NOT ($12 AND s.refused) THEN s.paused_reason END,
    remedy = CASE WHEN $2 AND (s.paused_at IS NULL OR $12 AND s.refused) THEN NULL ELSE coalesce($9, s.remedy) END,
    secret_error = CASE WHEN NOT $2 THEN s.secret_error END,
    last_ok_at = CASE WHEN $2 THEN now() ELSE s.last_ok_at END,
    last_error_at = CASE WHEN $7 IS NOT NULL THEN now() ELSE s.last_error_at END,
    last_error_class = coalesce($7, s.last_error_class),
    last_error = coalesce($8, s.last_error),
    protocol = coalesce($10, s.protocol),
    version = coalesce($11, s.version)
WHERE s.connection = $1
