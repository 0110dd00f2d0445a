//! Dates and times. Odoo takes `YYYY-MM-DD` and `YYYY-MM-DD HH:MM:SS` in UTC and refuses every other spelling.

use crate::http::days_from_civil;

/// The date of `YYYY-MM-DD`, or of a time stamp as it is written, whatever its offset.
pub(super) fn date(text: &str) -> Option<String> {
    let text = text.trim();
    let (day, rest) = split_date(text)?;
    if !rest.is_empty() {
        clock(rest)?;
    }
    Some(render_date(day))
}

/// A time in UTC, to the second, from ISO 8601 or Postgres text: `T` or a space, a fraction (cut off), `Z`, `+02`,
/// `+0200`, `+02:00`. Without an offset it is UTC already; without a time it is midnight.
pub(super) fn datetime(text: &str) -> Option<String> {
    let text = text.trim();
    let (day, rest) = split_date(text)?;
    let (seconds, offset) = if rest.is_empty() {
        (0, 0)
    } else {
        clock(rest)?
    };
    let total = days_from_civil(day.0, day.1, day.2) * 86_400 + seconds - offset;
    let utc = civil_from_days(total.div_euclid(86_400));
    if !(1..=9999).contains(&utc.0) {
        return None;
    }
    let second = total.rem_euclid(86_400);
    Some(format!(
        "{} {:02}:{:02}:{:02}",
        render_date(utc),
        second / 3_600,
        second / 60 % 60,
        second % 60
    ))
}

type Day = (i64, i64, i64);

fn render_date(day: Day) -> String {
    format!("{:04}-{:02}-{:02}", day.0, day.1, day.2)
}

/// Year, month, day, and what follows.
fn split_date(text: &str) -> Option<(Day, &str)> {
    let (head, rest) = text.split_at_checked(10)?;
    let bytes = head.as_bytes();
    if bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let day = (
        number(&head[..4])?,
        number(&head[5..7])?,
        number(&head[8..])?,
    );
    let leap = day.0 % 4 == 0 && (day.0 % 100 != 0 || day.0 % 400 == 0);
    let days = match day.1 {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    ((1..=9999).contains(&day.0) && (1..=days).contains(&day.2)).then_some((day, rest))
}

/// Seconds since midnight and the offset from UTC in seconds, from `T10:00:00.5+02:00` and its like.
fn clock(text: &str) -> Option<(i64, i64)> {
    let text = text.strip_prefix(['T', 't', ' '])?;
    let end = text.find(['Z', 'z', '+', '-', ' ']).unwrap_or(text.len());
    let (time, zone) = text.split_at(end);
    let (time, fraction) = time.split_once(['.', ',']).unwrap_or((time, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut parts = time.split(':');
    let hour = two(parts.next()?)?;
    let minute = two(parts.next()?)?;
    let second = parts.next().map_or(Some(0), two)?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some((
        hour * 3_600 + minute * 60 + second,
        offset(zone.trim_start())?,
    ))
}

fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z" | "UTC") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = zone[1..].replace(':', "");
    let (hours, minutes) = match digits.len() {
        2 => (two(&digits)?, 0),
        4 => (two(digits.get(..2)?)?, two(digits.get(2..)?)?),
        _ => return None,
    };
    (hours <= 15 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn two(text: &str) -> Option<i64> {
    if text.len() == 2 { number(text) } else { None }
}

fn number(text: &str) -> Option<i64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

/// The day that is so many days after 1970-01-01 (Howard Hinnant's algorithm, the reverse of [`days_from_civil`]).
fn civil_from_days(days: i64) -> Day {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_utc() {
        let table = [
            ("2024-02-29", "2024-02-29 00:00:00"),
            ("2024-01-01 10:00:00", "2024-01-01 10:00:00"),
            ("2024-01-01T10:00:00", "2024-01-01 10:00:00"),
            ("2024-01-01T10:00", "2024-01-01 10:00:00"),
            ("2024-01-01T10:00:00Z", "2024-01-01 10:00:00"),
            ("2024-01-01T10:00:00.123456Z", "2024-01-01 10:00:00"),
            ("2024-01-01T01:30:00+02:00", "2023-12-31 23:30:00"),
            ("2023-12-31 23:30:00-0130", "2024-01-01 01:00:00"),
            ("2024-03-01 00:00:00+00", "2024-03-01 00:00:00"),
            ("2024-03-01 00:30:00.5 +01", "2024-02-29 23:30:00"),
            ("2024-03-01 00:30:00 UTC", "2024-03-01 00:30:00"),
            ("0001-01-01 00:00:00", "0001-01-01 00:00:00"),
            ("9999-12-31T23:59:59", "9999-12-31 23:59:59"),
        ];
        for (text, utc) in table {
            assert_eq!(datetime(text).as_deref(), Some(utc), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "infinity",
            "2024",
            "2024-1-1",
            "2024-13-01",
            "2023-02-29",
            "2024-01-32",
            "2024-01-01T",
            "2024-01-01X10:00",
            "2024-01-01T24:00:00",
            "2024-01-01T10:60",
            "2024-01-01T10:00:60",
            "2024-01-01T10",
            "2024-01-01T10:00:00.Z",
            "2024-01-01T10:00:00+",
            "2024-01-01T10:00:00+2",
            "2024-01-01T10:00:00+99:00",
            "0000-01-01",
            "2024-01-01T1é:00",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "20240101T100000",
            "é024-01-01",
            "2024-01-01Té",
        ] {
            assert_eq!(datetime(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_is_the_one_that_is_written() {
        for (text, day) in [
            ("2024-02-29", Some("2024-02-29")),
            ("2024-01-01T00:00:00+02:00", Some("2024-01-01")),
            ("2024-01-01 23:59:59", Some("2024-01-01")),
            ("2024-01-01x", None),
            ("2024-02-30", None),
        ] {
            assert_eq!(date(text).as_deref(), day, "{text}");
        }
    }

    #[test]
    fn days_there_and_back() {
        for days in (-719_162..2_932_896).step_by(97) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
