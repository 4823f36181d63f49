//! Old memory: the one way to what the dead kernel left, read-only.

use boot_stub::paging::{LINE, OldMemory, physical_limit};
use handoff::layout::PAGE_SIZE;
use spin::{Mutex, Once};
use vmcore::{Error, Holes, PhysAddr, PhysRange, ReadPhys};

/// The window, and one past the highest physical address: to ask the CPU each time would be slow, where
/// it is a virtual one.
static WINDOW: Once<(Mutex<OldMemory>, u64)> = Once::new();

/// Memory that nobody reads, once that is known.
static HOLES: Once<Holes> = Once::new();

/// From now on nothing in `holes` is read. Returns the list.
pub(crate) fn leave_out(holes: Holes) -> &'static Holes {
    HOLES.call_once(|| holes)
}

/// Hands the window over; from then on [`Window`] works.
pub(crate) fn start(window: OldMemory) {
    WINDOW.call_once(|| (Mutex::new(window), physical_limit()));
}

/// The window on old memory.
pub(crate) struct Window;

impl ReadPhys for Window {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        window(at, into.len() as u64)?
            .lock()
            .read(at.get(), into)
            .map_err(|at| Error::MachineCheck { at: PhysAddr::new(at) })
    }

    fn is_zero(&self, at: PhysAddr, length: u64) -> Result<bool, Error> {
        let mut window = window(at, length)?.lock();
        let (mut next, end, mut zero) = (at.get(), at.get() + length, true);
        while next < end {
            let count = (PAGE_SIZE - next % PAGE_SIZE).min(end - next);
            let looked = match (next | count).is_multiple_of(LINE as u64) {
                true => window.is_zero(next, count as usize),
                false => copied_is_zero(&mut window, next, count as usize),
            };
            zero &= looked.map_err(|at| Error::MachineCheck { at: PhysAddr::new(at) })?;
            next += count;
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

/// Whether `length` bytes from `at` on are zero, at most a page, wherever they begin and end.
fn copied_is_zero(window: &mut OldMemory, at: u64, length: usize) -> Result<bool, u64> {
    let mut page = [0; PAGE_SIZE as usize];
    let bytes = &mut page[..length];
    window.read(at, bytes)?;
    Ok(bytes.iter().all(|byte| *byte == 0))
}
