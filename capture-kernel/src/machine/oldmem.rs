//! Old memory: the one way to the dead kernel's memory, read-only.

use boot_stub::paging::{self, AREA_PAGES, AREA_SIZE, LINE, OLD_BLOCKS, physical_limit};
use capture_kernel::window::{BLOCK, Contents, Entries, SLOTS, Shown};
use handoff::layout::PAGE_SIZE;
use spin::{Mutex, Once};
use vmcore::{Error, Holes, PhysAddr, PhysRange, ReadPhys};

const _: () = assert!(SLOTS == OLD_BLOCKS && BLOCK == AREA_SIZE as u64);
const _: () = assert!(BLOCK == AREA_PAGES as u64 * PAGE_SIZE);

/// The window, and one past the highest physical address: to ask the CPU each time would be slow,
/// where it is a virtual one.
static WINDOW: Once<(Mutex<OldMemory>, u64)> = Once::new();

/// Memory that is never read, once that is known.
static HOLES: Once<Holes> = Once::new();

/// From now on nothing in `holes` is read. Returns the list.
pub(crate) fn leave_out(holes: Holes) -> &'static Holes {
    HOLES.call_once(|| holes)
}

/// Hands the window over; from then on [`Window`] works, page by page until [`know`] is called.
pub(crate) fn start(window: paging::OldMemory) {
    let window = OldMemory { mapped: Mapped(window), contents: Contents::new() };
    WINDOW.call_once(|| (Mutex::new(window), physical_limit()));
}

/// Takes `ram`, and nothing else, for RAM, below the highest physical address: whole blocks of 2
/// MiB are mapped by large pages from here on.
///
/// # Errors
/// [`Error::NoMemory`]: then there are no large pages.
pub(crate) fn know(ram: impl Iterator<Item = PhysRange>) -> Result<(), Error> {
    let Some((window, _)) = WINDOW.get() else { return Ok(()) };
    let OldMemory { mapped, contents } = &mut *window.lock();
    contents.know(ram, mapped)
}

/// The window on old memory.
pub(crate) struct Window;

impl ReadPhys for Window {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let mut window = window(at, into.len() as u64)?.lock();
        let read = window.read(at.get(), into);
        read.map_err(|at| Error::MachineCheck { at: PhysAddr::new(at) })
    }

    fn is_zero(&self, at: PhysAddr, length: u64) -> Result<bool, Error> {
        let mut window = window(at, length)?.lock();
        let (mut next, end, mut zero) = (at.get(), at.get() + length, true);
        while next < end {
            let looked = window.look(next, end - next);
            let (is_zero, count) =
                looked.map_err(|at| Error::MachineCheck { at: PhysAddr::new(at) })?;
            zero &= is_zero;
            next += count as u64;
        }
        Ok(zero)
    }
}

/// The window, if all of `length` bytes from `at` on can be seen through it and may be read.
fn window(at: PhysAddr, length: u64) -> Result<&'static Mutex<OldMemory>, Error> {
    let range = PhysRange::new(at, length)?;
    let (window, limit) = WINDOW.get().ok_or(Error::Unreadable { at })?;
    if let Some(hole) = HOLES.get().and_then(|holes| holes.within(range).next()) {
        return Err(Error::Unreadable { at: hole.range.start() });
    }
    match range.end().get() > *limit {
        true => Err(Error::Unreadable { at }),
        false => Ok(window),
    }
}

/// The window, and the memory that it shows.
struct OldMemory {
    mapped: Mapped,
    contents: Contents,
}

/// The mappings that make up the window.
struct Mapped(paging::OldMemory);

impl Entries for Mapped {
    fn set_page(&mut self, index: usize, start: Option<u64>) {
        self.0.set_page(index, start);
    }

    fn set_block(&mut self, slot: usize, start: Option<u64>) {
        self.0.set_block(slot, start);
    }
}

impl OldMemory {
    /// Copies bytes from the physical address `at`; the address where a machine check stopped it.
    fn read(&mut self, mut at: u64, mut into: &mut [u8]) -> Result<(), u64> {
        while !into.is_empty() {
            let Shown { offset, length } = self.contents.show(at, into.len(), &mut self.mapped);
            let (piece, rest) = into.split_at_mut(length);
            self.mapped.0.copy(offset, piece).map_err(|before| at + before as u64)?;
            at += length as u64;
            into = rest;
        }
        Ok(())
    }

    /// Looks at the first of `length` bytes from `at` on. Returns true if they are zero, and their
    /// number; or the address at which a machine check stopped it. Whole lines are read in place,
    /// the rest is copied first.
    fn look(&mut self, at: u64, length: u64) -> Result<(bool, usize), u64> {
        const BYTES: u64 = LINE as u64;
        let skip = at % BYTES;
        if skip != 0 || length < BYTES {
            let mut line = [0; LINE];
            let bytes = &mut line[..(BYTES - skip).min(length) as usize];
            self.read(at, bytes)?;
            return Ok((bytes.iter().all(|byte| *byte == 0), bytes.len()));
        }
        let lines = (length - length % BYTES).min(BLOCK) as usize;
        let Shown { offset, length } = self.contents.show(at, lines, &mut self.mapped);
        let is_zero = self.mapped.0.is_zero(offset, length);
        Ok((is_zero.map_err(|before| at + before as u64)?, length))
    }
}
