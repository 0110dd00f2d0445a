//! Reads an answer without trusting its length.

use std::io::{ErrorKind, Read};

use super::room::{PATIENCE, Room, Rooms};

/// Why a body could not be read whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// Longer than the cap, or than the memory there is.
    TooLarge,
    /// Other answers take all that there is for answers.
    NoRoom,
    /// The connection ended or the time ran out; the text is the cause.
    Cut(String),
}

/// Least and most that one step asks the allocator for.
const STEP: (usize, usize) = (16 * 1024, 1024 * 1024);

/// What is no longer than this needs no room.
pub(super) const FREE: usize = 64 * 1024;

/// At most `cap` bytes of `reader`, and the room that they take. `announced` is what `Content-Length` said: above the cap nothing
/// is read at all.
pub(super) fn read_capped(
    reader: &mut dyn Read,
    announced: Option<u64>,
    cap: usize,
    rooms: &'static Rooms,
) -> Result<(Vec<u8>, Option<Room>), BodyError> {
    let announced = announced
        .map(|length| usize::try_from(length).unwrap_or(usize::MAX))
        .unwrap_or_default();
    if announced > cap {
        return Err(BodyError::TooLarge);
    }
    let mut room = None;
    let mut body = Vec::new();
    loop {
        let filled = body.len();
        if filled == cap {
            // Exactly at the cap: one more byte decides whether that was all.
            return match read_some(reader, &mut [0u8; 1])? {
                0 => Ok((body, room)),
                _ => Err(BodyError::TooLarge),
            };
        }
        let step = filled.clamp(STEP.0, STEP.1).min(cap - filled);
        if filled + step > FREE {
            have(&mut room, filled + step, announced, cap, rooms)?;
        }
        // An allocation that fails must not abort the process that hosts us.
        body.try_reserve_exact(step)
            .map_err(|_| BodyError::TooLarge)?;
        body.resize(filled + step, 0);
        let read = read_some(reader, &mut body[filled..])?;
        body.truncate(filled + read);
        if read == 0 {
            body.shrink_to_fit();
            if let Some(room) = &mut room {
                room.shrink_to(body.len());
            }
            return Ok((body, room));
        }
    }
}

/// Sees that there is room for `bytes`. The first time is the only time to wait: later something is held already.
fn have(
    room: &mut Option<Room>,
    bytes: usize,
    announced: usize,
    cap: usize,
    rooms: &'static Rooms,
) -> Result<(), BodyError> {
    match room {
        Some(room) if room.bytes() >= bytes => Ok(()),
        Some(room) => match room.grow_to(bytes.saturating_mul(2).min(cap)) {
            true => Ok(()),
            false => Err(BodyError::NoRoom),
        },
        None => {
            let wanted = announced.max(STEP.1).min(cap).max(bytes);
            *room = Some(rooms.reserve(wanted, PATIENCE).ok_or(BodyError::NoRoom)?);
            Ok(())
        }
    }
}

fn read_some(reader: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, BodyError> {
    loop {
        match reader.read(buffer) {
            Ok(read) => return Ok(read),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(BodyError::Cut(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rooms(total: usize) -> &'static Rooms {
        Box::leak(Box::new(Rooms::new(total)))
    }

    fn read(
        reader: &mut dyn Read,
        announced: Option<u64>,
        cap: usize,
    ) -> Result<Vec<u8>, BodyError> {
        read_capped(reader, announced, cap, rooms(1 << 20)).map(|(body, _)| body)
    }

    #[test]
    fn a_body_up_to_the_cap_is_read_and_one_byte_more_is_refused() {
        for cap in [0, 1, 3, STEP.0, STEP.0 + 1, 100_000] {
            let whole = vec![7u8; cap];
            assert_eq!(
                read(&mut whole.as_slice(), None, cap),
                Ok(whole.clone()),
                "{cap}"
            );
            let longer = vec![7u8; cap + 1];
            assert_eq!(
                read(&mut longer.as_slice(), None, cap),
                Err(BodyError::TooLarge),
                "{cap}"
            );
        }
    }

    #[test]
    fn an_announced_length_over_the_cap_is_refused_unread() {
        let mut endless = std::io::repeat(1);
        assert_eq!(read(&mut endless, Some(11), 10), Err(BodyError::TooLarge));
    }

    #[test]
    fn an_endless_body_stops_at_the_cap() {
        assert_eq!(
            read(&mut std::io::repeat(1), None, 1 << 20),
            Err(BodyError::TooLarge)
        );
    }

    #[test]
    fn a_cut_body_says_why() {
        struct Cut;
        impl Read for Cut {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("reset"))
            }
        }
        assert_eq!(
            read(&mut Cut, None, 10),
            Err(BodyError::Cut("reset".to_owned()))
        );
    }

    #[test]
    fn a_large_body_has_its_room_and_a_small_one_needs_none() {
        let rooms = rooms(1 << 20);
        let (_, none) = read_capped(&mut &[7u8; FREE / 2][..], None, 1 << 20, rooms)
            .ok()
            .unwrap();
        assert!(none.is_none());
        let long = vec![7u8; 300_000];
        for announced in [None, Some(300_000)] {
            let read = read_capped(&mut long.as_slice(), announced, 1 << 20, rooms);
            let (body, room) = read.ok().unwrap();
            assert_eq!((body.len(), room.unwrap().bytes()), (300_000, 300_000));
        }
    }

    #[test]
    fn a_body_that_outgrows_what_is_left_is_not_read_to_its_end() {
        let rooms = rooms(4 << 20);
        let _others = rooms.reserve(2 << 20, Duration::ZERO);
        let read = read_capped(&mut std::io::repeat(1), None, 16 << 20, rooms);
        assert_eq!(read.err(), Some(BodyError::NoRoom));
        // What it had is free again.
        assert!(rooms.reserve(2 << 20, Duration::ZERO).is_some());
    }
}
