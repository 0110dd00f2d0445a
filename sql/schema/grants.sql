-- Who may call what. Nothing to PUBLIC. Read this file to know every right that pg_etl hands out inside schema etl.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA etl FROM PUBLIC;
REVOKE ALL ON ALL PROCEDURES IN SCHEMA etl FROM PUBLIC;
GRANT USAGE ON SCHEMA etl TO etl_reader, etl_worker;

GRANT SELECT ON etl.instance, etl.connections, etl.connection_state, etl.model_fields, etl.queue, etl.claims, etl.holds, etl.links TO etl_reader;
GRANT EXECUTE ON FUNCTION etl.health(), etl.health_report() TO etl_reader;
-- A function in a view is called with the reader's rights.
GRANT EXECUTE ON FUNCTION etl._workers() TO etl_reader;

GRANT EXECUTE ON FUNCTION
  etl.enqueue(text, text, jsonb, text, text, text, smallint, timestamptz), etl.explain(bigint),
  etl.drain_outbox(int, interval, bool), etl.replay(bigint, bool), etl.replay_failed(text, text, text, timestamptz, int),
  etl.cancel(bigint, text), etl.pause(text, text), etl.resume(text), etl.test_connection(text),
  etl.start_run(text, jsonb), etl.finish_run(bigint, text, jsonb) TO etl_operator;
GRANT EXECUTE ON PROCEDURE etl.drain(int, interval) TO etl_operator;

GRANT EXECUTE ON FUNCTION etl.setup(), etl.set_connection(text, text, text, jsonb, text) TO etl_admin;
GRANT SELECT ON etl.audit_log TO etl_admin;

-- The worker: its own bookkeeping, and the doors it needs.
GRANT SELECT ON etl.connections TO etl_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON etl.connection_state, etl.model_fields, etl.queue, etl.claims, etl.holds, etl.links TO etl_worker;
GRANT SELECT, UPDATE ON etl.instance TO etl_worker;
GRANT INSERT ON etl.audit_log TO etl_worker;
GRANT USAGE ON SEQUENCE etl.owner_seq, etl.claim_seq, etl.lot_seq TO etl_worker;
GRANT EXECUTE ON FUNCTION etl._fingerprint(), etl._audit(text, text, jsonb, jsonb), etl._connection_must_exist(text),
  etl._wake(), etl._owner_alive(bigint), etl._workers(), etl._library_version(),
  etl._must_be_set_up(), etl._is_set_up(), etl._odoo_id(jsonb), etl._key_hash(text, text, jsonb), etl._is_flat(jsonb), etl._due(timestamptz), etl._rebuild_queue(),
  etl._choose_namespace(), etl._move_in() TO etl_worker;

-- From here on the launcher may look for this database.
SELECT etl._announce();
