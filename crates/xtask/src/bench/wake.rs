//! (d) From the commit to the request on the wire, with an idle preloaded worker.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::instant::THREADS;
use super::report::{Bar, Section, Series, percentile, sorted};
use super::sink::Sink;
use super::world::World;
use super::{Plan, note};

pub fn run(plan: &Plan) -> Result<Section> {
    let samples = if plan.quick { 60 } else { 400 };
    let sink = Sink::start()?;
    let mut world = World::start(plan.version, &sink.access(), THREADS, &[], &[])?;
    let mut from_done = Vec::new();
    let mut from_sent = Vec::new();
    for number in 0..samples + 10 {
        note(plan, &format!("sample {number} of {samples}"));
        sink.watch();
        let expected = sink.requests() + 1;
        let mut transaction = world.db.transaction()?;
        transaction.batch_execute(&super::instant::creates(1))?;
        let sent = Instant::now();
        transaction.commit()?;
        let done = Instant::now();
        while sink.requests() < expected {
            if done.elapsed() > Duration::from_secs(90) {
                bail!("no request came");
            }
            // Not a wait on a core that the worker may need.
            std::thread::sleep(Duration::from_micros(200));
        }
        let (arrivals, _) = sink.unwatch();
        world.await_settled(|| true)?;
        // The first ones open the connection to the sink and learn what it is.
        if let (10.., Some(arrived)) = (number, arrivals.first()) {
            from_sent.push(milliseconds(sent, *arrived));
            from_done.push(milliseconds(done, *arrived));
        }
        // Long enough for the worker to be asleep again.
        std::thread::sleep(Duration::from_millis(20));
    }
    let (ready, whole) = (sorted(&from_done), sorted(&from_sent));
    Ok(Section {
        name: "d",
        title: "Commit to request on the wire, idle worker".to_owned(),
        bars: vec![
            Bar::at_most("p50, from the commit", percentile(&ready, 0.5), 10.0, "ms"),
            Bar::at_most("p99, from the commit", percentile(&ready, 0.99), 50.0, "ms"),
        ],
        series: vec![
            Series::new("p50, from the commit", "ms", vec![percentile(&ready, 0.5)]),
            Series::new("p99, from the commit", "ms", vec![percentile(&ready, 0.99)]),
            Series::new(
                "p50, from asking for the commit",
                "ms",
                vec![percentile(&whole, 0.5)],
            ),
            Series::new(
                "p99, from asking for the commit",
                "ms",
                vec![percentile(&whole, 0.99)],
            ),
        ],
        notes: vec![format!(
            "{samples} commits of one row, one at a time, fsync on: the worker commits its claim to disk before it sends. Arrival is taken at the sink, with the clock of the client. \"From the commit\": since COMMIT returned; \"asking\": since it was sent, so the client's own fsync is part of it."
        )],
    })
}

/// Below zero where the request was there first.
fn milliseconds(from: Instant, to: Instant) -> f64 {
    match to.checked_duration_since(from) {
        Some(time) => time.as_secs_f64() * 1e3,
        None => -(from.duration_since(to).as_secs_f64() * 1e3),
    }
}
