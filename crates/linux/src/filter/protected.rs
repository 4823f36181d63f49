//! Memory that no dump leaves out, whatever its page structs say: these may be damaged.

use super::memory_map::MemoryMap;
use crate::stack_size::stack_size;
use crate::virtual_memory::VirtualMemory;
use crate::{MOST_IMAGE, SegmentMap};
use handoff::layout::PAGE_SIZE;
use vmcore::{
    Bounded, PageClass, PhysAddr, PhysRange, Prstatus, Ranges, ReadPhys, Verdict, WINDOW_PAGES,
};

/// The most ranges. Those of few bytes give way to longer ones.
const MOST: usize = 256;
/// The most steps of a walk over the page structs' own mapping: 1 TiB of memory, with two steps for
/// each section of 128 MiB.
const MOST_STRUCTS: usize = 2 * 8192;
/// The most tables. There is room for stacks beside them.
const MOST_TABLES: usize = 64;
/// The most symbols of VMCOREINFO. Kernels have about thirty.
const MOST_SYMBOLS: usize = 128;
/// Start and end of the image's data and of its bss. The loader adds them to VMCOREINFO.
const DATA: [(&str, &str); 2] = [("_sdata", "_edata"), ("__bss_start", "__bss_stop")];
/// Symbols in memory that the kernel may have freed after its start: the text of the start and the
/// first copies of per-CPU variables; and an end, where the byte belongs to somebody else.
const FREED: [&str; 5] = ["_sinittext", "_einittext", "current_task", "pcpu_hot", "_etext"];
/// Length and alignment of the section at the end of an x86_64 kernel's bss that is not encrypted
/// under SEV. The kernel uses its beginning and frees the rest (Linux, `BSS_DECRYPTED` in
/// `arch/x86/kernel/vmlinux.lds.S`). If the bss ends at a multiple of this, it has the section.
const DECRYPTED: u64 = 2 << 20;
/// The most CPUs whose stacks are looked for.
const MOST_CPUS: usize = 1024;

/// Ranges of memory (physical), whole pages.
#[derive(Debug, Default)]
pub(super) struct Protected {
    ranges: Ranges<Bounded<PhysRange, MOST>>,
    /// A range has given way.
    is_cut: bool,
}

impl Protected {
    /// Adds the pages of a range. If the list is full, the shortest range gives way.
    pub(super) fn add(&mut self, range: PhysRange) {
        let start = range.start().align_down(PAGE_SIZE);
        let Some(end) = range.end().align_up(PAGE_SIZE) else { return };
        let Ok(range) = PhysRange::from_bounds(start, end) else { return };
        while self.ranges.insert(range).is_err() {
            if !self.is_cut {
                log::warn!("page filter: the longest {MOST} ranges are protected, and no more");
                self.is_cut = true;
            }
            let shortest = self.ranges.iter().min_by_key(|range| range.length());
            let shortest = shortest.filter(|shortest| shortest.length() < range.length());
            let Some(shortest) = shortest else { return };
            // A whole range is taken away, which needs no room.
            let _ = self.ranges.exclude(shortest);
        }
    }

    /// The ranges, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = PhysRange> {
        self.ranges.iter()
    }

    /// Puts the protected pages of a window in doubt that a struct says are not the kernel's.
    /// Memory that is broken stays so.
    pub(super) fn keep(&self, window: PhysAddr, verdicts: &mut [Verdict; WINDOW_PAGES]) {
        let length = WINDOW_PAGES as u64 * PAGE_SIZE;
        let Some(end) = window.checked_add(length) else { return };
        for range in self.ranges.iter() {
            let (start, end) = (range.start().max(window), range.end().min(end));
            if start >= end {
                continue;
            }
            let page = |at: PhysAddr| ((at.get() - window.get()) / PAGE_SIZE) as usize;
            for verdict in &mut verdicts[page(start)..page(end)] {
                if !matches!(verdict, Verdict::Kept | Verdict::Excluded(PageClass::HwPoison)) {
                    *verdict = Verdict::Doubt;
                }
            }
        }
    }
}

/// Finds memory that is protected, and adds it to the list.
pub(super) struct Finder<'a, M> {
    pub(super) space: VirtualMemory<'a, M>,
    pub(super) segments: &'a SegmentMap,
    pub(super) map: &'a MemoryMap,
    /// Length of a page struct.
    pub(super) struct_size: u64,
    pub(super) protected: &'a mut Protected,
}

