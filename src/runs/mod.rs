//! The worker's own bookkeeping in `ops.odoo_sync_runs`: a run opens when it finds work and closes when nothing is left to do.

use pgrx::prelude::*;

use crate::outbox::store::Tally;

/// The connection's open run, opening one where there is none. Inside a transaction.
pub fn open(connection: &str) -> Option<i64> {
    let result = Spi::connect_mut(|client| {
        client
            .update(
                include_str!("../../sql/queries/open_run.sql"),
                None,
                &[connection.into()],
            )?
            .first()
            .get_one::<i64>()
    });
    result.unwrap_or_else(|error| crate::error::spi_failed(error))
}

/// What a run counts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub claimed: i64,
    pub tally: Tally,
    /// Requests.
    pub calls: i64,
}

/// Adds to the counts of the connection's open run. Inside a transaction.
pub fn count(connection: &str, counts: &Counts) {
    let Counts {
        claimed,
        tally,
        calls,
    } = counts;
    let result = Spi::run_with_args(
        include_str!("../../sql/queries/count_run.sql"),
        &[
            connection.into(),
            (*claimed).into(),
            tally.done.into(),
            tally.retried.into(),
            tally.failed.into(),
            (*calls).into(),
        ],
    );
    result.unwrap_or_else(|error| crate::error::spi_failed(error));
}

/// Closes the connection's open run: failed where a row became a dead letter; and clears away what holds nothing any more. Inside
/// a transaction.
pub fn close(connection: &str) {
    Spi::run("DELETE FROM etl.holds WHERE until < now()")
        .unwrap_or_else(|error| crate::error::spi_failed(error));
    let result = Spi::run_with_args(
        include_str!("../../sql/queries/close_run.sql"),
        &[connection.into()],
    );
    result.unwrap_or_else(|error| crate::error::spi_failed(error));
}
