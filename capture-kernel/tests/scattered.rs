//! A million scattered pages in 8 GiB of addresses go through select, encode and deliver to a disk,
//! within 256 KiB of memory that an allocator counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

use capture_kernel::Clock;
use capture_kernel::driver::dma::{DmaPiece, Limits, Pieces, SlotMemory};
use capture_kernel::driver::translation::Translation;
use capture_kernel::driver::{BlockDevice, Error};
use capture_kernel::dump::{Dump, NamedView, Urgent};
use capture_kernel::targets::disk::{DumpDisk, WriteOptions};
use capture_kernel::targets::{Target, TargetError};
use dumpfile::disk::{DumpHeader, FoundDisk, Segment, StoredChunks};
use dumpfile::{Contents, DiskHeader, DiskId, DiskState};
use vmcore::{DumpOffset, PageClass, PhysAddr, PhysRange, Piece, View, What};

const ID: DiskId = DiskId([7; 16]);
const PAGE: u64 = 4096;
/// Pages of the view: 8 GiB.
const PAGES: u64 = 8 << 18;
/// The memory of the view's first byte.
const BASE: u64 = 4 << 30;
/// The most memory that a capture kernel may take for this, in bytes.
const MOST: isize = 256 << 10;

static COUNTS: AtomicBool = AtomicBool::new(false);
static NOW: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

struct Counter;

fn count(bytes: isize) {
    if COUNTS.load(Ordering::Relaxed) {
        let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
        PEAK.fetch_max(now, Ordering::Relaxed);
    }
}

#[expect(unsafe_code, reason = "an allocator")]
// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counter = Counter;

/// Memory that `act` allocates is not the capture kernel's.
fn uncounted<T>(act: impl FnOnce() -> T) -> T {
    let counts = COUNTS.swap(false, Ordering::Relaxed);
    let result = act();
    COUNTS.store(counts, Ordering::Relaxed);
    result
}

/// One page in two, in runs of any length.
fn is_kept(page: u64) -> bool {
    (page.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).is_multiple_of(2)
}

/// Memory of which the kept pages are there.
#[derive(Debug)]
struct Scattered;

impl View for Scattered {
    fn len(&self) -> u64 {
        PAGES * PAGE
    }

    fn piece(&self, at: DumpOffset, most: u64) -> Option<Piece<'_>> {
        let left = self.len().checked_sub(at.get()).filter(|left| *left > 0 && most > 0)?;
        let kept = is_kept(at.get() / PAGE);
        let end = (at.get() / PAGE..).find(|page| is_kept(*page) != kept).expect("it alternates");
        let len = (end * PAGE - at.get()).min(left).min(most);
        let memory = PhysRange::new(PhysAddr::new(BASE + at.get()), len).expect("no wrap");
        let what = if kept { What::Phys(memory) } else { What::Left(PageClass::User) };
        Some(Piece { at, len, what })
    }
}

/// Contents of a disk: the blocks that the capture kernel made, and the places of memory.
#[derive(Default)]
struct Written {
    blocks: BTreeMap<u64, Vec<u8>>,
    /// Place of each page of memory on the disk.
    pages: BTreeMap<u64, u64>,
    requests: usize,
    pieces: usize,
}

struct FakeDisk {
    capacity: u64,
    written: Rc<RefCell<Written>>,
}

impl BlockDevice for FakeDisk {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn block_size(&self) -> u32 {
        512
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn limits(&self) -> Limits {
        Limits { bytes: 1 << 20, pieces: 32, piece: 1 << 20, align: 1, address_bits: 64 }
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        for (block, bytes) in (at..).step_by(PAGE as usize).zip(into.chunks_mut(PAGE as usize)) {
            match self.written.borrow().blocks.get(&block) {
                Some(there) => bytes.copy_from_slice(there),
                None => bytes.fill(0),
            }
        }
        Ok(())
    }

    fn write(&mut self, at: u64, pieces: Pieces) -> Result<(), Error> {
        uncounted(|| {
            let mut written = self.written.borrow_mut();
            written.requests += 1;
            written.pieces += pieces.len();
            let mut at = at;
            let mut bytes = Vec::new();
            for piece in &pieces {
                match piece {
                    DmaPiece::Old(range) => {
                        let pages = (0..range.length()).step_by(PAGE as usize);
                        let memory = range.start().get();
                        assert!(memory.is_multiple_of(PAGE) && range.length().is_multiple_of(PAGE));
                        written.pages.extend(pages.map(|offset| (memory + offset, at + offset)));
                        at += range.length();
                    }
                    DmaPiece::Frozen(frozen, part) => {
                        bytes.extend_from_slice(&frozen.bytes()[part.clone()]);
                    }
                    DmaPiece::Zeros(count) => bytes.resize(bytes.len() + *count as usize, 0),
                }
            }
            for (at, block) in (at..).step_by(PAGE as usize).zip(bytes.chunks(PAGE as usize)) {
                written.blocks.insert(at, block.to_vec());
            }
        });
        Ok(())
    }

    fn wait_for_one(&mut self) -> Result<bool, Error> {
        Ok(false)
    }