impl<M: ReadPhys> Finder<'_, M> {
    /// Protects the stacks that the CPUs ran on. `notes` are ELF notes with the registers of each
    /// CPU, `machine` is their `e_machine`.
    pub(super) fn stacks(&mut self, machine: u16, notes: &[u8]) {
        let size = stack_size(machine);
        let cpus = vmcore::notes(notes).flatten().filter(|note| note.is_prstatus());
        let status = cpus.filter_map(|note| Prstatus::parse(machine, note.desc).ok());
        for stack in status.take(MOST_CPUS) {
            let stack = stack.stack_pointer & !(size - 1);
            for page in (0..size).step_by(PAGE_SIZE as usize) {
                self.mapped_range(stack.wrapping_add(page), PAGE_SIZE);
            }
        }
    }

    /// Protects page structs, page tables, the part of the kernel's image that is read-only, its
    /// data, and the symbols that VMCOREINFO names.
    pub(super) fn kernel(&mut self, vmcoreinfo: &[u8]) {
        self.structs();
        self.tables();
        for (name, address) in symbols(vmcoreinfo).take(MOST_SYMBOLS) {
            let ends = DATA.iter().map(|(_, end)| end);
            if ends.chain(&FREED).all(|other| other.as_bytes() != name) {
                self.mapped_range(address, 1);
            }
            if name == b"_stext" {
                self.image(address);
            }
        }
        let address = |wanted: &str| {
            symbols(vmcoreinfo).find_map(|(name, at)| (name == wanted.as_bytes()).then_some(at))
        };
        for (start, end) in DATA {
            if let Some((start, end)) = address(start).zip(address(end)) {
                let freed = if end.is_multiple_of(DECRYPTED) { DECRYPTED } else { 0 };
                let end = end.saturating_sub(freed);
                self.range(start, end.saturating_sub(start).min(MOST_IMAGE));
            }
        }
    }

    /// Protects `length` bytes from the virtual address `start` on, as far as they are mapped.
    fn range(&mut self, start: u64, length: u64) {
        let mut done = 0;
        while done < length {
            let Some(left) = self.mapped_range(start.wrapping_add(done), length - done) else {
                return;
            };
            done += left;
        }
    }

    /// The physical address of a mapped byte, the number of bytes that follow it, and true if they
    /// are read-only.
    fn mapped(&self, at: u64) -> Option<(PhysAddr, u64, bool)> {
        let page = self.space.tables?.translate(self.space.memory, at).ok()??;
        Some((PhysAddr::new(page.physical), page.left, page.is_read_only))
    }

    /// Protects `length` bytes from the virtual address `at` on, at most to the end of the page.
    /// Returns the number of bytes of that page, large or not.
    fn mapped_range(&mut self, at: u64, length: u64) -> Option<u64> {
        let (start, left, _) = self.mapped(at)?;
        if let Ok(range) = PhysRange::new(start, left.min(length)) {
            self.protected.add(range);
        }
        Some(left)
    }

    /// Protects the page structs of memory.
    pub(super) fn structs(&mut self) {
        let mut steps = 0..MOST_STRUCTS;
        let mut next = 0;
        while let Some(pfn) = self.segments.next_physical(next * PAGE_SIZE) {
            let pfn = (pfn / PAGE_SIZE).max(next);
            let Some(end) = self.structs_from(pfn, &mut steps) else {
                log::warn!("page filter: page structs from page {pfn:#x} on are not protected");
                return;
            };
            next = end;
        }
    }

    /// Protects the structs of `pfn` and of the pages after it that have their structs in one
    /// array. Returns the first page after those; [`None`] if there are no steps left.
    fn structs_from(&mut self, pfn: u64, steps: &mut core::ops::Range<usize>) -> Option<u64> {
        steps.next()?;
        let after = self.map.end_of_array(pfn);
        let Ok(Some(structs)) = self.map.structs(self.space, pfn) else { return Some(after) };
        let size = self.struct_size;
        let at = |pfn: u64| structs.base.wrapping_add(pfn.wrapping_mul(size));
        let length = structs.end.checked_sub(structs.first)?.checked_mul(size)?;
        let mut done = 0;
        while done < length {
            steps.next()?;
            let at = at(structs.first).wrapping_add(done);
            let left = self.mapped_range(at, length - done);
            done += left.unwrap_or(PAGE_SIZE - at % PAGE_SIZE);
        }
        Some(after)
    }

    /// Protects page tables; those of the last level are too many.
    fn tables(&mut self) {
        let Some(tables) = self.space.tables else { return };
        let protected = &mut *self.protected;
        tables.each(self.space.memory, MOST_TABLES, &mut |table| {
            if let Ok(range) = PhysRange::new(PhysAddr::new(table), PAGE_SIZE) {
                protected.add(range);
            }
        });
    }

    /// Protects the read-only pages of the image: text and read-only data. Others, apart from
    /// [`DATA`], may have been freed after the kernel's start.
    fn image(&mut self, text: u64) {
        let mut done = 0;
        while done < MOST_IMAGE {
            let Some((start, left, is_read_only)) = self.mapped(text.wrapping_add(done)) else {
                return;
            };
            let length = left.min(MOST_IMAGE - done);
            if is_read_only && let Ok(range) = PhysRange::new(start, length) {
                self.protected.add(range);
            }
            done += length;
        }
    }
}

/// The symbols that VMCOREINFO names, with their addresses.
fn symbols(vmcoreinfo: &[u8]) -> impl Iterator<Item = (&[u8], u64)> {
    let lines = vmcoreinfo.split(|byte| *byte == b'\n' || *byte == 0);
    lines.filter_map(|line| {
        let line = line.strip_prefix(b"SYMBOL(")?;
        let end = line.iter().position(|byte| *byte == b')')?;
        let (name, value) = line.split_at(end);
        let value = str::from_utf8(value.strip_prefix(b")=")?).ok()?;
        Some((name, u64::from_str_radix(value, 16).ok()?))
    })
}
