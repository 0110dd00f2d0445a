//! Reads an answer without trusting its length.

use std::io::{ErrorKind, Read};

/// Why a body could not be read whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// Longer than the cap, or than the memory there is.
    TooLarge,
    /// The connection ended or the time ran out; the text is the cause.
    Cut(String),
}

/// Least and most that one step asks the allocator for.
const STEP: (usize, usize) = (16 * 1024, 1024 * 1024);

/// At most `cap` bytes of `reader`. `announced` is what `Content-Length` said: above the cap nothing is read at all.
pub(super) fn read_capped(
    reader: &mut dyn Read,
    announced: Option<u64>,
    cap: usize,
) -> Result<Vec<u8>, BodyError> {
    if announced.is_some_and(|length| length > cap as u64) {
        return Err(BodyError::TooLarge);
    }
    let mut body = Vec::new();
    loop {
        let filled = body.len();
        if filled == cap {
            // Exactly at the cap: one more byte decides whether that was all.
            return match read_some(reader, &mut [0u8; 1])? {
                0 => Ok(body),
                _ => Err(BodyError::TooLarge),
            };
        }
        let step = filled.clamp(STEP.0, STEP.1).min(cap - filled);
        // An allocation that fails must not abort the process that hosts us.
        body.try_reserve_exact(step)
            .map_err(|_| BodyError::TooLarge)?;
        body.resize(filled + step, 0);
        let read = read_some(reader, &mut body[filled..])?;
        body.truncate(filled + read);
        if read == 0 {
            return Ok(body);
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
    use super::*;

    #[test]
    fn a_body_up_to_the_cap_is_read_and_one_byte_more_is_refused() {
        for cap in [0, 1, 3, STEP.0, STEP.0 + 1, 100_000] {
            let whole = vec![7u8; cap];
            assert_eq!(
                read_capped(&mut whole.as_slice(), None, cap),
                Ok(whole.clone()),
                "{cap}"
            );
            let longer = vec![7u8; cap + 1];
            assert_eq!(
                read_capped(&mut longer.as_slice(), None, cap),
                Err(BodyError::TooLarge),
                "{cap}"
            );
        }
    }

    #[test]
    fn an_announced_length_over_the_cap_is_refused_unread() {
        let mut endless = std::io::repeat(1);
        assert_eq!(
            read_capped(&mut endless, Some(11), 10),
            Err(BodyError::TooLarge)
        );
    }

    #[test]
    fn an_endless_body_stops_at_the_cap() {
        assert_eq!(
            read_capped(&mut std::io::repeat(1), None, 1 << 20),
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
            read_capped(&mut Cut, None, 10),
            Err(BodyError::Cut("reset".to_owned()))
        );
    }
}
