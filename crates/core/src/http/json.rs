//! The one place where an answer becomes values. What that takes is known before it is done: seven bytes of an answer can become
//! seven hundred of memory.

use serde_json::Value;

use super::room::{self, PATIENCE, Room, Rooms, TREES};

/// What takes no more than this is parsed without asking for room: answers of the calls that deliver rows are smaller.
pub(super) const FREE: usize = 256 * 1024;

/// Deeper than serde_json goes.
const DEEPEST: usize = 128;

/// Why there are no values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("not JSON")]
    NotJson,
    #[error("more values than there is memory for")]
    TooMany,
    #[error("no memory for its values was free in time")]
    NoRoom,
}

/// Parses an answer's body. This thread keeps the room for it until its next question.
pub fn parse(body: &[u8]) -> Result<Value, Unreadable> {
    let (value, room) = parse_in(&TREES, body)?;
    room::keep(room);
    Ok(value)
}

fn parse_in(rooms: &'static Rooms, body: &[u8]) -> Result<(Value, Option<Room>), Unreadable> {
    let weight = weight(body).ok_or(Unreadable::NotJson)?;
    let room = match weight {
        ..=FREE => None,
        _ if weight > rooms.total() => return Err(Unreadable::TooMany),
        _ => Some(rooms.reserve(weight, PATIENCE).ok_or(Unreadable::NoRoom)?),
    };
    let value = serde_json::from_slice(body).map_err(|_| Unreadable::NotJson)?;
    Ok((value, room))
}

/// What the allocator adds to a piece of memory at most.
const CHUNK: usize = 24;
/// A list begins with room for so many, and doubles when it is full.
const LIST_BEGINS: usize = 4;
/// A node of the B-tree that an object is, with room for [`NODE_ENTRIES`], and its bookkeeping.
const NODE: usize = NODE_ENTRIES * (size_of::<String>() + size_of::<Value>()) + 16 + CHUNK;
const NODE_ENTRIES: usize = 11;
const FIRST_DIVISION: usize = NODE_ENTRIES + 1;
/// One that has others below it.
const INNER_NODE: usize = NODE + (NODE_ENTRIES + 1) * size_of::<usize>();
/// A further entry: a leaf has five at least and one above it, and so on upwards.
const ENTRY: usize = NODE / 6 + INNER_NODE / 36 + 1;

/// What a list takes that has just got room for `values`.
fn list(values: usize) -> usize {
    values * size_of::<Value>() + CHUNK
}

#[derive(Clone, Copy)]
enum Open {
    /// Commas so far.
    List(usize),
    /// Entries so far.
    Object(usize),
}

/// Bytes of memory that parsing `body` takes at most, the body itself not counted. `None`: deeper than anything is parsed.
#[must_use]
pub fn weight(body: &[u8]) -> Option<usize> {
    let mut open = [Open::List(0); DEEPEST];
    let (mut depth, mut weight) = (0_usize, size_of::<Value>());
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        let innermost = &mut open[depth.saturating_sub(1)];
        match (byte, innermost) {
            (b'"', _) => {
                let rest = bytes.as_slice();
                let (length, escapes) = text(rest);
                // With escapes it is put together elsewhere first, in a buffer that doubles.
                weight += (length * if escapes { 4 } else { 1 } + CHUNK).max(32);
                bytes = rest.get(length + 1..).unwrap_or_default().iter();
            }
            (b'{', _) => {
                *open.get_mut(depth)? = Open::Object(0);
                depth += 1;
            }
            (b'[', _) => {
                *open.get_mut(depth)? = Open::List(0);
                depth += 1;
                weight += list(LIST_BEGINS);
            }
            (b'}' | b']', _) => depth = depth.saturating_sub(1),
            (b',', Open::List(commas)) => {
                *commas += 1;
                if *commas >= LIST_BEGINS && commas.is_power_of_two() {
                    weight += list(2 * *commas);
                }
            }
            (b':', Open::Object(entries)) => {
                *entries += 1;
                weight += match *entries {
                    1 => NODE,
                    2..=NODE_ENTRIES => 0,
                    // Two where there was one, and one above them.
                    FIRST_DIVISION => NODE + INNER_NODE,
                    _ => ENTRY,
                };
            }
            _ => {}
        }
    }
    Some(weight)
}

/// Bytes until the quote that ends a text, and whether escapes are among them.
fn text(rest: &[u8]) -> (usize, bool) {
    let (mut at, mut escapes) = (0, false);
    while let Some(byte) = rest.get(at) {
        match byte {
            b'"' => break,
            b'\\' => {
                escapes = true;
                at += 2;
            }
            _ => at += 1,
        }
    }
    (at.min(rest.len()), escapes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn rooms(total: usize) -> &'static Rooms {
        Box::leak(Box::new(Rooms::new(total)))
    }

    #[test]
    fn an_ordinary_answer_needs_no_room() {
        let full = rooms(1);
        let _all = full.reserve(1, Duration::ZERO);
        let answer = json!({"ids": (0..500).collect::<Vec<_>>(), "messages": [], "nextrow": 0});
        let (value, room) = parse_in(full, answer.to_string().as_bytes()).unwrap();
        assert_eq!(value, answer);
        assert!(room.is_none());
    }

    #[test]
    fn what_takes_more_than_there_is_is_not_parsed() {
        let dense = format!("[{}0]", "{\"\":0},".repeat(3 * 1024 * 1024 / 7));
        assert_eq!(parse(dense.as_bytes()), Err(Unreadable::TooMany));
        let objects = format!("[{}0]", "{\"\":0},".repeat(20_000));
        let (_, room) = parse_in(rooms(64 << 20), objects.as_bytes()).unwrap();
        assert!(room.unwrap().bytes() > 20_000 * 600);
    }

    #[test]
    fn a_large_one_waits_for_room() {
        let rooms = rooms(1 << 20);
        let list = format!("[{}0]", "0,".repeat(5_000));
        let taken = rooms.reserve(1 << 20, Duration::ZERO);
        std::thread::scope(|scope| {
            let parsed = scope.spawn(|| parse_in(rooms, list.as_bytes()).map(|(value, _)| value));
            drop(taken);
            assert!(parsed.join().unwrap().is_ok());
        });
    }

    #[test]
    fn what_is_no_json_says_so_however_deep() {
        for bad in [
            &b""[..],
            b"\"",
            b"\"\\",
            b"{\"a\":",
            b"]]]]",
            b":::",
            b"<html>",
            b"[1,",
        ] {
            assert_eq!(parse(bad), Err(Unreadable::NotJson), "{bad:?}");
        }
        assert_eq!(
            parse("[".repeat(100_000).as_bytes()),
            Err(Unreadable::NotJson)
        );
    }

    #[test]
    fn a_page_of_a_wide_model_fits() {
        // What `search_read` gives of 79 fields of `res.partner`: texts, numbers, references with their names, times.
        let record: serde_json::Map<_, _> = (0..79)
            .map(|n| {
                let value = match n % 5 {
                    0 => json!([1234, "Azure Interior, Brandon Freeman"]),
                    1 => json!("2026-07-26 10:00:00"),
                    2 => json!(false),
                    3 => json!(1234.5),
                    _ => json!("a text of some length"),
                };
                (format!("property_account_{n}"), value)
            })
            .collect();
        let page = json!(vec![record; 2_000]).to_string();
        let weight = weight(page.as_bytes()).unwrap();
        assert!(weight <= TREES.total(), "{} MB", weight >> 20);
        assert!(page.len() <= super::super::room::BODIES.total());
    }
}
