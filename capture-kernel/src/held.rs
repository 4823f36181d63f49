//! Text that is held back: printing takes longer than all else that a capture kernel does at first.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};

/// Set in a number of bytes that does not grow any more.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// Bytes that there is room for: some thirty lines, of which a capture prints eight or so, and the
/// backtraces, which a link sends with the first bytes.
const ROOM: usize = 4096;

/// The first bytes of a text, until they are released. There is no lock: an exception or an
/// interrupt may add or release text while the code below it does so, and return or not. No byte is
/// lost; the one that was being printed may be printed twice.
pub struct Held {
    bytes: [AtomicU8; ROOM],
    /// Number of bytes added, and [`CLOSED`] once they are released.
    added: AtomicUsize,
    /// Number of bytes printed.
    printed: AtomicUsize,
}

impl Held {
    /// No text yet.
    pub const fn new() -> Self {
        let bytes = [const { AtomicU8::new(0) }; ROOM];
        Self { bytes, added: AtomicUsize::new(0), printed: AtomicUsize::new(0) }
    }

    /// Adds the beginning of `text`, as much as there is room for: nothing once the text was
    /// released. Returns the number of bytes added.
    pub fn add(&self, text: &[u8]) -> usize {
        loop {
            let before = self.added.load(Relaxed);
            // None where it is closed.
            let room = self.bytes.get(before..).unwrap_or_default();
            let count = room.len().min(text.len());
            room.iter().zip(text).for_each(|(place, byte)| place.store(*byte, Relaxed));
            let after = before + count;
            // An interrupt in between may have added text of its own to the same place.
            if self.added.compare_exchange(before, after, Relaxed, Relaxed).is_ok() {
                return count;
            }
        }
    }

    /// Has `print` called for each byte that was added and not printed; no more text is taken.
    pub fn release(&self, mut print: impl FnMut(u8)) {
        let added = self.added.fetch_or(CLOSED, Relaxed) & !CLOSED;
        loop {
            let at = self.printed.load(Relaxed);
            let Some(byte) = self.bytes[..added].get(at) else { return };
            print(byte.load(Relaxed));
            // An interrupt in between may have printed it, and what follows.
            let _ = self.printed.compare_exchange(at, at + 1, Relaxed, Relaxed);
        }
    }
}

impl Default for Held {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    fn released(held: &Held) -> Vec<u8> {
        let mut printed = Vec::new();
        held.release(|byte| printed.push(byte));
        printed
    }

    #[test]
    fn text_comes_out_in_order_and_once() {
        let held = Held::new();
        assert_eq!((held.add(b"one "), held.add(b""), held.add(b"two")), (4, 0, 3));
        assert_eq!(released(&held), b"one two");
        assert_eq!(released(&held), b"");
    }

    #[test]
    fn what_has_no_room_is_not_taken() {
        let (held, long) = (Held::new(), [b'x'; ROOM - 2]);
        assert_eq!((held.add(&long), held.add(b"5678"), held.add(b"9")), (ROOM - 2, 2, 0));
        assert_eq!(released(&held), [&long[..], b"56"].concat());
    }

    #[test]
    fn nothing_is_held_after_the_release() {
        let held = Held::new();
        assert_eq!((released(&held), held.add(b"1")), (Vec::new(), 0));
        assert_eq!(released(&held), b"");
    }

    /// An exception that is reported while lines are printed: it prints the rest of them, and
    /// returns or does not.
    #[test]
    fn a_release_that_is_interrupted_loses_nothing() {
        for interrupted_at in 0..5 {
            let held = Held::new();
            held.add(b"12345");
            let mut printed = Vec::new();
            let mut nested = Vec::new();
            held.release(|byte| {
                if printed.len() == interrupted_at {
                    nested = released(&held);
                }
                printed.push(byte);
            });
            assert_eq!(nested, b"12345"[interrupted_at..], "the byte, and all that follow");
            assert_eq!(printed, b"12345"[..=interrupted_at], "nothing behind it twice");
        }
    }
}
