//! Places of the page structs: the memory models of Linux (`Documentation/mm/memory-model.rst`).

use crate::Error;
use crate::keys::Keys;
use crate::virtual_memory::VirtualMemory;
use vmcore::{ReadPhys, WINDOW};

const PAGE_BITS: u32 = 12;
/// `section_mem_map`: the section has page structs (`SECTION_HAS_MEM_MAP`).
const HAS_MAP: u64 = 1 << 1;
/// `section_mem_map`: its memory is online, so that they are filled in (`SECTION_IS_ONLINE`).
const IS_ONLINE: u64 = 1 << 2;
/// `section_mem_map`: the address. The rest are flags.
const MAP: u64 = !0xfff;
/// The most bits of a physical address.
const MOST_BITS: u64 = 52;

/// Page structs one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Structs {
    /// Virtual address that the struct of page 0 would have. It may wrap.
    pub(super) base: u64,
    /// Number of the first page that has a struct.
    pub(super) first: u64,
    /// One past the last.
    pub(super) end: u64,
}

/// A memory model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryMap {
    /// FLATMEM: one array.
    Flat(Structs),
    /// SPARSEMEM: an array for each section.
    Sparse(Sections),
}

/// The table of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sections {
    /// Address of the table, or of the table of tables.
    table: u64,
    /// Number of its entries.
    count: u64,
    /// Binary logarithm of the number of sections in a table, if there is a table of tables
    /// (`SPARSEMEM_EXTREME`).
    in_table: Option<u32>,
    /// Length of an entry (`mem_section`) in bytes.
    size: u64,
    /// In an entry: `section_mem_map`.
    map: u64,
    /// Bits of a page number that are its place in a section.
    bits: u32,
    /// Length of a pointer.
    word: usize,
    /// Address of the array of all page structs, where the kernel tells it
    /// (`SPARSEMEM_VMEMMAP`).
    vmemmap: Option<u64>,
}

impl MemoryMap {
    /// Finds the model by VMCOREINFO. `word` is the length of a pointer.
    ///
    /// # Errors
    /// Missing or impossible keys, or the array's place cannot be read.
    pub(super) fn find<M: ReadPhys>(
        keys: &Keys<'_>,
        space: VirtualMemory<'_, M>,
        word: usize,
    ) -> Result<Self, Error> {
        match keys.address("SYMBOL(mem_section)")? {
            Some(table) => Sections::parse(keys, table, word).map(Self::Sparse),
            None => flat(keys, space, word).map(Self::Flat),
        }
    }

    /// The first page after `pfn` whose struct is in another array.
    pub(super) const fn end_of_array(&self, pfn: u64) -> u64 {
        match self {
            Self::Flat(_) => u64::MAX >> PAGE_BITS,
            Self::Sparse(sections) => sections.end_of(pfn),
        }
    }

    /// The structs of page `pfn` and of those around it, if they have any. All pages of a window
    /// have the same.
    ///
    /// # Errors
    /// Damaged tables, or memory that cannot be read.
    pub(super) fn structs<M: ReadPhys>(
        &self,
        space: VirtualMemory<'_, M>,
        pfn: u64,
    ) -> Result<Option<Structs>, Error> {
        match self {
            Self::Flat(structs) => Ok(Some(*structs)),
            Self::Sparse(sections) => sections.structs(space, pfn),
        }
    }
}

/// FLATMEM's array: that of the only node.
fn flat<M: ReadPhys>(
    keys: &Keys<'_>,
    space: VirtualMemory<'_, M>,
    word: usize,
) -> Result<Structs, Error> {
    let key = "SYMBOL(mem_map)";
    let map = keys.needed(key, keys.address(key)?)?;
    let key = "SYMBOL(contig_page_data)";
    let node = keys.needed(key, keys.address(key)?)?;
    let first = node.wrapping_add(keys.offset("OFFSET(pglist_data.node_start_pfn)")? as u64);
    let spanned = node.wrapping_add(keys.offset("OFFSET(pglist_data.node_spanned_pages)")? as u64);
    let read = |at| space.number(at, word)?.ok_or(Error::Unmapped { at });
    let (base, first, spanned) = (read(map)?, read(first)?, read(spanned)?);
    let end = first.checked_add(spanned).filter(|end| *end <= 1 << (MOST_BITS as u32 - PAGE_BITS));
    let end = end.filter(|_| base != 0).ok_or(Error::BadMap { at: base })?;
    Ok(Structs { base, first, end })
}

impl Sections {
    /// The first page of the section after that of page `pfn`.
    pub(super) const fn end_of(&self, pfn: u64) -> u64 {
        ((pfn >> self.bits) + 1) << self.bits
    }

    fn parse(keys: &Keys<'_>, table: u64, word: usize) -> Result<Self, Error> {
        let key = "NUMBER(MAX_PHYSMEM_BITS)";
        let memory = keys.needed(key, keys.count(key, MOST_BITS)?)?;
        let key = "NUMBER(SECTION_SIZE_BITS)";
        let section = keys.needed(key, keys.count(key, memory)?)?;
        if section < u64::from(WINDOW.ilog2()) {
            return Err(Error::BadKey { key });
        }
        let key = "LENGTH(mem_section)";
        let count = keys.needed(key, keys.count(key, 1 << (memory - section))?)?;
        let key = "SIZE(mem_section)";
        let size = keys.offset(key)? as u64;
        let map = keys.offset("OFFSET(mem_section.section_mem_map)")? as u64;
        if size < map + word as u64 {
            return Err(Error::BadKey { key });
        }
        let is_flat = count == 1 << (memory - section);
        if !is_flat && !size.is_power_of_two() {
            return Err(Error::BadKey { key });
        }
        let in_table = (!is_flat).then(|| PAGE_BITS - size.ilog2());
        let bits = section as u32 - PAGE_BITS;
        let vmemmap = keys.address("SYMBOL(vmemmap)")?;
        Ok(Self { table, count, in_table, size, map, bits, word, vmemmap })
    }

    fn structs<M: ReadPhys>(
        &self,
        space: VirtualMemory<'_, M>,
        pfn: u64,
    ) -> Result<Option<Structs>, Error> {
        let section = pfn >> self.bits;
        let Some(entry) = self.entry(space, section)? else { return Ok(None) };
        let at = entry.wrapping_add(self.map);
        let map = space.number(at, self.word)?.ok_or(Error::Unmapped { at })?;
        if map & HAS_MAP == 0 || map & IS_ONLINE == 0 {
            return Ok(None);
        }
        let base = map & MAP;
        if self.vmemmap.is_some_and(|vmemmap| vmemmap != base) {
            return Err(Error::BadMap { at: base });
        }
        let first = section << self.bits;
        Ok(Some(Structs { base, first, end: first + (1 << self.bits) }))
    }

    /// Address of the entry of a section.
    fn entry<M: ReadPhys>(
        &self,
        space: VirtualMemory<'_, M>,
        section: u64,
    ) -> Result<Option<u64>, Error> {
        let Some(in_table) = self.in_table else {
            let entry = self.table.wrapping_add(section.wrapping_mul(self.size));
            return Ok((section < self.count).then_some(entry));
        };
        if section >> in_table >= self.count {
            return Ok(None);
        }
        let at = self.table.wrapping_add((section >> in_table) * self.word as u64);
        let table = space.number(at, self.word)?.ok_or(Error::Unmapped { at })?;
        let within = section & ((1 << in_table) - 1);
        Ok((table != 0).then(|| table.wrapping_add(within * self.size)))
    }
}
