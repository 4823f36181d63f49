//! Fake SATA disks, and the commands for them.

use core::ops::Range;
use std::vec::Vec;

/// A disk with sectors of `sector` bytes.
pub(crate) struct Sata {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sector: usize,
    /// Commands that it queues; none without native command queuing.
    pub(crate) queue: u16,
    /// Words of its answer to IDENTIFY DEVICE that are others.
    pub(crate) words: Vec<(usize, u16)>,
    /// True if the answer's checksum is wrong.
    pub(crate) bad_checksum: bool,
    /// A command that touches any of these bytes fails.
    pub(crate) bad: Range<usize>,
    /// So many of the next commands fail.
    pub(crate) fails: usize,
    /// It refuses all writes.
    pub(crate) is_protected: bool,
    /// Commands are not answered from this many on.
    pub(crate) stalls_after: Option<usize>,
    /// The number of bytes that it moves less than asked for.
    pub(crate) short_by: usize,
    /// Flushes fail.
    pub(crate) bad_flush: bool,
    /// Writes wait until [`Fake::answer`].
    pub(crate) lags: bool,
    /// Number of commands, and of those that it has done.
    pub(crate) commands: usize,
    pub(crate) flushes: usize,
    pub(crate) writes: usize,
    pub(crate) queued: usize,
}

impl Sata {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            sector: 512,
            queue: 32,
            words: Vec::new(),
            bad_checksum: false,
            bad: 0..0,
            fails: 0,
            is_protected: false,
            stalls_after: None,
            short_by: 0,
            bad_flush: false,
            lags: false,
            commands: 0,
            flushes: 0,
            writes: 0,
            queued: 0,
        }
    }

    pub(super) fn identity(&self) -> [u8; 512] {
        let mut words = [0_u16; 256];
        let sectors = (self.bytes.len() / self.sector) as u64;
        (0..4).for_each(|index| words[100 + index] = (sectors >> (16 * index)) as u16);
        words[83] = 1 << 14 | 1 << 13 | 1 << 12 | 1 << 10;
        if self.sector != 512 {
            words[106] = 1 << 14 | 1 << 12;
            words[117] = (self.sector / 2) as u16;
            words[118] = (self.sector >> 17) as u16;
        }
        if self.queue > 0 {
            (words[76], words[75]) = (1 << 8 | 0b110, self.queue - 1);
        }
        self.words.iter().for_each(|(index, word)| words[*index] = *word);
        words[255] |= 0xa5;
        let mut bytes = [0; 512];
        let places = bytes.as_chunks_mut::<2>().0;
        places.iter_mut().zip(words).for_each(|(place, word)| *place = word.to_le_bytes());
        let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        bytes[511] = sum.wrapping_neg().wrapping_add(self.bad_checksum.into());
        bytes
    }
}

/// A command, as it was when it came.
pub(super) struct Command {
    pub(super) slot: usize,
    pub(super) code: u8,
    pub(super) sector: u64,
    pub(super) count: u64,
    pub(super) parts: Vec<(u64, usize)>,
    pub(super) is_write: bool,
    /// The bytes that the device reads.
    pub(super) data: Vec<u8>,
}

impl Command {
    pub(super) fn is_queued(&self) -> bool {
        matches!(self.code, 0x60 | 0x61)
    }
}
