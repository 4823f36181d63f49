//! The raw view of a dump: its length, and the source of each byte.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;

use crate::{DumpOffset, Error, Holes, Level, PageClass, PhysAddr, PhysRange, ReadPhys};

/// The source of some bytes of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'v> {
    /// Bytes that we made: headers and notes.
    Bytes(&'v [u8]),
    /// Physical memory, for a target to fetch by DMA.
    Phys(PhysRange),
    /// Zeros that belong to the view, such as the gap between two segments.
    Zero,
    /// Memory that is left out. A reader of the view sees zeros.
    Left(PageClass),
}

/// Consecutive bytes of a view that have one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'v> {
    /// Offset of the first byte in the raw view.
    pub at: DumpOffset,
    /// Length in bytes, not zero.
    pub len: u64,
    /// The source of the bytes.
    pub what: What<'v>,
}

/// A dump as its reader sees it if nothing is left out or compressed: the raw view. The offset of a
/// byte in it is the byte's address wherever the dump is stored or sent.
pub trait View: fmt::Debug {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// True if the length is zero.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes from `at` on that have one source, at most `most` of them. [`None`] at the end of
    /// the view and where `most` is zero. Each call with the same arguments returns the same piece,
    /// in any order of calls, without an allocation.
    fn piece(&self, at: DumpOffset, most: u64) -> Option<Piece<'_>>;

    /// The address that the byte at `at` has in the first kernel. `at` is in a [`What::Phys`] of
    /// this view. The two differ where the view has a copy, such as the backup region.
    fn in_first_kernel(&self, at: PhysAddr) -> PhysAddr {
        at
    }

    /// The dump level that pages were selected by.
    fn level(&self) -> Level {
        Level::ALL
    }

    /// Number of pages that are kept because their class is in doubt, among those that
    /// [`Self::piece`] has looked at so far: of all pages, after a walk from the start to the end.
    fn in_doubt(&self) -> u64 {
        0
    }

    /// Reads from `at` on, across pieces. Returns the number of bytes: fewer than `into` has room
    /// for only at the end of the view.
    ///
    /// # Errors
    /// [`Error::Unreadable`] or [`Error::MachineCheck`] from `mem`; the contents of `into` are then
    /// undefined.
    fn read_at(&self, at: DumpOffset, into: &mut [u8], mem: &dyn ReadPhys) -> Result<usize, Error> {
        let (mut done, mut at) = (0, at);
        while let Some(piece) = self.piece(at, (into.len() - done) as u64) {
            let end = done + usize::try_from(piece.len).map_err(|_| Error::TooLong)?;
            let bytes = into.get_mut(done..end).ok_or(Error::TooLong)?;
            match piece.what {
                What::Bytes(from) => bytes.copy_from_slice(from),
                What::Phys(range) => mem.read_phys(range.start(), bytes)?,
                What::Zero | What::Left(_) => bytes.fill(0),
            }
            (done, at) = (end, piece.end());
        }
        Ok(done)
    }
}

impl Piece<'_> {
    /// Offset of the first byte after the piece.
    pub const fn end(&self) -> DumpOffset {
        DumpOffset::new(self.at.get() + self.len)
    }
}

impl<V: View + ?Sized> View for &V {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn piece(&self, at: DumpOffset, most: u64) -> Option<Piece<'_>> {
        (**self).piece(at, most)
    }

    fn in_first_kernel(&self, at: PhysAddr) -> PhysAddr {
        (**self).in_first_kernel(at)
    }

    fn level(&self) -> Level {
        (**self).level()
    }

    fn in_doubt(&self) -> u64 {
        (**self).in_doubt()
    }
}

/// The same view, shared.
impl<V: View + ?Sized> View for Rc<V> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn piece(&self, at: DumpOffset, most: u64) -> Option<Piece<'_>> {
        (**self).piece(at, most)
    }

    fn in_first_kernel(&self, at: PhysAddr) -> PhysAddr {
        (**self).in_first_kernel(at)
    }

    fn level(&self) -> Level {
        (**self).level()
    }

    fn in_doubt(&self) -> u64 {
        (**self).in_doubt()
    }
}

/// A view, or the bytes of one, and its name in a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedView<V> {
    /// 1 to 32 characters of `a-z`, `0-9` and `-`.
    pub name: &'static str,
    /// The address of its first byte: a physical one for oldmem, a virtual one for a stack, zero
    /// where there is none.
    pub start: u64,
    /// The bytes.
    pub view: V,
}

/// Bytes that we made are a view by themselves: a small view.
impl View for Vec<u8> {
    fn len(&self) -> u64 {
        self.len() as u64
    }

    fn piece(&self, at: DumpOffset, most: u64) -> Option<Piece<'_>> {
        let rest = self.get(usize::try_from(at.get()).ok()?..)?;
        let len = usize::try_from(most).unwrap_or(usize::MAX).min(rest.len());
        let what = What::Bytes(&rest[..len]);
        (len > 0).then_some(Piece { at, len: len as u64, what })
    }
}

/// A part of [`Extents`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Bytes that we made: headers and notes.
    Bytes(Vec<u8>),
    /// Physical memory.
    Phys(PhysRange),
    /// This number of zero bytes.
    Zero(u64),
    /// This number of bytes, which are left out.
    Left(PageClass, u64),
}

/// A view as a list of extents, one after the other, without gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents {
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
            Self::Zero(length) | Self::Left(_, length) => *length,
        }
    }

    /// The source of `length` bytes from `skip` on, all of which exist.
    fn part(&self, skip: u64, length: u64) -> Option<What<'_>> {
        Some(match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(skip).ok()?;
                let end = start.checked_add(usize::try_from(length).ok()?)?;
                What::Bytes(bytes.get(start..end)?)
            }
            Self::Phys(range) => {
                let start = range.start().checked_add(skip)?;
                What::Phys(PhysRange::new(start, length).ok()?)
            }
            Self::Zero(_) => What::Zero,
            Self::Left(class, _) => What::Left(*class),
        })
    }
}

impl Extents {
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

    /// The same view without the memory in `holes`, which is then never read: unplugged memory is
    /// [`PageClass::Offline`]. Offsets do not change.
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

    /// The pieces, in order, none of them empty.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
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

impl View for Extents {
    fn len(&self) -> u64 {
        self.length
    }

    fn piece(&self, at: DumpOffset, most: u64) -> Option<Piece<'_>> {
        let (index, skip) = self.locate(at)?;
        let extent = self.extents.get(index)?;
        let len = (extent.len() - skip).min(most);
        (len > 0).then_some(Piece { at, len, what: extent.part(skip, len)? })
    }
}

/// The memory of `range`. The parts in `holes` are left out.
fn leave_out(range: PhysRange, holes: &Holes, extents: &mut Vec<Extent>) -> Result<(), Error> {
    let mut at = range.start();
    for hole in holes.within(range) {
        push(extents, Extent::Phys(PhysRange::from_bounds(at, hole.range.start())?))?;
        push(extents, Extent::Left(PageClass::Offline, hole.range.length()))?;
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
