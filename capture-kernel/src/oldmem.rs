//! Old memory: the one way to what the dead kernel left, read-only.

use boot_stub::paging::{OldMemory, physical_limit};
use spin::{Mutex, Once};
use vmcore::{Error, PhysAddr, PhysRange, ReadPhys};

/// The window, and one past the highest physical address: to ask the CPU each time would be slow, where
/// it is a virtual one.
static WINDOW: Once<(Mutex<OldMemory>, u64)> = Once::new();

/// Hands the window over; from then on [`Window`] works.
pub(crate) fn start(window: OldMemory) {
    WINDOW.call_once(|| (Mutex::new(window), physical_limit()));
}

/// The window on old memory.
pub(crate) struct Window;

impl ReadPhys for Window {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let range = PhysRange::new(at, into.len() as u64)?;
        let (window, limit) = WINDOW.get().ok_or(Error::Unreadable { at })?;
        if range.end().get() > *limit {
            return Err(Error::Unreadable { at });
        }
        let read = window.lock().read(at.get(), into);
        read.map_err(|at| Error::MachineCheck { at: PhysAddr::new(at) })
    }
}
