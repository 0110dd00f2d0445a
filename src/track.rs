//! Capture of tables: its triggers and functions are in `sql/schema/capture.sql`; here is what SQL cannot reckon, and the chunks of a
//! backfill.

use pg_etl_core::external_id::{self, Identity};
use pgrx::prelude::*;

use crate::error::spi_failed;

/// Rows of one chunk.
const CHUNK: i32 = 5_000;
/// Rows of one connection that may wait behind live changes before a backfill goes on.
const MOST_WAITING: i64 = 20_000;

/// The external id that a record key has in Odoo.
#[pg_extern(sql = false)]
fn external_id(connection: &str, model: &str, record_key: &str) -> Option<String> {
    let namespace = crate::reading::one::<String>(
        "SELECT (SELECT c.value #>> '{}' FROM ops.odoo_sync_config c WHERE c.key = 'external_id_namespace')",
        &[],
    )?;
    Some(external_id::external_id(
        &namespace,
        connection,
        model,
        Identity::RecordKey(record_key),
    ))
}

/// How a backfill stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backfill {
    NothingAsked,
    SentAChunk,
    /// Enough of it is in the queue.
    Waits,
}

/// Enqueues a chunk of a table that is backfilled. Inside a transaction.
pub fn backfill() -> Backfill {
    let said = Spi::get_one_with_args::<String>(
        "SELECT etl._backfill_chunk($1, $2)",
        &[CHUNK.into(), MOST_WAITING.into()],
    );
    match said.unwrap_or_else(|error| spi_failed(error)).as_deref() {
        Some("sent") => Backfill::SentAChunk,
        Some("waits") => Backfill::Waits,
        _ => Backfill::NothingAsked,
    }
}
