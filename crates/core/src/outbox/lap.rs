//! The walk round the queue: where it has got to, and when it has been round in vain.

/// Where the two laps through the queue have got to: the last rows looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Rank and id, among rows that are due as they came.
    pub fresh: (i32, i64),
    /// Due time (µs since 1970) and id, among rows that were scheduled or tried before.
    pub due: (i64, i64),
}

impl Cursor {
    /// Before every row: no due time of the queue is before 1970.
    pub const START: Self = Self {
        fresh: (i32::MIN, i64::MIN),
        due: (-1, i64::MIN),
    };
}

/// How far a walk round the queue has got.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lap {
    fresh_over: bool,
    due_over: bool,
    found: bool,
}

impl Lap {
    /// Takes in what one window gave. `true`: once around both halves of the queue, and every row waits for something.
    #[must_use]
    pub fn take_in(&mut self, next: Cursor, found: bool) -> bool {
        self.found |= found;
        self.fresh_over |= next.fresh == Cursor::START.fresh;
        self.due_over |= next.due == Cursor::START.due;
        if !(self.fresh_over && self.due_over) {
            return false;
        }
        !std::mem::take(self).found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMID: Cursor = Cursor {
        fresh: (0, 1),
        due: (0, 1),
    };
    const FRESH_OVER: Cursor = Cursor {
        fresh: Cursor::START.fresh,
        ..AMID
    };
    const DUE_OVER: Cursor = Cursor {
        due: Cursor::START.due,
        ..AMID
    };

    #[test]
    fn a_walk_that_found_nothing_is_in_vain_once_both_laps_are_over() {
        let mut lap = Lap::default();
        assert!(!lap.take_in(AMID, false));
        assert!(!lap.take_in(FRESH_OVER, false));
        assert!(!lap.take_in(AMID, false));
        assert!(lap.take_in(DUE_OVER, false));
        // The next walk begins anew.
        assert!(!lap.take_in(DUE_OVER, false));
        assert!(lap.take_in(FRESH_OVER, false));
    }

    #[test]
    fn a_row_anywhere_on_the_way_is_remembered_for_that_walk_alone() {
        let mut lap = Lap::default();
        assert!(!lap.take_in(AMID, true));
        assert!(!lap.take_in(Cursor::START, false));
        assert!(lap.take_in(Cursor::START, false));
    }
}
