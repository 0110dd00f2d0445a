-- Every mirror of an Odoo connection that no live session pulls, and the seconds until its next pull; past when negative.
SELECT m.connection, m.model, m.rel::text AS rel, m.config, extract(epoch FROM d.due - now())::float8 AS due_in
FROM etl._mirrors() m
JOIN etl.connections c ON c.name = m.connection AND c.kind = 'odoo'
LEFT JOIN etl.pulls p ON p.connection = m.connection AND p.model = m.model
CROSS JOIN LATERAL (SELECT CASE WHEN p.connection IS NULL AND NOT m.config ? 'paused' THEN now() ELSE etl._pull_due(p, m.config) END AS due) d
WHERE d.due IS NOT NULL AND (p.run_id IS NULL OR NOT etl._owner_alive(p.owner))
ORDER BY p.asked_at IS NULL, due_in, m.model
