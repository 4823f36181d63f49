//! The header of a dump, and where everything in its region is.

use core::fmt;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BLOCK, Contents, DiskState, DumpEntry, MARKS, damage, end, first_block, seal};
use crate::DiskId;
use crate::wire::{MAX_NAME, ViewInfo};

/// Most small views of a dump.
pub const MAX_SMALL_VIEWS: usize = 16;
/// Bytes of a chunk, as this program writes it.
pub const CHUNK: u64 = 1 << 20;

const MAGIC: [u8; 8] = *b"KDRSDUMP";
const VERSION: u32 = 2;
const HAS_CHECKSUMS: u32 = 1;
/// The smallest chunk that is taken from another program: no table is longer than its bulk.
const SMALLEST_CHUNK: u64 = 1 << 16;

/// The name of a small view.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ViewName([u8; MAX_NAME]);

impl ViewName {
    /// A name of 1–[`MAX_NAME`] characters of `a-z`, `0-9` and `-`.
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; MAX_NAME];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        ViewInfo::is_name(name.as_bytes()).then_some(Self(bytes))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(MAX_NAME);
        str::from_utf8(&self.0[..end]).unwrap_or_default()
    }

    fn from_bytes(bytes: [u8; MAX_NAME]) -> Option<Self> {
        let name = Self(bytes);
        Self::new(name.as_str()).filter(|again| *again == name)
    }
}

impl fmt::Debug for ViewName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A small view in a dump's region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SmallView {
    /// Its name.
    pub name: ViewName,
    /// The address of its first byte: a virtual one for a stack, zero where there is none.
    pub start: u64,
    /// Where it begins, in bytes from the region's start.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// CRC-32C of its bytes.
    pub crc: u32,
}

/// The header of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpHeader {
    /// Which disk it is on.
    pub id: DiskId,
    /// Its number, as in the directory.
    pub sequence: u64,
    /// Larger in each header that is written: of two, the larger one counts.
    pub generation: u32,
    /// How far it has come.
    pub state: DiskState,
    /// Code of the last stage that the capture reached (`handoff::Stage`).
    pub stage: u32,
    /// What the bulk is made of.
    pub contents: Contents,
    /// Whether chunks have checksums.
    pub checksums: bool,
    /// Bytes of a chunk.
    pub chunk: u64,
    /// Where the chunk table begins, in bytes from the region's start.
    pub table_offset: u64,
    /// Where the bulk begins, in bytes from the region's start.
    pub bulk_offset: u64,
    /// Length of the bulk in bytes.
    pub bulk_length: u64,
    /// The small views.
    pub small: SmallViews,
}

/// The small views of a dump, no two of which have the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SmallViews {
    views: [SmallView; MAX_SMALL_VIEWS],
    count: usize,
}

impl SmallViews {
    fn push(&mut self, view: SmallView) -> Result<(), DumpError> {
        if self.as_slice().iter().any(|other| other.name == view.name) {
            return Err(DumpError::Views);
        }
        *self.views.get_mut(self.count).ok_or(DumpError::Views)? = view;
        self.count += 1;
        Ok(())
    }

    fn as_slice(&self) -> &[SmallView] {
        &self.views[..self.count]
    }
}

/// What a dump is to be made of.
#[derive(Clone, Copy, Debug)]
pub struct NewDump<'a> {
    /// What the bulk is made of.
    pub contents: Contents,
    /// The small views; their offsets do not count.
    pub views: &'a [SmallView],
    /// Length of the bulk in bytes.
    pub bulk_length: u64,
    /// Whether chunks get checksums.
    pub checksums: bool,
}

/// Why a block is not the header of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// There are too few bytes, or they do not begin as they must.
    #[error("the dump has no header: the capture ended before that was written")]
    NotOurs,
    /// It has a version that is not known.
    #[error(
        "the dump has version {0}, this program knows version {VERSION}: use a collector of the kernel's release"
    )]
    Version(u32),
    /// Its CRC-32C is wrong.
    #[error("the header of the dump is damaged: the write was cut short or the disk is failing")]
    Checksum,
    /// It is that of another dump.
    #[error(
        "the header is that of dump {0}, which was there before: the capture ended before it wrote its own"
    )]
    OtherDump(u64),
    /// What it names lies outside of its region, or in a wrong place.
    #[error("the header of the dump names places that cannot be: the writer is at fault")]
    Layout,
    /// There are more small views than there is room for, or their names cannot be used.
    #[error("the small views of the dump are too many or have wrong names: the writer is at fault")]
    Views,
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
    stage: U32,
    contents: U32,
    start: U64,
    generation: U32,
    flags: U32,
    chunk: U64,
    table_offset: U64,
    bulk_offset: U64,
    bulk_length: U64,
    count: U32,
    zero: U32,
    views: [View; MAX_SMALL_VIEWS],
    more_zero: [u8; BLOCK - 104 - 64 * MAX_SMALL_VIEWS - 4],
    crc: U32,
}

impl DumpHeader {
    /// The header of a dump that is about to begin, with a place for everything.
    ///
    /// # Errors
    /// [`DumpError::Views`], or [`DumpError::Layout`] when 64 bits cannot say the places.
    pub fn new(id: DiskId, sequence: u64, new: &NewDump<'_>) -> Result<Self, DumpError> {
        let mut header = Self {
            id,
            sequence,
            generation: 1,
            state: DiskState::IN_PROGRESS,
            stage: 0,
            contents: new.contents,
            checksums: new.checksums,
            chunk: CHUNK,
            table_offset: 0,
            bulk_offset: 0,
            bulk_length: new.bulk_length,
            small: SmallViews::default(),
        };
        let mut offset = 2 * BLOCK as u64;
        for view in new.views {
            header.small.push(SmallView { offset, ..*view })?;
            offset = end(offset, view.length).and_then(blocks).ok_or(DumpError::Layout)?;
        }
        header.table_offset = offset;
        let table = header.table_length().ok_or(DumpError::Layout)?;
        header.bulk_offset = end(offset, table).ok_or(DumpError::Layout)?;
        end(header.bulk_offset, header.bulk_length).and_then(blocks).ok_or(DumpError::Layout)?;
        Ok(header)
    }

