//! Both ways at once: people edit a tracked table and the same records in Odoo, at random, while the worker, the server and Odoo are
//! killed and answers are lost. At the end both sides must have the same, nothing may have been sent that nobody here wrote, and
//! hardly an edit may be gone unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use serde_json::{Value, json};

use super::adversary::{self, Done, Intensity};
use super::arena::{Arena, Setup};
use super::diary::Diary;
use super::mixed::{STUCK, end_of};
use super::workload::MARK;
use super::world::Kind;
use crate::pg::PgVersion;
use crate::progress::Step;

/// Who wins a field that both sides changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Wins {
    Odoo,
    Local,
    Newest,
}

/// What a run shall be like.
#[derive(Debug, Clone, Serialize)]
pub struct Options {
    pub seed: u64,
    /// How long people edit.
    pub lasts: Duration,
    #[serde(skip)]
    pub kind: Kind,
    pub wins: Wins,
    pub intensity: Intensity,
}

/// How it went.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub done: Done,
    pub local_edits: usize,
    pub odoo_edits: usize,
    pub conflicts: usize,
    /// Fields that are not the same on both sides.
    pub apart: Vec<String>,
    /// Rows that say what came from Odoo, and that no conflict explains.
    pub echoes: Vec<String>,
    /// Conflicts that went against the policy, or name a value that nobody wrote.
    pub misjudged: Vec<String>,
    /// Last edits of a field in Odoo that the local side never knew of.
    pub unseen: Vec<String>,
    pub dead_letters: i64,
    pub seconds: f64,
}

/// Of so many edits in Odoo one may be overwritten unseen: in the milliseconds between the question who wrote a record last and the
/// write, and by a request that ran on after its connection broke. Odoo has no write that asks by itself. Without the question it is
/// one of fifty.
const EDITS_PER_UNSEEN: usize = 1_000;

impl Report {
    /// What is wrong, in a line each; none where all is well.
    pub fn violations(&self) -> Vec<String> {
        let most_unseen = 1 + self.odoo_edits / EDITS_PER_UNSEEN;
        let named = [
            ("apart", &self.apart, 0),
            ("echoes", &self.echoes, 0),
            ("misjudged", &self.misjudged, 0),
            ("unseen", &self.unseen, most_unseen),
        ];
        let some = named.iter().filter(|(_, found, most)| found.len() > *most);
        some.map(|(name, found, _)| format!("{} {name}, the first: {}", found.len(), found[0]))
            .collect()
    }
}

/// Fields of Odoo and columns here.
const FIELDS: [(&str, &str); 4] = [
    ("email", "mail"),
    ("phone", "phone"),
    ("city", "town"),
    ("street", "street"),
];

/// What is written at times so far apart was written one after another, whatever Odoo's whole seconds and everybody's waits make of it.
const APART: Duration = Duration::from_secs(2);

