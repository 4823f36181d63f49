//! A dump as a list of pieces: how long it is, and where each byte comes from.

use alloc::vec::Vec;

use crate::{DumpOffset, Error, Holes, PhysAddr, PhysRange, ReadPhys};

/// One piece of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Bytes that we made: headers and notes.
    Bytes(Vec<u8>),
    /// Physical memory where it lies, for a target to fetch by DMA.
    Phys(PhysRange),
    /// So many zero bytes.
    Zero(u64),
}

/// A dump as a list of extents, one behind the other, without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    extents: Vec<Extent>,
    starts: Vec<u64>,
    length: u64,
}

impl Extent {
    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a view has no empty extents")]
    pub const fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Phys(range) => range.length(),
            Self::Zero(length) => *length,
        }
    }

    /// Fills `into` with the bytes from `skip` on, all of which exist.
    fn read(
        &self,
        skip: u64,
        into: &mut [u8],
        mem: &(impl ReadPhys + ?Sized),
    ) -> Result<(), Error> {
        match self {
            Self::Bytes(bytes) => {
                let from = usize::try_from(skip).ok().and_then(|skip| bytes.get(skip..));
                for (to, byte) in into.iter_mut().zip(from.unwrap_or_default()) {
                    *to = *byte;
                }
                Ok(())
            }
            Self::Phys(range) => {
                let wraps = Error::Wraps { start: range.start(), length: skip };
                mem.read_phys(range.start().checked_add(skip).ok_or(wraps)?, into)
            }
            Self::Zero(_) => {
                into.fill(0);
                Ok(())
            }
        }
    }
}

impl View {
    /// A view of these extents in this order; empty ones are left out.
    ///
    /// # Errors
    /// [`Error::TooLong`] when 64 bits cannot say the length, [`Error::NoMemory`] when the heap has
    /// no room.
    pub fn new(mut extents: Vec<Extent>) -> Result<Self, Error> {
        extents.retain(|extent| extent.len() > 0);
        let mut starts = Vec::new();
        starts.try_reserve_exact(extents.len()).map_err(|_| Error::NoMemory)?;
        let mut length = 0u64;
        for extent in &extents {
            starts.push(length);
            length = length.checked_add(extent.len()).ok_or(Error::TooLong)?;
        }
        Ok(Self { extents, starts, length })
    }

    /// The same view with zeros for the memory in `holes`, which is then never read. Offsets do not
    /// change.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn without(self, holes: &Holes) -> Result<Self, Error> {
        if holes.is_empty() {
            return Ok(self);
        }
        let mut extents = Vec::new();
        for extent in self.extents {
            match extent {
                Extent::Phys(range) => leave_out(range, holes, &mut extents)?,
                other => push(&mut extents, other)?,
            }
        }
        Self::new(extents)
    }

    /// Length in bytes.
    pub const fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The pieces, in order, none of them empty.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Reads from `offset` on, over as many extents as it takes, and says how many bytes that were:
    /// fewer than `into` has room for only at the end of the view.
    ///
    /// # Errors
    /// [`Error::Unreadable`] from `mem`; `into` then holds nothing of use.
    pub fn read_at(
        &self,
        offset: DumpOffset,
        into: &mut [u8],
        mem: &(impl ReadPhys + ?Sized),
    ) -> Result<usize, Error> {
        let Some((mut index, mut skip)) = self.locate(offset) else { return Ok(0) };
        let mut done = 0;
        while let (Some(extent), true) = (self.extents.get(index), done < into.len()) {
            let room = &mut into[done..];
            let left = usize::try_from(extent.len() - skip).unwrap_or(usize::MAX);
            let count = left.min(room.len());
            extent.read(skip, &mut room[..count], mem)?;
            done += count;
            (index, skip) = (index + 1, 0);
        }
        Ok(done)
    }

    /// Where the byte at `offset` lies in physical memory now, if it comes from there. (For the
    /// backup region this is not where the first kernel had it.)
    pub fn map_offset_to_paddr(&self, offset: DumpOffset) -> Option<PhysAddr> {
        match self.extent_at(offset)? {
            (Extent::Phys(range), skip) => range.start().checked_add(skip),
            (Extent::Bytes(_) | Extent::Zero(_), _) => None,
        }
    }

    /// The extent that has the byte at `offset`, and how far into it that is, in bytes.
    pub fn extent_at(&self, offset: DumpOffset) -> Option<(&Extent, u64)> {
        let (index, skip) = self.locate(offset)?;
        self.extents.get(index).map(|extent| (extent, skip))
    }

    /// The index of the extent that has the byte at `offset`, and how far into it that is.
    fn locate(&self, offset: DumpOffset) -> Option<(usize, u64)> {
        if offset.get() >= self.length {
            return None;
        }
        let index = self.starts.partition_point(|start| *start <= offset.get()).checked_sub(1)?;
        Some((index, offset.get() - self.starts.get(index)?))
    }
}

/// The memory of `range`, with zeros for the parts in `holes`.
fn leave_out(range: PhysRange, holes: &Holes, extents: &mut Vec<Extent>) -> Result<(), Error> {
    let mut at = range.start();
    for hole in holes.within(range) {
        push(extents, Extent::Phys(PhysRange::from_bounds(at, hole.range.start())?))?;
        push(extents, Extent::Zero(hole.range.length()))?;
        at = hole.range.end();
    }
    push(extents, Extent::Phys(PhysRange::from_bounds(at, range.end())?))
}

/// `Vec::push` that returns an error if the heap has no room.
pub(crate) fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), Error> {
    list.try_reserve(1).map_err(|_| Error::NoMemory)?;
    list.push(item);
    Ok(())
}
