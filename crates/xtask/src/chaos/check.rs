//! The checker: joins what was enqueued, what the outbox says became of it, and what Odoo holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;
use odoo_sim::Change;
use serde_json::{Map, Value};

use super::arena::Arena;
use super::verdict::Verdict;
use super::workload::{Expect, MARK, Wanted, Workload, signature, signed_field};
use super::world::{Record, World};

/// A row of the outbox as it ended.
struct Ended {
    status: String,
    class: String,
    attempts: i32,
    crashes: i64,
    odoo_id: Option<i64>,
}

/// Looks at everything. Nothing may be on its way any more.
pub fn check(arena: &Arena, workload: &Workload) -> Result<Verdict> {
    let mut verdict = Verdict {
        rows: workload.rows.len(),
        ..Verdict::default()
    };
    let ended = outbox(arena)?;
    let dead = rows(workload, &ended, &mut verdict);
    left_over(arena, &mut verdict)?;
    let wanted = workload.wanted(&dead);
    verdict.records = wanted.len();
    let history = match &arena.world {
        World::Sim(sim) => sim.history(),
        World::Real(..) => Vec::new(),
    };
    let seen = order(&history, &mut verdict);
    let partners = by_name(
        &arena.world,
        "res.partner",
        "name",
        &["name", "ref", "city", "street", "street2", "zip"],
    )?;
    let orders = by_name(
        &arena.world,
        "sale.order",
        "origin",
        &["origin", "client_order_ref", "state", "order_line"],
    )?;
    for (record, wanted) in &wanted {
        let of_model = if wanted.model == "sale.order" {
            &orders
        } else {
            &partners
        };
        let found = of_model.get(record).map_or(&[][..], Vec::as_slice);
        let before = verdict.findings();
        compare(record, wanted, found, &seen, &mut verdict);
        if verdict.findings() > before {
            verdict.suspects.insert(record.clone());
        }
    }
    for (record, found) in partners.iter().chain(&orders) {
        if !wanted.contains_key(record) {
            let what = format!("{} records {record} that nobody asked for", found.len());
            verdict.duplicated.add(what);
        }
    }
    let ids: HashMap<i64, &str> = partners
        .iter()
        .flat_map(|(name, found)| {
            found
                .iter()
                .map(move |record| (id_of(record), name.as_str()))
        })
        .collect();
    messages(arena, workload, &wanted, &ended, &ids, &mut verdict)?;
    external_ids(arena, &mut verdict)?;
    counts(arena, &mut verdict)?;
    links(workload, &ended, &wanted, &partners, &orders, &mut verdict);
    Ok(verdict)
}

fn outbox(arena: &Arena) -> Result<BTreeMap<i64, Ended>> {
    let sql = "SELECT idempotency_key, status, coalesce(error_class, ''), coalesce(attempts, 0), coalesce(crashes, 0)::bigint, odoo_id
               FROM ops.odoo_outbox";
    let rows = arena.ask(|client| client.query(sql, &[]))?;
    Ok(rows
        .iter()
        .filter_map(|row| {
            let seq = row
                .get::<_, String>(0)
                .strip_prefix("chaos-")?
                .parse()
                .ok()?;
            let ended = Ended {
                status: row.get(1),
                class: row.get(2),
                attempts: row.get(3),
                crashes: row.get(4),
                odoo_id: row.get(5),
            };
            Some((seq, ended))
        })
        .collect())
}

/// What is counted as it changes is what counting says.
fn counts(arena: &Arena, verdict: &mut Verdict) -> Result<()> {
    let sql = "SELECT concat_ws(' ', o.model, o.operation, o.status, 'rows', coalesce(o.rows, 0), 'counted', coalesce(c.rows, 0))
               FROM (SELECT model, operation, status, count(*) AS rows FROM ops.odoo_outbox GROUP BY 1, 2, 3) o
               FULL JOIN (SELECT model, operation, status, sum(rows) AS rows FROM etl.counts GROUP BY 1, 2, 3 HAVING sum(rows) <> 0) c
                 USING (model, operation, status) WHERE o.rows IS DISTINCT FROM c.rows
               UNION ALL
               SELECT 'dead letter ' || o.id || ' and ' || f.id FROM etl.failures f FULL JOIN (SELECT id FROM ops.odoo_outbox WHERE status = 'failed') o USING (id)
               WHERE o.id IS NULL OR f.id IS NULL";
    for row in arena.ask(|client| client.query(sql, &[]))? {
        let found = row.get::<_, Option<String>>(0);
        verdict
            .miscounted
            .add(found.unwrap_or_else(|| "dead letters".to_owned()));
    }
    Ok(())
}

