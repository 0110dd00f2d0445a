//! Session locks that say who is alive. A claim names its owner's number; while that owner's session lives it holds the lock
//! of that number, so a dead owner is known at once and not by time. The lock class is out of reach of SQL's advisory locks.

use std::sync::OnceLock;

use pgrx::prelude::*;

/// `field4` of SQL's advisory locks is 1 or 2.
const OWNER_CLASS: u16 = 3;
const CLAIMER_CLASS: u16 = 4;
const TURN_CLASS: u16 = 5;

fn advisory(number: u64, class: u16) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        // SAFETY: set for every process with a database.
        locktag_field1: unsafe { pg_sys::MyDatabaseId.to_u32() },
        locktag_field2: (number >> 32) as u32,
        locktag_field3: number as u32,
        locktag_field4: class,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

fn acquire(tag: &pg_sys::LOCKTAG, mode: i32, for_session: bool) -> bool {
    // SAFETY: never waits (dontWait), so it neither blocks nor deadlocks; the tag is copied.
    let result = unsafe { pg_sys::LockAcquire(tag, mode, for_session, true) };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

/// Whether the lock could be had just now; it is given back at once.
pub fn try_lock(tag: &pg_sys::LOCKTAG, mode: i32) -> bool {
    let free = acquire(tag, mode, true);
    if free {
        // SAFETY: taken the line before, for the session.
        unsafe { pg_sys::LockRelease(tag, mode, true) };
    }
    free
}

/// This process' number, once it has one: locks of a session outlive a transaction that is aborted.
static OWNER: OnceLock<i64> = OnceLock::new();

/// Takes a number nobody else holds, until this process ends; the same one each time. Inside a transaction.
pub fn become_owner() -> i64 {
    if let Some(number) = OWNER.get() {
        return *number;
    }
    loop {
        let number = Spi::get_one::<i64>("SELECT pg_catalog.nextval('etl.owner_seq')")
            .unwrap_or_else(|error| crate::error::spi_failed(error))
            .unwrap_or_default();
        // Taken only where the sequence began anew (DROP and CREATE EXTENSION) while a worker of before still leaves.
        if acquire(
            &advisory(number.cast_unsigned(), OWNER_CLASS),
            pg_sys::ExclusiveLock as i32,
            true,
        ) {
            return *OWNER.get_or_init(|| number);
        }
    }
}

/// Whether the session with this number still runs. The asking session's own number counts as alive.
#[pg_extern(sql = false)]
fn owner_alive(owner: i64) -> bool {
    let tag = advisory(owner.cast_unsigned(), OWNER_CLASS);
    // SAFETY: reads our own lock table entry.
    let mine = unsafe {
        pg_sys::LockHeldByMe(
            &tag,
            pg_sys::ExclusiveLock as i32,
            #[cfg(feature = "pg17")]
            false,
        )
    };
    mine || !try_lock(&tag, pg_sys::ShareLock as i32)
}

/// Until the transaction ends nobody else claims rows of `connection`. `false`: somebody does just now.
pub fn become_claimer(connection: &str) -> bool {
    let mut number: u64 = 0xcbf2_9ce4_8422_2325;
    // FNV-1a: two connections on one number would take turns, no more.
    for byte in connection.bytes() {
        number = (number ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    acquire(
        &advisory(number, CLAIMER_CLASS),
        pg_sys::ExclusiveLock as i32,
        false,
    )
}

/// Whether nobody else does what this number stands for, until the transaction ends.
#[pg_extern(sql = false)]
fn take_turn(turn: i32, waits: bool) -> bool {
    let tag = advisory(u64::from(turn.cast_unsigned()), TURN_CLASS);
    if !waits {
        return acquire(&tag, pg_sys::ExclusiveLock as i32, false);
    }
    // SAFETY: a lock request inside the caller's transaction, whose end releases the lock; it waits as for any lock, with its
    // timeouts, its deadlock check and open to cancellation.
    unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, false, false) };
    true
}
