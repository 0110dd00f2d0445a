//! (e) What wears queues out: a backlog of a million rows, a held xmin, and a hundred thousand rows behind one record that retries.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use postgres::{Client, IsolationLevel};

use super::claim_log::{Statement, statements};
use super::instant::THREADS;
use super::report::{Bar, Section, Series, percentile, sorted};
use super::sink::{STUBBORN_MODEL, Sink};
use super::world::World;
use super::{Plan, note};
use crate::place;

const TENTHS: u64 = 10;

pub fn run(plan: &Plan) -> Result<Section> {
    let (rows, keys) = if plan.quick {
        (100_000, 20_000)
    } else {
        (1_000_000, 200_000)
    };
    let (behind, others) = if plan.quick {
        (10_000, 20_000)
    } else {
        (100_000, 50_000)
    };
    require_space(rows)?;
    let sink = Sink::start()?;
    let mut section = Section {
        name: "e",
        title: format!("A backlog of {rows} rows of {keys} records; a held xmin; a hot key"),
        series: Vec::new(),
        bars: Vec::new(),
        notes: vec![
            "Claim and settle times are those of the worker itself, as the server's auto_explain logs them (durations and plans, no timing inside a plan); the commit behind a statement is not in them.".to_owned(),
            "Updates by Odoo id, up to 200 rows a request, into the instant sink.".to_owned(),
        ],
    };
    for (held, name) in [(false, "plain"), (true, "xmin held")] {
        note(plan, &format!("{rows} rows, {name}"));
        // A server of its own each time: what one drain leaves behind is not the other's burden.
        let mut world = world(plan, &sink)?;
        let drained = drain(plan, &mut world, &sink, rows, keys, held)?;
        drained.describe(name, &mut section);
    }
    let mut world = world(plan, &sink)?;
    hot_key(plan, &mut world, &sink, behind, others, &mut section)?;
    Ok(section)
}

/// Refuses to fill the disk: a server that meets its end would be all that is measured.
fn require_space(rows: u64) -> Result<()> {
    let disk = nix::sys::statvfs::statvfs(&place::cache_dir("tmp")?)?;
    let free = disk.blocks_available() * disk.fragment_size();
    // Rows, their versions and their indexes, twice over; and the WAL.
    let needed = rows * 3_000 + (2 << 30);
    if free < needed {
        bail!(
            "{:.1} GB are free and {:.1} GB may be needed: make room, or use --quick",
            free as f64 / 1e9,
            needed as f64 / 1e9
        );
    }
    Ok(())
}

fn world(plan: &Plan, sink: &Sink) -> Result<World> {
    let settings = [
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_timing", "off"),
    ];
    World::start(
        plan.version,
        &sink.access(),
        THREADS,
        &["auto_explain"],
        &settings,
    )
}

/// What one drain showed.
struct Drained {
    /// Rows per second, by tenth.
    rates: Vec<f64>,
    claims: Vec<f64>,
    settles: Vec<f64>,
    /// Private memory of the worker, MB: before, and the most seen.
    memory: (f64, f64),
}

impl Drained {
    fn describe(self, name: &str, section: &mut Section) {
        let claims = tenths(&self.claims);
        let settles = tenths(&self.settles);
        let of = |tenth: &[f64], at: f64| percentile(&sorted(tenth), at);
        let each = |parts: &[Vec<f64>], at: f64| parts.iter().map(|part| of(part, at)).collect();
        let first_and_last = |parts: &[Vec<f64>]| match (parts.first(), parts.last()) {
            (Some(first), Some(last)) => of(last, 0.99) / of(first, 0.99),
            _ => f64::NAN,
        };
        section.bars.push(Bar::at_most(
            format!("{name}: claim p99, last tenth ÷ first"),
            first_and_last(&claims),
            2.0,
            "×",
        ));
        section.bars.push(Bar::at_most(
            format!("{name}: growth of the worker's memory"),
            self.memory.1 - self.memory.0,
            20.0,
            "MB",
        ));
        section.series.extend([
            Series::new(format!("{name}: delivered, by tenth"), "rows/s", self.rates),
            Series::new(
                format!("{name}: claim p50, by tenth"),
                "ms",
                each(&claims, 0.5),
            ),
            Series::new(
                format!("{name}: claim p99, by tenth"),
                "ms",
                each(&claims, 0.99),
            ),
            Series::new(
                format!("{name}: settle p50, by tenth"),
                "ms",
                each(&settles, 0.5),
            ),
            Series::new(
                format!("{name}: settle p99, by tenth"),
                "ms",
                each(&settles, 0.99),
            ),
        ]);
    }
}

/// Ten parts of equal length, in the order of time.
fn tenths(all: &[f64]) -> Vec<Vec<f64>> {
    let parts = TENTHS as usize;
    (0..parts)
        .map(|part| all[all.len() * part / parts..all.len() * (part + 1) / parts].to_vec())
        .collect()
}

