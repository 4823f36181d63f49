//! From bytes that may be anything to an image that may be unpacked.

use crate::params::block_digest;
use crate::{Error, Name, verify_params};
use handoff::layout::{BACKUP_LENGTH, BACKUP_SOURCE, PAGE_SIZE, SLOT_LIMIT};
use handoff::purgatory::{STATE_SEALED, STATE_UNSEALED};
use handoff::slot_image::{MAX_SLOT_SEGMENTS, SLOT_SEALED};
use handoff::{Block, PurgatoryParams, SlotHeader, SlotPlace, SlotSegment};
use sha2::{Digest, Sha256};
use vmcore::{PhysAddr, PhysRange};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// An image whose header, table and places are in order.
#[derive(Clone, Copy, Debug)]
pub struct SlotImage<'a> {
    header: &'a SlotHeader,
    bytes: &'a [u8],
    /// The reservation that it is for.
    pub slot: PhysRange,
    /// Purgatory's 32-bit entry point.
    pub entry: PhysAddr,
    /// The place of purgatory's parameter block.
    pub params_place: PhysRange,
    /// The place of the ELF core header.
    pub elfcorehdr: PhysRange,
    /// Place to which purgatory saves low memory; an image that is put in place is there.
    pub backup: PhysRange,
}

/// A segment of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Name for people.
    pub name: Name,
    /// Its place in the slot, in whole pages (physical).
    pub place: PhysRange,
    /// Its first bytes; the rest of the place is to be zeros.
    pub bytes: &'a [u8],
    /// SHA-256 that `bytes` shall have.
    pub digest: [u8; 32],
}

/// Reads an image and checks all of it: header, places, every digest, purgatory's parameter block.
/// `bytes` may be longer than the image.
///
/// # Errors
/// The first check that failed.
pub fn parse(bytes: &[u8]) -> Result<SlotImage<'_>, Error> {
    let image = SlotImage::read(bytes)?;
    image.segments().try_for_each(|segment| segment.check())?;
    image.check_params()?;
    Ok(image)
}

/// Place of an image for `slot` that is put in place: the last 640 KiB of the slot.
///
/// # Errors
/// [`Error::BadPlace`] when the slot is smaller.
pub fn backup_place(slot: PhysRange) -> Result<PhysRange, Error> {
    let end = slot.end().align_down(PAGE_SIZE);
    let start = end.get().checked_sub(BACKUP_LENGTH).filter(|start| slot.start().get() < *start);
    let start = start.ok_or(Error::BadPlace { name: Name::new("backup") })?;
    Ok(PhysRange::from_bounds(PhysAddr::new(start), end)?)
}

