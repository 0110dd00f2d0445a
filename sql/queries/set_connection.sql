-- Makes or replaces a connection. A secret that is not named stays; the caller saw to it that the url is the same then.
-- $1 name, $2 kind, $3 url, $4 options, $5 secret reference
WITH stored AS (
  INSERT INTO etl.connections AS c (name, kind, url, options, secret) VALUES ($1, $2, $3, $4, $5)
  ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, url = excluded.url, options = excluded.options,
    secret = coalesce(excluded.secret, c.secret), updated_at = now()
  RETURNING kind, url, options, secret
),
-- What was learned about the old endpoint says nothing about the new one. A person's pause stays until a person ends it.
forgotten AS (DELETE FROM etl.model_fields f WHERE f.connection = $1),
state AS (
  INSERT INTO etl.connection_state AS s (connection) VALUES ($1)
  ON CONFLICT (connection) DO UPDATE SET paused_at = CASE WHEN NOT s.refused THEN s.paused_at END, paused_reason = CASE WHEN NOT s.refused THEN s.paused_reason END,
    remedy = CASE WHEN NOT s.refused THEN s.remedy END, refused = false, secret_error = NULL, key_ends_at = NULL, failures = 0, probe_at = NULL, throttled_until = NULL, protocol = NULL, version = NULL
)
SELECT jsonb_build_object('kind', s.kind, 'url', s.url, 'options', s.options, 'secret', s.secret) FROM stored s
