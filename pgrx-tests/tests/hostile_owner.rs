//! The state tables belong to the user, and so do the triggers on them. Whoever owns a table gains nothing from what pg_etl
//! does to it: neither a superuser's rights nor a secret.

use pg_etl_tests::prelude::*;

/// The owner of schema ops and its tables hangs a trigger on each: it writes down who it runs as and tries to get more.
const HOSTILE: &str = "
CREATE ROLE mallory LOGIN;
CREATE SCHEMA ops AUTHORIZATION mallory;
CREATE SCHEMA vault;
CREATE VIEW vault.decrypted_secrets AS SELECT 'odoo'::text AS name, 'canary-4402'::text AS decrypted_secret;
SET ROLE mallory;
CREATE TABLE ops.loot (at timestamptz DEFAULT clock_timestamp(), what text, who name, got text);
CREATE FUNCTION ops.try(what text, statement text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE got text;
BEGIN
  EXECUTE statement INTO got;
  INSERT INTO ops.loot (what, who, got) VALUES (what, current_user, coalesce(got, 'it worked'));
EXCEPTION WHEN OTHERS THEN
  INSERT INTO ops.loot (what, who, got) VALUES (what, current_user, 'refused ' || SQLSTATE);
END $$;
CREATE FUNCTION ops.grab() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM ops.try('superuser', 'SELECT rolsuper FROM pg_roles WHERE rolname = current_user');
  PERFORM ops.try('alter', 'ALTER ROLE mallory SUPERUSER');
  PERFORM ops.try('reset', 'RESET ROLE');
  PERFORM ops.try('none', 'SET ROLE NONE');
  PERFORM ops.try('session', 'SET SESSION AUTHORIZATION DEFAULT');
  PERFORM ops.try('postgres', 'SET SESSION AUTHORIZATION postgres');
  PERFORM ops.try('config', 'SELECT set_config(''role'', ''none'', false)');
  PERFORM ops.try('alter', 'ALTER ROLE mallory SUPERUSER');
  PERFORM ops.try('secret', 'SELECT etl._vault_secret(''vault:odoo'')');
  PERFORM ops.try('file', 'SELECT pg_read_file(''PG_VERSION'')');
  RETURN new;
END $$;
GRANT USAGE ON SCHEMA ops TO PUBLIC;
GRANT INSERT ON ops.loot TO PUBLIC;
CREATE TABLE ops.odoo_outbox (id bigserial PRIMARY KEY, model text, operation text, payload jsonb, idempotency_key text UNIQUE NOT NULL,
  status text NOT NULL DEFAULT 'queued');
CREATE TABLE ops.odoo_sync_runs (id bigserial PRIMARY KEY, direction text NOT NULL, status text DEFAULT 'queued');
CREATE TABLE ops.odoo_sync_config (key text PRIMARY KEY, value jsonb);
CREATE TABLE ops.odoo_sync_checkpoints (key text PRIMARY KEY, cursor jsonb);
INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, status) VALUES ('res.partner', 'create', '{\"name\": \"Cut off\"}', 'cut', 'processing');
CREATE TRIGGER grab BEFORE INSERT OR UPDATE ON ops.odoo_outbox FOR EACH ROW EXECUTE FUNCTION ops.grab();
CREATE TRIGGER grab BEFORE INSERT OR UPDATE ON ops.odoo_sync_runs FOR EACH ROW EXECUTE FUNCTION ops.grab();
CREATE TRIGGER grab BEFORE INSERT OR UPDATE ON ops.odoo_sync_config FOR EACH ROW EXECUTE FUNCTION ops.grab();
CREATE TRIGGER grab BEFORE INSERT OR UPDATE ON ops.odoo_sync_checkpoints FOR EACH ROW EXECUTE FUNCTION ops.grab();
RESET ROLE;
";

