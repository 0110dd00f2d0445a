//! (i) What a look costs at a million rows of the outbox: health, and every view.

use std::time::Instant;

use anyhow::Result;

use super::report::{Bar, Section, Series};
use super::world::World;
use super::{Plan, note};
use crate::sim::Sim;

const HEALTH: &str = "SELECT etl.health()";

pub fn run(plan: &Plan) -> Result<Section> {
    let rows = if plan.quick { 100_000 } else { 1_000_000 };
    let rounds = plan.rounds * 5;
    let sim = Sim::start(None, &[])?;
    let mut world = World::start(plan.version, sim.access(), 2, &[], &[])?;
    world
        .db
        .batch_execute("SELECT etl.mirror_defaults(); SELECT etl.pause()")?;
    let views = world
        .db
        .query("SELECT name FROM etl._views() ORDER BY 1", &[])?;
    let mut looks = vec![HEALTH.to_owned()];
    let views = views.iter().map(|row| row.get::<_, String>(0));
    looks.extend(views.map(|view| format!("SELECT * FROM etl.{view}")));

    let mut samples: Vec<(String, Vec<f64>)> = Vec::new();
    // Most of it delivered long ago, as outboxes are; and then all of it waiting.
    for (situation, status) in [
        (
            "most delivered",
            "CASE WHEN n % 1000 = 0 THEN 'failed' WHEN n % 100 = 1 THEN 'queued' ELSE 'done' END",
        ),
        ("all waiting", "'queued'"),
    ] {
        note(plan, &format!("{rows} rows, {situation}"));
        world.db.batch_execute(&format!(
            "TRUNCATE ops.odoo_outbox;
             INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key, status, finished_at, record_key)
               SELECT 'res.partner', 'upsert', jsonb_build_object('name', 'Name ' || n, 'email', n || '@example.com'), n::text, {status}, now(), 'partner:' || n FROM generate_series(1, {rows}) n"
        ))?;
        // Ninety days of rates, latencies and runs, as they come with seventeen mirrors; a claim on the wire, and alerts.
        world.db.batch_execute(&format!(
            "TRUNCATE etl.deliveries, ops.odoo_sync_runs, etl.claims, etl.alerts;
             INSERT INTO etl.deliveries SELECT date_trunc('hour', now(), 'UTC') - h * interval '1 hour', 'odoo', 'model.' || m, 'done', '', 30 + b, 100
               FROM generate_series(0, 90 * 24 - 1) h, generate_series(1, 10) m, generate_series(1, 15) b;
             INSERT INTO ops.odoo_sync_runs (direction, status, created_at, started_at, finished_at, meta)
               SELECT 'odoo_to_sb', CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'succeeded' END, t.at, t.at, t.at + interval '2 s',
                 jsonb_build_object('connection', 'odoo', 'model', 'model.' || n % 17, 'read', 10)
               FROM generate_series(1, {runs}) n CROSS JOIN LATERAL (SELECT now() - interval '90 days' * (1 - n / {runs}.0) AS at) t;
             INSERT INTO etl.claims (claim, connection, owner, at, ids, keys) SELECT -1, 'odoo', 0, now(), array_agg(n), '{{}}' FROM generate_series(1, 1000) n;
             INSERT INTO etl.alerts (component, status, value, threshold, remedy) SELECT 'sync lag model.' || n, 'warn', '11 min', 'warn 10 min', '' FROM generate_series(1, 50) n;
             SELECT etl._fold_counts(), etl._fold_deliveries('90 days'), etl._fold_runs('90 days')",
            runs = rows * 2 / 5,
        ))?;
        world.db.batch_execute("VACUUM ANALYZE")?;
        for look in &looks {
            let mut taken = Vec::new();
            for round in 0..=rounds {
                let started = Instant::now();
                world.db.query(look, &[])?;
                // The first one fills caches.
                if round > 0 {
                    taken.push(started.elapsed().as_secs_f64() * 1e3);
                }
            }
            samples.push((format!("{look}, {situation}"), taken));
        }
    }
    let median = |taken: &[f64]| Series::new("", "ms", taken.to_vec()).median;
    let is_health = |name: &str| name.starts_with(HEALTH);
    let slowest = |health: bool| {
        let medians = samples.iter().filter(|(name, _)| is_health(name) == health);
        medians.map(|(_, taken)| median(taken)).fold(0.0, f64::max)
    };
    Ok(Section {
        name: "i",
        title: format!("A look at an outbox of {rows} rows"),
        bars: vec![
            Bar::at_most("etl.health()", slowest(true), 20.0, "ms"),
            Bar::at_most("the slowest view", slowest(false), 100.0, "ms"),
        ],
        series: samples
            .into_iter()
            .map(|(name, taken)| Series::new(name, "ms", taken))
            .collect(),
        notes: vec![
            "From a client on the same machine, every row fetched, after one look that fills the caches; the median of a situation counts. In the first situation one row in a thousand is a dead letter and one in a hundred waits. Beside them are ninety days of deliveries and runs, two fifths as many runs as rows.".to_owned(),
        ],
    })
}
