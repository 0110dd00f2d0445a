//! (c) The worker that most teams write first, in Python, row by row, beside pg_etl on the same rows.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::instant::{self, THREADS};
use super::report::{Bar, Section, Series, ratio};
use super::sink::Sink;
use super::world::World;
use super::{Plan, note, odoo};
use crate::command;
use crate::odoo::Access;
use crate::place;
use crate::progress::Step;

const SCRIPT: &str = include_str!("worker.py");
const PACKAGES: [&str; 2] = ["psycopg[binary]==3.2.*", "requests==2.32.*"];
const TABLE: &str = "public.jobs";

pub fn run(plan: &Plan) -> Result<Section> {
    let python = Python::ensure()?;
    let (sink_rows, odoo_rows, ours) = if plan.quick {
        (500, 30, 5_000)
    } else {
        (3_000, 150, 50_000)
    };
    let (mut theirs, mut us) = (Vec::new(), Vec::new());
    {
        let sink = Sink::start()?;
        let mut world = World::start(plan.version, &sink.access(), THREADS, &[], &[])?;
        table(&mut world)?;
        world.drain(&instant::creates(2_000), 2_000, &sink)?;
        world.clear()?;
        for round in 1..=plan.rounds {
            note(plan, &format!("sink, round {round}"));
            theirs.push(python.rate(&mut world, &sink.access(), sink_rows)?);
            let time = world.drain(&instant::creates(ours), ours, &sink)?;
            world.check_all_done()?;
            us.push(ours as f64 / time.as_secs_f64());
            world.clear()?;
        }
    }
    let of_sink = ratio(&us, &theirs);
    let mut series = vec![
        Series::new("instant sink: Python worker, row by row", "rows/s", theirs),
        Series::new("instant sink: pg_etl", "rows/s", us),
    ];
    let (mut theirs, mut us) = (Vec::new(), Vec::new());
    let real = odoo::start()?;
    let mut world = World::start(plan.version, real.access(), 2, &[], &[])?;
    table(&mut world)?;
    let ours = odoo_rows as usize * 10;
    world.drain_until(&odoo::creates("py-warm", 200), || true)?;
    world.clear()?;
    for round in 1..=plan.rounds {
        note(plan, &format!("Odoo, round {round}"));
        theirs.push(python.rate(&mut world, real.access(), odoo_rows)?);
        let fill = odoo::creates(&format!("py-{round}-{}", std::process::id()), ours);
        let time = world.drain_until(&fill, || true)?;
        world.check_all_done()?;
        us.push(ours as f64 / time.as_secs_f64());
        world.clear()?;
    }
    let of_odoo = ratio(&us, &theirs);
    series.push(Series::new(
        "real Odoo: Python worker, row by row",
        "rows/s",
        theirs,
    ));
    series.push(Series::new("real Odoo: pg_etl", "rows/s", us));
    Ok(Section {
        name: "c",
        title: "A Python worker of the usual kind".to_owned(),
        series,
        bars: vec![
            Bar::at_least("instant sink: pg_etl ÷ Python worker", of_sink, 1.0, "×"),
            Bar::at_least("real Odoo: pg_etl ÷ Python worker", of_odoo, 1.0, "×"),
        ],
        notes: vec![
            "`crates/xtask/src/bench/worker.py`: psycopg 3 and requests with a kept-alive session, one process, a commit before and after each call, a plain `create`; its own table, in the same server with fsync on. It makes a record twice when it dies between call and commit; pg_etl does not.".to_owned(),
            format!("A round: {sink_rows} rows into the sink and {odoo_rows} into Odoo by Python."),
        ],
    })
}

fn table(world: &mut World) -> Result<()> {
    world.db.batch_execute(&format!(
        "CREATE TABLE {TABLE} (id bigserial PRIMARY KEY, model text NOT NULL, payload jsonb NOT NULL, status text NOT NULL DEFAULT 'queued',
           attempts int NOT NULL DEFAULT 0, odoo_id bigint, locked_at timestamptz, finished_at timestamptz, last_error text);
         CREATE INDEX ON {TABLE} (id) WHERE status = 'queued'"
    ))?;
    Ok(())
}

/// A Python with what the worker imports, kept in the cache.
struct Python {
    program: PathBuf,
    script: PathBuf,
}

impl Python {
    fn ensure() -> Result<Self> {
        let root = place::cache_dir("bench-python")?;
        let (program, marker) = (root.join("venv/bin/python"), root.join(".complete"));
        let wanted = PACKAGES.join("\n");
        let _turn = place::lock("bench-python")?;
        if std::fs::read_to_string(&marker).ok().as_deref() != Some(&wanted) {
            let step = Step::start("Installing psycopg and requests for the Python worker, once");
            let mut venv = Command::new("python3");
            venv.args(["-m", "venv", "--clear"]).arg(root.join("venv"));
            command::logged(&step, &mut venv, "bench-venv")
                .context("a Python environment cannot be made: apt-get install python3-venv")?;
            let mut pip = Command::new(&program);
            pip.args([
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "--no-cache-dir",
            ])
            .args(PACKAGES);
            command::logged(&step, &mut pip, "bench-pip")?;
            std::fs::write(&marker, &wanted)?;
            step.done("");
        }
        let script = root.join("worker.py");
        std::fs::write(&script, SCRIPT)?;
        Ok(Self { program, script })
    }

    /// Rows per second of one round.
    fn rate(&self, world: &mut World, access: &Access, rows: u64) -> Result<f64> {
        world.db.batch_execute(&format!(
            "TRUNCATE {TABLE}; INSERT INTO {TABLE} (model, payload)
             SELECT 'res.partner', jsonb_build_object('name', 'Python ' || n, 'email', 'py' || n || '@example.com', 'phone', '+41 44 ' || n)
             FROM generate_series(1, {rows}) n"
        ))?;
        world.db.batch_execute(&format!("VACUUM ANALYZE {TABLE}"))?;
        let mut worker = Command::new(&self.program);
        worker.arg(&self.script).arg(world.cluster.dsn("bench"));
        worker.args([&access.url, &access.database, &access.api_key, TABLE]);
        let seconds: f64 = command::output(&mut worker)?.parse()?;
        let done: i64 = world
            .db
            .query_one(
                &format!("SELECT count(*) FROM {TABLE} WHERE status = 'done'"),
                &[],
            )?
            .get(0);
        if done.unsigned_abs() != rows {
            bail!("the Python worker delivered {done} of {rows} rows");
        }
        Ok(rows as f64 / seconds)
    }
}
