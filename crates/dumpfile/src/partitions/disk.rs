//! A disk, its partitions, and the parts of a table that are not used.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// The most partitions of one disk: as many as Linux has names for.
pub const MOST: usize = 256;
/// Bytes that are read at once: at least one sector.
pub(super) const PIECE: usize = 4096;

/// A partition of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, as Linux counts: from 1, logical partitions from 5.
    pub number: u32,
    /// Its bytes on the disk.
    pub place: Range<u64>,
}

/// Part of a partition table that is not used, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A partition has bytes where the disk, or the space for partitions, has none.
    #[error("partition {0} leaves the disk, or the part of it that is for partitions: ignored")]
    Outside(u32),
    /// A partition has bytes of a partition table.
    #[error("partition {0} overlaps a partition table: ignored")]
    OverlapsTable(u32),
    /// Two partitions have a byte in common.
    #[error("partitions {0} and {1} overlap: both ignored")]
    Overlap(u32, u32),
    /// The GPT at the front of the disk is damaged.
    #[error("the first GPT is damaged: the backup at the end of the disk counts")]
    FirstGpt,
    /// Both copies of the GPT are damaged.
    #[error("both copies of the GPT are damaged: no partition is looked at")]
    BothGpts,
    /// A link to the next logical partition leads nowhere.
    #[error("the list of logical partitions is broken: those after number {0} are not looked at")]
    Logical(u32),
    /// There are more partitions than we look at.
    #[error("more than {MOST} partitions: the others are not looked at")]
    TooMany,
}

/// Reads the bytes at a place of a disk. Place and length are multiples of the size of a sector.
pub type Read<'d, E> = dyn FnMut(u64, &mut [u8]) -> Result<(), E> + 'd;

/// A disk whose partitions are wanted.
pub struct Disk<'d, E> {
    /// Its size in bytes.
    pub size: u64,
    /// Size of its sectors in bytes, the unit of every partition table: 512 to 4096.
    pub sector: u32,
    /// Reads from it.
    pub read: &'d mut Read<'d, E>,
}

impl<E> Disk<'_, E> {
    /// The bytes of `count` sectors from `first` on, where 64 bits can say it.
    pub(super) fn sectors(&self, first: u64, count: u64) -> Option<Range<u64>> {
        let sector = u64::from(self.sector);
        let start = first.checked_mul(sector)?;
        Some(start..start.checked_add(count.checked_mul(sector)?)?)
    }
}

/// Partitions and tables, as a table names them.
#[derive(Default)]
pub(super) struct Found {
    pub(super) partitions: Vec<Partition>,
    /// Places of the tables.
    pub(super) tables: Vec<Range<u64>>,
}

impl Found {
    /// Adds a partition, unless its place is [`None`], because it is outside; false if there is no
    /// room for more.
    pub(super) fn add(
        &mut self,
        number: u32,
        place: Option<Range<u64>>,
        complain: &mut dyn FnMut(Fault),
    ) -> bool {
        match place {
            None => complain(Fault::Outside(number)),
            Some(_) if self.partitions.len() >= MOST => {
                complain(Fault::TooMany);
                return false;
            }
            Some(place) => self.partitions.push(Partition { number, place }),
        }
        true
    }

    /// The partitions that overlap nothing.
    pub(super) fn usable(self, complain: &mut dyn FnMut(Fault)) -> Vec<Partition> {
        let Self { partitions, tables } = self;
        let mut is_good = vec![true; partitions.len()];
        for (index, partition) in partitions.iter().enumerate() {
            let number = partition.number;
            if tables.iter().any(|table| overlap(table, &partition.place)) {
                complain(Fault::OverlapsTable(number));
                is_good[index] = false;
            }
            for (other, before) in partitions[..index].iter().enumerate() {
                if overlap(&before.place, &partition.place) {
                    complain(Fault::Overlap(before.number, number));
                    (is_good[index], is_good[other]) = (false, false);
                }
            }
        }
        let mut is_good = is_good.into_iter();
        partitions.into_iter().filter(|_| is_good.next().unwrap_or(false)).collect()
    }
}

const fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

/// The little-endian number at `at`; the bytes end after it.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u32::from_le_bytes(*field))
}

/// The same for 64 bits.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at + 4)) << 32 | u64::from(u32_at(bytes, at))
}
