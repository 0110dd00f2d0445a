//! Odoo's formats of dates and times: naive, UTC, whole seconds outside and microseconds inside.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The transaction's start as stored in `create_date` and `write_date`.
pub(crate) fn now() -> String {
    Zoned::now()
        .with_time_zone(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M:%S.%6f")
        .to_string()
}

/// The time of an answer, as its header `Date` has it.
pub(crate) fn http_date() -> String {
    Zoned::now()
        .with_time_zone(TimeZone::UTC)
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}

/// `YYYY-MM-DD`; anything after the tenth character is ignored, as `fields.Date` does.
pub(crate) fn parse_date(text: &str) -> Result<String, String> {
    let head: String = text.chars().take(10).collect();
    match Date::strptime("%Y-%m-%d", &head) {
        Ok(date) => Ok(date.strftime("%Y-%m-%d").to_string()),
        Err(_) => Err(format!(
            "time data {} does not match format '%Y-%m-%d'",
            super::python::quoted(&head)
        )),
    }
}

/// `YYYY-MM-DD[ HH[:MM[:SS]]]`; no `T`, `Z`, offset or fraction.
pub(crate) fn parse_datetime(text: &str) -> Result<String, String> {
    const FORMAT: &str = "%Y-%m-%d %H:%M:%S";
    // Odoo cuts the format to the length of the text less two, which is how dates and shorter times get through.
    let length = text.chars().count().saturating_sub(2).min(FORMAT.len());
    let format = &FORMAT[..length];
    let parsed = match length {
        17 => DateTime::strptime(format, text).ok(),
        14 => DateTime::strptime(FORMAT, format!("{text}:00")).ok(),
        11 => DateTime::strptime(FORMAT, format!("{text}:00:00")).ok(),
        8 => Date::strptime(format, text)
            .ok()
            .map(|date| date.at(0, 0, 0, 0)),
        _ => None,
    };
    if let (None, Some((head, rest))) = (&parsed, text.split_at_checked(19))
        && !rest.is_empty()
        && DateTime::strptime(FORMAT, head).is_ok()
    {
        return Err(format!("unconverted data remains: {rest}"));
    }
    match parsed {
        Some(time) => Ok(time.strftime(FORMAT).to_string()),
        None => Err(format!(
            "time data {} does not match format '{format}'",
            super::python::quoted(text)
        )),
    }
}

/// A time in a search domain: ISO 8601 without a zone, whose fraction is ignored, or `today` and `now`.
pub(crate) fn parse_search_time(text: &str) -> Result<String, String> {
    let quoted = super::python::quoted(text);
    if text.ends_with('Z') || text.get(10..).is_some_and(|rest| rest.contains(['+', '-'])) {
        return Err(format!(
            "expecting only datetimes with no timezone: {quoted}"
        ));
    }
    match text {
        "now" => return Ok(whole_seconds(&now()).to_owned()),
        "today" => return Ok(format!("{} 00:00:00", &now()[..10])),
        _ => {}
    }
    let plain = text.replacen('T', " ", 1);
    let whole = plain
        .split_once('.')
        .map_or(plain.as_str(), |(whole, _)| whole);
    parse_datetime(whole).map_err(|_| {
        let first = text.split_whitespace().next().unwrap_or_default();
        format!(
            "Invalid term {} in expression date: {quoted}",
            super::python::quoted(first)
        )
    })
}

/// Reads a naive local time of `zone` as UTC. An unknown zone counts as UTC, as in Odoo.
pub(crate) fn to_utc(text: &str, zone: &str) -> String {
    const FORMAT: &str = "%Y-%m-%d %H:%M:%S";
    let Ok(zone) = TimeZone::get(zone) else {
        return text.to_owned();
    };
    let Ok(civil) = DateTime::strptime(FORMAT, text) else {
        return text.to_owned();
    };
    let Ok(instant) = zone.to_timestamp(civil) else {
        return text.to_owned();
    };
    let utc: Timestamp = instant;
    utc.to_zoned(TimeZone::UTC).strftime(FORMAT).to_string()
}

/// What `read` shows of a stored time.
pub(crate) fn whole_seconds(stored: &str) -> &str {
    stored.get(..19).unwrap_or(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datetimes_take_only_odoo_own_format() {
        assert_eq!(
            parse_datetime("2024-02-29 10:11:12").unwrap(),
            "2024-02-29 10:11:12"
        );
        assert_eq!(parse_datetime("2024-02-29").unwrap(), "2024-02-29 00:00:00");
        assert_eq!(
            parse_datetime("2024-02-29 10:11").unwrap(),
            "2024-02-29 10:11:00"
        );
        for refused in [
            "2024-02-29T10:11:12",
            "2024-02-29 10:11:12Z",
            "2024-02-29 10:11:12.5",
            "2023-02-29",
            "x",
            "",
        ] {
            assert!(parse_datetime(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn dates_ignore_what_follows() {
        assert_eq!(parse_date("2024-02-29T10:11:12Z").unwrap(), "2024-02-29");
        assert!(parse_date("29.02.2024").is_err());
    }

    #[test]
    fn local_times_become_utc() {
        assert_eq!(to_utc("2024-07-01 12:00:00", "UTC"), "2024-07-01 12:00:00");
        assert_eq!(
            to_utc("2024-07-01 12:00:00", "No/Where"),
            "2024-07-01 12:00:00"
        );
    }
}
