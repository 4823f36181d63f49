//! The header of a dump, and where everything in its region is.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    BLOCK, Contents, DiskState, DumpEntry, MAX_SMALL_VIEWS, PageCounts, SmallView, SmallViews,
    ViewName, blocks, damage, end, first_block, is_whole, seal,
};
use crate::DiskId;
use crate::chunk::{CHUNK, Codec};
use crate::wire::MAX_NAME;

const MAGIC: [u8; 8] = *b"KDRSDUMP";
const VERSION: u32 = 3;
const HAS_CHECKSUMS: u32 = 1;
const LEVEL_RAISED: u32 = 2;
const NO_ROOM: u32 = 4;
/// Length of the longest raw view in bytes: chunks have numbers of 32 bits.
const LONGEST: u64 = CHUNK << 32;

/// The header of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpHeader {
    /// Which disk it is on.
    pub id: DiskId,
    /// Its number, as in the directory.
    pub sequence: u64,
    /// Its key, as in the directory.
    pub key: u32,
    /// Larger in each header that is written: of two, the larger one counts.
    pub generation: u64,
    /// State of the dump.
    pub state: DiskState,
    /// Code of the last stage that the capture reached (`handoff::Stage`).
    pub stage: u32,
    /// The view that the bulk holds.
    pub contents: Contents,
    /// True if all stored chunks have checksums.
    pub checksums: bool,
    /// True if the dump level is higher than requested, for want of room.
    pub level_raised: bool,
    /// True if the region is too small for all of the dump.
    pub no_room: bool,
    /// The dump level, 0–31.
    pub level: u8,
    /// The codec that was asked for. Chunks that it does not make smaller are raw.
    pub codec: Codec,
    /// Length of the raw view in bytes.
    pub raw_length: u64,
    /// Start of the bulk, in bytes from the region's start.
    pub bulk_start: u64,
    /// End of the last segment that counts, in bytes from the region's start.
    pub committed: u64,
    /// The pages in all segments that count.
    pub pages: PageCounts,
    /// The small views.
    pub small: SmallViews,
}

/// Parameters of a dump to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewDump<'a> {
    /// The view that the bulk holds.
    pub contents: Contents,
    /// The small views; their offsets do not count.
    pub views: &'a [SmallView],
    /// Room for small views that are added later, in bytes.
    pub room: u64,
    /// Length of the raw view in bytes.
    pub raw_length: u64,
    /// The codec.
    pub codec: Codec,
    /// True if all stored chunks get checksums.
    pub checksums: bool,
}

