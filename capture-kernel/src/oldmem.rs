//! Old memory: the one way to what the dead kernel left, read-only.

use boot_stub::paging::{OldMemory, physical_limit};
use spin::{Mutex, Once};
use vmcore::{Error, PhysAddr, PhysRange, ReadPhys};

static WINDOW: Once<Mutex<OldMemory>> = Once::new();

/// Hands the window over; from then on [`Window`] works.
pub(crate) fn start(window: OldMemory) {
    WINDOW.call_once(|| Mutex::new(window));
}

/// The window on old memory.
pub(crate) struct Window;

impl ReadPhys for Window {
    fn read_phys(&self, at: PhysAddr, into: &mut [u8]) -> Result<(), Error> {
        let range = PhysRange::new(at, into.len() as u64)?;
        let window = WINDOW.get().ok_or(Error::Unreadable { at })?;
        if range.end().get() > physical_limit() {
            return Err(Error::Unreadable { at });
        }
        let read = window.lock().read(at.get(), into);
        read.map_err(|at| Error::MachineCheck { at: PhysAddr::new(at) })
    }
}
