//! What a worker finds in its database before it does anything.

use pgrx::prelude::*;

use super::session::{Aborted, serve_extension, transaction};

/// Whether there is anything to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// With the extension's OID: another one is another extension, whose claims are not ours.
    Ready(pg_sys::Oid),
    /// `etl.setup()` has not run.
    NotSetUp,
    /// The extension's SQL is of another version than this library: its tables may be others.
    OtherVersion,
    /// There is no extension here.
    Gone,
}

/// Looks. The one query of an idle worker.
pub fn look() -> Result<Ground, Aborted> {
    // Whatever it was until now: this look finds out anew.
    serve_extension(pg_sys::InvalidOid);
    let ground = transaction(|| {
        // SAFETY: a catalog look-up inside a transaction.
        let extension = unsafe { pg_sys::get_extension_oid(c"pg_etl".as_ptr(), true) };
        if extension == pg_sys::InvalidOid {
            return Ground::Gone;
        }
        let query = "SELECT extversion::text FROM pg_catalog.pg_extension WHERE extname = 'pg_etl'";
        let version = crate::reading::one::<String>(query, &[]);
        if version.as_deref() != Some(env!("CARGO_PKG_VERSION")) {
            return Ground::OtherVersion;
        }
        if crate::setup::is_set_up() {
            Ground::Ready(extension)
        } else {
            Ground::NotSetUp
        }
    })?;
    if let Ground::Ready(extension) = ground {
        serve_extension(extension);
    }
    Ok(ground)
}