/// Every row ended exactly once, and as it must; gives those that became dead letters.
fn rows(workload: &Workload, ended: &BTreeMap<i64, Ended>, verdict: &mut Verdict) -> BTreeSet<i64> {
    let mut dead = BTreeSet::new();
    for row in &workload.rows {
        let Some(end) = ended.get(&row.seq) else {
            verdict
                .lost
                .add(format!("row {} is not in the outbox", row.seq));
            continue;
        };
        let (seq, class) = (row.seq, &end.class);
        match (end.status.as_str(), row.expect) {
            ("done", Expect::Done | Expect::DoneOrUnknown) => verdict.done += 1,
            ("done", Expect::Dead(why)) => {
                verdict.done += 1;
                verdict.misjudged.add(format!(
                    "row {seq} is done and should be a dead letter ({why})"
                ));
            }
            ("failed", expect) => {
                verdict.dead_letters += 1;
                dead.insert(seq);
                let fits = match expect {
                    Expect::Done => false,
                    Expect::Dead(why) => class == why,
                    Expect::DoneOrUnknown => class == "unknown" || class == "crashed",
                };
                if !fits {
                    verdict.suspects.insert(row.record.clone());
                    verdict.misjudged.add(format!(
                        "row {seq} ({} of {}) is a dead letter of class {class}",
                        row.operation, row.record
                    ));
                }
            }
            (status, _) => verdict.lost.add(format!("row {seq} is still {status}")),
        }
        // Each crash took a claim, and each claim counts an attempt before anything is sent.
        if end.status == "done" && i64::from(end.attempts) < end.crashes + 1 {
            verdict.miscounted.add(format!(
                "row {seq} is done after {} crashes with {} attempts",
                end.crashes, end.attempts
            ));
        }
    }
    for seq in ended.keys() {
        if usize::try_from(*seq).map_or(true, |seq| seq > workload.rows.len()) {
            verdict
                .duplicated
                .add(format!("row {seq} was never enqueued"));
        }
    }
    dead
}

/// Nothing waits and nothing is held when everything has ended.
fn left_over(arena: &Arena, verdict: &mut Verdict) -> Result<()> {
    for table in ["etl.queue", "etl.claims"] {
        let left = arena.number(&format!("SELECT count(*) FROM {table}"))?;
        if left > 0 {
            verdict.lost.add(format!("{left} rows are left in {table}"));
        }
    }
    Ok(())
}

/// Commit by commit, per record: the signature never goes back to an older row. Gives the signatures that were ever seen.
fn order(history: &[Change], verdict: &mut Verdict) -> BTreeSet<(String, i64)> {
    let mut last: HashMap<&str, i64> = HashMap::new();
    let mut seen = BTreeSet::new();
    for change in history {
        let Some((record, seq)) = change.value.as_deref().and_then(signature) else {
            continue;
        };
        seen.insert((record.to_owned(), seq));
        let before = last.entry(record).or_insert(seq);
        if seq < *before {
            verdict.suspects.insert(record.to_owned());
            verdict.reordered.add(format!(
                "{record}: row {seq} took effect after row {before} (commit {})",
                change.commit
            ));
        }
        *before = seq.max(*before);
    }
    seen
}

/// The suite's records by the name it knows them by.
fn by_name(
    world: &World,
    model: &str,
    field: &str,
    fields: &[&str],
) -> Result<BTreeMap<String, Vec<Record>>> {
    let mut all: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for record in world.records(model, field, fields)? {
        let name = record[field].as_str().unwrap_or_default();
        let name = name.trim_start_matches(MARK).to_owned();
        all.entry(name).or_default().push(record);
    }
    Ok(all)
}

fn id_of(record: &Record) -> i64 {
    record["id"].as_i64().unwrap_or_default()
}

/// One record against what it must be.
fn compare(
    name: &str,
    wanted: &Wanted,
    found: &[Record],
    seen: &BTreeSet<(String, i64)>,
    verdict: &mut Verdict,
) {
    if found.len() > 1 {
        verdict
            .duplicated
            .add(format!("{name} is there {} times", found.len()));
    }
    let (fields, record) = match (&wanted.fields, found.first()) {
        (None, None) => return,
        (None, Some(record)) => {
            let what = format!("{name} was deleted and is there ({})", id_of(record));
            return verdict.duplicated.add(what);
        }
        (Some(_), None) => return verdict.lost.add(format!("{name} is not in Odoo")),
        (Some(fields), Some(record)) => (fields, record),
    };
    differing(name, wanted.model, fields, record, seen, verdict);
    if wanted.model == "sale.order" {
        let lines = record["order_line"].as_array().map_or(0, Vec::len);
        if lines > 2 {
            verdict
                .duplicated
                .add(format!("{name} has {lines} lines instead of 2"));
        } else if lines < 2 {
            verdict
                .lost
                .add(format!("{name} has {lines} lines instead of 2"));
        }
        if wanted.confirmed != (record["state"] == "sale") {
            verdict.lost.add(format!(
                "{name} is {} and its confirmation is done",
                record["state"]
            ));
        }
    }
}

