//! What a hostile or careless owner of the database sets for it, or for the worker's role, does not reach the worker (G10).

use pg_etl_tests::DATABASE;
use pg_etl_tests::prelude::*;
use xtask::pg::PgVersion;

const SETTINGS: &[&str] = &[
    "default_transaction_read_only = on",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_deferrable = on",
    "statement_timeout = '1ms'",
    "lock_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '1ms'",
    "idle_session_timeout = '1ms'",
    "synchronous_commit = off",
    "session_replication_role = replica",
    "row_security = off",
    "search_path = hostile, pg_temp, public",
    "standard_conforming_strings = off",
    "escape_string_warning = off",
    "transform_null_equals = on",
    "array_nulls = off",
    "quote_all_identifiers = on",
    "bytea_output = 'escape'",
    "extra_float_digits = -15",
    "datestyle = 'German'",
    "intervalstyle = 'sql_standard'",
    "timezone = 'Asia/Kathmandu'",
    "xmloption = 'document'",
    "client_encoding = 'LATIN1'",
    "lc_numeric = 'C'",
    "jit = on",
    "jit_above_cost = 0",
    "jit_optimize_above_cost = 0",
    "plan_cache_mode = force_generic_plan",
    "enable_indexscan = off",
    "enable_indexonlyscan = off",
    "enable_bitmapscan = off",
    "enable_hashjoin = off",
    "enable_sort = off",
    "work_mem = '64kB'",
    "temp_buffers = '800kB'",
    "max_stack_depth = '100kB'",
    "from_collapse_limit = 1",
    "geqo_threshold = 2",
    "parallel_setup_cost = 0",
    "min_parallel_table_scan_size = 0",
    "default_table_access_method = 'heap'",
    "default_tablespace = 'pg_default'",
    "temp_tablespaces = 'pg_default'",
    "client_min_messages = error",
    "log_min_messages = debug1",
    "log_statement = 'all'",
    "log_min_duration_statement = 0",
    "exit_on_error = on",
    "commit_delay = 100000",
    "commit_siblings = 0",
    "check_function_bodies = on",
    "backslash_quote = on",
    "application_name = 'nobody'",
];

/// Objects that would be found before Postgres' own, or before ours, by whoever does not say which he means.
const SHADOWS: &str = "
CREATE SCHEMA hostile;
GRANT USAGE ON SCHEMA hostile TO PUBLIC;
CREATE TABLE hostile.loot (what text, who name DEFAULT current_user);
GRANT INSERT ON hostile.loot TO PUBLIC;
CREATE FUNCTION hostile.now() RETURNS timestamptz LANGUAGE sql AS $$
  INSERT INTO hostile.loot VALUES ('now'); SELECT timestamptz 'infinity' $$;
CREATE FUNCTION hostile.count(int) RETURNS bigint LANGUAGE sql AS $$
  INSERT INTO hostile.loot VALUES ('count'); SELECT 0::bigint $$;
CREATE FUNCTION hostile.equal(text, text) RETURNS bool LANGUAGE sql AS $$
  INSERT INTO hostile.loot VALUES ('text ='); SELECT false $$;
CREATE OPERATOR hostile.= (FUNCTION = hostile.equal, LEFTARG = text, RIGHTARG = text);
CREATE FUNCTION hostile.less(timestamptz, timestamptz) RETURNS bool LANGUAGE sql AS $$
  INSERT INTO hostile.loot VALUES ('time <='); SELECT false $$;
CREATE OPERATOR hostile.<= (FUNCTION = hostile.less, LEFTARG = timestamptz, RIGHTARG = timestamptz);
CREATE FUNCTION hostile.equal(bigint, bigint) RETURNS bool LANGUAGE sql AS $$
  INSERT INTO hostile.loot VALUES ('bigint ='); SELECT false $$;
CREATE OPERATOR hostile.= (FUNCTION = hostile.equal, LEFTARG = bigint, RIGHTARG = bigint);
CREATE TABLE hostile.odoo_outbox (id bigint);
CREATE TABLE hostile.queue (id bigint);
CREATE TABLE hostile.pg_extension (extname name, extversion text);
";

#[track_caller]
fn spoil(bench: &Bench, db: &mut Client) {
    db.run(SHADOWS);
    let newer = ["transaction_timeout = '1ms'", "event_triggers = off"];
    let newer = newer
        .iter()
        .filter(|_| bench.cluster.version() == PgVersion::V17);
    for setting in SETTINGS.iter().chain(newer) {
        db.run(&format!("ALTER DATABASE {DATABASE} SET {setting}"));
        db.run(&format!(
            "ALTER ROLE etl_worker IN DATABASE {DATABASE} SET {setting}"
        ));
    }
}

/// A worker that began after `first`.
#[track_caller]
fn begins_anew(bench: &Bench, db: &mut Client) -> i32 {
    let first = bench.worker();
    db.run(&format!("SELECT pg_terminate_backend({first})"));
    eventually(PATIENCE, "a worker with these settings", || {
        bench.worker() != first
    });
    bench.worker()
}

