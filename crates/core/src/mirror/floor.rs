//! From when on the next run asks for changes.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// How Odoo writes and reads a time: naive UTC, whole seconds.
const FORMAT: &str = "%Y-%m-%d %H:%M:%S";

/// Where the next run begins: `overlap` before this run's start, by Odoo's clock. `clock` is what the server's `Date` said of the
/// moment at which this run began. Where no answer had one, the newest `write_date` that this run met stands for it, in the form in
/// which Odoo gives it. `None`: neither is known, and the old floor holds.
#[must_use]
pub fn next_floor(
    clock: Option<SystemTime>,
    newest: Option<&str>,
    overlap: Duration,
) -> Option<String> {
    let start = match clock {
        Some(clock) => Timestamp::try_from(clock).ok()?,
        None => {
            let newest = DateTime::strptime(FORMAT, newest?).ok()?;
            newest.to_zoned(TimeZone::UTC).ok()?.timestamp()
        }
    };
    // A second more: the clock is told in whole ones.
    let floor = start.checked_sub(overlap + Duration::from_secs(1)).ok()?;
    Some(floor.strftime(FORMAT).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_clock_goes_before_what_was_seen() {
        let clock = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let overlap = Duration::from_secs(900);
        assert_eq!(
            next_floor(Some(clock), Some("2026-01-01 00:00:00"), overlap).as_deref(),
            Some("1994-11-06 08:34:36")
        );
        assert_eq!(
            next_floor(None, Some("2026-01-01 00:00:00"), overlap).as_deref(),
            Some("2025-12-31 23:44:59")
        );
        assert_eq!(next_floor(None, None, overlap), None);
        assert_eq!(next_floor(None, Some("yesterday"), overlap), None);
    }
}
