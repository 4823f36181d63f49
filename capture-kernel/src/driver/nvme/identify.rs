//! Answers to Identify (NVM Express Base 2.0, section 5.17; namespaces: NVM Command Set 1.0, section
//! 4.1.5). The bytes are the device's: each field is read once and checked.

use crate::driver::Error;
use crate::driver::dma::DmaBuffer;
use crate::list;
use alloc::vec::Vec;

/// Bytes of an answer.
pub(super) const ANSWER: usize = 4096;
/// Most namespaces of a controller that are looked at.
pub(super) const MOST_NAMESPACES: usize = 256;

/// Offsets in the answer about a controller.
mod controller {
    pub(super) const MDTS: usize = 77;
    pub(super) const CNTRLTYPE: usize = 111;
    pub(super) const SQES: usize = 512;
    pub(super) const CQES: usize = 513;
    pub(super) const MAXCMD: usize = 514;
    pub(super) const NN: usize = 516;
    pub(super) const VWC: usize = 525;
}

/// Offsets in the answer about a namespace.
mod namespace {
    pub(super) const NSZE: usize = 0;
    pub(super) const NLBAF: usize = 25;
    pub(super) const FLBAS: usize = 26;
    pub(super) const DPS: usize = 29;
    pub(super) const NSATTR: usize = 99;
    pub(super) const LBAF: usize = 128;
}

/// Logarithms of the sizes of a command and of a completion, in bytes.
pub(super) const ENTRIES: [u8; 2] = [6, 4];

/// Properties of a controller.
pub(super) struct Controller {
    /// The most bytes of one command, if there is a limit.
    pub(super) bytes: Option<u64>,
    /// The most commands at a time, if it says.
    pub(super) commands: Option<u16>,
    /// The highest number of a namespace.
    pub(super) namespaces: u32,
    /// True if there is a volatile write cache.
    pub(super) has_cache: bool,
}

impl Controller {
    /// Reads the answer. `page` is the controller's least page size in bytes.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub(super) fn read(answer: &DmaBuffer, page: u64) -> Result<Self, Error> {
        // 0 where the controller is older than this field.
        if answer.read::<u8>(controller::CNTRLTYPE) > 1 {
            return Err(Error::Unsupported("it is no I/O controller"));
        }
        for (at, size) in [controller::SQES, controller::CQES].into_iter().zip(ENTRIES) {
            let sizes: u8 = answer.read(at);
            if !(sizes & 0xf..=sizes >> 4).contains(&size) {
                return Err(Error::Unsupported("its queues have no entries of ordinary size"));
            }
        }
        let shift: u8 = answer.read(controller::MDTS);
        let bytes = (shift > 0).then(|| page.checked_shl(shift.into()).unwrap_or(0));
        let commands: u16 = answer.read(controller::MAXCMD);
        Ok(Self {
            // A limit of so many bits that none is left is none.
            bytes: bytes.filter(|bytes| *bytes >= page),
            commands: (commands > 0).then_some(commands),
            namespaces: answer.read(controller::NN),
            has_cache: answer.read::<u8>(controller::VWC) & 1 != 0,
        })
    }
}

/// The numbers of active namespaces, in their order, [`MOST_NAMESPACES`] at most. The list ends
/// where it does not ascend.
///
/// # Errors
/// [`Error::NoMemory`].
pub(super) fn active(answer: &DmaBuffer) -> Result<Vec<u32>, Error> {
    let mut found = list::with_room(MOST_NAMESPACES)?;
    let mut last = 0;
    for at in (0..ANSWER).step_by(4).take(MOST_NAMESPACES) {
        match answer.read::<u32>(at) {
            id if id > last && id < u32::MAX => found.push(id),
            _ => break,
        }
        last = *found.last().unwrap_or(&0);
    }
    Ok(found)
}

/// The numbers up to `last`, which may be active, [`MOST_NAMESPACES`] at most.
///
/// # Errors
/// [`Error::NoMemory`].
pub(super) fn all(last: u32) -> Result<Vec<u32>, Error> {
    let mut found = list::with_room(MOST_NAMESPACES)?;
    found.extend((1..=last).take(MOST_NAMESPACES));
    Ok(found)
}

/// A namespace that can be a dump disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Namespace {
    /// Its number.
    pub(super) id: u32,
    /// Logarithm of the size of a block in bytes: 9 or 12.
    pub(super) shift: u8,
    /// Size in bytes.
    pub(super) capacity: u64,
    /// True while it is write protected.
    pub(super) is_read_only: bool,
}

impl Namespace {
    /// Reads the answer about namespace `id`.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::BlockSize`].
    pub(super) fn read(answer: &DmaBuffer, id: u32) -> Result<Self, Error> {
        let blocks: u64 = answer.read(namespace::NSZE);
        if blocks == 0 {
            return Err(Error::Unsupported("the namespace is not active"));
        }
        if answer.read::<u8>(namespace::DPS) & 7 != 0 {
            return Err(Error::Unsupported("the namespace has end-to-end protection"));
        }
        let selected: u8 = answer.read(namespace::FLBAS);
        let formats: u8 = answer.read(namespace::NLBAF);
        // The upper two bits count where there are more than 16 formats.
        let upper = if formats > 15 { selected >> 5 & 3 } else { 0 };
        let format: u32 =
            answer.read(namespace::LBAF + 4 * usize::from(upper << 4 | selected & 15));
        if format as u16 != 0 {
            return Err(Error::Unsupported("the namespace has blocks with metadata"));
        }
        let shift = (format >> 16) as u8;
        let size = 1_u64.checked_shl(shift.into()).unwrap_or(0);
        if !matches!(shift, 9 | 12) {
            return Err(Error::BlockSize(size));
        }
        let capacity = blocks.checked_mul(size);
        let capacity = capacity.ok_or(Error::Unsupported("its size is no number of bytes"))?;
        let is_read_only = answer.read::<u8>(namespace::NSATTR) & 1 != 0;
        Ok(Self { id, shift, capacity, is_read_only })
    }
}
