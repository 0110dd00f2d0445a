//! (g) A model of a real Odoo into a table: beside a client that asks for the same pages and throws them away.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::bare;
use super::odoo::{self, CALLERS, Call, Client, MODEL};
use super::report::{Bar, Section, Series, ratio};
use super::world::World;
use super::{Plan, note};
use crate::odoo::Access;

/// Rows of a page; pg_etl's largest.
const PAGE: usize = 2_000;

pub fn run(plan: &Plan) -> Result<Section> {
    let rows = if plan.quick { 1_000 } else { 10_000 };
    let odoo = odoo::start()?;
    let access = odoo.access();
    let client = Client::new(access)?;
    let mut world = World::start(plan.version, access, CALLERS, &[], &[])?;
    note(plan, "making partners");
    world.drain_until(&odoo::creates("mirrored", rows), || true)?;
    world.check_all_done()?;
    world.clear()?;
    world
        .db
        .batch_execute("SELECT etl.mirror('res.partner', options => '{\"every_seconds\": 86400, \"reconcile_seconds\": 86400}')")?;
    // The first one is the worker's own; it learns what Odoo bears.
    pull(&mut world)?;
    let fields: Vec<String> = world
        .db
        .query(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = 'odoo_raw.res_partner'::regclass AND attnum > 0 AND attname !~ '^_etl'",
            &[],
        )?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let (mut bare, mut ours, mut again) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        note(plan, &format!("round {round} of {}", plan.rounds));
        for pg_etl in odoo::turns(round) {
            if pg_etl {
                world.db.batch_execute(
                    "TRUNCATE odoo_raw.res_partner; TRUNCATE etl.before_images; CHECKPOINT",
                )?;
                let (read, seconds) = pull(&mut world)?;
                ours.push(read / seconds);
                // Once more: every record is read and none is written.
                let (read, seconds) = pull(&mut world)?;
                again.push(read / seconds);
            } else {
                let pages = pages(&client, &fields)?;
                let time = read(access, &pages)?;
                bare.push(pages_rows(&pages) as f64 / time.as_secs_f64());
            }
        }
    }
    Ok(Section {
        name: "g",
        title: format!(
            "{rows} partners of a real Odoo {} into a table",
            access.version()?
        ),
        bars: vec![Bar::at_most(
            "time of pg_etl ÷ time of the bare client",
            ratio(&bare, &ours),
            1.3,
            "×",
        )],
        series: vec![
            Series::new(
                "bare client, same pages, parsed and thrown away",
                "rows/s",
                bare,
            ),
            Series::new("pg_etl, into an empty table", "rows/s", ours),
            Series::new("pg_etl, nothing changed", "rows/s", again),
        ],
        notes: vec![format!(
            "res.partner with all {} stored fields that have a column; pages of {PAGE} records, {CALLERS} callers. pg_etl: from etl.pull() to its return, with the list of ids and everything written and on disk.",
            fields.len()
        )],
    })
}

/// A full pull: records read, and seconds.
fn pull(world: &mut World) -> Result<(f64, f64)> {
    let started = std::time::Instant::now();
    let answer: Value = world
        .db
        .query_one("SELECT etl.pull('res.partner', true)", &[])?
        .get(0);
    let seconds = started.elapsed().as_secs_f64();
    let run = &answer["mirrors"][0];
    match (run["status"].as_str(), run["read"].as_f64()) {
        (Some("succeeded"), Some(read)) => Ok((read, seconds)),
        _ => bail!("the pull failed: {answer}"),
    }
}

/// The questions that pg_etl asks, without the list of ids.
fn pages(client: &Client<'_>, fields: &[String]) -> Result<Vec<Call>> {
    let context = json!({"lang": "en_US", "tz": "UTC", "active_test": false});
    let listed = client.send(&(
        odoo::path("search"),
        json!({"domain": [], "order": "id", "context": context}),
    ))?;
    let ids = listed.as_array().context("no list of ids")?;
    let ask = |ids: &[Value]| {
        let body = json!({"domain": [["id", "in", ids]], "fields": fields, "order": "id", "load": null, "context": context});
        (format!("/json/2/{MODEL}/search_read"), body)
    };
    Ok(ids.chunks(PAGE).map(ask).collect())
}

/// All pages with ureq alone, parsed and thrown away; the time for all of them.
fn read(access: &Access, pages: &[Call]) -> Result<Duration> {
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    bare::run(CALLERS as usize, |next| {
        while let Some((path, body)) = pages.get(next.fetch_add(1, Ordering::Relaxed)) {
            let request = agent
                .post(format!("{}{path}", access.url))
                .header("Content-Type", "application/json")
                .header("Authorization", format!("bearer {}", access.api_key))
                .header("X-Odoo-Database", &access.database);
            let mut answer = request.send(body.to_string())?;
            let body = answer
                .body_mut()
                .with_config()
                .limit(1 << 30)
                .read_to_vec()?;
            let records: Value = serde_json::from_slice(&body)?;
            if !records.is_array() {
                bail!("{path}: no records");
            }
        }
        Ok(())
    })
}

fn pages_rows(pages: &[Call]) -> usize {
    let ids = |(_, body): &Call| body["domain"][0][2].as_array().map_or(0, Vec::len);
    pages.iter().map(ids).sum()
}