/// One edit, on either side.
#[derive(Debug)]
struct Edit {
    /// The row, and the field, of an edit in Odoo.
    of: Option<(i64, &'static str)>,
    value: String,
    /// Before it was begun, and when it was said to be done.
    from: SystemTime,
    to: SystemTime,
    /// Its answer came: else it may have been done, then or later, or not.
    is_known: bool,
}

const POINTS: [&str; 5] = [
    "after_claim",
    "before_merge_commits",
    "after_send",
    "before_settle_commits",
    "after_answer",
];

pub fn run(version: PgVersion, options: &Options, diary: &Diary) -> Result<Report> {
    let begun = Instant::now();
    let records = if options.kind == Kind::Sim { 200 } else { 50 };
    let step = Step::start(format!(
        "Two ways, seed {}, {:?} wins, {} records, {} s",
        options.seed,
        options.wins,
        records,
        options.lasts.as_secs()
    ));
    let setup = Setup::default().setting("fsync", "off").option(
        "timeout",
        json!(if options.kind == Kind::Sim { 2 } else { 60 }),
    );
    let arena = Arena::start(version, options.kind, options.seed, &setup)?;
    let ids = in_step(&arena, records, options.wins)?;
    diary.note("two ways", json!({"options": options, "records": records}));

    let lasts = usize::try_from(options.lasts.as_millis()).unwrap_or(usize::MAX);
    let schedule = adversary::schedule(
        options.seed,
        lasts,
        options.kind,
        options.intensity,
        &POINTS,
    );
    let over = AtomicBool::new(false);
    let (here, there) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let started = Instant::now();
    let outcome = thread::scope(|scope| {
        let (arena, over, here, there, ids) = (&arena, &over, &here, &there, &ids);
        let seed = options.seed;
        let local = scope.spawn(move || edit_here(arena, seed, records, over, here));
        let remote = scope.spawn(move || edit_there(arena, seed, ids, over, there));
        let mut done = Done::default();
        let struck = (|| -> Result<Done> {
            for (number, planned) in schedule.iter().enumerate() {
                let at = Duration::from_millis(u64::try_from(planned.at).unwrap_or(0));
                thread::sleep(at.saturating_sub(started.elapsed()));
                step.note(&format!("{number} of {} blows", schedule.len()));
                diary.note("strike", json!({"number": number, "planned": planned}));
                adversary::blow(arena, &planned.action, &mut done)?;
            }
            thread::sleep(options.lasts.saturating_sub(started.elapsed()));
            Ok(done)
        })();
        over.store(true, Ordering::Release);
        arena.world.heal();
        let ended = |thread: thread::ScopedJoinHandle<'_, Result<()>>| {
            thread
                .join()
                .map_err(|_| anyhow!("an editor panicked"))
                .flatten()
        };
        let (local, remote) = (ended(local), ended(remote));
        local.context("editing here")?;
        remote.context("editing in Odoo")?;
        struck
    });
    let mut report = Report {
        done: outcome.with_context(|| end_of(&arena))?,
        ..Report::default()
    };
    step.note("coming to rest");
    settle(&arena)?;
    let (here, there) = (into(here), into(there));
    report.local_edits = here.len();
    report.odoo_edits = there.iter().filter(|edit| edit.is_known).count();
    judge(&arena, options.wins, &ids, &here, &there, &mut report)?;
    report.seconds = begun.elapsed().as_secs_f64();
    let told = format!(
        "{} edits here, {} in Odoo, {} conflicts; {} apart, {} echoes, {} misjudged, {} unseen",
        report.local_edits,
        report.odoo_edits,
        report.conflicts,
        report.apart.len(),
        report.echoes.len(),
        report.misjudged.len(),
        report.unseen.len()
    );
    if report.violations().is_empty() {
        step.done(&told);
    } else {
        step.note(&told);
    }
    diary.note("two ways", json!(report));
    Ok(report)
}

