SELECT a.id, a.component, a.status, CASE WHEN a.acknowledged_at IS NULL THEN 'open' ELSE 'acknowledged' END AS state, a.value, a.threshold, a.remedy,
       a.opened_at, a.acknowledged_at, a.acknowledged_by, ARRAY(SELECT jsonb_object_keys(a.told) ORDER BY 1) AS told
FROM etl.alerts a WHERE a.resolved_at IS NULL
