SELECT c.name AS connection, c.kind, c.url, c.secret AS secret_reference,
       CASE WHEN s.paused_at IS NOT NULL THEN 'paused'
            WHEN s.failures > 0 THEN 'circuit open'
            WHEN s.throttled_until > now() THEN 'throttled'
            WHEN s.last_ok_at IS NULL AND s.last_error_at IS NULL THEN 'not used yet'
            ELSE 'ok' END AS state,
       s.paused_reason, s.paused_at, s.failures, s.probe_at, s.throttled_until, s.protocol, s.version,
       s.last_ok_at, s.last_error_at, s.last_error_class, s.last_error, s.remedy
FROM etl.connections c LEFT JOIN etl.connection_state s ON s.connection = c.name