#[test]
fn a_trigger_of_the_tables_owner_gains_nothing() {
    let bench = Bench::builder().no_connection().start();
    let mut db = bench.client();
    db.run(HOSTILE);
    // All of it called by a superuser.
    db.run("SELECT etl.setup(); SELECT etl.setup()");
    bench.connect(&mut db, json!({}));
    let set = "SELECT etl.set_connection('vaulted', 'odoo', $1, '{}', 'vault:odoo')";
    db.execute(set, &[&bench.endpoint.url])
        .expect("set_connection");
    bench
        .sim()
        .poison(odoo_sim::Poison::new("res.partner", "name", "Poisoned"));
    let id = db.enqueue("res.partner", "create", json!({"name": "Poisoned"}), None);
    db.await_status(id, "failed");
    db.run(&format!("SELECT etl.pause(); SELECT etl.replay({id}); SELECT etl.cancel({id}, 'x'); SELECT etl.replay({id}); SELECT etl.resume()"));
    assert!(db.drain().is_object());
    db.run("SELECT etl.replay_failed()");
    db.run("CALL etl.drain()");
    db.run("SELECT etl.finish_run(etl.start_run('odoo_to_sb'), 'x')");
    db.await_empty(PATIENCE);
    db.run(
        "SELECT etl.set_connection('vaulted', 'odoo', 'http://127.0.0.1:9', '{}', 'vault:odoo')",
    );

    let who: Vec<String> = db.all("SELECT DISTINCT who::text FROM ops.loot ORDER BY 1", &[]);
    assert_eq!(who, ["etl_worker"], "what the owner's triggers ran as");
    let got: Vec<String> = db.all("SELECT DISTINCT concat_ws(' ', what, got) FROM ops.loot WHERE got NOT LIKE 'refused%' ORDER BY 1", &[]);
    assert_eq!(got, ["superuser false"], "what they got");
    assert!(!db.one::<bool>(
        "SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'",
        &[]
    ));
    let tried: i64 = db.one("SELECT count(DISTINCT what) FROM ops.loot", &[]);
    assert_eq!(tried, 9, "and this test tried");
}

#[test]
fn the_worker_is_etl_worker_and_stays_it() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        "CREATE TABLE public.seen (who name, session name, back text);
         GRANT INSERT ON public.seen TO PUBLIC;
         CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS $$
         DECLARE back text := 'allowed';
         BEGIN
           BEGIN
             EXECUTE 'RESET ROLE';
           EXCEPTION WHEN OTHERS THEN back := SQLSTATE;
           END;
           INSERT INTO public.seen VALUES (current_user, session_user, back);
           RETURN NULL;
         END $$;
         CREATE TRIGGER look AFTER UPDATE ON ops.odoo_outbox FOR EACH ROW EXECUTE FUNCTION public.look()",
    );
    let id = db.enqueue("res.partner", "create", json!({"name": "Ada"}), None);
    db.await_status(id, "done");
    let seen: Vec<String> = db.all(
        "SELECT DISTINCT concat_ws(' ', who, back) FROM public.seen",
        &[],
    );
    assert_eq!(seen, ["etl_worker 42501"], "claim and settle");
}

#[test]
fn a_secret_is_given_for_a_reference_that_a_connection_holds_and_to_nobody_but_the_worker() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run("CREATE SCHEMA vault; CREATE VIEW vault.decrypted_secrets AS SELECT n AS name, 'secret of ' || n AS decrypted_secret FROM unnest(ARRAY['held', 'other']) n");
    db.run(
        "SELECT etl.set_connection('held', 'odoo', 'http://127.0.0.1:9', secret => 'vault:held')",
    );
    for reference in ["vault:other", "vault:", "env:ETL_ODOO_KEY", "held", "other"] {
        let said = db.refused(&format!("SELECT etl._vault_secret('{reference}')"));
        assert_eq!(said.code().code(), "42501", "{reference}");
        assert!(!said.message().contains("secret of"), "{}", said.message());
    }
}

/// A view's functions run with the rights of whoever reads it: one that anybody could have made is not read.
#[test]
fn a_vault_that_is_no_superusers_is_not_read() {
    let bench = Bench::ready();
    let mut db = bench.client();
    db.run(
        "CREATE ROLE mallory; GRANT CREATE ON DATABASE shop TO mallory; CREATE TABLE public.loot (who name);
         GRANT INSERT ON public.loot TO PUBLIC; SET ROLE mallory; CREATE SCHEMA vault;
         CREATE FUNCTION vault.grab() RETURNS text LANGUAGE sql AS $$ INSERT INTO public.loot VALUES (current_user) RETURNING 'stolen' $$;
         CREATE VIEW vault.decrypted_secrets AS SELECT 'held' AS name, vault.grab() AS decrypted_secret;
         GRANT USAGE ON SCHEMA vault TO PUBLIC; GRANT SELECT ON vault.decrypted_secrets TO PUBLIC; RESET ROLE",
    );
    db.run(
        "SELECT etl.set_connection('trap', 'odoo', 'http://127.0.0.1:9', secret => 'vault:held')",
    );
    let answer: Value = db.one("SELECT etl.test_connection('trap')", &[]);
    assert_eq!(answer["ok"], false, "{answer}");
    assert_eq!(
        db.one::<i64>("SELECT count(*) FROM public.loot", &[]),
        0,
        "the trap was read"
    );
}
