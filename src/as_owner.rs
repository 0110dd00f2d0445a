//! What a tracked table's owner is to do, done with the owner's rights and no others.
//!
//! `etl.track()` makes functions that belong to the table's owner, and whoever owns a function may change it: what it returns, and with
//! whose rights it runs. And what a statement of the owner's puts off (a deferred trigger, a setting) would be done later, by the
//! worker. So the worker becomes the owner for the length of the call, inside a security-restricted operation, as for a REFRESH
//! MATERIALIZED VIEW or an index's expression.

use pgrx::prelude::*;
use pgrx::{JsonB, pg_sys};

use crate::error::spi_failed;

/// Calls the function of a track for `job`, and gives back all that it returns as a list. `None`: the owner has no such function.
///
/// Nobody but `etl_worker` may execute it. It calls only what runs with the owner's rights anyway.
#[pg_extern(sql = false)]
fn as_owner(track: i32, job: &str, argument: JsonB) -> Option<JsonB> {
    let (owner, call) = found(track, job)?;
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: read, changed and put back around one statement. An ERROR in between aborts the (sub)transaction, which puts back the user
    // and the settings that it began with.
    let settings = unsafe {
        pg_sys::GetUserIdAndSecContext(&raw mut user, &raw mut context);
        let restricted =
            (pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION) as i32;
        pg_sys::SetUserIdAndSecContext(owner, context | restricted);
        pg_sys::NewGUCNestLevel()
    };
    // The list is made here, so that a cast of the owner's is the owner's too.
    let answer = Spi::get_one_with_args::<JsonB>(
        &format!("SELECT coalesce(jsonb_agg(to_jsonb(f)), '[]') FROM {call}($1) AS f"),
        &[argument.into()],
    );
    // SAFETY: as above. Settings that the call left are undone.
    unsafe {
        pg_sys::AtEOXact_GUC(false, settings);
        pg_sys::SetUserIdAndSecContext(user, context);
    }
    answer.unwrap_or_else(|error| spi_failed(error))
}

/// The table's owner and the name of the function.
fn found(track: i32, job: &str) -> Option<(pg_sys::Oid, String)> {
    let found = Spi::get_two_with_args::<pg_sys::Oid, String>(
        "SELECT c.relowner, format('%I.%I', n.nspname, p.proname)
         FROM etl.tracks k JOIN pg_class c ON c.oid = etl._table(k.tab) JOIN pg_namespace n ON n.nspname = k.home
         JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = format('etl_%s_%s', $2, k.id) AND p.proowner = c.relowner
           AND p.prosecdef AND p.prokind = 'f' AND p.proargtypes = '3802'
         WHERE k.id = $1 AND $2 IN ('look', 'apply', 'make', 'remove', 'backfill')",
        &[track.into(), job.into()],
    );
    match found {
        Ok((owner, call)) => owner.zip(call),
        Err(pgrx::spi::Error::InvalidPosition) => None,
        Err(error) => spi_failed(error),
    }
}
