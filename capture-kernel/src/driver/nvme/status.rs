//! Status of a completed command (NVM Express Base 2.0, section 3.3.3.2.1).

use core::fmt;

/// Status code type and status code of a completion that is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Status code type: 0 for all commands, 1 for one command, 2 for media, 3 for paths.
    pub kind: u8,
    /// Status code.
    pub code: u8,
}

impl Status {
    /// The status in the last word of a completion, if it is no success.
    pub(super) const fn of(word: u32) -> Option<Self> {
        let (kind, code) = ((word >> 25 & 7) as u8, (word >> 17) as u8);
        if kind == 0 && code == 0 { None } else { Some(Self { kind, code }) }
    }

    /// Its meaning, where it is one that a disk may answer with.
    const fn words(self) -> &'static str {
        match (self.kind, self.code) {
            (0, 0x01) => "invalid command",
            (0, 0x02) => "invalid field in a command",
            (0, 0x04) => "data transfer error",
            (0, 0x05) => "power loss",
            (0, 0x06) => "internal error",
            (0, 0x07 | 0x08) => "aborted",
            (0, 0x0b) => "invalid namespace or format",
            (0, 0x13) => "invalid PRP offset",
            (0, 0x1c | 0x1d) => "sanitize in progress or failed",
            (0, 0x20) => "namespace is write protected",
            (0, 0x21) => "interrupted",
            (0, 0x80) => "out of range",
            (0, 0x81) => "capacity exceeded",
            (0, 0x82) => "namespace not ready",
            (0, 0x83) => "reserved by another host",
            (0, 0x84) => "format in progress",
            (1, 0x00..=0x02) => "no such queue",
            (1, 0x82) => "range is read-only",
            (2, 0x80) => "write fault",
            (2, 0x81) => "read error",
            (2, 0x82..=0x85) => "end-to-end check failed",
            (2, 0x86) => "access denied",
            (3, _) => "no path to the medium",
            _ => "unknown",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, status {}/{:#04x}", self.words(), self.kind, self.code)
    }
}
