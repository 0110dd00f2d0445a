//! Reads that assign no transaction id: so they work on a standby, and an idle look writes no WAL. (`Spi::get_one` of pgrx prepares
//! every statement for writing, which begins with an id.)

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

/// The first column of the only row of a query that changes nothing; `None` where that is NULL.
pub fn one<T: FromDatum + IntoDatum>(query: &str, arguments: &[DatumWithOid]) -> Option<T> {
    Spi::connect(|client| client.select(query, Some(1), arguments)?.first().get_one())
        .unwrap_or_else(|error| crate::error::spi_failed(error))
}