    /// The small views.
    pub fn views(&self) -> &[SmallView] {
        self.small.as_slice()
    }

    /// Length of the whole region in bytes.
    pub const fn region_length(&self) -> u64 {
        (self.bulk_offset + self.bulk_length).next_multiple_of(BLOCK as u64)
    }

    /// How many chunks the bulk has.
    pub const fn chunks(&self) -> u64 {
        self.bulk_length.div_ceil(self.chunk)
    }

    /// Start and end of a chunk in the bulk, in bytes. Empty behind the last one.
    pub fn chunk_range(&self, chunk: u64) -> (u64, u64) {
        let start = chunk.saturating_mul(self.chunk).min(self.bulk_length);
        (start, start.saturating_add(self.chunk).min(self.bulk_length))
    }

    /// How many blocks the chunk table has, each of them in two copies.
    pub const fn table_blocks(&self) -> u64 {
        self.chunks().div_ceil(MARKS as u64)
    }

    /// Where the first copy of a block of the table is, in bytes from the region's start; the second
    /// one is behind it.
    pub const fn table_block_offset(&self, index: u64) -> u64 {
        self.table_offset + index * 2 * BLOCK as u64
    }

    const fn table_length(&self) -> Option<u64> {
        self.table_blocks().checked_mul(2 * BLOCK as u64)
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
        block.stage = self.stage.into();
        let (contents, start) = self.contents.fields();
        block.contents = contents.into();
        block.start = start.into();
        block.generation = self.generation.into();
        block.flags = (u32::from(self.checksums) * HAS_CHECKSUMS).into();
        block.chunk = self.chunk.into();
        block.table_offset = self.table_offset.into();
        block.bulk_offset = self.bulk_offset.into();
        block.bulk_length = self.bulk_length.into();
        block.count = (self.views().len() as u32).into();
        for (field, view) in block.views.iter_mut().zip(self.views()) {
            field.name = view.name.0;
            field.offset = view.offset.into();
            field.length = view.length.into();
            field.start = view.start.into();
            field.crc = view.crc.into();
        }
        seal(bytes);
    }

    /// Reads one copy of the header of the dump that `entry` names on the disk with `id`. Everything
    /// that it names lies in the dump's region.
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
        if block.id != id.0 || block.sequence != entry.sequence {
            return Err(DumpError::OtherDump(block.sequence.get()));
        }
        let header = block.header(id)?;
        let fits = header.is_laid_out() && header.region_length() <= entry.length;
        fits.then_some(header).ok_or(DumpError::Layout)
    }

    /// The newer one of the two copies at the front of a dump's region that are whole.
    ///
    /// # Errors
    /// What is wrong with the first copy, when the second does not help.
    pub fn decode_copies(front: &[u8], id: DiskId, entry: &DumpEntry) -> Result<Self, DumpError> {
        let second = front.get(BLOCK..).unwrap_or_default();
        match [front, second].map(|copy| Self::decode(copy, id, entry)) {
            [Ok(first), Ok(second)] if second.generation > first.generation => Ok(second),
            [Err(_), Ok(second)] => Ok(second),
            [first, _] => first,
        }
    }

    /// Whether everything has a place of its own, in the order in which it is written, and no number
    /// wraps.
    fn is_laid_out(&self) -> bool {
        let is_chunk = self.chunk.is_power_of_two() && self.chunk >= SMALLEST_CHUNK;
        let mut free = Some(2 * BLOCK as u64);
        let mut take = |offset: u64, length: Option<u64>| {
            let is_free = free.is_some_and(|free| free <= offset) && is_whole(offset);
            free = length.and_then(|length| end(offset, length)).and_then(blocks);
            is_free && free.is_some()
        };
        is_chunk
            && self.views().iter().all(|view| take(view.offset, Some(view.length)))
            && take(self.table_offset, self.table_length())
            && take(self.bulk_offset, Some(self.bulk_length))
    }
}

impl Block {
    fn header(&self, id: DiskId) -> Result<DumpHeader, DumpError> {
        let mut header = DumpHeader {
            id,
            sequence: self.sequence.get(),
            generation: self.generation.get(),
            state: DiskState(self.state.get()),
            stage: self.stage.get(),
            contents: Contents::from_fields(self.contents.get(), self.start.get()),
            checksums: self.flags.get() & HAS_CHECKSUMS != 0,
            chunk: self.chunk.get(),
            table_offset: self.table_offset.get(),
            bulk_offset: self.bulk_offset.get(),
            bulk_length: self.bulk_length.get(),
            small: SmallViews::default(),
        };
        let listed =
            usize::try_from(self.count.get()).ok().and_then(|count| self.views.get(..count));
        for view in listed.ok_or(DumpError::Views)? {
            let name = ViewName::from_bytes(view.name).ok_or(DumpError::Views)?;
            let (offset, length) = (view.offset.get(), view.length.get());
            let (start, crc) = (view.start.get(), view.crc.get());
            header.small.push(SmallView { name, start, offset, length, crc })?;
        }
        Ok(header)
    }
}

fn is_whole(offset: u64) -> bool {
    offset.is_multiple_of(BLOCK as u64)
}

/// Rounded up to whole blocks.
fn blocks(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(BLOCK as u64)
}