fn into<T>(list: Mutex<T>) -> T {
    list.into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A table and a model in step. Returns the Odoo id of every row.
fn in_step(arena: &Arena, records: usize, wins: Wins) -> Result<BTreeMap<i64, i64>> {
    let mut db = arena.client()?;
    let columns: String = FIELDS
        .iter()
        .map(|(_, column)| format!(", {column} text"))
        .collect();
    let initial: String = FIELDS
        .iter()
        .map(|(field, _)| format!(", 'I' || n || '{field}'"))
        .collect();
    let mut mapping = json!({"name": "title"});
    for (field, column) in FIELDS {
        mapping[field] = json!(column);
    }
    let wins = json!(wins);
    db.batch_execute(&format!(
        "CREATE TABLE customers (id bigint PRIMARY KEY, title text NOT NULL{columns});
         CREATE TABLE public.seen (value text NOT NULL);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO public.seen SELECT e.value FROM jsonb_each_text(to_jsonb(new)) e WHERE e.value LIKE 'O%'; RETURN new; END $$;
         CREATE TRIGGER see AFTER UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION see();
         INSERT INTO customers SELECT n, '{MARK}' || n{initial} FROM generate_series(1, {records}) n;
         SELECT etl.mirror('res.partner', domain => '[[\"name\", \"like\", \"{MARK}\"]]', options => '{{\"every_seconds\": 1, \"overlap_seconds\": 120}}');
         SELECT etl.track('customers', 'res.partner', '{mapping}', two_way => {})",
        wins.to_string().replace('"', "'")
    ))
    .context("putting both sides in step")?;
    arena.until("the backfill", Duration::from_secs(60), || {
        Ok(arena.number("SELECT count(*) FROM etl.tracks WHERE backfilled_at IS NULL")? == 0)
    })?;
    settle(arena)?;
    let rows = db.query(
        "SELECT key::bigint, odoo_id FROM etl.tracked_records('customers')",
        &[],
    )?;
    let ids: BTreeMap<i64, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    if ids.len() != records {
        bail!("{} records of {records} are linked", ids.len());
    }
    Ok(ids)
}

/// Nothing on its way, and pulls that find nothing new.
fn settle(arena: &Arena) -> Result<()> {
    arena.ask(|client| client.batch_execute("SELECT etl.resume()"))?;
    for _ in 0..4 {
        if !arena.drained(STUCK, |_| {})? {
            bail!("rows are left that nothing moves\n{}", end_of(arena));
        }
        // What is written in the second of a pull is in the next one.
        thread::sleep(Duration::from_millis(1_200));
        let pulled: Value = arena.ask(|client| {
            Ok(client
                .query_one("SELECT etl.pull('res.partner')", &[])?
                .get(0))
        })?;
        if pulled["mirrors"][0]["status"] != "succeeded" {
            bail!("a pull at rest failed: {pulled}\n{}", end_of(arena));
        }
    }
    Ok(())
}

/// One to twenty rows at a time, a value that nobody else writes.
fn edit_here(
    arena: &Arena,
    seed: u64,
    records: usize,
    over: &AtomicBool,
    edits: &Mutex<Vec<Edit>>,
) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed ^ 0x10ca1);
    let mut number = 0;
    while !over.load(Ordering::Acquire) {
        number += 1;
        let value = format!("L{number}");
        let column = FIELDS[random.random_range(0..FIELDS.len())].1;
        let most = if random.random_bool(0.2) { 20 } else { 1 };
        let ids: Vec<i64> = (0..random.random_range(1..=most))
            .map(|_| random.random_range(1..=i64::try_from(records).unwrap_or(1)))
            .collect();
        let from = SystemTime::now();
        // Should the answer be lost, it is written again: the same value is no change.
        arena.ask(|client| {
            client.execute(
                &format!("UPDATE customers SET {column} = $1 WHERE id = ANY ($2)"),
                &[&value, &ids],
            )
        })?;
        push(
            edits,
            Edit {
                of: None,
                value,
                from,
                to: SystemTime::now(),
                is_known: true,
            },
        );
        thread::sleep(Duration::from_millis(random.random_range(20..120)));
    }
    Ok(())
}

/// A record at a time, past the extension.
fn edit_there(
    arena: &Arena,
    seed: u64,
    ids: &BTreeMap<i64, i64>,
    over: &AtomicBool,
    edits: &Mutex<Vec<Edit>>,
) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed ^ 0x0d00);
    let keys: Vec<i64> = ids.keys().copied().collect();
    let colleague = arena.world.direct().colleague()?;
    let mut number = 0;
    while !over.load(Ordering::Acquire) {
        number += 1;
        let value = format!("O{number}");
        let key = keys[random.random_range(0..keys.len())];
        let field = FIELDS[random.random_range(0..FIELDS.len())].0;
        let from = SystemTime::now();
        // Odoo may be down, and the answer lost: then nobody knows whether it was written, unless it shows.
        let written = colleague.write("res.partner", &[ids[&key]], &json!({field: value}));
        push(
            edits,
            Edit {
                of: Some((key, field)),
                value,
                from,
                to: SystemTime::now(),
                is_known: written.is_ok(),
            },
        );
        thread::sleep(Duration::from_millis(random.random_range(30..150)));
    }
    Ok(())
}

