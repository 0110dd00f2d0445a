SELECT w.pid, w.state, w.detail, w.started_at, w.delivered,
       (SELECT count(*) FROM etl.claims c) AS claims_in_flight
FROM etl._workers() w