/// Reason that a block is not the header of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// There are too few bytes, or they do not begin as they must.
    #[error("the dump has no header: the capture ended before that was written")]
    NotOurs,
    /// It has a version that is not known.
    #[error(
        "the dump has version {0}, this program knows version {VERSION}: use a collector of the \
         kernel's release"
    )]
    Version(u32),
    /// Its CRC-32C is wrong.
    #[error("the header of the dump is damaged: the write was cut short or the disk is failing")]
    Checksum,
    /// It is that of another dump.
    #[error(
        "the header is that of dump {0}, which was there before: the capture ended before it wrote \
         its own"
    )]
    OtherDump(u64),
    /// A place that it names is outside of its region, or wrong.
    #[error("the header of the dump names places that cannot be: the writer is at fault")]
    Layout,
    /// There are more small views than there is room for, or their names cannot be used.
    #[error("the small views of the dump are too many or have wrong names: the writer is at fault")]
    Views,
    /// It is stored with a codec that is not known.
    #[error(
        "the dump is stored with codec {0}, which this program does not know: use a collector of \
         the kernel's release"
    )]
    Codec(u8),
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct View {
    name: [u8; MAX_NAME],
    offset: U64,
    length: U64,
    start: U64,
    crc: U32,
    zero: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Block {
    magic: [u8; 8],
    version: U32,
    state: U32,
    id: [u8; 16],
    sequence: U64,
    generation: U64,
    stage: U32,
    contents: U32,
    start: U64,
    flags: U32,
    level: u8,
    codec: u8,
    log2_chunk: u8,
    count: u8,
    raw_length: U64,
    bulk_start: U64,
    committed: U64,
    pages: [U64; 16],
    key: U32,
    zero: [u8; 28],
    views: [View; MAX_SMALL_VIEWS],
    more_zero: [u8; BLOCK - 256 - 64 * MAX_SMALL_VIEWS - 4],
    crc: U32,
}

impl DumpHeader {
    /// The header of a dump that is about to begin, with a place for everything.
    ///
    /// # Errors
    /// [`DumpError::Views`], or [`DumpError::Layout`] when the places or the raw view are too large
    /// for their numbers.
    pub fn new(id: DiskId, sequence: u64, key: u32, new: &NewDump<'_>) -> Result<Self, DumpError> {
        let mut header = Self {
            id,
            sequence,
            key,
            generation: 1,
            state: DiskState::IN_PROGRESS,
            stage: 0,
            contents: new.contents,
            checksums: new.checksums,
            level_raised: false,
            no_room: false,
            level: 0,
            codec: new.codec,
            raw_length: new.raw_length,
            bulk_start: u64::MAX,
            committed: u64::MAX,
            pages: PageCounts::default(),
            small: SmallViews::default(),
        };
        for view in new.views {
            header.add_view(*view)?;
        }
        let start = end(header.views_end(), new.room).and_then(blocks).ok_or(DumpError::Layout)?;
        (header.bulk_start, header.committed) = (start, start);
        if new.raw_length > LONGEST {
            return Err(DumpError::Layout);
        }
        Ok(header)
    }

    /// Adds a small view after the others; its offset does not count. Returns its place, in bytes
    /// from the region's start.
    ///
    /// # Errors
    /// [`DumpError::Views`], or [`DumpError::Layout`] when there is no room for it before the bulk.
    pub fn add_view(&mut self, view: SmallView) -> Result<u64, DumpError> {
        let offset = self.views_end();
        let after = end(offset, view.length).and_then(blocks);
        after.filter(|after| *after <= self.bulk_start).ok_or(DumpError::Layout)?;
        self.small.push(SmallView { offset, ..view }).ok_or(DumpError::Views)?;
        Ok(offset)
    }

    /// Start of the next small view, in bytes from the region's start.
    fn views_end(&self) -> u64 {
        let last = self.views().last().and_then(|last| end(last.offset, last.length));
        last.and_then(blocks).unwrap_or(2 * BLOCK as u64)
    }

    /// The small views.
    pub fn views(&self) -> &[SmallView] {
        self.small.as_slice()
    }

    /// The block that goes to the front of the dump's region.
    pub fn encode(&self) -> [u8; BLOCK] {
        super::filled(|block| self.encode_to(block))
    }

    /// The same, where the stack has no room for a block.
    pub fn encode_to(&self, bytes: &mut [u8; BLOCK]) {
        bytes.fill(0);
        let block: &mut Block = zerocopy::transmute_mut!(bytes);
        block.magic = MAGIC;
        block.version = VERSION.into();
        block.state = self.state.0.into();
        block.id = self.id.0;
        block.sequence = self.sequence.into();
        block.generation = self.generation.into();
        block.stage = self.stage.into();
        let (contents, start) = self.contents.fields();
        block.contents = contents.into();
        block.start = start.into();
        block.flags = self.flags().into();
        block.level = self.level;
        block.codec = self.codec.code();
        block.log2_chunk = CHUNK.trailing_zeros() as u8;
        block.count = self.views().len() as u8;
        block.raw_length = self.raw_length.into();
        block.bulk_start = self.bulk_start.into();
        block.committed = self.committed.into();
        for (field, count) in block.pages.iter_mut().zip(self.pages.0) {
            *field = count.into();
        }
        block.key = self.key.into();
        for (field, view) in block.views.iter_mut().zip(self.views()) {
            field.name = view.name.0;
            field.offset = view.offset.into();
            field.length = view.length.into();
            field.start = view.start.into();
            field.crc = view.crc.into();
        }
        seal(bytes);
    }

    const fn flags(&self) -> u32 {
        let Self { checksums, level_raised, no_room, .. } = *self;
        (checksums as u32 * HAS_CHECKSUMS)
            | (level_raised as u32 * LEVEL_RAISED)
            | (no_room as u32 * NO_ROOM)
    }

    /// Reads one copy of the header of the dump that `entry` names on the disk with `id`.
    /// Everything that it names is in the dump's region.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn decode(bytes: &[u8], id: DiskId, entry: &DumpEntry) -> Result<Self, DumpError> {
        let bytes = first_block(bytes).ok_or(DumpError::NotOurs)?;
        let block: &Block = zerocopy::transmute_ref!(bytes);
        if block.magic != MAGIC {
            return Err(DumpError::NotOurs);
        }
        if block.version != VERSION {
            return Err(DumpError::Version(block.version.get()));
        }
        if damage(bytes).is_some() {
            return Err(DumpError::Checksum);
        }
        let is_of = block.sequence == entry.sequence && block.key == entry.key;
        if block.id != id.0 || !is_of {
            return Err(DumpError::OtherDump(block.sequence.get()));
        }
        let header = block.header(id)?;
        let fits = header.is_laid_out(block.log2_chunk) && header.committed <= entry.length;
        fits.then_some(header).ok_or(DumpError::Layout)
    }

    /// The newer one of the two copies at the front of a dump's region that are whole.
    ///
    /// # Errors
    /// The error of the first copy, if the second does not help.
    pub fn decode_copies(front: &[u8], id: DiskId, entry: &DumpEntry) -> Result<Self, DumpError> {
        let second = front.get(BLOCK..).unwrap_or_default();
        match [front, second].map(|copy| Self::decode(copy, id, entry)) {
            [Ok(first), Ok(second)] if second.generation > first.generation => Ok(second),
            [Err(_), Ok(second)] => Ok(second),
            // If there is none yet, the second copy's error is more precise than the first's.
            [Err(DumpError::NotOurs), second @ Err(_)] => second,
            [first, _] => first,
        }
    }

    /// True if everything has a place of its own, in the order in which it is written, and no
    /// number wraps.
    fn is_laid_out(&self, log2_chunk: u8) -> bool {
        let mut free = Some(2 * BLOCK as u64);
        let mut take = |offset: u64, length: u64| {
            let is_free = free.is_some_and(|free| free <= offset) && is_whole(offset);
            free = end(offset, length).and_then(blocks);
            is_free && free.is_some()
        };
        u32::from(log2_chunk) == CHUNK.trailing_zeros()
            && self.raw_length <= LONGEST
            && self.views().iter().all(|view| take(view.offset, view.length))
            && take(self.bulk_start, 0)
            && self.committed >= self.bulk_start
            && is_whole(self.committed)
    }
}

