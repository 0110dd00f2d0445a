//! Two-way tables: what a pull brought is taken into the tables that are tracked both ways. Facts and effects are SQL
//! (`sql/schema/two_way.sql`), the decision between them is [`pg_etl_core::two_way`]'s.

use std::collections::{BTreeSet, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use pg_etl_core::outbox::RawRow;
use pg_etl_core::two_way::{Facts, Sent, Wins, decide};
use pgrx::prelude::*;
use serde_json::{Map, Value};

use crate::error::spi_failed;
use crate::mirror::store::Mirror;

/// Takes in what was just merged: these records, which Odoo was asked for at that time; or, for `None`, those that an earlier page left
/// because somebody was writing to their rows. Inside the transaction of the merge.
///
/// `own` is the connection's user: what it made has a row already.
pub fn take_in(mirror: &Mirror, run: i64, own: Option<i64>, page: Option<(&[i64], SystemTime)>) {
    fire_what_waits();
    for (track, wins) in tracks(mirror) {
        let made = Spi::get_one_with_args::<i64>(
            "SELECT etl._create_in($1, $2::regclass, $3, $4, $5)",
            &[
                track.into(),
                mirror.rel.as_deref().into(),
                page.map(|(ids, _)| ids.to_vec()).into(),
                own.into(),
                run.into(),
            ],
        );
        made.unwrap_or_else(|error| spi_failed(error));
        let fates: Map<String, Value> = look(mirror, track, page)
            .into_iter()
            .map(|(record, facts)| (record, decided(&facts, wins)))
            .collect();
        let applied = Spi::get_one_with_args::<i64>(
            "SELECT etl._apply_in($1, $2, $3)",
            &[
                track.into(),
                run.into(),
                pgrx::JsonB(Value::Object(fates)).into(),
            ],
        );
        applied.unwrap_or_else(|error| spi_failed(error));
    }
}

/// Deletes rows whose records are deleted in Odoo: these, or those that an earlier run left. Inside a transaction.
pub fn take_deletes(mirror: &Mirror, run: i64, deleted: Option<&[i64]>) {
    fire_what_waits();
    for (track, _) in tracks(mirror) {
        let gone = Spi::get_one_with_args::<i64>(
            "SELECT etl._delete_in($1, $2::regclass, $3, $4)",
            &[
                track.into(),
                mirror.rel.as_deref().into(),
                deleted.map(<[i64]>::to_vec).into(),
                run.into(),
            ],
        );
        gone.unwrap_or_else(|error| spi_failed(error));
    }
}

/// Deferred triggers fire now, as whom they were queued by: what waits would fire later as the owner of a tracked table, or as the worker.
/// From here on none waits until the transaction ends.
fn fire_what_waits() {
    let fired = Spi::run("SET CONSTRAINTS ALL IMMEDIATE");
    fired.unwrap_or_else(|error| spi_failed(error));
}

/// How many records are left for later. Inside a transaction.
pub fn left(mirror: &Mirror) -> i64 {
    let left = Spi::get_one_with_args::<i64>(
        "SELECT count(*) FROM etl.held_back b JOIN etl._two_way($1, $2) t ON t.track = b.track",
        &[
            mirror.connection.as_str().into(),
            mirror.model.as_str().into(),
        ],
    );
    left.unwrap_or_else(|error| spi_failed(error))
        .unwrap_or_default()
}

/// Connections that have two-way tables. Inside a transaction.
pub fn connections() -> BTreeSet<String> {
    let result = Spi::connect(|client| {
        client
            .select(
                "SELECT DISTINCT t.connection FROM etl.tracks t WHERE t.two_way IS NOT NULL",
                None,
                &[],
            )?
            .map(|tuple| Ok(tuple.get::<String>(1)?.unwrap_or_default()))
            .collect::<pgrx::spi::Result<_>>()
    });
    result.unwrap_or_else(|error| spi_failed(error))
}

/// Notes with claimed rows when their records were last written in Odoo, as far as that was pulled. Inside the claim's transaction.
///
pub fn note_seen(connection: &str, rows: &mut [RawRow]) {
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    if ids.is_empty() {
        return;
    }
    let result = Spi::connect(|client| {
        client
            .select(
                "SELECT id, seen FROM etl._seen($1, $2)",
                None,
                &[connection.into(), ids.into()],
            )?
            .map(|tuple| Ok((tuple.get::<i64>(1)?.unwrap_or_default(), tuple.get(2)?)))
            .collect::<pgrx::spi::Result<HashMap<i64, Option<String>>>>()
    });
    let mut seen = result.unwrap_or_else(|error| spi_failed(error));
    for row in rows {
        row.seen = seen.remove(&row.id).flatten();
    }
}

/// Asks for pulls of these connections and models, unless they were asked for already, and wakes whoever pulls. Inside a transaction.
pub fn ask(mirrors: &[(String, String)]) {
    let (connections, models): (Vec<String>, Vec<String>) = mirrors.iter().cloned().unzip();
    let asked = Spi::run_with_args(
        "SELECT etl._pull_before_sending($1, $2)",
        &[connections.into(), models.into()],
    );
    asked.unwrap_or_else(|error| spi_failed(error));
}

fn tracks(mirror: &Mirror) -> Vec<(i32, Wins)> {
    let result = Spi::connect(|client| {
        client
            .select(
                "SELECT track, wins FROM etl._two_way($1, $2)",
                None,
                &[
                    mirror.connection.as_str().into(),
                    mirror.model.as_str().into(),
                ],
            )?
            .map(|tuple| {
                let wins = tuple.get::<&str>(2)?.and_then(Wins::named);
                Ok((
                    tuple.get::<i32>(1)?.unwrap_or_default(),
                    wins.unwrap_or(Wins::Odoo),
                ))
            })
            .collect::<pgrx::spi::Result<Vec<_>>>()
    });
    result.unwrap_or_else(|error| spi_failed(error))
}

/// What is known of each field of each record that is not as it was.
fn look(
    mirror: &Mirror,
    track: i32,
    page: Option<(&[i64], SystemTime)>,
) -> Vec<(String, Map<String, Value>)> {
    let (ids, asked) = match page {
        Some((ids, asked)) => {
            let asked = asked.duration_since(UNIX_EPOCH).unwrap_or_default();
            (Some(ids.to_vec()), Some(asked.as_secs_f64()))
        }
        None => (None, None),
    };
    let result = Spi::connect_mut(|client| {
        client
            .update(
                "SELECT record_key, facts FROM etl._look_in($1, $2::regclass, $3, to_timestamp($4))",
                None,
                &[
                    track.into(),
                    mirror.rel.as_deref().into(),
                    ids.into(),
                    asked.into(),
                ],
            )?
            .map(|tuple| {
                let facts = match tuple.get::<pgrx::JsonB>(2)?.map(|json| json.0) {
                    Some(Value::Object(facts)) => facts,
                    _ => Map::new(),
                };
                Ok((tuple.get::<String>(1)?.unwrap_or_default(), facts))
            })
            .collect::<pgrx::spi::Result<Vec<_>>>()
    });
    result.unwrap_or_else(|error| spi_failed(error))
}

fn decided(facts: &Map<String, Value>, wins: Wins) -> Value {
    facts
        .iter()
        .map(|(field, known)| (field.clone(), decide(read(known), wins).name().into()))
        .collect::<Map<_, _>>()
        .into()
}

fn read(known: &Value) -> Facts {
    let says = |name: &str| known[name].as_bool().unwrap_or_default();
    Facts {
        moved: says("moved"),
        differs: says("differs"),
        sent: known["sent"]
            .as_str()
            .and_then(Sent::named)
            .unwrap_or(Sent::Before),
        is_ours: says("is_ours"),
        odoo_is_newer: says("odoo_is_newer"),
        is_resent: says("is_resent"),
        again: says("again"),
        is_unclear: says("is_unclear"),
    }
}
