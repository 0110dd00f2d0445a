//! A server with pg_etl, connected to an Odoo or a sink, and what a benchmark does with it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use postgres::Client;
use serde_json::json;

use super::sink::Sink;
use crate::odoo::Access;
use crate::pg::{Cluster, PgVersion};

const KEY_VARIABLE: &str = "ETL_BENCH_KEY";
const DATABASE: &str = "bench";
/// Longest time for one amount of rows.
const PATIENCE: Duration = Duration::from_secs(900);

/// A cluster with fsync on and one connection, `odoo`.
pub struct World {
    pub db: Client,
    // Behind the client: it leaves first.
    pub cluster: Cluster,
}

impl World {
    /// `settings` beside those that every benchmark has.
    pub fn start(
        version: PgVersion,
        access: &Access,
        in_flight: u32,
        preload: &[&str],
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let libraries: Vec<&str> = std::iter::once("pg_etl")
            .chain(preload.iter().copied())
            .collect();
        let mut builder = Cluster::builder(version)
            .preload(&libraries)
            .fsync(true)
            .env(KEY_VARIABLE, &access.api_key)
            .setting("shared_buffers", "1GB")
            // The server's own default; more would only fill the disk.
            .setting("max_wal_size", "1GB")
            .setting("etl.max_in_flight", &in_flight.to_string())
            .setting("etl.backoff_base", "1s")
            .setting("etl.max_attempts", "1000");
        for (name, value) in settings {
            builder = builder.setting(name, value);
        }
        let cluster = builder.start()?;
        cluster
            .client("postgres")?
            .batch_execute(&format!("CREATE DATABASE {DATABASE}"))?;
        let mut db = cluster.client(DATABASE)?;
        db.batch_execute("CREATE EXTENSION pg_etl")?;
        let options = json!({
            "database": access.database, "login": access.login, "max_in_flight": in_flight,
        });
        db.execute(
            "SELECT etl.set_connection('odoo', 'odoo', $1, $2, secret => $3)",
            &[&access.url, &options, &format!("env:{KEY_VARIABLE}")],
        )?;
        let mut world = Self { db, cluster };
        world.await_worker()?;
        Ok(world)
    }

    /// Rows of one call of a model: `etl.batch_rows` where `None`.
    pub fn max_batch(&mut self, model: &str, rows: Option<u32>) -> Result<()> {
        let key = format!("sb_to_odoo:{model}");
        match rows {
            Some(rows) => self.db.execute(
                "INSERT INTO ops.odoo_sync_config (key, value) VALUES ($1, $2)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                &[&key, &json!({"max_batch": rows})],
            )?,
            None => self
                .db
                .execute("DELETE FROM ops.odoo_sync_config WHERE key = $1", &[&key])?,
        };
        Ok(())
    }

    /// The worker's pid.
    pub fn await_worker(&mut self) -> Result<i32> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type LIKE 'pg_etl%'";
        let started = Instant::now();
        loop {
            if let Some(row) = self.db.query_opt(sql, &[])? {
                return Ok(row.get(0));
            }
            if started.elapsed() > Duration::from_secs(30) {
                bail!(
                    "no worker came; the server's log is {}",
                    self.cluster.log_path().display()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Queues rows while the connection rests, then lets it go; the time until `rows` of them have left and all are settled.
    pub fn drain(&mut self, fill: &str, rows: u64, sink: &Sink) -> Result<Duration> {
        sink.reset();
        self.drain_until(fill, || sink.rows() >= rows)
    }

    /// The same with another sign that all rows have left; asked often.
    pub fn drain_until(&mut self, fill: &str, sent: impl Fn() -> bool) -> Result<Duration> {
        self.load(fill)?;
        let started = self.release()?;
        self.await_settled(sent)?;
        Ok(started.elapsed())
    }

    /// Queues rows while the connection rests.
    pub fn load(&mut self, fill: &str) -> Result<()> {
        self.db
            .batch_execute("SELECT etl.pause('odoo', 'benchmark')")?;
        self.db
            .batch_execute(fill)
            .with_context(|| fill.to_owned())?;
        // Neither the table's first statistics nor the checkpoint of the load are what is measured.
        self.db
            .batch_execute("VACUUM ANALYZE ops.odoo_outbox, etl.queue, etl.claims, etl.links")?;
        self.db.batch_execute("CHECKPOINT")?;
        Ok(())
    }

    /// Lets the connection go on.
    pub fn release(&mut self) -> Result<Instant> {
        let started = Instant::now();
        self.db.batch_execute("SELECT etl.resume('odoo')")?;
        Ok(started)
    }

    /// Waits until `sent` says so (asked often, so it must be cheap) and nothing is queued or on its way.
    pub fn await_settled(&mut self, sent: impl Fn() -> bool) -> Result<()> {
        let started = Instant::now();
        while !sent() {
            self.patience(started)?;
            std::thread::sleep(Duration::from_millis(2));
        }
        let idle =
            "SELECT NOT EXISTS (SELECT FROM etl.claims) AND NOT EXISTS (SELECT FROM etl.queue)";
        while !self.db.query_one(idle, &[])?.get::<_, bool>(0) {
            self.patience(started)?;
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn patience(&mut self, started: Instant) -> Result<()> {
        if started.elapsed() < PATIENCE {
            return Ok(());
        }
        let rows = self.db.query(
            "SELECT status, coalesce(error_class, '') AS class, count(*), max(left(last_error, 200)) FROM ops.odoo_outbox GROUP BY 1, 2",
            &[],
        )?;
        let said: Vec<String> = rows
            .iter()
            .map(|row| {
                let (status, class, count) = (
                    row.get::<_, String>(0),
                    row.get::<_, String>(1),
                    row.get::<_, i64>(2),
                );
                format!(
                    "{count} {status} {class} {}",
                    row.get::<_, Option<String>>(3).unwrap_or_default()
                )
            })
            .collect();
        bail!("the rows do not get through: {}", said.join("; "))
    }

    /// Everything that was delivered is done, and nothing else is there: or the figures would be of something else.
    pub fn check_all_done(&mut self) -> Result<()> {
        let other = "SELECT count(*) FROM ops.odoo_outbox WHERE status <> 'done'";
        let count: i64 = self.db.query_one(other, &[])?.get(0);
        if count > 0 {
            bail!("{count} rows were not delivered");
        }
        Ok(())
    }

    /// Forgets all rows.
    pub fn clear(&mut self) -> Result<()> {
        self.db.batch_execute("TRUNCATE ops.odoo_outbox")?;
        self.db
            .batch_execute("VACUUM etl.queue, etl.claims, etl.links, etl.holds")?;
        Ok(())
    }
}
