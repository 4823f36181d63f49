//! The answer to IDENTIFY DEVICE (ATA8-ACS, section 7.16): foreign bytes.

use super::command::Ata;
use crate::driver::Error;

/// Bytes of the answer.
pub(super) const LENGTH: usize = 512;

/// Words of the answer, and bits of them.
mod word {
    pub(super) const SERIAL_ATA: usize = 76;
    pub(super) const NCQ: u16 = 1 << 8;
    pub(super) const QUEUE_DEPTH: usize = 75;
    pub(super) const COMMANDS: usize = 83;
    pub(super) const FLUSH_EXT: u16 = 1 << 13;
    pub(super) const FLUSH: u16 = 1 << 12;
    pub(super) const LBA_48: u16 = 1 << 10;
    pub(super) const SECTORS: usize = 100;
    pub(super) const SECTOR_SIZE: usize = 106;
    pub(super) const IS_LONG: u16 = 1 << 12;
    pub(super) const LOGICAL_SIZE: usize = 117;
    pub(super) const SECURITY: usize = 128;
    pub(super) const LOCKED: u16 = 1 << 2;
    pub(super) const INTEGRITY: usize = 255;
    /// Value of the low byte of the integrity word if the high byte makes the sum zero.
    pub(super) const SIGNATURE: u8 = 0xa5;
}

/// Smallest and largest size of a sector that is used, in bytes.
const LEAST_SECTOR: u32 = 512;
const MOST_SECTOR: u32 = 4096;

/// Properties of a disk, from its answer to IDENTIFY DEVICE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Number of its sectors.
    pub(super) sectors: u64,
    /// Bytes of a logical sector.
    pub(super) sector: u32,
    /// Number of commands that it queues; none without native command queuing.
    pub(super) queue: usize,
    /// The command that flushes its cache, if it has one.
    pub(super) flush: Option<Ata>,
}

impl Identity {
    /// A disk that has not been asked yet.
    pub(super) const UNKNOWN: Self =
        Self { sectors: 0, sector: LEAST_SECTOR, queue: 0, flush: None };

    /// Reads it.
    ///
    /// # Errors
    /// [`Error::BadIdentity`] for damaged bytes, [`Error::BlockSize`], [`Error::Unsupported`].
    pub(super) fn decode(bytes: &[u8; LENGTH]) -> Result<Self, Error> {
        let words = bytes.as_chunks::<2>().0;
        let word = |index: usize| u16::from_le_bytes(words[index]);
        let sum = bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        if word(word::INTEGRITY) as u8 == word::SIGNATURE && sum != 0 {
            return Err(Error::BadIdentity);
        }
        let commands = valid(word(word::COMMANDS)).ok_or(Error::BadIdentity)?;
        if commands & word::LBA_48 == 0 {
            return Err(Error::Unsupported("a disk without 48-bit addresses"));
        }
        if word(word::SECURITY) & word::LOCKED != 0 {
            return Err(Error::Unsupported("a disk that is locked by a password"));
        }
        let sectors = (0..4)
            .rev()
            .fold(0, |value, index| value << 16 | u64::from(word(word::SECTORS + index)));
        let is_long = valid(word(word::SECTOR_SIZE)).is_some_and(|size| size & word::IS_LONG != 0);
        let sector = match is_long {
            false => LEAST_SECTOR,
            true => {
                let low = u32::from(word(word::LOGICAL_SIZE));
                (u32::from(word(word::LOGICAL_SIZE + 1)) << 16 | low).saturating_mul(2)
            }
        };
        if !sector.is_power_of_two() || !(LEAST_SECTOR..=MOST_SECTOR).contains(&sector) {
            return Err(Error::BlockSize(sector.into()));
        }
        let serial = word(word::SERIAL_ATA);
        let has_queue = serial != u16::MAX && serial & word::NCQ != 0;
        let queue = if has_queue { usize::from(word(word::QUEUE_DEPTH) & 31) + 1 } else { 0 };
        let flush = match commands {
            bits if bits & word::FLUSH_EXT != 0 => Some(Ata::FlushCacheExt),
            bits if bits & word::FLUSH != 0 => Some(Ata::FlushCache),
            _ => None,
        };
        Ok(Self { sectors, sector, queue, flush })
    }
}

/// A word whose two highest bits say that the others mean something.
fn valid(word: u16) -> Option<u16> {
    (word >> 14 == 0b01).then_some(word)
}
