//! From segments to the bytes of an image.

use alloc::vec::Vec;

use crate::params::block_digest;
use crate::{Error, Name, parse};
use handoff::layout::{BACKUP_SOURCE, PAGE_SIZE};
use handoff::slot_image::{MAX_SLOT_SEGMENTS, SLOT_SEALED};
use handoff::{Block, SlotHeader, SlotPlace, SlotSegment};
use sha2::{Digest, Sha256};
use vmcore::{PhysAddr, PhysRange};
use zerocopy::{FromZeros, IntoBytes};

/// Input of an image. All addresses are physical.
#[derive(Clone, Debug)]
pub struct Contents<'a> {
    /// The reservation.
    pub slot: PhysRange,
    /// Purgatory's 32-bit entry point.
    pub entry: PhysAddr,
    /// The first byte of purgatory's parameter block.
    pub params: PhysAddr,
    /// The place of the ELF core header.
    pub elfcorehdr: PhysRange,
    /// Place to which purgatory saves low memory.
    pub backup: PhysRange,
    /// True if the ELF core header is there.
    pub sealed: bool,
    /// The segments, lowest first, the backup region not among them.
    pub segments: Vec<ContentsSegment<'a>>,
}

/// A segment to pack.
#[derive(Clone, Copy, Debug)]
pub struct ContentsSegment<'a> {
    /// Name for people.
    pub name: Name,
    /// Its place, in whole pages (physical).
    pub place: PhysRange,
    /// Its first bytes; zeros follow.
    pub bytes: &'a [u8],
}

/// Packs an image. [`parse()`] accepts the result, and it fits in place.
///
/// # Errors
/// An objection of `parse`, [`Error::TooManySegments`] or [`Error::TooLarge`].
pub fn encode(contents: &Contents<'_>) -> Result<Vec<u8>, Error> {
    let count = contents.segments.len();
    if count > MAX_SLOT_SEGMENTS {
        return Err(Error::TooManySegments { count });
    }
    let mut header = SlotHeader::new();
    header.flags = if contents.sealed { SLOT_SEALED } else { 0 }.into();
    header.segment_count = (count as u32).into();
    header.slot = place(contents.slot);
    header.entry = contents.entry.get().into();
    header.params = contents.params.get().into();
    header.elfcorehdr = place(contents.elfcorehdr);
    header.backup_source = BACKUP_SOURCE.into();
    header.backup = place(contents.backup);
    let mut file = SlotHeader::new_zeroed().as_bytes().to_vec();
    for (entry, segment) in header.segments.iter_mut().zip(&contents.segments) {
        *entry = append(&mut file, segment);
    }
    header.block.digest = block_digest(&header);
    file[..size_of::<SlotHeader>()].copy_from_slice(header.as_bytes());
    let room = contents.backup.length();
    if file.len() as u64 > room {
        return Err(Error::TooLarge { size: file.len(), room });
    }
    parse(&file)?;
    Ok(file)
}

/// Appends a segment's bytes to the file, without the zeros at their end.
fn append(file: &mut Vec<u8>, segment: &ContentsSegment<'_>) -> SlotSegment {
    let used = segment.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let bytes = &segment.bytes[..used];
    let file_offset = file.len() as u64;
    file.extend_from_slice(bytes);
    file.resize(file.len().next_multiple_of(PAGE_SIZE as usize), 0);
    SlotSegment {
        name: segment.name.0,
        place: place(segment.place),
        file_offset: file_offset.into(),
        file_length: (used as u64).into(),
        digest: Sha256::digest(bytes).into(),
    }
}

fn place(range: PhysRange) -> SlotPlace {
    SlotPlace { start: range.start().get().into(), length: range.length().into() }
}