/// The usual, and what needs the clock, text with backslashes, a retry and a lock that somebody keeps.
#[track_caller]
fn delivers_as_ever(bench: &Bench, db: &mut Client) {
    let sim = bench.sim();
    let ada = Some("partner:ada");
    let odd = "it's a \\ ä ☃ \"quoted\"";
    let create = db.enqueue(
        "res.partner",
        "create",
        json!({"name": "Ada", "comment": odd}),
        ada,
    );
    let update = db.enqueue("res.partner", "update", json!({"city": odd}), ada);
    db.await_status(create, "done");
    db.await_status(update, "done");
    assert_eq!(sim.partner("Ada")["city"], odd);

    sim.inject(
        Fault::new(Effect::Conflict)
            .on("res.partner", "load")
            .times(2),
    );
    sim.poison(odoo_sim::Poison::new("res.partner", "name", "Poisoned"));
    let poisoned = db.enqueue("res.partner", "create", json!({"name": "Poisoned"}), None);
    let retried = db.enqueue("res.partner", "create", json!({"name": "Retried"}), None);
    db.await_status(retried, "done");
    db.await_status(poisoned, "failed");
}

#[test]
fn the_resident_worker_has_its_own() {
    let bench = Bench::ready();
    // These sessions began before the settings and are free of them.
    let (mut db, mut holder) = (bench.client(), bench.client());
    spoil(&bench, &mut db);
    let worker = begins_anew(&bench, &mut db);
    delivers_as_ever(&bench, &mut db);
    // An error inside a transaction of the worker is no reason to leave, whatever exit_on_error says.
    let met = || bench.cluster.log().matches("due to lock timeout").count();
    let before = met();
    db.run("SELECT etl.pause()");
    let id = db.enqueue("res.partner", "create", json!({"name": "After"}), None);
    let mut held = holder.transaction().unwrap();
    held.batch_execute("LOCK TABLE ops.odoo_outbox").unwrap();
    db.run("SELECT etl.resume()");
    eventually(PATIENCE, "the worker to meet the lock", || met() > before);
    held.commit().unwrap();
    db.await_status(id, "done");
    assert_eq!(bench.worker(), worker, "it went on, it did not die");
    let found: Vec<String> = db.all(
        "SELECT DISTINCT what || ' by ' || who FROM hostile.loot",
        &[],
    );
    assert_eq!(found, [""; 0], "found in a hostile schema");
}

/// The worker of a drain comes from a session that has all of it too.
#[test]
fn an_errand_has_its_own() {
    let bench = Bench::builder().preload(&[]).start();
    let mut db = bench.client();
    spoil(&bench, &mut db);
    for name in ["Ada", "Bob"] {
        db.enqueue("res.partner", "create", json!({"name": name}), Some(name));
    }
    let options =
        "options='-c statement_timeout=0 -c idle_session_timeout=0 -c transaction_timeout=0'";
    let options = if bench.cluster.version() == PgVersion::V17 {
        options
    } else {
        "options='-c statement_timeout=0 -c idle_session_timeout=0'"
    };
    let dsn = format!(
        "host=127.0.0.1 port={} user=postgres dbname={DATABASE} {options}",
        bench.cluster.port()
    );
    let mut spoilt = Client::connect(&dsn, postgres::NoTls).unwrap();
    assert_eq!(
        spoilt.one::<String>("SELECT current_setting('jit_above_cost')", &[]),
        "0"
    );
    let drained = spoilt.drain();
    assert_eq!(
        (&drained["done"], &drained["remaining"]),
        (&json!(2), &json!(0)),
        "{drained}"
    );
    bench.sim().partner("Ada");
    let found: Vec<String> = db.all(
        "SELECT DISTINCT what || ' by ' || who FROM hostile.loot",
        &[],
    );
    assert_eq!(found, [""; 0], "found in a hostile schema");
}

/// Sessions of the database cannot even begin; the worker does.
#[test]
fn libraries_that_do_not_exist_keep_nobody_else_out() {
    let bench = Bench::ready();
    let mut db = bench.client();
    for list in ["session_preload_libraries", "local_preload_libraries"] {
        db.run(&format!(
            "ALTER DATABASE {DATABASE} SET {list} = 'no_such_library'"
        ));
        db.run(&format!(
            "ALTER ROLE etl_worker IN DATABASE {DATABASE} SET {list} = 'no_such_library'"
        ));
    }
    assert!(
        bench.cluster.client(DATABASE).is_err(),
        "the setting is in force"
    );
    begins_anew(&bench, &mut db);
    delivers_as_ever(&bench, &mut db);
}

/// Sessions of the database begin as another role; the worker is etl_worker all the same.
#[test]
fn a_role_set_for_the_database_does_not_reach_it() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(&format!(
        "ALTER DATABASE {DATABASE} SET role = 'pg_monitor'"
    ));
    begins_anew(&bench, &mut db);
    delivers_as_ever(&bench, &mut db);
}
