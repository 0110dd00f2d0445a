//! Memory for answers: how much all of them together may take in this process, whatever the endpoints send.
//!
//! What must stay true:
//! * Small answers take none of it and never wait. A large body has its room before it is read, what is parsed from it before it is
//!   parsed.
//! * Who waits for a body's room holds nothing; who waits for a tree's room holds a body at most; who holds a tree waits for
//!   nothing. So nobody waits for ever, and each wait has an end anyway.
//! * A thread keeps the room of an answer until it asks the next question ([`release`]) or its work ends ([`until_end`]): what was
//!   made from the answer is gone by then, or small.
//! * Memory goes back to the system before its room goes to somebody else ([`on_release`]): allocators keep what was freed for the
//!   thread that freed it, and so many threads would keep as many answers.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

const MB: usize = 1024 * 1024;

/// Bodies of more than [`super::body::FREE`]. One of the default `etl.max_response_bytes` fits.
pub(super) static BODIES: Rooms = Rooms::new(16 * MB);

/// What is made from bodies, where it takes more than [`super::json::FREE`]. A page of 2,000 records with 79 fields each fits.
pub(super) static TREES: Rooms = Rooms::new(40 * MB);

/// Longest wait for room.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Less than this is not worth telling the allocator about.
const WORTH_TELLING: usize = MB;

/// An amount of memory that is lent out.
pub(super) struct Rooms {
    total: usize,
    lent: Mutex<usize>,
    returned: Condvar,
}

impl Rooms {
    pub(super) const fn new(total: usize) -> Self {
        Self {
            total,
            lent: Mutex::new(0),
            returned: Condvar::new(),
        }
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Room for `bytes`, as soon as there is so much. More than there is at all is lent to one who is alone. `None`: not in time.
    pub(super) fn reserve(&'static self, bytes: usize, patience: Duration) -> Option<Room> {
        let deadline = Instant::now() + patience;
        let mut lent = self.lent();
        while *lent > 0 && *lent + bytes > self.total {
            let left = deadline.checked_duration_since(Instant::now())?;
            lent = self
                .returned
                .wait_timeout(lent, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        *lent += bytes;
        Some(Room { of: self, bytes })
    }

    fn lent(&self) -> MutexGuard<'_, usize> {
        // A number that changes in one step: a panic elsewhere leaves it sound.
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one answer has of it; given back when dropped.
pub(super) struct Room {
    of: &'static Rooms,
    bytes: usize,
}

impl Room {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes it larger, at once or not at all: who holds something does not wait for more of it.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let mut lent = self.of.lent();
        if *lent > self.bytes && *lent + more > self.of.total {
            return false;
        }
        *lent += more;
        self.bytes += more;
        true
    }

    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        *self.of.lent() -= less;
        self.of.returned.notify_all();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        *self.of.lent() -= self.bytes;
        self.of.returned.notify_all();
    }
}

thread_local! {
    /// The rooms of the answer that this thread works on.
    static KEPT: RefCell<Vec<Room>> = const { RefCell::new(Vec::new()) };
}

static ON_RELEASE: OnceLock<fn()> = OnceLock::new();

/// What to call when much memory was freed and its room is about to be given to somebody else: the allocator's way to hand
/// memory back to the system. Only the first call counts.
pub fn on_release(hand_back: fn()) {
    let _ = ON_RELEASE.set(hand_back);
}

/// Keeps `room` for the answer that this thread works on.
pub(super) fn keep(room: Option<Room>) {
    KEPT.with_borrow_mut(|kept| kept.extend(room));
}

/// This thread is through with the answers it had.
pub(crate) fn release() {
    let kept = KEPT.take();
    if kept.iter().map(Room::bytes).sum::<usize>() >= WORTH_TELLING
        && let Some(hand_back) = ON_RELEASE.get()
    {
        hand_back();
    }
}

/// While it lives this thread may have answers; at its end it is through with them.
pub(crate) struct UntilEnd(PhantomData<*const ()>);

/// See [`UntilEnd`].
#[must_use]
pub(crate) fn until_end() -> UntilEnd {
    UntilEnd(PhantomData)
}

impl Drop for UntilEnd {
    fn drop(&mut self) {
        release();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn rooms(total: usize) -> &'static Rooms {
        Box::leak(Box::new(Rooms::new(total)))
    }

    #[test]
    fn no_more_is_lent_than_there_is_and_who_waits_gets_what_is_returned() {
        let (rooms, most) = (rooms(100), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let room = rooms.reserve(40, LONG).unwrap();
                        most.fetch_max(*rooms.lent(), Ordering::Relaxed);
                        thread::yield_now();
                        drop(room);
                    }
                });
            }
        });
        assert!(most.load(Ordering::Relaxed) <= 100, "{most:?}");
        assert_eq!(*rooms.lent(), 0);
    }

    #[test]
    fn a_wait_has_an_end() {
        let rooms = rooms(100);
        let first = rooms.reserve(80, LONG).unwrap();
        assert!(rooms.reserve(30, Duration::from_millis(10)).is_none());
        drop(first);
        assert!(rooms.reserve(30, Duration::ZERO).is_some());
    }

    #[test]
    fn more_than_there_is_goes_to_one_who_is_alone() {
        let rooms = rooms(100);
        let mut alone = rooms.reserve(150, Duration::ZERO).unwrap();
        assert!(alone.grow_to(200));
        assert!(rooms.reserve(1, Duration::ZERO).is_none());
        alone.shrink_to(60);
        let _other = rooms.reserve(40, Duration::ZERO).unwrap();
        assert!(!alone.grow_to(61));
    }

    #[test]
    fn room_is_kept_until_the_next_question_and_given_back_after_the_memory() {
        static TOLD: AtomicBool = AtomicBool::new(false);
        let rooms = rooms(2 * MB);
        let _all = until_end();
        on_release(|| TOLD.store(true, Ordering::Relaxed));
        keep(rooms.reserve(10, LONG));
        release();
        assert!(!TOLD.load(Ordering::Relaxed), "not worth it");
        keep(rooms.reserve(MB, LONG));
        assert_eq!(*rooms.lent(), MB);
        release();
        assert_eq!(*rooms.lent(), 0);
        assert!(TOLD.load(Ordering::Relaxed));
        {
            let _work = until_end();
            keep(rooms.reserve(MB, LONG));
        }
        assert_eq!(*rooms.lent(), 0);
    }
}
