//! An endpoint in the collector's place that speaks a later version of the protocol.

use dumpfile::wire::{HEADER_SIZE, MARK, TRAILER_SIZE, VERSION};

/// Number of a hello's kind, in every version.
const HELLO: u8 = 2;
/// Fields of a hello: session number, largest frame, flags. A later version may have more.
const BODY: [u8; 10] = [1, 2, 3, 4, 0, 1, 0, 0, 1, 0];

/// A whole hello of the next version.
pub fn hello() -> Vec<u8> {
    let mut frame = vec![MARK, 0, VERSION + 1, HELLO, BODY.len() as u8, 0];
    let check = crc32c(&frame[2..6]) as u16;
    frame.extend(check.to_le_bytes());
    frame.extend(1_u32.to_le_bytes());
    frame.extend(BODY);
    // Before a session its number is zero.
    let covered = [&[0; 4][..], &frame[2..]].concat();
    frame.extend(crc32c(&covered).to_le_bytes());
    debug_assert_eq!(frame.len(), HEADER_SIZE + BODY.len() + TRAILER_SIZE);
    let is_free = |mask: &u8| !frame[2..].iter().any(|byte| byte ^ mask == MARK) && *mask != MARK;
    let mask = (0..=u8::MAX).find(is_free).unwrap_or(0);
    frame[1] = mask;
    frame[2..].iter_mut().for_each(|byte| *byte ^= mask);
    frame
}

/// CRC-32C, bit by bit (RFC 3720, appendix B.4: polynomial 0x1edc6f41, reflected).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dumpfile::wire::{Event, FrameReader, SMALL_FRAME};

    /// The check value in the catalogue of CRC algorithms.
    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn it_is_a_whole_frame_of_another_version() {
        let mut reader = FrameReader::new(vec![0; SMALL_FRAME]);
        let hello = hello();
        let event = reader.next(&mut &hello[..], 0);
        assert_eq!(event, Some(Event::OtherVersion(VERSION + 1)));
    }
}
