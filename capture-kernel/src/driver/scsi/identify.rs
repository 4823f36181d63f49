//! The questions to a target and to a disk: which units there are, and what a unit is.

use super::reply::{self, Capacity, Mode};
use super::{Command, Failure, Next};
use crate::driver::Error;

/// The most bytes of an answer about one disk.
const ANSWER: usize = 192;
/// Units of a target that does not list them: the first so many are asked.
const PROBED: u16 = 8;
/// A disk that does not tell its size.
const NO_SIZE: Error = Error::Unsupported("a SCSI disk without a size");
/// The most bytes of a list of units.
const LIST: usize = 8192;

/// A way to a unit.
pub trait Ask {
    /// Sends a command that moves no data, or data to `into`, and waits. Returns the number of
    /// bytes that have come. Unit attentions and units that become ready are waited for.
    ///
    /// # Errors
    /// [`Error::Scsi`], or those of the carrier.
    fn ask(&mut self, lun: u16, command: Command, into: &mut [u8]) -> Result<usize, Error>;
}

/// A disk that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its size.
    pub capacity: Capacity,
    /// Write protection and write cache.
    pub mode: Mode,
    /// The most blocks of one transfer, if it has a limit.
    pub most_blocks: Option<u32>,
}

/// Waits until the unit is ready, and asks what it is.
///
/// # Errors
/// [`Error::Unsupported`], [`Error::BlockSize`], or the unit's own.
pub fn identify(way: &mut dyn Ask, lun: u16) -> Result<Unit, Error> {
    let mut bytes = [0; ANSWER];
    if disk_type(way, lun, &mut bytes)? != Some(0) {
        return Err(Error::Unsupported("no disk, but another SCSI device"));
    }
    make_ready(way, lun)?;
    let capacity = capacity(way, lun, &mut bytes)?;
    if !matches!(capacity.block_size, 512 | 4096) {
        return Err(Error::BlockSize(capacity.block_size.into()));
    }
    let mode = mode(way, lun, &mut bytes)?;
    let limits = Command::BlockLimits(64);
    let most_blocks = optional(way, lun, limits, &mut bytes[..64])?.and_then(reply::block_limits);
    Ok(Unit { capacity, mode, most_blocks })
}

fn disk_type(way: &mut dyn Ask, lun: u16, bytes: &mut [u8]) -> Result<Option<u8>, Error> {
    let length = way.ask(lun, Command::Inquiry(36), &mut bytes[..36])?;
    Ok(reply::device_type(&bytes[..length.min(36)]))
}

/// A disk that must be started is started once.
fn make_ready(way: &mut dyn Ask, lun: u16) -> Result<(), Error> {
    match way.ask(lun, Command::TestUnitReady, &mut []) {
        Err(Error::Scsi(Failure::Sense(sense))) if sense.next() == Next::Start => {
            way.ask(lun, Command::Start, &mut [])?;
            way.ask(lun, Command::TestUnitReady, &mut []).map(drop)
        }
        other => other.map(drop),
    }
}

fn capacity(way: &mut dyn Ask, lun: u16, bytes: &mut [u8]) -> Result<Capacity, Error> {
    let length = way.ask(lun, Command::Capacity10, &mut bytes[..8])?;
    let short = reply::capacity_10(&bytes[..length.min(8)]);
    let found = match short {
        Some(capacity) if capacity.blocks < 1 << 32 => short,
        _ => {
            let length = way.ask(lun, Command::Capacity16(32), &mut bytes[..32])?;
            reply::capacity_16(&bytes[..length.min(32)])
        }
    };
    let size = |capacity: &Capacity| capacity.blocks.checked_mul(capacity.block_size.into());
    found.filter(|capacity| size(capacity).is_some()).ok_or(NO_SIZE)
}

/// The page of the cache, else all pages. A disk without any can be written.
fn mode(way: &mut dyn Ask, lun: u16, bytes: &mut [u8]) -> Result<Mode, Error> {
    for page in [8, 0x3f] {
        let answer = optional(way, lun, Command::ModeSense(page, ANSWER as u8), bytes)?;
        if let Some(mode) = answer.and_then(reply::mode) {
            return Ok(mode);
        }
    }
    Ok(Mode::default())
}

/// The answer to a command that a disk need not know.
fn optional<'b>(
    way: &mut dyn Ask,
    lun: u16,
    command: Command,
    bytes: &'b mut [u8],
) -> Result<Option<&'b [u8]>, Error> {
    match way.ask(lun, command, bytes) {
        Ok(length) => Ok(Some(&bytes[..length.min(bytes.len())])),
        Err(Error::Scsi(failure)) if failure.is_unknown_command() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Calls `found` with each unit of a target, up to number `most`: those of its list, else those of
/// the first few that are disks.
///
/// # Errors
/// There is no such target, or it does not answer.
pub fn find_units(
    way: &mut dyn Ask,
    most: u16,
    buffer: &mut [u8],
    found: &mut dyn FnMut(u16),
) -> Result<(), Error> {
    let length = buffer.len().min(LIST);
    let list = &mut buffer[..length];
    if let Some(list) = optional(way, 0, Command::ReportLuns(length as u32), list)? {
        reply::luns(list).filter(|lun| *lun <= most).for_each(found);
        return Ok(());
    }
    for lun in 0..PROBED.min(most.saturating_add(1)) {
        if disk_type(way, lun, &mut buffer[..36])? == Some(0) {
            found(lun);
        }
    }
    Ok(())
}
