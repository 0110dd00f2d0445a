//! (f) A real Odoo and rows that it refuses: what the healthy ones beside them lose.

use anyhow::{Context, Result, bail};

use super::odoo;
use super::report::{Bar, Section, Series, ratio};
use super::world::World;
use super::{Plan, note};

/// One row of so many is refused: a contact needs a name, which Odoo finds out when it writes the record.
const ONE_IN: usize = 100;
/// pg_etl's default.
const CALLERS: u32 = 2;

pub fn run(plan: &Plan) -> Result<Section> {
    let rows = if plan.quick { 500 } else { 4_000 };
    let odoo = odoo::start()?;
    let access = odoo.access();
    let mut world = World::start(plan.version, access, CALLERS, &[], &[])?;
    world.drain_until(&odoo::creates("warm", 200), || true)?;
    world.clear()?;
    let (mut create, mut update) = (Sides::default(), Sides::default());
    for round in 1..=plan.rounds {
        note(plan, &format!("round {round} of {}", plan.rounds));
        let mut turns = [false, true];
        turns.rotate_left(round % 2);
        for poisoned in turns {
            let name = format!("poison-{round}-{poisoned}-{}", std::process::id());
            let spoil = |field| {
                let every = if poisoned { ONE_IN } else { usize::MAX };
                format!(
                    "; UPDATE ops.odoo_outbox SET payload = payload || '{{\"{field}\": null}}' WHERE status = 'queued' AND id % {every} = 0"
                )
            };
            let bad = |world: &mut World| -> Result<f64> {
                let sql = "SELECT count(*) FILTER (WHERE status = 'done'), count(*) FILTER (WHERE status = 'failed' AND error_class = 'invalid') FROM ops.odoo_outbox";
                let row = world.db.query_one(sql, &[])?;
                let (done, failed): (i64, i64) = (row.get(0), row.get(1));
                if usize::try_from(done + failed)? != rows || (failed > 0) != poisoned {
                    bail!("{done} done and {failed} refused of {rows}");
                }
                Ok(done as f64)
            };
            let time =
                world.drain_until(&(odoo::creates(&name, rows) + &spoil("name")), || true)?;
            create
                .of(poisoned)
                .push(bad(&mut world)? / time.as_secs_f64());
            let ids: Vec<i64> = world
                .db
                .query(
                    "SELECT odoo_id FROM ops.odoo_outbox WHERE status = 'done' ORDER BY id",
                    &[],
                )?
                .iter()
                .map(|row| {
                    row.get::<_, Option<i64>>(0)
                        .context("a create without an Odoo id")
                })
                .collect::<Result<_>>()?;
            world.clear()?;
            let filled = rows - ids.len();
            let ids: Vec<i64> = ids.iter().chain(&ids[..filled]).copied().collect();
            let time = world.drain_until(&(renames(&ids) + &spoil("name")), || true)?;
            update
                .of(poisoned)
                .push(bad(&mut world)? / time.as_secs_f64());
            world.clear()?;
        }
    }
    let mut section = Section {
        name: "f",
        title: format!(
            "One row of {ONE_IN} is refused, real Odoo {}",
            access.version()?
        ),
        series: Vec::new(),
        bars: Vec::new(),
        notes: vec![format!(
            "res.partner, {rows} rows a round, {CALLERS} callers, batches as pg_etl finds them. Rows per second count healthy rows only."
        )],
    };
    create.describe("creates", &mut section);
    update.describe("updates of different records", &mut section);
    Ok(section)
}

/// SQL that queues an update of each record; all have the same fields, so that the batches are those of healthy rows.
fn renames(ids: &[i64]) -> String {
    let list: Vec<String> = ids.iter().map(i64::to_string).collect();
    format!(
        "INSERT INTO ops.odoo_outbox (model, operation, payload, idempotency_key)
         SELECT 'res.partner', 'update', jsonb_build_object('odoo_id', id, 'name', 'renamed ' || id), gen_random_uuid()
         FROM unnest('{{{}}}'::bigint[]) id",
        list.join(",")
    )
}

/// Healthy rows per second, by round.
#[derive(Default)]
struct Sides {
    clean: Vec<f64>,
    poisoned: Vec<f64>,
}

impl Sides {
    fn of(&mut self, poisoned: bool) -> &mut Vec<f64> {
        if poisoned {
            &mut self.poisoned
        } else {
            &mut self.clean
        }
    }

    fn describe(self, what: &str, section: &mut Section) {
        section.bars.push(Bar::at_least(
            format!("{what}: healthy rows beside refused ones ÷ all healthy"),
            ratio(&self.poisoned, &self.clean),
            0.9,
            "×",
        ));
        section.series.extend([
            Series::new(format!("{what}: all healthy"), "rows/s", self.clean),
            Series::new(
                format!("{what}: 1 in {ONE_IN} refused"),
                "rows/s",
                self.poisoned,
            ),
        ]);
    }
}