impl Block {
    fn header(&self, id: DiskId) -> Result<DumpHeader, DumpError> {
        let flags = self.flags.get();
        let mut header = DumpHeader {
            id,
            sequence: self.sequence.get(),
            key: self.key.get(),
            generation: self.generation.get(),
            state: DiskState(self.state.get()),
            stage: self.stage.get(),
            contents: Contents::from_fields(self.contents.get(), self.start.get()),
            checksums: flags & HAS_CHECKSUMS != 0,
            level_raised: flags & LEVEL_RAISED != 0,
            no_room: flags & NO_ROOM != 0,
            level: self.level,
            codec: Codec::from_code(self.codec).ok_or(DumpError::Codec(self.codec))?,
            raw_length: self.raw_length.get(),
            bulk_start: self.bulk_start.get(),
            committed: self.committed.get(),
            pages: PageCounts(self.pages.map(U64::get)),
            small: SmallViews::default(),
        };
        let listed = self.views.get(..usize::from(self.count)).ok_or(DumpError::Views)?;
        for view in listed {
            let name = ViewName::from_bytes(view.name).ok_or(DumpError::Views)?;
            let (offset, length) = (view.offset.get(), view.length.get());
            let (start, crc) = (view.start.get(), view.crc.get());
            header
                .small
                .push(SmallView { name, start, offset, length, crc })
                .ok_or(DumpError::Views)?;
        }
        Ok(header)
    }
}