impl<'a> SlotImage<'a> {
    /// Reads the header and checks that everything in it is possible; the contents of the segments
    /// are not read. [`parse`] does that, too.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let header = header(bytes)?;
        let slot = range(header.slot)?;
        let params = PhysRange::new(PhysAddr::new(header.params.get()), PARAMS_LENGTH)?;
        let image = Self {
            header,
            bytes,
            slot,
            entry: PhysAddr::new(header.entry.get()),
            params_place: params,
            elfcorehdr: range(header.elfcorehdr)?,
            backup: range(header.backup)?,
        };
        image.check_places()?;
        image.table().iter().try_for_each(|entry| image.segment(entry).map(drop))?;
        image.check_pointers()?;
        Ok(image)
    }

    /// True if the ELF core header is there.
    pub fn is_sealed(&self) -> bool {
        self.header.flags.get() & SLOT_SEALED != 0
    }

    /// The segments, lowest first.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'a>> + use<'a> {
        let image = *self;
        // `read` has seen that each of them can be had.
        image.table().iter().filter_map(move |entry| image.segment(entry).ok())
    }

    /// Purgatory's parameter block.
    ///
    /// # Errors
    /// [`Error::ParamsDamaged`] or [`Error::NotInSegment`].
    pub fn params(&self) -> Result<PurgatoryParams, Error> {
        let outside = Error::NotInSegment { what: "parameter block" };
        let place = self.params_place;
        let segment = self.segment_around(place).ok_or(outside)?;
        let offset = (place.start().get() - segment.place.start().get()) as usize;
        // Zeros at the end of a segment are not in the file.
        let bytes = segment.bytes.get(offset..).unwrap_or_default();
        let mut params = PurgatoryParams::new_zeroed();
        params.as_mut_bytes().iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        verify_params(&params)?;
        Ok(params)
    }

    /// True if the image is for the slot that the first kernel has reserved.
    ///
    /// # Errors
    /// [`Error::OtherSlot`].
    pub fn check_slot(&self, reserved: PhysRange) -> Result<(), Error> {
        if self.slot == reserved {
            return Ok(());
        }
        Err(Error::OtherSlot { image: self.slot, reserved })
    }

    /// True if unpacking leaves the image alone, as it must, for an image at `at` (physical).
    ///
    /// # Errors
    /// [`Error::InTheWay`].
    pub fn check_place(&self, at: PhysAddr) -> Result<(), Error> {
        let taken = PhysRange::new(at, self.length())?;
        if self.segments().any(|segment| segment.place.overlaps(taken)) {
            return Err(Error::InTheWay { at });
        }
        Ok(())
    }

    /// Number of bytes of the image, in whole pages.
    pub fn length(&self) -> u64 {
        let ends =
            self.table().iter().map(|entry| entry.file_offset.get() + entry.file_length.get());
        ends.max().unwrap_or(0).max(size_of::<SlotHeader>() as u64).next_multiple_of(PAGE_SIZE)
    }

    fn table(&self) -> &'a [SlotSegment] {
        let count = self.header.segment_count.get() as usize;
        &self.header.segments[..count.min(MAX_SLOT_SEGMENTS)]
    }

    /// A segment with its bytes.
    fn segment(&self, entry: &SlotSegment) -> Result<Segment<'a>, Error> {
        let name = Name(entry.name);
        let place = range(entry.place)?;
        let outside = Error::NotInFile { name };
        let offset = usize::try_from(entry.file_offset.get()).map_err(|_| outside)?;
        let length = usize::try_from(entry.file_length.get()).map_err(|_| outside)?;
        let end = offset.checked_add(length).ok_or(outside)?;
        let bytes = self.bytes.get(offset..end).ok_or(outside)?;
        let is_aligned = (offset as u64).is_multiple_of(PAGE_SIZE) && offset > 0;
        if !is_aligned || length as u64 > place.length() {
            return Err(outside);
        }
        Ok(Segment { name, place, bytes, digest: entry.digest })
    }

    fn segment_around(&self, place: PhysRange) -> Option<Segment<'a>> {
        self.segments().find(|segment| segment.place.contains_range(place))
    }

    /// Every place is in the slot, and none overlaps another.
    fn check_places(&self) -> Result<(), Error> {
        let named = |entry: &SlotSegment| range(entry.place).map(|place| (Name(entry.name), place));
        let backup = (Name::new("backup"), self.backup);
        let is_backup = self.header.backup_source.get() == BACKUP_SOURCE
            && self.slot.end().get() <= SLOT_LIMIT
            && backup_place(self.slot)? == self.backup;
        if !is_backup {
            return Err(Error::BadPlace { name: backup.0 });
        }
        let table = self.table();
        for (index, entry) in table.iter().enumerate() {
            let (name, place) = named(entry)?;
            let is_whole = [place.start(), place.end()].iter().all(|at| at.is_aligned(PAGE_SIZE));
            if !is_whole || place.is_empty() || !self.slot.contains_range(place) {
                return Err(Error::BadPlace { name });
            }
            for other in table[..index].iter().map(named).chain([Ok(backup)]) {
                let (second, taken) = other?;
                if place.overlaps(taken) {
                    return Err(Error::Overlap { first: name, second });
                }
            }
        }
        Ok(())
    }

    /// Entry, parameter block and ELF core header have their segments.
    fn check_pointers(&self) -> Result<(), Error> {
        let entry = PhysRange::new(self.entry, 1)?;
        let outside = |what| Error::NotInSegment { what };
        self.segment_around(entry).ok_or(outside("entry"))?;
        self.segment_around(self.params_place).ok_or(outside("parameter block"))?;
        let mut segments = self.segments();
        let header = segments.find(|segment| segment.place == self.elfcorehdr);
        header.map(drop).ok_or(outside("ELF core header"))
    }

    /// Purgatory gets the same values as the header has.
    fn check_params(&self) -> Result<(), Error> {
        let params = self.params()?;
        let state = if self.is_sealed() { STATE_SEALED } else { STATE_UNSEALED };
        let backup = (params.backup.source, params.backup.destination, params.backup.length);
        let expected = (BACKUP_SOURCE, self.backup.start().get(), self.backup.length());
        if params.state != state {
            return Err(Error::Disagree { what: "seal" });
        }
        if backup != expected {
            return Err(Error::Disagree { what: "backup region" });
        }
        let place = (self.elfcorehdr.start().get(), self.elfcorehdr.length());
        let mut regions = params.regions[..params.region_count as usize].iter();
        let is_checked = regions.any(|region| (region.start, region.length) == place);
        if is_checked { Ok(()) } else { Err(Error::NoRegion { range: self.elfcorehdr }) }
    }
}

impl Segment<'_> {
    /// True if the bytes have their digest.
    ///
    /// # Errors
    /// [`Error::SegmentDamaged`].
    pub fn check(&self) -> Result<(), Error> {
        let found: [u8; 32] = Sha256::digest(self.bytes).into();
        if found == self.digest {
            return Ok(());
        }
        Err(Error::SegmentDamaged { name: self.name })
    }
}

/// Length of the parameter block in bytes.
const PARAMS_LENGTH: u64 = size_of::<PurgatoryParams>() as u64;

/// The header, when it is ours and whole.
fn header(bytes: &[u8]) -> Result<&SlotHeader, Error> {
    let (header, _) = SlotHeader::ref_from_prefix(bytes).map_err(|_| Error::NotSlotImage)?;
    if header.block.magic != SlotHeader::MAGIC {
        return Err(Error::NotSlotImage);
    }
    if header.block.version.get() != SlotHeader::VERSION {
        return Err(Error::OtherVersion { found: header.block.version.get() });
    }
    let is_whole = header.block.is_of::<SlotHeader>()
        && header.block.digest == block_digest(header)
        && header.flags.get() & !SLOT_SEALED == 0;
    if !is_whole {
        return Err(Error::HeaderDamaged);
    }
    match header.segment_count.get() as usize {
        0..=MAX_SLOT_SEGMENTS => Ok(header),
        count => Err(Error::TooManySegments { count }),
    }
}

fn range(place: SlotPlace) -> Result<PhysRange, Error> {
    Ok(PhysRange::new(PhysAddr::new(place.start.get()), place.length.get())?)
}
