//! (h) What it costs a writer that a table is tracked: one UPDATE of many rows, with a plain audit trigger, and with ours.

use std::time::Instant;

use anyhow::Result;

use super::report::{Bar, Section, Series, ratio};
use super::world::World;
use super::{Plan, note};
use crate::sim::Sim;

/// An audit trigger of the usual kind: per row, old and new as JSON into one table.
const AUDIT: &str = "
    CREATE TABLE audit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), tab text NOT NULL, was jsonb, is_now jsonb);
    CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN INSERT INTO audit (tab, was, is_now) VALUES (TG_TABLE_NAME, to_jsonb(OLD), to_jsonb(NEW)); RETURN NULL; END $$;
    CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON audited FOR EACH ROW EXECUTE FUNCTION audit();";
/// The same per statement, by transition tables: the cheapest there is.
const LEAN: &str = "
    CREATE FUNCTION lean() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN INSERT INTO audit (tab, was, is_now) SELECT TG_TABLE_NAME, to_jsonb(o), to_jsonb(n) FROM was o JOIN is_now n USING (id); RETURN NULL; END $$;
    CREATE TRIGGER lean AFTER UPDATE ON lean REFERENCING OLD TABLE AS was NEW TABLE AS is_now FOR EACH STATEMENT EXECUTE FUNCTION lean();";
const FIELDS: &str = r#"{"name": "name", "email": "email", "phone": "phone", "city": "city", "street": "street", "zip": "zip"}"#;
const TABLES: [&str; 5] = ["plain", "lean", "audited", "tracked", "both_ways"];

pub fn run(plan: &Plan) -> Result<Section> {
    let rows = if plan.quick { 2_000 } else { 10_000 };
    let sim = Sim::start(None, &[])?;
    let mut world = World::start(plan.version, sim.access(), 2, &[], &[])?;
    for table in TABLES {
        world.db.batch_execute(&format!(
            "CREATE TABLE {table} (id bigint PRIMARY KEY, name text, email text, phone text, city text, street text, zip text, note text);
             INSERT INTO {table} SELECT n, 'name ' || n, n || '@example.com', '+41 44 ' || n, 'Zürich', 'Street ' || n, '8000', 'note' FROM generate_series(1, {rows}) n;"
        ))?;
    }
    world.db.batch_execute(AUDIT)?;
    world.db.batch_execute(LEAN)?;
    world.db.batch_execute("SELECT etl.mirror('res.partner')")?;
    // Odoo has every row. What is enqueued stays: delivering it at the same time is not the writer's cost.
    world.db.batch_execute("SELECT etl.pause()")?;
    world.db.batch_execute(&format!(
        "SELECT etl.track('tracked', 'res.partner', '{FIELDS}'), etl.track('both_ways', 'res.partner', '{FIELDS}', two_way => 'newest');
         UPDATE etl.tracks SET backfilled_at = now(), backfill_asked_at = NULL;
         INSERT INTO etl.links (connection, model, digest, record_key, odoo_id)
           SELECT t.connection, t.model, md5(t.prefix || n)::uuid, t.prefix || n, n FROM etl.tracks t, generate_series(1, {rows}) n"
    ))?;
    world.db.batch_execute("VACUUM ANALYZE")?;
    let mut samples = [const { Vec::new() }; 5];
    for round in 0..=plan.rounds {
        note(plan, &format!("round {round} of {}", plan.rounds));
        for (table, samples) in TABLES.iter().zip(&mut samples) {
            world.db.batch_execute("CHECKPOINT")?;
            let started = Instant::now();
            world.db.batch_execute(&format!(
                "UPDATE {table} SET phone = '+41 55 {round} ' || id"
            ))?;
            // The first one fills caches.
            if round > 0 {
                samples.push(started.elapsed().as_secs_f64() * 1e3);
            }
        }
        world
            .db
            .batch_execute("TRUNCATE audit; TRUNCATE ops.odoo_outbox")?;
        world.db.batch_execute(
            "VACUUM plain, lean, audited, tracked, both_ways, etl.queue, etl.images",
        )?;
    }
    let [plain, lean, audited, tracked, both_ways] = samples;
    Ok(Section {
        name: "h",
        title: format!("An UPDATE of {rows} rows of a tracked table"),
        bars: vec![Bar::at_most(
            "tracked ÷ a plain audit trigger",
            ratio(&tracked, &audited),
            1.5,
            "×",
        )],
        series: vec![
            Series::new("no trigger", "ms", plain),
            Series::new("audit trigger per statement", "ms", lean),
            Series::new("audit trigger per row", "ms", audited),
            Series::new("tracked by pg_etl", "ms", tracked),
            Series::new("tracked by pg_etl, both ways", "ms", both_ways),
        ],
        notes: vec![
            "One field of six that are mapped changes in every row; fsync on, committed. The audit triggers write old and new row as JSON; pg_etl writes the field that changed, into the outbox and its queue, with every key and index they have; both ways also which rows were sent of each record.".to_owned(),
        ],
    })
}
