//! Places of the queue.

/// Where the two laps through the queue have got to: the last rows looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Rank and id, among rows that are due as they came.
    pub fresh: (i32, i64),
    /// Due time (µs since 1970) and id, among rows that were scheduled or tried before.
    pub due: (i64, i64),
}

impl Cursor {
    /// Before every row: no due time of the queue is before 1970. Of a window: nothing is behind it.
    pub const START: Self = Self {
        fresh: (i32::MIN, i64::MIN),
        due: (-1, i64::MIN),
    };
    /// Before every fresh row too, and not the end of a lap: its first window left its first row for the next one.
    pub const BEGUN: (i32, i64) = (i32::MIN, i64::MIN + 1);
}
