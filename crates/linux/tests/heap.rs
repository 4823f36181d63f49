//! Heap of a dump with thousands of PT_LOADs. A loader leaves this much room in a slot.

#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use vmcore::{
    Class, CoreHeader, EM_X86_64, ElfCoreHdr, Error, HEAP_PER_LOAD, Holes, PhysAddr, PhysRange,
    RangeSet, ReadPhys, Segment, SegmentKind,
};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static HEAP: Counting = Counting;

// SAFETY: the system allocator does all the work; this one only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller guarantees it.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller guarantees it.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const BLOCK: u64 = 0x100_0000;
const FIRST: u64 = 0x1000_0000;

/// The core header at [`BLOCK`], and zeros elsewhere.
struct Memory(Vec<u8>);

impl ReadPhys for Memory {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let from = at.get().checked_sub(BLOCK).map_or(usize::MAX, |from| from as usize);
        let rest = self.0.get(from..).unwrap_or_default();
        let count = rest.len().min(into.len());
        into.fill(0);
        into[..count].copy_from_slice(&rest[..count]);
        Ok(())
    }
}

fn load(n: u64) -> Segment {
    let at = PhysAddr::new(FIRST + n * 0x2000);
    Segment {
        kind: SegmentKind::Load,
        source: at,
        vaddr: 0xffff_8880_0000_0000 + at.get(),
        paddr: at,
        filesz: 0x1000,
        memsz: 0x1000,
        flags: 7,
    }
}

/// Does the same as the capture kernel. A 64-bit program's lists take more than the kernel's.
fn peak(count: u64) -> usize {
    let loads: Vec<_> = (0..count).map(load).collect();
    let block = vmcore::build(EM_X86_64, Class::Elf64, &loads).expect("few enough");
    let size = Some(block.len() as u64);
    let memory = Memory(block);
    let place = ElfCoreHdr { addr: PhysAddr::new(BLOCK), size };
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let header = CoreHeader::read(&memory, place).expect("a good header");
    let vmcore =
        vmcore::vmcore(&header, &memory, 1 << 40, &Holes::new(), &mut |_| ()).expect("a vmcore");
    let (mut small, later) = linux::first_views(&header, &vmcore, &memory);
    let ranges = header.segments(&memory).filter_map(|load| load.ok()?.memory_range().ok());
    let ram = RangeSet::union(ranges).expect("room");
    let oldmem = vmcore::oldmem(&ram, None::<PhysRange>).expect("room");
    drop(ram);
    let backtraces =
        later.backtraces(&memory, &mut || true).expect("memory").whole(linux::MOST_WHOLE);
    small.extend(later.read(&memory, backtraces));
    assert_eq!((small.len(), oldmem.extents().len() as u64), (0, 2 * count));
    let peak = PEAK.load(Relaxed) - before;
    drop(vmcore);
    peak
}

#[test]
fn a_load_takes_no_more_heap_than_a_loader_reckons_with() {
    let (few, many) = (peak(100), peak(50_100));
    let each = (many - few) as u64 / 50_000;
    // The capture kernel's own allocator loses some more in pieces that are too small to use.
    assert!(each * 4 / 3 <= HEAP_PER_LOAD, "{each} bytes for each");
}
