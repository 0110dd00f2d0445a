-- Who may call what. Nothing to PUBLIC. Read this file to know every right that pg_etl hands out inside schema etl.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA etl FROM PUBLIC;
REVOKE ALL ON ALL PROCEDURES IN SCHEMA etl FROM PUBLIC;
GRANT USAGE ON SCHEMA etl TO etl_reader, etl_worker;

GRANT SELECT ON etl.alert_rules, etl.alerts, etl.thresholds, etl.counts, etl.failures, etl.deliveries, etl.run_days, etl.instance, etl.connections, etl.connection_state, etl.model_fields, etl.queue, etl.claims, etl.holds, etl.links, etl.pulls, etl.schema_drift, etl.tracks TO etl_reader;
-- Both values of what was changed on both sides.
GRANT SELECT ON etl.conflicts TO etl_operator;
GRANT EXECUTE ON FUNCTION etl.health(), etl.health_report(), etl.metrics(), etl.log_tail(int), etl.failed_syncs(int) TO etl_reader;
-- A function in a view is called with the reader's rights.
GRANT EXECUTE ON FUNCTION etl._workers(), etl._oldest_due(text), etl._instant(text), etl._runs_by_day(timestamptz, timestamptz) TO etl_reader;

GRANT EXECUTE ON FUNCTION
  etl.enqueue(text, text, jsonb, text, text, text, smallint, timestamptz), etl.explain(bigint),
  etl.drain_outbox(int, interval, bool), etl.replay(bigint, bool), etl.replay_failed(text, text, text, timestamptz, int),
  etl.cancel(bigint, text), etl.apply_retention(int, bigint), etl.pause(text, text), etl.resume(text), etl.test_connection(text),
  etl.check_alerts(), etl.ack_alert(bigint), etl.test_alert(text), etl.start_run(text, jsonb), etl.finish_run(bigint, text, jsonb),
  etl.pull(text, bool, text, interval), etl.request_pull(text, text, text), etl.verify(text, text, interval), etl.rollback_run(bigint) TO etl_operator;
GRANT EXECUTE ON PROCEDURE etl.drain(int, interval) TO etl_operator;

GRANT EXECUTE ON FUNCTION etl.set_alert(text, text[], text, text, interval, text, text), etl.drop_alert(text), etl.setup(), etl.set_connection(text, text, text, jsonb, text),
  etl.mirror(text, text, text[], jsonb, text, jsonb), etl.unmirror(text, text), etl.mirror_defaults(text) TO etl_admin;
-- What etl.mirror() calls with the rights of whoever calls it.
GRANT EXECUTE ON FUNCTION etl._must_be_set_up(), etl._describe(text, text, text[], jsonb), etl._create_mirror(text, jsonb), etl._adopt_mirror(regclass, jsonb),
  etl._holds(text, text), etl._mirror_id(regclass), etl._mirror_type(text), etl._is_whole(regclass, text[]), etl._has_column(regclass, text), etl._mirror_of(regclass), etl._register_mirror(text, text, text, jsonb) TO etl_admin;
GRANT SELECT ON etl.audit_log TO etl_admin;
GRANT INSERT, UPDATE, DELETE ON etl.thresholds TO etl_admin;
GRANT SELECT, INSERT ON etl.thresholds TO etl_worker;

-- etl.track() likewise: what it does to the table it does as the table's owner.
GRANT EXECUTE ON FUNCTION etl.track(regclass, text, jsonb, text[], text, text, text, text, smallint, text, jsonb, text, text), etl.untrack(regclass, text, text),
  etl.backfill(regclass, text, text), etl._key_expression(text, text[]), etl._value_expression(etl.tracks, text, jsonb), etl._tracks_of(regclass),
  etl._payload_source(etl.tracks), etl._is_plain(etl.tracks, jsonb), etl._sending_source(etl.tracks), etl._lines_track(etl.tracks, jsonb), etl._sent_expression(etl.tracks, text, text), etl._fields_of(text, text), etl._lines_expression(etl.tracks, text, jsonb), etl._lines_source(etl.tracks, text, jsonb), etl._line_captures(etl.tracks),
  etl._line_tables(jsonb), etl._table(text), etl._column_numbers(regclass), etl._checked_lines(etl.tracks, text, jsonb), etl._with_references(jsonb, name), etl._check_field(text, text, jsonb, jsonb), etl._marked(jsonb, text, jsonb), etl._lock_extension(), etl._lines_elsewhere(text, text, regclass),
  etl._capture_source(etl.tracks), etl._track_functions(etl.tracks), etl._key_operator(regclass, text), etl._same_key(regclass, text[], text), etl._key_among(regclass, text[], text), etl._check_policies(regclass), etl._chunk_source(etl.tracks, text, text, text, text, text), etl._arm(etl.tracks), etl._register_track(etl.tracks), etl._make_sink(int), etl._capture_names(etl.tracks), etl._write_capture(etl.tracks),
  etl._checked_key(regclass, text[]), etl._qualified(text), etl._forget_track(int), etl._capture_functions(etl.tracks), etl._mirror_table(text, text), etl._inward(etl.tracks, regclass),
  etl._two_way_source(etl.tracks, regclass), etl._object_expression(text[]), etl._cast_expression(text, text, text) TO etl_admin;
