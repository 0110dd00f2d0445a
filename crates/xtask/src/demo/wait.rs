//! Waiting for the background worker.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use postgres::Client;

use crate::progress::Step;

const PATIENCE: Duration = Duration::from_secs(90);

const COUNTS: &str = "SELECT count(*) FILTER (WHERE status = 'done'), count(*) FILTER (WHERE status = 'failed'), \
                      count(*) FILTER (WHERE status IN ('queued', 'processing')) FROM ops.odoo_outbox";

/// Waits until no row is queued or on its way; gives the counts in words.
pub fn until_quiet(client: &mut Client, step: &Step) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let row = client.query_one(COUNTS, &[])?;
        let (done, failed, open): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        if open == 0 {
            return Ok(format!(
                "{done} rows delivered so far, {failed} dead letters"
            ));
        }
        step.note(&format!("{open} rows under way"));
        if Instant::now() > deadline {
            let state = client.query_one("SELECT etl.health()::text", &[])?;
            bail!(
                "{open} rows are still under way after {} s; etl.health(): {}",
                PATIENCE.as_secs(),
                state.get::<_, String>(0)
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