fn drain(
    plan: &Plan,
    world: &mut World,
    sink: &Sink,
    rows: u64,
    keys: u64,
    held: bool,
) -> Result<Drained> {
    // The worker knows the sink and its fields, and has its plans.
    world.drain(&updates("res.partner", 5_000, keys), 5_000, sink)?;
    world.clear()?;
    note(plan, "queueing");
    world.load(&updates("res.partner", rows, keys))?;
    let worker = world.await_worker()?;
    let log = world.cluster.log_path();
    let logged = fs::metadata(&log)?.len();
    let mut other = world.cluster.client("bench")?;
    let snapshot = if held {
        Some(hold_xmin(&mut other)?)
    } else {
        None
    };
    sink.reset();
    let before = private_memory(worker)?;
    let mut most = before;
    let started = world.release()?;
    let mut rates = Vec::new();
    let mut last = started;
    for tenth in 1..=TENTHS {
        let target = rows * tenth / TENTHS;
        while sink.rows() < target {
            if started.elapsed() > Duration::from_secs(1_800) {
                bail!("{} of {rows} rows after half an hour", sink.rows());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let now = Instant::now();
        rates.push((rows / TENTHS) as f64 / now.duration_since(last).as_secs_f64());
        last = now;
        most = most.max(private_memory(worker)?);
        note(
            plan,
            &format!("{target} rows in {:.0} s", started.elapsed().as_secs_f64()),
        );
    }
    world.await_settled(|| true)?;
    drop(snapshot);
    world.check_all_done()?;
    let mut drained = Drained {
        rates,
        claims: Vec::new(),
        settles: Vec::new(),
        memory: (before, most),
    };
    for (statement, milliseconds) in statements(&log, logged)? {
        match statement {
            Statement::Claim => drained.claims.push(milliseconds),
            Statement::Settle => drained.settles.push(milliseconds),
        }
    }
    if drained.claims.len() < TENTHS as usize {
        bail!(
            "the server logged {} claims: nothing to compare",
            drained.claims.len()
        );
    }
    Ok(drained)
}

/// An open transaction whose snapshot keeps every dead row.
fn hold_xmin(client: &mut Client) -> Result<postgres::Transaction<'_>> {
    let mut transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .start()?;
    transaction.query_one("SELECT count(*) FROM pg_class", &[])?;
    Ok(transaction)
}

/// Megabytes that are the process's own: shared buffers are not counted, however many of them it has touched.
fn private_memory(pid: i32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the worker is gone")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|text| text.trim().split(' ').next()?.parse::<f64>().ok());
    Ok(kilobytes.context("/proc tells no RssAnon")? / 1_024.0)
}

/// SQL that queues `rows` updates of `keys` records, no two of a record near each other.
fn updates(model: &str, rows: u64, keys: u64) -> String {
    format!(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
         SELECT '{model}', 'update', jsonb_build_object('odoo_id', 1 + n % {keys}, 'phone', '+41 44 ' || n), gen_random_uuid()
         FROM generate_series(1, {rows}) n"
    )
}

/// The others' time beside a record that Odoo refuses again and again, with many younger rows behind it, and without it.
fn hot_key(
    plan: &Plan,
    world: &mut World,
    sink: &Sink,
    behind: u64,
    others: u64,
    section: &mut Section,
) -> Result<()> {
    let queue = updates("res.partner", others, others);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    world.drain(&updates("res.partner", 5_000, others), 5_000, sink)?;
    for round in 1..=plan.rounds {
        note(plan, &format!("hot key, round {round}"));
        world.clear()?;
        without.push(world.drain(&queue, others, sink)?.as_secs_f64());
        world.clear()?;
        // Older than the others: whoever looks for work meets them first.
        world.load(&format!("{}; {queue}", updates(STUBBORN_MODEL, behind, 1)))?;
        sink.reset();
        let started = world.release()?;
        let left = "SELECT NOT EXISTS (SELECT FROM ops.odoo_outbox WHERE model = 'res.partner' AND status IN ('queued', 'processing'))";
        while sink.rows() < others || !world.db.query_one(left, &[])?.get::<_, bool>(0) {
            if started.elapsed() > Duration::from_secs(600) {
                bail!("the others do not get past the hot key");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        with.push(started.elapsed().as_secs_f64());
        let tries: i64 = world
            .db
            .query_one(
                "SELECT coalesce(sum(attempts), 0)::bigint FROM ops.odoo_outbox WHERE model = $1",
                &[&STUBBORN_MODEL],
            )?
            .get(0);
        if tries == 0 {
            bail!("the hot record was never tried: it did not stand in the way");
        }
    }
    section.bars.push(Bar::at_most(
        format!("{others} others beside {behind} rows behind one retrying record ÷ without them"),
        super::report::ratio(&with, &without),
        2.0,
        "×",
    ));
    section.series.extend([
        Series::new(
            format!("{others} rows of other records, alone"),
            "s",
            without,
        ),
        Series::new(
            format!("the same behind {behind} rows of one retrying record"),
            "s",
            with,
        ),
    ]);
    Ok(())
}
