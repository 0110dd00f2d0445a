//! (a) A real Odoo: one call per row with one caller, a bare client with the same batches and callers, and pg_etl.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use pg_etl_core::http::{Transport, TransportSettings};
use serde_json::{Value, json};

use super::bare;
use super::report::{Bar, Section, Series, ratio};
use super::world::World;
use super::{Plan, note};
use crate::odoo::{Access, Odoo, Options};

/// Callers, and Odoo's workers: more callers than workers gain nothing.
pub const CALLERS: u32 = 2;
/// Rows of one call; pg_etl's default.
const BATCH: usize = 200;
pub const MODEL: &str = "res.partner";
/// pg_etl's context of a create: a record is made once, however often its external id comes.
const ONCE: &str = r#"{"lang":"en_US","mode":"update","noupdate":true,"tz":"UTC"}"#;

pub fn run(plan: &Plan) -> Result<Section> {
    let (single, batched) = if plan.quick { (40, 400) } else { (200, 2_000) };
    let odoo = start()?;
    let access = odoo.access();
    let client = Client::new(access)?;
    let mut world = World::start(plan.version, access, CALLERS, &[], &[])?;
    let (mut create, mut update) = (Times::default(), Times::default());
    // Everybody's first call is slow: registries, field descriptions, plans.
    client.batches(&client.loads("warm", BATCH))?;
    world.drain_until(&creates("warm", BATCH), || true)?;
    world.clear()?;
    for round in 1..=plan.rounds {
        note(plan, &format!("round {round} of {}", plan.rounds));
        let name = |side: &str| format!("{side}-{round}-{}", std::process::id());
        let (one, _) = client.one_by_one((0..single).map(|n| plain_create(&name("one"), n)))?;
        create.single.push(single as f64 / one.as_secs_f64());
        // Odoo's tables grow: whoever comes second has a little more to look through, so they take turns at that too.
        let mut bare_ids = Vec::new();
        for ours in turns(round) {
            if ours {
                let time = world.drain_until(&creates(&name("etl"), batched), || true)?;
                world.check_all_done()?;
                create.ours.push(batched as f64 / time.as_secs_f64());
            } else {
                let (time, ids) = client.batches(&client.loads(&name("bare"), batched))?;
                create.bare.push(batched as f64 / time.as_secs_f64());
                bare_ids = ids;
            }
        }
        let our_ids: Vec<i64> = world
            .db
            .query("SELECT odoo_id FROM ops.odoo_outbox ORDER BY id", &[])?
            .iter()
            .map(|row| {
                row.get::<_, Option<i64>>(0)
                    .context("a create without an Odoo id")
            })
            .collect::<Result<_>>()?;
        if bare_ids.len() != batched || our_ids.len() != batched {
            bail!(
                "{} and {} records of {batched}",
                bare_ids.len(),
                our_ids.len()
            );
        }
        world.clear()?;
        let (one, _) = client.one_by_one(bare_ids[..single].iter().map(|id| {
            let values = json!({"phone": format!("+41 {round} {id}")});
            (
                path("write"),
                json!({"ids": [id], "vals": values, "context": {"lang": "en_US", "tz": "UTC"}}),
            )
        }))?;
        update.single.push(single as f64 / one.as_secs_f64());
        for ours in turns(round) {
            if ours {
                let time = world.drain_until(&updates(&our_ids), || true)?;
                world.check_all_done()?;
                update.ours.push(batched as f64 / time.as_secs_f64());
            } else {
                let (time, _) = client.batches(&saves(&bare_ids))?;
                update.bare.push(batched as f64 / time.as_secs_f64());
            }
        }
        world.clear()?;
    }
    let mut section = Section {
        name: "a",
        title: format!("Real Odoo {}, {CALLERS} workers", access.version()?),
        series: Vec::new(),
        bars: Vec::new(),
        notes: vec![
            format!("res.partner with 3 fields, chatter on. One call per row: {single} rows a round, one caller. Batches of {BATCH} rows, {CALLERS} callers: {batched} rows a round. Both databases with fsync on, on the same disk as everything else."),
            "pg_etl: from etl.resume() until the last row is settled. The bare client sends create-once `load` and `web_save_multi` as pg_etl does, without Postgres, and remembers nothing.".to_owned(),
        ],
    };
    create.describe("creates", 25.0, &mut section);
    update.describe("updates of different records", 8.0, &mut section);
    Ok(section)
}

/// A real Odoo for a benchmark.
pub fn start() -> Result<Odoo> {
    Odoo::start(&Options {
        workers: u16::try_from(CALLERS)?,
        fsync: true,
        ..Options::default()
    })
}

/// Whether pg_etl goes, in the order of this round.
pub fn turns(round: usize) -> [bool; 2] {
    if round % 2 == 1 {
        [false, true]
    } else {
        [true, false]
    }
}

/// Rows per second, by round.
#[derive(Default)]
struct Times {
    single: Vec<f64>,
    bare: Vec<f64>,
    ours: Vec<f64>,
}

impl Times {
    fn describe(self, what: &str, bar: f64, section: &mut Section) {
        section.bars.push(Bar::at_least(
            format!("{what}: pg_etl ÷ one call per row"),
            ratio(&self.ours, &self.single),
            bar,
            "×",
        ));
        section.bars.push(Bar::at_least(
            format!("{what}: pg_etl ÷ bare client"),
            ratio(&self.ours, &self.bare),
            0.95,
            "×",
        ));
        section.series.extend([
            Series::new(
                format!("{what}: one call per row, one caller"),
                "rows/s",
                self.single,
            ),
            Series::new(
                format!("{what}: bare client, same batches"),
                "rows/s",
                self.bare,
            ),
            Series::new(format!("{what}: pg_etl"), "rows/s", self.ours),
        ]);
    }
}

