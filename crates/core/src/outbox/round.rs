//! Laps over one half of the queue. While a backlog lasts a lap does not end: what it passed would never be looked at again, and what
//! is urgent and new would wait. So it is left now and then, for a moment, and goes on where it was.

use std::time::{Duration, Instant};

/// How long a lap goes on before a part of what it passed is looked at again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long the lap is left at a time, and how long it then goes on at least: each has its share of the windows.
const MOMENT: Duration = Duration::from_millis(250);

/// Where the next window begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Where the lap is.
    Straight,
    /// At the start, for something urgent.
    Urgent,
    /// Among what the lap has passed.
    Again,
}

/// Laps over one half. `P` is a place: of the last row looked at.
#[derive(Debug, Clone)]
pub struct Round<P> {
    start: P,
    /// How far the lap has got.
    at: P,
    /// How far what it has passed has been looked at again.
    again: P,
    again_at: Option<Instant>,
    /// How far the way to something urgent has been gone, and where it ends.
    urgent: Option<(P, P)>,
    way: Way,
    /// The way before this one.
    left: Way,
    /// When this way was taken, and whether a window of it has been looked at.
    since: Option<Instant>,
    moved: bool,
    /// The lap began after the last thing that happened.
    whole: bool,
    over: bool,
}

impl<P: Copy + Ord> Round<P> {
    #[must_use]
    pub fn new(start: P) -> Self {
        Self {
            start,
            at: start,
            again: start,
            again_at: None,
            urgent: None,
            way: Way::Straight,
            left: Way::Straight,
            since: None,
            moved: false,
            whole: true,
            over: false,
        }
    }

    /// Behind which row the next window begins.
    #[must_use]
    pub fn place(&self) -> P {
        match (self.way, self.urgent) {
            (Way::Urgent, Some((at, _))) => at,
            (Way::Again, _) => self.again,
            _ => self.at,
        }
    }

    /// How far the lap has got.
    #[must_use]
    pub fn lap(&self) -> P {
        self.at
    }

    /// Something urgent is between the start and `end`. `false`: not now, ask again before the next window.
    #[must_use]
    pub fn hurry(&mut self, end: P) -> bool {
        let fits = self.way == Way::Straight && self.moved && self.urgent.is_none();
        if fits && self.at > self.start {
            self.urgent = Some((self.start, end));
        }
        fits
    }

    /// Chooses the way of the next window. `true`: it is another one than before.
    pub fn turn(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let moment = self.moved && now.saturating_duration_since(since) >= MOMENT;
        let next = match self.way {
            Way::Urgent | Way::Again if moment => Way::Straight,
            Way::Straight if self.moved && self.at > self.start => self.aside(now, moment),
            way => way,
        };
        if next == self.way {
            return false;
        }
        self.take(next, now);
        true
    }

    /// The lap has gone on by a window at least: whether it is left now.
    fn aside(&self, now: Instant, moment: bool) -> Way {
        let again = self.again_at.is_some_and(|at| at <= now);
        match self.urgent {
            // By turns, where both are wanted all the time.
            Some(_) if again && self.left == Way::Urgent => Way::Again,
            Some((at, _)) if at == self.start || moment => Way::Urgent,
            _ if again => Way::Again,
            _ => Way::Straight,
        }
    }

    fn take(&mut self, way: Way, now: Instant) {
        if self.way == Way::Again {
            self.again_at = Some(now + AGAIN);
        }
        (self.left, self.way) = (self.way, way);
        (self.since, self.moved) = (Some(now), false);
    }

    /// The window ended at `next`; at the start: there was nothing behind it.
    pub fn went(&mut self, next: P, now: Instant) {
        self.moved = true;
        match (self.way, self.urgent) {
            (Way::Urgent, Some((_, end))) if next > self.start && next < end => {
                self.urgent = Some((next, end));
            }
            (Way::Again, _) if next > self.start && next < self.at => self.again = next,
            (Way::Straight, _) if next > self.start => {
                self.at = next;
                self.again_at.get_or_insert(now + AGAIN);
            }
            (Way::Straight, _) => self.end_lap(),
            (Way::Urgent, _) => {
                self.urgent = None;
                self.take(Way::Straight, now);
            }
            (Way::Again, _) => {
                self.again = self.start;
                self.take(Way::Straight, now);
            }
        }
    }

    fn end_lap(&mut self) {
        self.over |= self.whole;
        self.whole = true;
        (self.at, self.again) = (self.start, self.start);
        (self.again_at, self.urgent) = (None, None);
    }

    /// Something happened: only a lap that begins from now on says that nothing can go.
    pub fn reopen(&mut self) {
        self.over = false;
        self.whole = self.at == self.start;
    }

    /// Whether a whole lap is over since something happened.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }
}