GRANT EXECUTE ON FUNCTION etl.tracked_records(regclass, text, text) TO etl_reader;

-- The worker: its own bookkeeping, and the doors it needs.
GRANT SELECT ON etl.connections TO etl_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON etl.connection_state, etl.model_fields, etl.queue, etl.claims, etl.holds, etl.links, etl.pulls, etl.before_images,
  etl.schema_drift, etl.images, etl.held_back, etl.applying, etl.counts, etl.failures, etl.deliveries, etl.run_days, etl.alert_rules, etl.alerts, etl.messages TO etl_worker;
GRANT SELECT, INSERT, DELETE ON etl.conflicts TO etl_worker;
-- How far a backfill is, and no more: the mapping runs as the tables' owners.
GRANT SELECT, UPDATE (backfill_asked_at, backfill_after, backfilled_rows, backfilled_at, backfill_error, backfill_not_before) ON etl.tracks TO etl_worker;
GRANT SELECT, UPDATE ON etl.instance TO etl_worker;
GRANT SELECT, INSERT, DELETE ON etl.audit_log TO etl_worker;
GRANT USAGE ON SEQUENCE etl.owner_seq, etl.claim_seq, etl.lot_seq TO etl_worker;
GRANT EXECUTE ON FUNCTION etl._fingerprint(), etl._is_worker(), etl._audit(text, text, jsonb, jsonb), etl._connection_must_exist(text),
  etl._wake(), etl._owner_alive(bigint), etl._workers(), etl._library_version(),
  etl._must_be_set_up(), etl._is_set_up(), etl._odoo_id(jsonb), etl._key_hash(text, text, jsonb), etl._is_flat(jsonb), etl._due(timestamptz), etl._rebuild_queue(), etl._take_turn(int, bool), etl._fold_counts(), etl._recount(), etl._fold_deliveries(interval), etl._fold_runs(interval), etl._runs_by_day(timestamptz, timestamptz), etl._oldest_due(text), etl._instant(text), etl._must_be_object(jsonb), etl._default_thresholds(), etl._seed_thresholds(), etl._must_be_count(int), etl._components(), etl._say(text, jsonb), etl._alert_state(bool), etl._apply_alerts(jsonb), etl._oldest_snapshot(), etl._cron_jobs(),
  etl._choose_namespace(), etl._move_in(), etl._mirror_key(text, text), etl._mirrors(), etl._table(text), etl._is_ours(regclass), etl._is_whole(regclass, text[]), etl._must_hold(text, text, bigint), etl._mirror_id(regclass), etl._has_column(regclass, text),
  etl._columns(regclass, text[], text, bool), etl._merging(bool), etl._is_echo(regclass, jsonb), etl._merge(text, text, regclass, text[], json, bigint), etl._compare(regclass, bigint, bigint, bigint[]),
  etl._mark_gone(text, text, regclass, bigint[], bigint[], bigint), etl._seconds(jsonb, text, float8), etl._unpause_mirrors(text, text),
  etl._differences(regclass, text[], json, timestamptz), etl._notice_drift(text, text, regclass, jsonb, jsonb, text[]), etl._mirror_of(regclass), etl._pull_due(etl.pulls, jsonb), etl._begin_pull(text, text, bigint),
  etl._end_pull(text, text, bigint, text, text, text, text),
  etl._tracks_of(regclass), etl._capture_names(etl.tracks), etl._capture_functions(etl.tracks), etl._disarmed(etl.tracks), etl._follow_owners(), etl._backfill_chunk(int, bigint), etl._external_id(text, text, text),
  etl._two_way(text, text), etl._seen(text, bigint[]), etl._dated(text, text, regclass), etl._pull_before_sending(text[], text[]), etl._inward(etl.tracks, regclass), etl._object_expression(text[]), etl._remote_expression(etl.tracks, regclass, text), etl._sent_expression(etl.tracks, text, text), etl._fields_of(text, text), etl._as_owner(int, text, jsonb), etl._is_answer(text, jsonb), etl._for_each(int, text, jsonb), etl._as_sent(jsonb, jsonb), etl._look_in(int, regclass, bigint[], timestamptz),
  etl._note_looked(int, jsonb, jsonb), etl._apply_in(int, bigint, jsonb), etl._create_in(int, regclass, bigint[], bigint, bigint), etl._delete_in(int, regclass, bigint[], bigint), etl._kept_sent(bigint[], int), etl._note_sent(int, text, bigint[]), etl._echoes(int), etl._waiting(text, text, text, text[], bool), etl._unmade(text, text, text, text[]), etl._kept_days(text) TO etl_worker;

-- From here on the launcher may look for this database.
SELECT etl._announce();