/// Path below the server, and body.
pub type Call = (String, Value);

pub fn path(method: &str) -> String {
    format!("/json/2/{MODEL}/{method}")
}

fn plain_create(name: &str, n: usize) -> Call {
    let values = json!({"name": format!("{name} {n}"), "email": format!("{name}{n}@example.com"), "phone": format!("+41 44 {n}")});
    (
        path("create"),
        json!({"vals_list": [values], "context": {"lang": "en_US", "tz": "UTC"}}),
    )
}

/// Updates of different records, each another value.
fn saves(ids: &[i64]) -> Vec<Call> {
    let batches = ids.chunks(BATCH).map(|ids| {
        let values: Vec<Value> = ids.iter().map(|id| json!({"phone": format!("+41 55 {id}")})).collect();
        let body = json!({"ids": ids, "vals_list": values, "specification": {}, "context": {"lang": "en_US", "tz": "UTC"}});
        (path("web_save_multi"), body)
    });
    batches.collect()
}

/// SQL that queues creates of partners.
pub fn creates(name: &str, rows: usize) -> String {
    format!(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, record_key, idempotency_key)
         SELECT '{MODEL}', 'create', jsonb_build_object('name', '{name} ' || n, 'email', '{name}' || n || '@example.com', 'phone', '+41 44 ' || n),
                '{name}-' || n, '{name}-' || n
         FROM generate_series(1, {rows}) n"
    )
}

fn updates(ids: &[i64]) -> String {
    let list: Vec<String> = ids.iter().map(i64::to_string).collect();
    format!(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
         SELECT '{MODEL}', 'update', jsonb_build_object('odoo_id', id, 'phone', '+41 66 ' || id), gen_random_uuid()
         FROM unnest('{{{}}}'::bigint[]) id",
        list.join(",")
    )
}

/// A client without a memory.
pub struct Client<'a> {
    access: &'a Access,
    transport: Transport,
}

impl<'a> Client<'a> {
    pub fn new(access: &'a Access) -> Result<Self> {
        let transport =
            Transport::new(&TransportSettings::default()).map_err(|why| anyhow!(why))?;
        Ok(Self { access, transport })
    }

    pub fn send(&self, (path, body): &Call) -> Result<Value> {
        let headers = vec![
            ("Content-Type", "application/json".to_owned()),
            ("Authorization", format!("bearer {}", self.access.api_key)),
            ("X-Odoo-Database", self.access.database.clone()),
        ];
        let url = format!("{}{path}", self.access.url);
        let answer = self
            .transport
            .post(&url, headers, body.to_string().into_bytes())?;
        if answer.status != 200 {
            let said: String = String::from_utf8_lossy(&answer.body)
                .chars()
                .take(300)
                .collect();
            bail!("{path}: HTTP {}: {said}", answer.status);
        }
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// One caller, one row a call.
    fn one_by_one(&self, calls: impl Iterator<Item = Call>) -> Result<(Duration, usize)> {
        let calls: Vec<Call> = calls.collect();
        let started = Instant::now();
        for call in &calls {
            self.send(call)?;
        }
        Ok((started.elapsed(), calls.len()))
    }

    /// Create-once loads of `rows` records.
    fn loads(&self, name: &str, rows: usize) -> Vec<Call> {
        let context: Value = serde_json::from_str(ONCE).unwrap_or_default();
        let all: Vec<usize> = (0..rows).collect();
        let batches = all.chunks(BATCH).map(|chunk| {
            let row = |n: &usize| json!([format!("pg_etl_bench.{name}_{n}"), format!("{name}{n}@example.com"), format!("{name} {n}"), format!("+41 44 {n}")]);
            let data: Vec<Value> = chunk.iter().map(row).collect();
            let body = json!({"fields": ["id", "email", "name", "phone"], "data": data, "context": context});
            (path("load"), body)
        });
        batches.collect()
    }

    /// All callers at once; the ids that loads answered.
    pub fn batches(&self, calls: &[Call]) -> Result<(Duration, Vec<i64>)> {
        let ids = Mutex::new(Vec::new());
        let time = bare::run(CALLERS as usize, |next: &AtomicUsize| {
            while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answer = self.retried(call)?;
                if let Some(of_call) = answer.get("ids").and_then(Value::as_array) {
                    let mut ids = ids.lock().unwrap_or_else(PoisonError::into_inner);
                    ids.extend(of_call.iter().filter_map(Value::as_i64));
                }
            }
            Ok(())
        })?;
        Ok((
            time,
            ids.into_inner().unwrap_or_else(PoisonError::into_inner),
        ))
    }

    /// A `load` that lost a race against another one says so with status 200; whoever sends batches sends it again.
    fn retried(&self, call: &Call) -> Result<Value> {
        for _ in 0..20 {
            let answer = self.send(call)?;
            if !answer.get("ids").is_some_and(Value::is_boolean) {
                return Ok(answer);
            }
            if !answer.to_string().contains("could not serialize") {
                bail!("Odoo refused a batch: {answer}");
            }
        }
        bail!("Odoo refused a batch 20 times")
    }
}