fn differing(
    name: &str,
    model: &str,
    fields: &Map<String, Value>,
    record: &Record,
    seen: &BTreeSet<(String, i64)>,
    verdict: &mut Verdict,
) {
    let signed = signed_field(model);
    let last = |value: &Value| value.as_str().and_then(signature).map(|(_, seq)| seq);
    let (want, have) = (last(&fields[signed]), last(&record[signed]));
    if want != have {
        let what = format!("{name} shows row {have:?}, and the last one is {want:?}");
        let was_there = want.is_some_and(|seq| seen.contains(&(name.to_owned(), seq)));
        // A value that was there and gave way to an older one came in the wrong order; one that never was there is lost.
        if was_there {
            return verdict.reordered.add(what);
        }
        return verdict.lost.add(what);
    }
    for (field, value) in fields {
        if record[field] != *value {
            verdict.lost.add(format!(
                "{name}.{field} is {} instead of {value}",
                record[field]
            ));
        }
    }
}

/// A bare call took effect once where it is done, and at most once where nobody knows.
fn messages(
    arena: &Arena,
    workload: &Workload,
    wanted: &BTreeMap<String, Wanted>,
    ended: &BTreeMap<i64, Ended>,
    ids: &HashMap<i64, &str>,
    verdict: &mut Verdict,
) -> Result<()> {
    let mut posted: HashMap<i64, usize> = HashMap::new();
    for message in arena.world.search(
        "mail.message",
        &serde_json::json!([["model", "=", "res.partner"]]),
        &["body", "res_id"],
    )? {
        let body = message["body"].as_str().unwrap_or_default();
        // In whatever Odoo wraps it.
        let mut texts = body.split(['<', '>']);
        let known = message["res_id"]
            .as_i64()
            .is_some_and(|id| ids.contains_key(&id));
        if let Some(seq) = texts
            .find_map(|text| text.strip_prefix('M')?.parse().ok())
            .filter(|_| known)
        {
            *posted.entry(seq).or_default() += 1;
        }
    }
    for row in workload
        .rows
        .iter()
        .filter(|row| row.expect == Expect::DoneOrUnknown)
    {
        let times = posted.get(&row.seq).copied().unwrap_or(0);
        if times > 1 {
            verdict
                .duplicated
                .add(format!("row {} posted its message {times} times", row.seq));
        }
        let done = ended.get(&row.seq).is_some_and(|end| end.status == "done");
        let alive = wanted
            .get(&row.record)
            .is_some_and(|record| record.fields.is_some());
        if done && alive && times == 0 {
            verdict
                .lost
                .add(format!("row {} is done and posted no message", row.seq));
        }
    }
    Ok(())
}

/// No external id twice, and no record with two.
fn external_ids(arena: &Arena, verdict: &mut Verdict) -> Result<()> {
    let namespace: String = arena.ask(|client| {
        let row = client.query_one(
            "SELECT value #>> '{}' FROM ops.odoo_sync_config WHERE key = 'external_id_namespace'",
            &[],
        )?;
        Ok(row.get(0))
    })?;
    let (mut names, mut records) = (BTreeSet::new(), BTreeSet::new());
    for (name, model, id) in arena.world.external_ids(&namespace)? {
        if !names.insert(name.clone()) {
            verdict
                .duplicated
                .add(format!("the external id {name} is there twice"));
        }
        if !records.insert((model.clone(), id)) {
            verdict
                .duplicated
                .add(format!("{model}({id}) has two external ids"));
        }
    }
    Ok(())
}

/// What a done row says of its record is true: the id is that of the record as it is now, unless it was made anew since.
fn links(
    workload: &Workload,
    ended: &BTreeMap<i64, Ended>,
    wanted: &BTreeMap<String, Wanted>,
    partners: &BTreeMap<String, Vec<Record>>,
    orders: &BTreeMap<String, Vec<Record>>,
    verdict: &mut Verdict,
) {
    let deleted: BTreeSet<&str> = workload
        .rows
        .iter()
        .filter(|row| row.operation == "delete")
        .map(|row| row.record.as_str())
        .collect();
    for row in &workload.rows {
        let kept = wanted
            .get(&row.record)
            .is_some_and(|record| record.fields.is_some());
        if !kept || deleted.contains(row.record.as_str()) {
            continue;
        }
        let found = partners
            .get(&row.record)
            .or_else(|| orders.get(&row.record));
        let (Some(end), Some([record])) = (ended.get(&row.seq), found.map(Vec::as_slice)) else {
            continue;
        };
        if end.status == "done" && end.odoo_id.is_some_and(|id| id != id_of(record)) {
            verdict.lost.add(format!(
                "row {} says {:?}, and {} is {}",
                row.seq,
                end.odoo_id,
                row.record,
                id_of(record)
            ));
        }
    }
}
