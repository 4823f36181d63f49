//! Signs of progress, for the watchdog.

use boot_stub::console;
use core::sync::atomic::{AtomicU32, Ordering};
use handoff::Stage;

/// Number of reports of progress.
static PROGRESS: AtomicU32 = AtomicU32::new(0);

/// A value that changes when there is progress.
pub(crate) type Sign = (u32, Option<Stage>);

/// Reports progress: something came back, or a wait began that has its own end.
pub(crate) fn report() {
    PROGRESS.fetch_add(1, Ordering::Relaxed);
}

/// The sign now.
pub(crate) fn sign() -> Sign {
    (PROGRESS.load(Ordering::Relaxed), console::last_stage())
}
