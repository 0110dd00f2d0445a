//! (b) The instant sink: what pg_etl can send when Odoo costs nothing, beside a loop that does nothing but send.

use anyhow::Result;

use super::bare::{self, Http};
use super::peers::Graphile;
use super::report::{Bar, Section, Series, ratio};
use super::sink::{Captured, Sink};
use super::world::World;
use super::{Plan, note};

/// Calls in flight, and threads of the bare loop.
pub const THREADS: u32 = 8;
const MODEL: &str = "res.partner";

/// Amounts of one round.
struct Amounts {
    single: u64,
    batched: u64,
}

pub fn run(plan: &Plan) -> Result<Section> {
    let amounts = if plan.quick {
        Amounts {
            single: 4_000,
            batched: 20_000,
        }
    } else {
        Amounts {
            single: 20_000,
            batched: 100_000,
        }
    };
    let sink = Sink::start()?;
    let mut world = World::start(plan.version, &sink.access(), THREADS, &[], &[])?;
    let mut single = Side::default();
    let mut batched = Side::default();
    // The first round of each is thrown away: it fills caches, and its requests are the bare loop's.
    let one = warm_up(&mut world, &sink, Some(1))?;
    let many = warm_up(&mut world, &sink, None)?;
    let graphile = Graphile::find()?;
    let mut peer = Vec::new();
    for round in 1..=plan.rounds {
        note(plan, &format!("round {round} of {}", plan.rounds));
        if let Some(graphile) = &graphile {
            peer.push(graphile.rate(&world, &sink, amounts.single)?);
        }
        single.round(&mut world, &sink, Some(1), amounts.single, &one)?;
        batched.round(&mut world, &sink, None, amounts.batched, &many)?;
    }
    let of_batch = many.iter().map(|request| request.rows).max().unwrap_or(0);
    let mut bars = vec![
        Bar::at_least(
            "one row per request ÷ bare loop",
            ratio(&single.ours, &single.bare),
            0.8,
            "×",
        ),
        Bar::at_least("batched", median(&batched.ours), 30_000.0, "rows/s"),
    ];
    if !peer.is_empty() {
        bars.push(Bar::at_least(
            "one row per request ÷ graphile-worker",
            ratio(&single.ours, &peer),
            1.5,
            "×",
        ));
    }
    let mut series = Vec::new();
    if !peer.is_empty() {
        series.push(Series::new(
            "graphile-worker, local queue, 10 jobs at a time",
            "rows/s",
            peer,
        ));
    }
    series.extend([
        Series::new("pg_etl, one row per request", "rows/s", single.ours),
        Series::new("bare ureq loop, one row per request", "rows/s", single.bare),
        Series::new(
            "bare ureq without timeouts, one row per request",
            "rows/s",
            single.unbounded,
        ),
        Series::new(
            format!("pg_etl, up to {of_batch} rows per request"),
            "rows/s",
            batched.ours,
        ),
        Series::new(
            format!("bare ureq loop, {of_batch} rows per request"),
            "rows/s",
            batched.bare,
        ),
        Series::new(
            format!("bare ureq without timeouts, {of_batch} rows per request"),
            "rows/s",
            batched.unbounded,
        ),
    ]);
    Ok(Section {
        name: "b",
        title: "Instant sink".to_owned(),
        series,
        bars,
        notes: vec![
            format!("{THREADS} calls in flight and {THREADS} threads; server, sink and loop share the machine's cores. Creates of res.partner with 3 fields: {} rows a round one by one, {} batched.", amounts.single, amounts.batched),
            "pg_etl: from etl.resume() until the last row is settled and its commit is on disk (fsync on). The loop sends the same requests, captured from pg_etl, ready-made.".to_owned(),
        ],
    })
}

#[derive(Default)]
struct Side {
    ours: Vec<f64>,
    bare: Vec<f64>,
    unbounded: Vec<f64>,
}

impl Side {
    fn round(
        &mut self,
        world: &mut World,
        sink: &Sink,
        max_batch: Option<u32>,
        rows: u64,
        requests: &[Captured],
    ) -> Result<()> {
        let per_request =
            requests.iter().map(|request| request.rows).sum::<u64>() as f64 / requests.len() as f64;
        let amount = (rows as f64 / per_request).ceil() as usize;
        for (http, samples) in [
            (Http::Transport, &mut self.bare),
            (Http::Unbounded, &mut self.unbounded),
        ] {
            let time = bare::replay(http, &sink.url(), requests, amount, THREADS as usize)?;
            samples.push(amount as f64 * per_request / time.as_secs_f64());
        }
        world.max_batch(MODEL, max_batch)?;
        let time = world.drain(&creates(rows), rows, sink)?;
        world.check_all_done()?;
        self.ours.push(rows as f64 / time.as_secs_f64());
        world.clear()
    }
}

fn warm_up(world: &mut World, sink: &Sink, max_batch: Option<u32>) -> Result<Vec<Captured>> {
    world.max_batch(MODEL, max_batch)?;
    sink.watch();
    world.drain(&creates(2_000), 2_000, sink)?;
    let (_, captured) = sink.unwatch();
    world.clear()?;
    // The last batches of a claim may be short.
    let full = captured
        .iter()
        .map(|request| request.rows)
        .max()
        .unwrap_or(0);
    Ok(captured
        .into_iter()
        .filter(|request| request.rows == full)
        .collect())
}

/// SQL that queues `rows` creates of different records.
pub fn creates(rows: u64) -> String {
    format!(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, record_key, idempotency_key)
         SELECT '{MODEL}', 'create', jsonb_build_object('name', 'Partner ' || n, 'email', 'p' || n || '@example.com', 'phone', '+41 44 ' || n),
                k, k
         FROM generate_series(1, {rows}) n, LATERAL (SELECT 'bench-' || n || '-' || clock_timestamp()) AS key (k)"
    )
}

fn median(samples: &[f64]) -> f64 {
    Series::new("", "", samples.to_vec()).median
}
