//! Connections in SQL: what the worker reads of them and writes about them.

use pg_etl_core::channel::Kind;
use pgrx::prelude::*;
use pgrx::spi::SpiHeapTupleData;
use serde_json::Value;

/// One connection and what there is to do for it.
pub struct Look {
    pub name: String,
    /// `None`: an Odoo.
    pub channel: Option<Kind>,
    pub url: String,
    pub options: Value,
    /// A reference, never a secret.
    pub secret: Option<String>,
    pub paused: bool,
    /// The worker paused it: the endpoint would not have us.
    pub refused: bool,
    pub failures: u32,
    /// Seconds to the next probe; past when negative.
    pub probe_in: Option<f64>,
    pub throttled_for: Option<f64>,
    pub protocol: Option<String>,
    pub run: Option<i64>,
    pub has_fresh: bool,
    /// Seconds until the first scheduled or retried row is due.
    pub due_in: Option<f64>,
    /// Seconds until the first held key is free.
    pub held_for: Option<f64>,
}

/// Kinds of connections that rows are delivered to.
const KINDS: [&str; 5] = ["odoo", "slack", "webhook", "github", "smtp"];

/// Looks at every connection that rows are delivered to. Inside a transaction.
pub fn look() -> Vec<Look> {
    let result = Spi::connect(|client| {
        let table = client.select(
            include_str!("../../sql/queries/look.sql"),
            None,
            &[KINDS.map(str::to_owned).to_vec().into()],
        )?;
        table
            .map(|tuple| read_look(&tuple))
            .collect::<pgrx::spi::Result<Vec<_>>>()
    });
    result.unwrap_or_else(|error| crate::error::spi_failed(error))
}

fn read_look(tuple: &SpiHeapTupleData<'_>) -> pgrx::spi::Result<Look> {
    Ok(Look {
        name: tuple["name"].value::<String>()?.unwrap_or_default(),
        channel: tuple["kind"]
            .value::<String>()?
            .and_then(|kind| Kind::from_name(&kind)),
        url: tuple["url"].value::<String>()?.unwrap_or_default(),
        options: tuple["options"]
            .value::<pgrx::JsonB>()?
            .map(|json| json.0)
            .unwrap_or_default(),
        secret: tuple["secret"].value()?,
        paused: tuple["paused"].value::<bool>()?.unwrap_or_default(),
        refused: tuple["refused"].value::<bool>()?.unwrap_or_default(),
        failures: tuple["failures"]
            .value::<i32>()?
            .unwrap_or_default()
            .max(0)
            .cast_unsigned(),
        probe_in: tuple["probe_in"].value()?,
        throttled_for: tuple["throttled_for"].value()?,
        protocol: tuple["protocol"].value()?,
        run: tuple["run_id"].value()?,
        has_fresh: tuple["has_fresh"].value::<bool>()?.unwrap_or_default(),
        due_in: tuple["due_in"].value()?,
        held_for: tuple["held_for"].value()?,
    })
}

/// What a call taught about its connection; columns of `learn.sql`.
#[derive(Debug, Default)]
pub struct Lesson {
    pub answered: bool,
    pub failures: u32,
    /// Seconds.
    pub probe_in: Option<f64>,
    /// Seconds.
    pub throttle: Option<f64>,
    pub pause: Option<String>,
    pub class: Option<&'static str>,
    pub error: Option<String>,
    pub remedy: Option<String>,
    pub protocol: Option<&'static str>,
    pub version: Option<String>,
    /// Whether a pause ends that the worker made.
    pub resumes: bool,
}

/// Writes down what a call taught. Inside a transaction.
pub fn learn(connection: &str, lesson: &Lesson) {
    let result = Spi::run_with_args(
        include_str!("../../sql/queries/learn.sql"),
        &[
            connection.into(),
            lesson.answered.into(),
            i32::try_from(lesson.failures).unwrap_or(i32::MAX).into(),
            lesson.probe_in.into(),
            lesson.throttle.into(),
            lesson.pause.clone().into(),
            lesson.class.map(str::to_owned).into(),
            lesson.error.clone().into(),
            lesson.remedy.clone().into(),
            lesson.protocol.map(str::to_owned).into(),
            lesson.version.clone().into(),
            lesson.resumes.into(),
        ],
    );
    result.unwrap_or_else(|error| crate::error::spi_failed(error));
}

