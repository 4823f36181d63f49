//! The dead kernel's memory by any of its virtual addresses.

use crate::page_tables::PageTables;
use crate::{Error, KernelMemory};
use vmcore::{PhysAddr, ReadPhys};

/// Virtual memory: that of the PT_LOADs, elsewhere (vmalloc, modules, vmemmap) by the dead kernel's
/// page tables.
#[derive(Debug)]
pub struct VirtualMemory<'a, M> {
    pub(crate) memory: KernelMemory<'a, M>,
    pub(crate) tables: Option<PageTables>,
}

/// The way of a virtual address through the page tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageWalk {
    /// The entries, from the highest table down, `count` of them.
    pub entries: [u64; 5],
    /// Number of entries that were read.
    pub count: usize,
    /// Physical address of the byte, and number of bytes from there to the end of its page.
    /// [`None`] if no page is there.
    pub place: Option<(u64, u64)>,
}

impl<M> Clone for VirtualMemory<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for VirtualMemory<'_, M> {}

/// Virtual addresses whose bytes are one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    /// The first address.
    start: u64,
    /// Number of bytes.
    length: u64,
    /// Source of the first byte.
    source: PhysAddr,
}

impl Run {
    /// Source of the byte at `at`, and the number of bytes from there to the end of the run.
    fn get(&self, at: u64) -> Option<(PhysAddr, u64)> {
        let offset = at.checked_sub(self.start).filter(|offset| *offset < self.length)?;
        Some((self.source.checked_add(offset)?, self.length - offset))
    }
}

impl<'a, M: ReadPhys> VirtualMemory<'a, M> {
    /// The memory of the kernel with this text of VMCOREINFO, which names its page tables.
    pub fn new(memory: KernelMemory<'a, M>, vmcoreinfo: &[u8]) -> Self {
        Self { memory, tables: PageTables::find(vmcoreinfo) }
    }

    /// Reads `into.len()` bytes from the virtual address `at` on.
    ///
    /// # Errors
    /// [`Error::Unmapped`] where no PT_LOAD and no page table has the bytes, or [`Error::Dump`]
    /// when they cannot be read; `into` then holds nothing of use.
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        let is_mapped = self.read_run(&mut Run::default(), at, into)?;
        if is_mapped { Ok(()) } else { Err(Error::Unmapped { at }) }
    }

    /// Reads a little-endian number of `length` bytes, at most eight.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn value(&self, at: u64, length: usize) -> Result<u64, Error> {
        self.number(at, length)?.ok_or(Error::Unmapped { at })
    }

    /// Reads `into.len()` bytes from a physical address of the dead kernel on, out of one PT_LOAD.
    ///
    /// # Errors
    /// [`Error::Unmapped`] when no PT_LOAD has them all, or [`Error::Dump`].
    pub fn read_physical(&self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        self.memory.read_physical(at, into)
    }

    /// Reads `into.len()` bytes from the virtual address `at` of a process on. Its highest page
    /// table is at the kernel's virtual address `root` (`mm_struct.pgd`).
    ///
    /// # Errors
    /// As [`Self::read`]; [`Error::Unmapped`] also for pages that are on a swap device.
    pub fn read_process(&self, root: u64, at: u64, into: &mut [u8]) -> Result<(), Error> {
        let end = at.checked_add(into.len() as u64).ok_or(Error::Unmapped { at })?;
        let tables = self.tables.ok_or(Error::Unmapped { at })?.with_root(root);
        let mut next = at;
        while next < end {
            let unmapped = Error::Unmapped { at: next };
            let run = self.mapped(&tables, next)?.ok_or(unmapped)?;
            let count = run.length.min(end - next);
            let start = (next - at) as usize;
            self.memory.read_source(run.source, &mut into[start..start + count as usize])?;
            next += count;
        }
        Ok(())
    }

    /// The way of a virtual address through the page tables; [`None`] if VMCOREINFO does not tell
    /// where they are.
    ///
    /// # Errors
    /// A table that is not in the dump, cannot be read, or is damaged.
    pub fn walk(&self, at: u64) -> Result<Option<PageWalk>, Error> {
        let Some(tables) = self.tables else { return Ok(None) };
        let mut walk = PageWalk::default();
        let found = tables.walk(self.memory, at, &mut |entry| {
            if let Some(place) = walk.entries.get_mut(walk.count) {
                *place = entry;
                walk.count += 1;
            }
        })?;
        walk.place = found.map(|page| (page.physical, page.left));
        Ok(Some(walk))
    }

    /// Reads `into.len()` bytes from the virtual address `at` on. `run` is the run that was read
    /// last: what lies in it needs no translation. False if an address is not mapped.
    ///
    /// # Errors
    /// Page tables that are damaged, memory that is not in the dump or cannot be read; `into` then
    /// holds nothing of use.
    pub(crate) fn read_run(&self, run: &mut Run, at: u64, into: &mut [u8]) -> Result<bool, Error> {
        at.checked_add(into.len() as u64).ok_or(Error::Unmapped { at })?;
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let next = at + done as u64;
            let (source, length) = match run.get(next) {
                Some(place) => place,
                None => {
                    let Some(found) = self.run(next)? else { return Ok(false) };
                    *run = found;
                    (found.source, found.length)
                }
            };
            let count = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
            self.memory.read_source(source, &mut rest[..count])?;
            done += count;
        }
        Ok(true)
    }

    /// Reads a number of `length` bytes, at most eight. [`None`] if it is not mapped.
    ///
    /// # Errors
    /// As [`Self::read_run`].
    pub(crate) fn number(&self, at: u64, length: usize) -> Result<Option<u64>, Error> {
        let mut bytes = [0; 8];
        let found = self.read_run(&mut Run::default(), at, &mut bytes[..length])?;
        Ok(found.then(|| u64::from_le_bytes(bytes)))
    }

    /// The bytes from `at` on that are one after the other.
    pub(crate) fn run(&self, at: u64) -> Result<Option<Run>, Error> {
        if let Some((source, length)) = self.memory.translate(at) {
            return Ok(Some(Run { start: at, length, source }));
        }
        self.tables.map_or(Ok(None), |tables| self.mapped(&tables, at))
    }

    /// The same by page tables alone.
    fn mapped(&self, tables: &PageTables, at: u64) -> Result<Option<Run>, Error> {
        let Some(page) = tables.translate(self.memory, at)? else { return Ok(None) };
        let place = self.memory.physical(page.physical);
        let (source, left) = place.ok_or(Error::Unmapped { at })?;
        Ok(Some(Run { start: at, length: left.min(page.left), source }))
    }
}
