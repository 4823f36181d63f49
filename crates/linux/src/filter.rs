//! The page filter: which pages belong to the kernel.
//!
//! ```text
//! VMCOREINFO ──▶ Layout, MemoryMap ──▶ page structs of a window ──▶ Scan ──▶ verdicts
//! ```
//!
//! Linux has a struct for each page of memory. The filter finds them through the memory model and
//! the page tables, and reads their flags, types and pointers as VMCOREINFO describes them. Each
//! page of a compound page has the class of its head. Structs that are damaged, or cannot be read,
//! leave their pages in doubt, and those are in every dump.

mod class;
mod layout;
mod memory_map;
mod page_type;
mod protected;
mod scan;
mod way;

use core::fmt;

use self::layout::Layout;
use self::memory_map::MemoryMap;
use self::protected::{Finder, Protected};
use self::scan::Scan;
use self::way::Way;
use crate::keys::Keys;
use crate::page_tables::PageTables;
use crate::virtual_memory::VirtualMemory;
use crate::{Error, KernelMemory, SegmentMap};
use vmcore::{PageFilter, PhysAddr, PhysRange, ReadPhys, Verdict, WINDOW_PAGES};

/// Finds the class of each page of a dead Linux.
///
/// `mem` reads at the sources of the segments: physical addresses with the ELF core header of the
/// capture kernel, offsets with a vmcore file. Classifying a window takes about 12 KiB of stack
/// and no heap.
pub struct Filter<M> {
    mem: M,
    segments: SegmentMap,
    tables: Option<PageTables>,
    layout: Layout,
    map: MemoryMap,
    protected: Protected,
}

impl<M: ReadPhys> Filter<M> {
    /// A filter for the kernel with this text of VMCOREINFO.
    ///
    /// # Errors
    /// [`Error::NotFiltered`] or [`Error::BadKey`]: the kernel does not tell what is needed. Or the
    /// places of the page structs cannot be read.
    pub fn new(mem: M, segments: SegmentMap, vmcoreinfo: &[u8]) -> Result<Self, Error> {
        let keys = Keys::new(vmcoreinfo, |key| Error::NotFiltered { key });
        let layout = Layout::parse(&keys)?;
        let tables = PageTables::find(vmcoreinfo);
        let space = VirtualMemory { memory: KernelMemory::new(&mem, &segments), tables };
        let map = MemoryMap::find(&keys, space, layout.word)?;
        let protected = Protected::default();
        let mut filter = Self { layout, map, tables, mem, segments, protected };
        filter.finder().kernel(vmcoreinfo);
        Ok(filter)
    }

    /// Never leaves out the pages of `range`, physical addresses of the first kernel. If a struct
    /// says that such a page is not the kernel's, the verdict is [`Verdict::Doubt`]. The list has a
    /// bound; if it is full, the shortest ranges give way.
    pub fn protect(&mut self, range: PhysRange) {
        self.protected.add(range);
    }

    /// Protects the stacks that the CPUs ran on. `notes` are ELF notes with the registers of each
    /// CPU, `machine` is their `e_machine`.
    pub fn protect_stacks(&mut self, machine: u16, notes: &[u8]) {
        self.finder().stacks(machine, notes);
    }

    /// Gives `each` the physical memory of the first kernel that a filter reads on its way to page
    /// structs (tables of sections, page tables), then the memory that holds page structs; both
    /// ascending, the 256 longest ranges at most.
    pub fn page_structs(&self, each: &mut dyn FnMut(PhysRange)) {
        let (mut found, way) = (Protected::default(), Way::new(&self.mem, &self.segments));
        let (segments, map, struct_size) = (&self.segments, &self.map, self.layout.size as u64);
        let memory = KernelMemory::new(&way, segments);
        let space = VirtualMemory { memory, tables: self.tables };
        Finder { space, segments, map, struct_size, protected: &mut found }.structs();
        way.pages().iter().chain(found.iter()).for_each(each);
    }

    fn finder(&mut self) -> Finder<'_, M> {
        let Self { mem, segments, tables, layout, map, protected } = self;
        let space = VirtualMemory { memory: KernelMemory::new(&*mem, &*segments), tables: *tables };
        Finder { space, segments, map, struct_size: layout.size as u64, protected }
    }

    const fn space(&self) -> VirtualMemory<'_, M> {
        VirtualMemory { memory: KernelMemory::new(&self.mem, &self.segments), tables: self.tables }
    }
}

impl<M> fmt::Debug for Filter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("map", &self.map).finish_non_exhaustive()
    }
}

impl<M: ReadPhys> PageFilter for Filter<M> {
    fn classify(&self, start: PhysAddr, into: &mut [Verdict; WINDOW_PAGES]) {
        let (space, window) = (self.space(), start.get() / handoff::layout::PAGE_SIZE);
        into.fill(Verdict::Kept);
        match self.map.structs(space, window) {
            Ok(None) => (),
            Err(_) => into.fill(Verdict::Doubt),
            Ok(Some(structs)) => {
                let (layout, map) = (&self.layout, &self.map);
                Scan { space, layout, map, structs, window, into: &mut *into }.run();
            }
        }
        self.protected.keep(start, into);
    }
}

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod key_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vast_tests;
