//! Peers on the same work: graphile-worker where Node is there; what is known of the others from another run, told as such.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use super::sink::Sink;
use super::world::World;
use crate::command;
use crate::place;
use crate::progress::Step;

const PACKAGE: &str = "graphile-worker@0.16.6";
const SCRIPT: &str = include_str!("graphile.mjs");

/// graphile-worker in the cache.
pub struct Graphile {
    script: PathBuf,
}

impl Graphile {
    /// `None` where Node or npm are not installed: an optional peer installs no runtime.
    pub fn find() -> Result<Option<Self>> {
        if !(command::on_path("node") && command::on_path("npm")) {
            return Ok(None);
        }
        let root = place::cache_dir("bench-graphile")?;
        let _turn = place::lock("bench-graphile")?;
        let marker = root.join(".complete");
        if std::fs::read_to_string(&marker).ok().as_deref() != Some(PACKAGE) {
            let step = Step::start("Installing graphile-worker, once");
            let mut npm = Command::new("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--prefix"])
                .arg(&root)
                .arg(PACKAGE);
            command::logged(&step, &mut npm, "bench-graphile")?;
            std::fs::write(&marker, PACKAGE)?;
            step.done("");
        }
        let script = root.join("graphile.mjs");
        std::fs::write(&script, SCRIPT)?;
        Ok(Some(Self { script }))
    }

    /// Requests per second of one round.
    pub fn rate(&self, world: &World, sink: &Sink, jobs: u64) -> Result<f64> {
        sink.reset();
        let mut node = Command::new("node");
        node.env("NO_LOG_SUCCESS", "1")
            .arg(&self.script)
            .arg(world.cluster.dsn("bench"));
        let said = command::output(node.args([&sink.url(), &jobs.to_string()]))?;
        // Its own log goes there too.
        let seconds: f64 = said.lines().last().unwrap_or_default().parse()?;
        if sink.rows() < jobs {
            bail!("graphile-worker sent {} of {jobs} requests", sink.rows());
        }
        Ok(jobs as f64 / seconds)
    }
}

/// Said in the report as what it is: not measured here.
pub fn not_run() -> Vec<String> {
    let known = "a POST to an instant nginx sink, another run on 2 cores";
    let mut all = vec![
        format!(
            "pg_net ({known}): 200 requests/s with its default batch_size of 200; about 1,050 with 1000 (up to 1 % failed); with 5000, 80 % failed, out of file descriptors. Its queue is unlogged."
        ),
        format!(
            "A 60-line pgrx trial without guarantees ({known}): 12,500 rows/s one row a request, where the bare ureq loop reached 32,000 with 8 threads."
        ),
    ];
    if !(command::on_path("node") && command::on_path("npm")) {
        all.push(format!("graphile-worker ({known}): 1,540 jobs/s with concurrency 10; 6,200 to 6,600 with a local queue and concurrency 8 to 12. Install Node and npm to have it measured here."));
    }
    all
}
