//! The header of a dump disk: the id of the disk, and its dumps.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    BLOCK, Directory, DiskError, DiskState, DumpEntry, MAGIC, MAX_DUMPS, VERSION, damage,
    first_block, seal,
};
use crate::DiskId;

/// The header of a dump disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskHeader {
    /// Which disk this is.
    pub id: DiskId,
    /// Larger in each header that is written: of two, the larger one counts.
    pub generation: u64,
    /// The sequence number of the next dump.
    pub next: u64,
    /// Captures that found no room.
    pub refused: Refused,
    /// The dumps.
    pub dumps: Directory,
}

/// Captures since the last dump that found no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Number of captures.
    pub captures: u32,
    /// Bytes that the last of them needed.
    pub need: u64,
}

/// The headers at the front of a dump disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundDisk {
    /// The header that counts.
    pub header: DiskHeader,
    /// The block that it is in, 0 or 1.
    pub copy: usize,
    /// The fault of the other copy.
    pub other: Option<DiskError>,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Entry {
    sequence: U64,
    offset: U64,
    length: U64,
    state: U32,
    key: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Block {
    magic: [u8; 8],
    version: U32,
    count: U32,
    id: [u8; 16],
    generation: U64,
    next: U64,
    need: U64,
    refused: U32,
    zero: U32,
    dumps: [Entry; MAX_DUMPS],
    more_zero: [u8; BLOCK - 64 - 32 * MAX_DUMPS - 4],
    crc: U32,
}

impl DiskHeader {
    /// The header of an empty disk.
    pub fn new(id: DiskId) -> Self {
        let (refused, dumps) = (Refused::default(), Directory::default());
        Self { id, generation: 1, next: 1, refused, dumps }
    }

    /// The block that goes to the front of the disk.
    pub fn encode(&self) -> [u8; BLOCK] {
        super::filled(|block| self.encode_to(block))
    }

    /// The same, where the stack has no room for a block.
    pub fn encode_to(&self, bytes: &mut [u8; BLOCK]) {
        bytes.fill(0);
        let block: &mut Block = zerocopy::transmute_mut!(bytes);
        block.magic = MAGIC;
        block.version = VERSION.into();
        block.count = (self.dumps.as_slice().len() as u32).into();
        block.id = self.id.0;
        block.generation = self.generation.into();
        block.next = self.next.into();
        block.need = self.refused.need.into();
        block.refused = self.refused.captures.into();
        for (entry, dump) in block.dumps.iter_mut().zip(self.dumps.as_slice()) {
            entry.sequence = dump.sequence.into();
            entry.offset = dump.offset.into();
            entry.length = dump.length.into();
            entry.state = dump.state.0.into();
            entry.key = dump.key.into();
        }
        seal(bytes);
    }

    /// Reads one of the two copies. Bytes after the first [`BLOCK`] are ignored.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn decode(bytes: &[u8]) -> Result<Self, DiskError> {
        let bytes = first_block(bytes).ok_or(DiskError::TooShort(bytes.len()))?;
        let block: &Block = zerocopy::transmute_ref!(bytes);
        if block.magic != MAGIC {
            return Err(DiskError::NotOurs);
        }
        if block.version != VERSION {
            return Err(DiskError::Version(block.version.get()));
        }
        if let Some((expected, found)) = damage(bytes) {
            return Err(DiskError::Checksum { expected, found });
        }
        Ok(Self {
            id: DiskId(block.id),
            generation: block.generation.get(),
            next: block.next.get(),
            refused: Refused { captures: block.refused.get(), need: block.need.get() },
            dumps: block.directory()?,
        })
    }
}

impl Block {
    fn directory(&self) -> Result<Directory, DiskError> {
        let count = self.count.get();
        let listed = usize::try_from(count).ok().and_then(|count| self.dumps.get(..count));
        let mut dumps = Directory::default();
        for entry in listed.ok_or(DiskError::TooManyDumps(count))? {
            let sequence = entry.sequence.get();
            if sequence >= self.next.get() {
                return Err(DiskError::Directory(sequence));
            }
            let (offset, length) = (entry.offset.get(), entry.length.get());
            let (state, key) = (DiskState(entry.state.get()), entry.key.get());
            dumps.push(DumpEntry { sequence, offset, length, state, key })?;
        }
        Ok(dumps)
    }
}

/// True if a block that is no header has the signature of a partition table (MBR).
fn is_partitioned(block: &[u8; BLOCK]) -> bool {
    block[510..512] == [0x55, 0xaa]
}

impl FoundDisk {
    /// Looks at the first two blocks of a disk. Block 0 says whether the disk is ours, and of which
    /// version; only when it is damaged, block 1 alone counts.
    ///
    /// # Errors
    /// The error of block 0, if block 1 does not help.
    pub fn decode(front: &[u8]) -> Result<Self, DiskError> {
        let first = first_block(front).ok_or(DiskError::TooShort(front.len()))?;
        if !first.starts_with(&MAGIC) {
            return Err(DiskError::NotOurs);
        }
        let header = match DiskHeader::decode(first) {
            // A whole block of another version has the last word.
            Err(error @ DiskError::Version(_)) if damage(first).is_none() => return Err(error),
            // Tools for partitions leave the bytes before their table as they are, and block 1.
            Err(_) if is_partitioned(first) => return Err(DiskError::Partitioned),
            header => header,
        };
        let second = DiskHeader::decode(&front[BLOCK..]);
        match (header, second) {
            (Ok(first), Ok(second))
                if second.id == first.id && second.generation > first.generation =>
            {
                Ok(Self { header: second, copy: 1, other: None })
            }
            (Ok(header), second) => Ok(Self { header, copy: 0, other: second.err() }),
            (Err(error), Ok(header)) => Ok(Self { header, copy: 1, other: Some(error) }),
            (Err(error), Err(_)) => Err(error),
        }
    }

    /// Which disk this is.
    pub const fn id(&self) -> DiskId {
        self.header.id
    }
}