fn push<T>(list: &Mutex<Vec<T>>, item: T) {
    list.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .push(item);
}

fn judge(
    arena: &Arena,
    wins: Wins,
    ids: &BTreeMap<i64, i64>,
    here: &[Edit],
    there: &[Edit],
    report: &mut Report,
) -> Result<()> {
    let mut db = arena.client()?;
    let names: Vec<&str> = FIELDS.iter().map(|(field, _)| *field).collect();
    let odoo: BTreeMap<i64, _> = arena
        .world
        .records(
            "res.partner",
            "name",
            &[names.as_slice(), &["name"]].concat(),
        )?
        .into_iter()
        .map(|record| (record["id"].as_i64().unwrap_or_default(), record))
        .collect();
    for row in db.query("SELECT id, to_jsonb(c) FROM customers c ORDER BY id", &[])? {
        let (key, local): (i64, Value) = (row.get(0), row.get(1));
        let remote = odoo.get(&ids[&key]).context("a record is gone")?;
        for (field, column) in FIELDS {
            if local[column] != remote[field] {
                report.apart.push(format!(
                    "{key}.{field}: {} here, {} in Odoo",
                    local[column], remote[field]
                ));
            }
        }
    }

    let texts = |db: &mut postgres::Client, sql: &str| -> Result<BTreeSet<String>> {
        Ok(db.query(sql, &[])?.iter().map(|row| row.get(0)).collect())
    };
    // Odoo's value is sent again where it won a conflict; and where Odoo has changed it while that was on its way.
    report.echoes.extend(texts(
        &mut db,
        "SELECT o.record_key || '.' || f.key || ': ' || f.value FROM ops.odoo_outbox o CROSS JOIN jsonb_each_text(o.payload) f
         WHERE f.value LIKE 'O%' AND NOT EXISTS (SELECT FROM etl.conflicts c
           WHERE c.record_key = o.record_key AND c.field = f.key AND c.winner = 'odoo' AND c.odoo_value #>> '{}' = f.value)
         AND NOT EXISTS (SELECT FROM ops.odoo_outbox p WHERE p.record_key = o.record_key AND p.id < o.id AND p.payload ->> f.key LIKE 'O%'
           AND coalesce(p.finished_at, 'infinity') > o.created_at - interval '10 s')",
    )?);
    let allowed = match wins {
        Wins::Odoo => "'odoo'",
        Wins::Local => "'local'",
        Wins::Newest => "'odoo', 'local'",
    };
    report.misjudged.extend(texts(
        &mut db,
        &format!(
            "SELECT c.record_key || '.' || c.field || ': ' || concat_ws(' ', c.odoo_value, c.local_value, c.winner, c.detail) FROM etl.conflicts c
             WHERE c.winner IS NULL OR c.winner NOT IN ({allowed}) OR c.odoo_value #>> '{{}}' NOT LIKE 'O%' OR c.local_value #>> '{{}}' NOT LIKE 'L%'"
        ),
    )?);
    report.conflicts = usize::try_from(arena.number("SELECT count(*) FROM etl.conflicts")?)?;
    report.dead_letters =
        arena.number("SELECT count(*) FROM ops.odoo_outbox WHERE status = 'failed'")?;

    if wins == Wins::Newest {
        report
            .misjudged
            .extend(late_winners(&mut db, ids, here, there)?);
    }

    // What somebody in Odoo wrote last into a field was seen here, one way or the other.
    let seen = texts(
        &mut db,
        "SELECT value FROM seen UNION SELECT odoo_value #>> '{}' FROM etl.conflicts WHERE odoo_value IS NOT NULL",
    )?;
    let last: BTreeMap<(i64, &str), &String> = there
        .iter()
        .filter(|edit| edit.is_known)
        .filter_map(|edit| Some((edit.of?, &edit.value)))
        .collect();
    for ((key, field), value) in last {
        if !seen.contains(value) {
            report.unseen.push(format!("{key}.{field}: {value}"));
        }
    }
    Ok(())
}

/// Conflicts that the older of two edits won, although they were well apart.
fn late_winners(
    db: &mut postgres::Client,
    ids: &BTreeMap<i64, i64>,
    here: &[Edit],
    there: &[Edit],
) -> Result<Vec<String>> {
    let keys: BTreeMap<i64, i64> = ids.iter().map(|(key, id)| (*id, *key)).collect();
    let local: BTreeMap<&str, &Edit> = here
        .iter()
        .map(|edit| (edit.value.as_str(), edit))
        .collect();
    let remote: BTreeMap<&str, &Edit> = there
        .iter()
        .map(|edit| (edit.value.as_str(), edit))
        .collect();
    let mut wrong = Vec::new();
    for row in db.query(
        "SELECT odoo_id, field, odoo_value #>> '{}', local_value #>> '{}', winner, at FROM etl.conflicts WHERE winner IS NOT NULL",
        &[],
    )? {
        let (id, field, at): (i64, String, SystemTime) = (row.get(0), row.get(1), row.get(5));
        let values: (Option<String>, Option<String>) = (row.get(2), row.get(3));
        let (Some(odoo), Some(ours)) = values else {
            continue;
        };
        let (Some(theirs), Some(mine)) = (remote.get(odoo.as_str()), local.get(ours.as_str())) else {
            continue;
        };
        let key = keys.get(&id).copied();
        // Odoo dates a record, and not a field: whatever somebody wrote into it makes all of it newer.
        let last = there
            .iter()
            .filter(|edit| edit.of.map(|(key, _)| key) == key && edit.from <= at)
            .map(|edit| if edit.is_known { edit.to } else { at })
            .max();
        let winner: String = row.get(4);
        let is_wrong = is_late(&winner, mine, theirs, last);
        if is_wrong {
            wrong.push(format!("{}.{field}: {odoo} against {ours}, {winner} won", key.unwrap_or_default()));
        }
    }
    Ok(wrong)
}

/// Whether the winner was written well before the other side's edit. `last`: when somebody wrote into the record in Odoo last.
fn is_late(winner: &str, mine: &Edit, theirs: &Edit, last: Option<SystemTime>) -> bool {
    match winner {
        "odoo" => last.is_some_and(|last| last + APART < mine.from),
        _ => theirs.is_known && mine.to + APART < theirs.from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(at: u64) -> Edit {
        let from = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        Edit {
            of: None,
            value: String::new(),
            from,
            to: from,
            is_known: true,
        }
    }

    #[test]
    fn the_later_edit_wins_where_they_are_well_apart() {
        for (mine, theirs, odoo_is_late, local_is_late) in [
            (10, 20, false, true),
            (20, 10, true, false),
            (10, 12, false, false),
            (12, 10, false, false),
        ] {
            let (mine, theirs) = (edit(mine), edit(theirs));
            let last = Some(theirs.to);
            assert_eq!(is_late("odoo", &mine, &theirs, last), odoo_is_late);
            assert_eq!(is_late("local", &mine, &theirs, last), local_is_late);
        }
        // Another field of the record was written after it.
        assert!(!is_late("odoo", &edit(20), &edit(10), Some(edit(19).to)));
        // Nobody knows when, or whether, it was written.
        let unknown = Edit {
            is_known: false,
            ..edit(20)
        };
        assert!(!is_late("local", &edit(10), &unknown, None));
    }
}
