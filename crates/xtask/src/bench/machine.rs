//! What the figures were measured on.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::report::{percentile, sorted};

/// The machine and its disk.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_gb: f64,
    pub kernel: String,
    /// One small append and fdatasync where the clusters are kept.
    pub fsync_p50_ms: f64,
    pub fsync_p99_ms: f64,
    pub postgres: String,
    /// Percent of all cores that something else used just before.
    pub busy_before: f64,
}

impl Machine {
    /// `dir`: on the clusters' disk.
    pub fn look(dir: &Path, postgres: String) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu =
            after(&cpuinfo, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kilobytes = after(&meminfo, "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
            .unwrap_or(f64::NAN);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let fsync = fsync(dir)?;
        Ok(Self {
            cpu,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gb: (kilobytes / 1_048_576.0 * 10.0).round() / 10.0,
            // What distributions and hosts append says nothing of it.
            kernel: kernel
                .trim()
                .split('-')
                .next()
                .unwrap_or_default()
                .to_owned(),
            fsync_p50_ms: percentile(&fsync, 0.5),
            fsync_p99_ms: percentile(&fsync, 0.99),
            postgres,
            busy_before: busy(),
        })
    }

    /// Whether something else had a good part of the machine before the run began.
    pub fn is_busy(&self) -> bool {
        self.busy_before > 15.0
    }
}

/// Over two seconds in which this process does nothing.
fn busy() -> f64 {
    let before = ticks();
    std::thread::sleep(Duration::from_secs(2));
    let (all, idle) = ticks();
    100.0 * (1.0 - (idle - before.1) / (all - before.0))
}

/// All cores' ticks since boot, and those of them that nobody used.
fn ticks() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let numbers = stat.lines().next().unwrap_or_default().split_whitespace();
    let ticks: Vec<f64> = numbers
        .skip(1)
        .take(8)
        .filter_map(|text| text.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    (ticks.iter().sum(), ticks.iter().skip(3).take(2).sum())
}

fn after(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Milliseconds, sorted.
fn fsync(dir: &Path) -> Result<Vec<f64>> {
    let path = dir.join(format!("fsync-{}", std::process::id()));
    let mut file = File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..200 {
        let started = Instant::now();
        file.write_all(&[0; 512])?;
        file.sync_data()?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    fs::remove_file(&path)?;
    Ok(sorted(&times))
}
