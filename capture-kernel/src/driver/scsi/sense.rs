//! Sense data: the reasons that a disk gives for a command that it has not done (SPC-4, 4.5).

use core::fmt;

/// The most bytes of sense data that are looked at: those up to the qualifier.
pub const SENSE: usize = 32;

/// Words for each sense key (SPC-4, table 48).
const KEYS: [&str; 16] = [
    "no reason",
    "a recovered error",
    "not ready",
    "a medium error",
    "a hardware error",
    "an illegal request",
    "a unit attention",
    "write protection",
    "a blank check",
    "a vendor's own error",
    "an aborted copy",
    "an aborted command",
    "an unknown error",
    "a volume overflow",
    "a miscompare",
    "an end of data",
];

/// Sense key and additional sense code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// The kind of the reason, below 16.
    pub key: u8,
    /// The reason itself: code and qualifier.
    pub code: [u8; 2],
    /// An earlier command has failed after its answer, and this one was not done.
    pub is_deferred: bool,
}

/// The way to go on after a command with sense data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The command was done all the same.
    Done,
    /// The same command again, a limited number of times.
    Again,
    /// The same command later, until a deadline.
    Later,
    /// The disk has to be started; then the same command later.
    Start,
    /// The command has failed.
    Failed,
}

impl Sense {
    /// Reads fixed or descriptor format; [`None`] where it is neither.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let at = |offset: usize| bytes.get(offset).copied();
        let format = at(0)? & 0x7f;
        let (key, code) = match format {
            // The length of the rest is in byte 7.
            0x70 | 0x71 if at(7)? >= 6 => (at(2)?, [at(12)?, at(13)?]),
            0x70 | 0x71 => (at(2)?, [0, 0]),
            0x72 | 0x73 => (at(1)?, [at(2)?, at(3)?]),
            _ => return None,
        };
        Some(Self { key: key & 0xf, code, is_deferred: format & 1 == 1 })
    }

    /// Decides the next step after a command with this answer.
    pub const fn next(self) -> Next {
        match (self.key, self.code) {
            _ if self.is_deferred => Next::Failed,
            (1, _) => Next::Done,
            // It needs START UNIT.
            (2, [4, 2]) => Next::Start,
            // Only a person can help.
            (2, [4, 3 | 0x12 | 0x1c]) => Next::Failed,
            // Becoming ready, busy with itself, or without a reason.
            (2, [4, _]) => Next::Later,
            (6 | 0xb, _) => Next::Again,
            _ => Next::Failed,
        }
    }

    /// True if the disk does not know the command, or a field of it.
    pub const fn is_unknown_command(self) -> bool {
        self.key == 5 && matches!(self.code[0], 0x20 | 0x24) && !self.is_deferred
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [code, qualifier] = self.code;
        let of = if self.is_deferred { " of an earlier write" } else { "" };
        let words = match self.code {
            [0x3a, _] => ": no medium",
            [4, 3] => ": needs a person's help",
            [0x25, _] => ": no such disk",
            [0x21, _] => ": beyond the end of the disk",
            _ => "",
        };
        let word = KEYS[usize::from(self.key & 0xf)];
        write!(f, "{word}{of}{words} (sense {:x}/{code:02x}/{qualifier:02x})", self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec;

    fn fixed(key: u8, code: u8, qualifier: u8) -> [u8; 18] {
        let mut bytes = [0; 18];
        (bytes[0], bytes[2], bytes[7], bytes[12], bytes[13]) = (0xf0, key, 10, code, qualifier);
        bytes
    }

    #[test]
    fn both_formats_say_the_same() {
        let expected = Sense { key: 3, code: [0x11, 4], is_deferred: false };
        assert_eq!(Sense::parse(&fixed(3 | 0xe0, 0x11, 4)), Some(expected));
        assert_eq!(Sense::parse(&[0x72, 3, 0x11, 4, 0, 0, 0, 0]), Some(expected));
        let deferred = Sense { is_deferred: true, ..expected };
        assert_eq!(Sense::parse(&[0x73, 3, 0x11, 4]), Some(deferred));
        let mut bytes = fixed(3, 0x11, 4);
        bytes[0] = 0x71;
        assert_eq!(Sense::parse(&bytes), Some(deferred));
        // Bytes after the length are none.
        bytes[7] = 4;
        assert_eq!(Sense::parse(&bytes).map(|sense| sense.code), Some([0, 0]));
    }

    #[test]
    fn other_bytes_are_no_sense() {
        for bytes in
            [vec![], vec![0x70], vec![0x70; 13], vec![0x72, 3, 1], vec![0; 32], vec![0xff; 32]]
        {
            assert_eq!(Sense::parse(&bytes), None, "{bytes:x?}");
        }
    }

    #[test]
    fn each_reason_has_its_next_step() {
        let next = [
            (0x0, [0, 0], Next::Failed),
            (0x1, [0x17, 1], Next::Done),
            (0x2, [4, 1], Next::Later),
            (0x2, [4, 2], Next::Start),
            (0x2, [4, 3], Next::Failed),
            (0x2, [4, 4], Next::Later),
            (0x2, [0x3a, 0], Next::Failed),
            (0x3, [0x11, 0], Next::Failed),
            (0x4, [0x44, 0], Next::Failed),
            (0x5, [0x20, 0], Next::Failed),
            (0x6, [0x29, 0], Next::Again),
            (0x7, [0x27, 0], Next::Failed),
            (0xb, [0, 0], Next::Again),
        ];
        for (key, code, expected) in next {
            let sense = Sense { key, code, is_deferred: false };
            assert_eq!(sense.next(), expected, "{sense}");
            let deferred = Sense { is_deferred: true, ..sense };
            assert_eq!(deferred.next(), Next::Failed, "{deferred}");
        }
    }

    #[test]
    fn words() {
        let said = |key, code, is_deferred| Sense { key, code, is_deferred }.to_string();
        assert_eq!(said(3, [0x11, 0], false), "a medium error (sense 3/11/00)");
        assert_eq!(said(2, [0x3a, 1], false), "not ready: no medium (sense 2/3a/01)");
        assert_eq!(said(4, [0xc, 2], true), "a hardware error of an earlier write (sense 4/0c/02)");
    }
}