    fn drain(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn written_below(&self) -> u64 {
        u64::MAX
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

#[derive(Default)]
struct Ticks(Cell<u64>);

impl Clock for Ticks {
    fn milliseconds(&self) -> u64 {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }
}

/// The outcome, the contents of the disk, and the most memory that was in use.
fn deliver(
    capacity: u64,
    urgent: Vec<std::ops::Range<u64>>,
) -> (Result<(), TargetError>, Written, isize) {
    let written = Rc::new(RefCell::new(Written::default()));
    for at in [0, PAGE] {
        written.borrow_mut().blocks.insert(at, DiskHeader::new(ID).encode().to_vec());
    }
    let view = |name, view| NamedView { name, view, start: 0 };
    let dump = Dump {
        id: [9; 16],
        first: vec![view("dmesg", Rc::new(b"the last words".to_vec()))],
        bulk: Some(view("oldmem", Rc::new(Scattered))),
        contents: Contents::OldMem { start: BASE },
        urgent: Urgent::new(move || urgent.clone()),
        ..Dump::default()
    };
    let device = FakeDisk { capacity, written: written.clone() };
    let slot = SlotMemory {
        address: 0,
        start: PhysAddr::new(0),
        length: usize::MAX,
        translation: Translation::Off,
    };
    let clock = Ticks::default();
    NOW.store(0, Ordering::Relaxed);
    PEAK.store(0, Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
    let target = DumpDisk::open(device, ID, slot, &clock).expect("a dump disk");
    let delivered = target.with(WriteOptions::default()).deliver(&dump, &mut |_| ());
    COUNTS.store(false, Ordering::Relaxed);
    (delivered, written.take(), PEAK.load(Ordering::Relaxed))
}

/// The dump's header and its chunks, in the order of the log.
fn stored(written: &Written) -> (DumpHeader, u64, Vec<StoredChunks>) {
    let front = [&written.blocks[&0][..], &written.blocks[&PAGE]].concat();
    let entry = FoundDisk::decode(&front).expect("a disk").header.dumps.as_slice()[0];
    let front =
        [&written.blocks[&entry.offset][..], &written.blocks[&(entry.offset + PAGE)]].concat();
    let header = DumpHeader::decode_copies(&front, ID, &entry).expect("a header");
    let (mut at, mut chunks) = (header.bulk_start, Vec::new());
    while at < header.committed {
        let block = &written.blocks[&(entry.offset + at)];
        let segment = Segment::decode(block, &header, at).expect("a segment");
        at = segment.end(at);
        chunks.extend(segment.chunks);
    }
    (header, entry.offset, chunks)
}

/// All kept pages of `chunks` are where these say, and no other page is on the disk. Returns their
/// number.
fn assert_right(written: &Written, region: u64, chunks: &[StoredChunks]) -> u64 {
    let mut count = 0;
    let all = chunks.iter().flat_map(|chunks| (0..chunks.count()).map(|index| chunks.nth(index)));
    for chunk in all {
        let mut at = region + chunk.at;
        for page in 0..16 {
            let number = u64::from(chunk.entry.chunk) * 16 + page;
            let is_there = chunk.entry.left.get(page as usize).is_none();
            assert_eq!(is_there, is_kept(number), "page {number}");
            if is_there {
                assert_eq!(written.pages.get(&(BASE + number * PAGE)), Some(&at), "page {number}");
                at += PAGE;
                count += 1;
            }
        }
    }
    assert_eq!(written.pages.len() as u64, count);
    count
}

/// One test: the counter counts for the whole process.
#[test]
fn a_million_scattered_pages_take_little_memory() {
    let kept = (0..PAGES).filter(|page| is_kept(*page)).count() as u64;
    assert!(kept > 1_000_000, "{kept} pages");

    let (delivered, written, peak) = deliver(16 << 30, Vec::new());
    assert_eq!(delivered, Ok(()));
    assert!(peak > 0 && peak <= MOST, "{peak} bytes");
    let (header, region, chunks) = stored(&written);
    assert_eq!(header.state, DiskState::COMPLETE);
    assert_eq!((header.pages.kept(), header.pages.of(PageClass::User)), (kept, PAGES - kept));
    assert_eq!(assert_right(&written, region, &chunks), kept);
    let size = header.committed - header.bulk_start;
    assert!(size - kept * PAGE <= kept * PAGE / 500, "{size} bytes for {kept} pages");
    let full = written.pieces / 32;
    assert!(written.requests < full + full / 8 + 2000, "{} requests", written.requests);

    // The room ends after a GiB, and a part in the middle goes first.
    let urgent = 1000 * 65_536..1100 * 65_536;
    let (delivered, written, peak) = deliver(1 << 30, vec![urgent]);
    assert!(matches!(delivered, Err(TargetError::NoRoom { .. })), "{delivered:?}");
    assert!(peak <= MOST, "{peak} bytes");
    let (header, region, chunks) = stored(&written);
    assert_eq!((header.state, header.no_room), (DiskState::PARTIAL, true));
    let there = assert_right(&written, region, &chunks);
    assert_eq!(there, header.pages.kept());
    assert!(there * PAGE > (1 << 30) - (8 << 20), "{there} pages");
    assert_eq!((chunks[0].entry.chunk, chunks[100].entry.chunk), (1000, 0));
}
