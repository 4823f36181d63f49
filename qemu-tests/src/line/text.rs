//! The console's text, out of a stream that also carries frames.

use dumpfile::wire::{Event, FrameReader, SMALL_FRAME};

/// A session that no receiver has: the ends of frames are known without it.
const NO_SESSION: u32 = 0;

/// Takes the frames out of a serial line's bytes.
pub struct TextOf(FrameReader<Vec<u8>>);

impl Default for TextOf {
    fn default() -> Self {
        Self(FrameReader::new(vec![0; SMALL_FRAME]))
    }
}

impl TextOf {
    /// Adds the text in the next `bytes` of the line to `text`, as soon as it is there.
    pub fn push(&mut self, mut bytes: &[u8], text: &mut Vec<u8>) {
        while let Some(event) = self.0.next(&mut bytes, NO_SESSION) {
            if let Event::Text(found) = event {
                text.extend_from_slice(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dumpfile::wire::{Frame, Packet, encode};

    fn frame(bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0; SMALL_FRAME];
        let packet = Packet { seq: 1, frame: Frame::Data { view: 0, offset: 0, bytes } };
        let length = encode(&packet, 0x1234_5678, &mut out).expect("a frame");
        out.truncate(length);
        out
    }

    fn text(pieces: &[&[u8]]) -> String {
        let (mut of, mut text) = (TextOf::default(), Vec::new());
        pieces.iter().for_each(|piece| of.push(piece, &mut text));
        String::from_utf8_lossy(&text).into_owned()
    }

    /// A line that a frame falls into is whole again.
    #[test]
    fn frames_are_taken_out_of_the_text() {
        let line = [b"kdump: sta".to_vec(), frame(b"kdump: stage=done\n"), b"ge=views\n".to_vec()];
        assert_eq!(text(&[&line.concat()]), "kdump: stage=views\n");
        let whole = line.concat();
        let bytes: Vec<_> = whole.chunks(1).collect();
        assert_eq!(text(&bytes), "kdump: stage=views\n");
    }

    /// The harness's times are those of the text: it may not wait for the bytes after it.
    #[test]
    fn text_does_not_wait_for_more() {
        let (mut of, mut text) = (TextOf::default(), Vec::new());
        of.push(b"kdump: st", &mut text);
        assert_eq!(text, b"kdump: st");
        of.push(&frame(b"bytes"), &mut text);
        of.push(b"age", &mut text);
        assert_eq!(text, b"kdump: stage");
    }

    /// A frame that is cut off hides no more than its own length.
    #[test]
    fn text_comes_back_behind_a_frame_that_is_cut_off() {
        let cut = &frame(&[7; 200])[..40];
        let line = [cut, &[b'x'; SMALL_FRAME], b"\nkdump: stage=failed\n"].concat();
        assert!(text(&[&line]).ends_with("\nkdump: stage=failed\n"));
    }
}
