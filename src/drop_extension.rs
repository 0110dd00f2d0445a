//! What comes before `DROP EXTENSION pg_etl`: its locks, in the order in which everybody else takes them.
//!
//! A writer holds the outbox and then wants the queue, which the trigger fills. DROP EXTENSION would take the queue first and the
//! outbox, whose triggers it removes, last: a deadlock, and the writer might be the victim. So an event trigger takes the outbox
//! before, against writers only; and before that the extension itself, as the worker does in each of its transactions.

use pgrx::pg_sys;
use pgrx::prelude::*;

/// Takes the lock on the extension alone, until the transaction ends: whoever makes something that goes with the extension needs it, and
/// a worker that waits for a row of theirs has it already.
#[pg_extern(sql = false)]
fn lock_extension() {
    take_extension();
}

/// Takes the locks, until the transaction ends. Nobody but the extension's owner may execute it: a mere try to drop stops nobody.
#[pg_extern(sql = false)]
fn lock_for_drop() {
    // It finds the extension gone, and leaves.
    crate::worker::wake_at_commit();
    if !take_extension() {
        return;
    }
    // SAFETY: catalog look-ups and a lock request inside the caller's transaction, whose end releases the lock.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"ops".as_ptr(), true);
        if schema == pg_sys::InvalidOid {
            return;
        }
        let outbox = pg_sys::get_relname_relid(c"odoo_outbox".as_ptr(), schema);
        if outbox != pg_sys::InvalidOid {
            pg_sys::LockRelationOid(outbox, pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE);
        }
    }
}

/// Locks the extension against every transaction of a worker. `false`: there is none.
fn take_extension() -> bool {
    // SAFETY: a catalog look-up and a lock request inside the caller's transaction, whose end releases the lock.
    unsafe {
        let extension = pg_sys::get_extension_oid(c"pg_etl".as_ptr(), true);
        if extension == pg_sys::InvalidOid {
            return false;
        }
        pg_sys::LockDatabaseObject(
            pg_sys::ExtensionRelationId,
            extension,
            0,
            pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE,
        );
    }
    true
}