/// The connections that have a secret, with its reference. Inside a transaction.
pub fn secrets() -> Vec<(String, String)> {
    let result = Spi::connect(|client| {
        let query = "SELECT c.name, c.secret FROM etl.connections c WHERE c.secret IS NOT NULL ORDER BY c.name";
        let table = client.select(query, None, &[])?;
        table
            .map(|tuple| {
                Ok((
                    tuple.get::<String>(1)?.unwrap_or_default(),
                    tuple.get::<String>(2)?.unwrap_or_default(),
                ))
            })
            .collect::<pgrx::spi::Result<Vec<_>>>()
    });
    result.unwrap_or_else(|error| crate::error::spi_failed(error))
}

/// Writes down why a secret could not be read, or that it could. Inside a transaction.
pub fn keep_secret_error(connection: &str, error: Option<String>) {
    let noted = Spi::run_with_args(
        "INSERT INTO etl.connection_state AS s (connection, secret_error) VALUES ($1, $2)
         ON CONFLICT (connection) DO UPDATE SET secret_error = excluded.secret_error WHERE s.secret_error IS DISTINCT FROM excluded.secret_error",
        &[connection.into(), error.into()],
    );
    noted.unwrap_or_else(|error| crate::error::spi_failed(error));
}

/// Keeps when the first key of a connection's user ends, of those that have not ended. Inside a transaction.
pub fn keep_key_ends(connection: &str, ends: Vec<String>) {
    let result = Spi::run_with_args(
        "UPDATE etl.connection_state s SET key_ends_at = (SELECT min((e || '+00')::timestamptz) FROM unnest($2) e WHERE (e || '+00')::timestamptz > now()) WHERE s.connection = $1",
        &[connection.into(), ends.into()],
    );
    result.unwrap_or_else(|error| crate::error::spi_failed(error));
}

/// Where this database is a copy of the one its state speaks of, pauses everything and derives the queue anew. Inside a transaction.
pub fn move_in() -> bool {
    let copy = Spi::get_one::<bool>("SELECT etl._move_in()");
    copy.unwrap_or_else(|error| crate::error::spi_failed(error)) == Some(true)
}

/// The kept field descriptions of a connection's models. Inside a transaction.
pub fn known_fields(connection: &str) -> Vec<(String, Value)> {
    let result = Spi::connect(|client| {
        let query = "SELECT model, fields FROM etl.model_fields WHERE connection = $1 AND fetched_at > now() - interval '1 day'";
        let table = client.select(query, None, &[connection.into()])?;
        table
            .map(|tuple| {
                Ok((
                    tuple.get::<String>(1)?.unwrap_or_default(),
                    tuple
                        .get::<pgrx::JsonB>(2)?
                        .map(|json| json.0)
                        .unwrap_or_default(),
                ))
            })
            .collect::<pgrx::spi::Result<Vec<_>>>()
    });
    result.unwrap_or_else(|error| crate::error::spi_failed(error))
}

/// Whether the fields of one of these models are kept. Inside a transaction.
pub fn has_fields(connection: &str, models: Vec<String>) -> bool {
    let found = Spi::get_one_with_args::<bool>(
        "SELECT EXISTS (SELECT FROM etl.model_fields WHERE connection = $1 AND model = ANY ($2) AND fetched_at > now() - interval '1 day')",
        &[connection.into(), models.into()],
    );
    found.unwrap_or_else(|error| crate::error::spi_failed(error)) == Some(true)
}

/// Keeps field descriptions for the next worker and for `etl.explain()`. Inside a transaction.
pub fn keep_fields(connection: &str, fields: Vec<(String, Value)>) {
    for (model, description) in fields {
        let result = Spi::run_with_args(
            "INSERT INTO etl.model_fields AS f (connection, model, fields) VALUES ($1, $2, $3)
             ON CONFLICT (connection, model) DO UPDATE SET fields = excluded.fields, fetched_at = now()",
            &[connection.into(), model.into(), pgrx::JsonB(description).into()],
        );
        result.unwrap_or_else(|error| crate::error::spi_failed(error));
    }
}
