//! The ring of processes, found by the names in it.

use core::ops::Range;

use super::kernel::Kernel;
use crate::Error;
use crate::tasks::mask;
use crate::tasks::ring::Ring;
use vmcore::{ReadPhys, Vmcoreinfo, zeros};

/// Bytes that are searched at a time.
const WINDOW: u64 = 4096;
/// Farthest distance of `init_task` from another variable of the kernel's, in bytes.
const FAR: u64 = 16 << 20;
/// Most bytes from `init_task` to its name.
const LONGEST: u64 = 16 << 10;
/// Most bytes from the ring to the name.
const MOST_DISTANCE: u64 = 4096;
/// Most processes in a ring.
const MOST: usize = 1 << 20;
/// Fewest: each kernel has more threads of its own.
const FEWEST: usize = 8;
/// Length of a name in bytes.
const NAME: usize = 16;

/// A ring that leads from name to name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Address of the idle task's `list_head`.
    pub(super) head: u64,
    /// Distance of a name from its `list_head`.
    pub(super) comm: u64,
    /// Number of processes in the ring, without the idle task.
    pub(super) tasks: usize,
}

/// The ring of all processes. Its idle task is at `init_task`, or near another variable.
///
/// # Errors
/// [`Error::NoTasks`], [`Error::NO_MEMORY`].
pub(super) fn ring<M: ReadPhys>(
    kernel: Kernel<'_, M>,
    vmcoreinfo: &Vmcoreinfo<'_>,
    init_task: Option<u64>,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Found, Error> {
    let symbol = |key| u64::from_str_radix(vmcoreinfo.get(key)?, 16).ok();
    let top = mask(kernel.machine);
    let (near, area) = match init_task {
        Some(at) => (at, at..at.saturating_add(LONGEST)),
        None => {
            let why = "VMCOREINFO has no SYMBOL(init_uts_ns)";
            let near = symbol("SYMBOL(init_uts_ns)").ok_or(Error::NoTasks { why })?;
            let start = symbol("SYMBOL(_sdata)").unwrap_or(0).max(near.saturating_sub(FAR));
            let end = symbol("SYMBOL(_edata)").unwrap_or(top).min(near.saturating_add(FAR));
            (near, start..end)
        }
    };
    let mut bytes = zeros(WINDOW as usize + NAME)?;
    for start in outwards(near, area) {
        if !go_on() {
            return Err(Error::NoTasks { why: "the search took too long" });
        }
        if kernel.memory.read(start, &mut bytes).is_err() {
            continue;
        }
        for offset in (0..WINDOW as usize).step_by(kernel.word()) {
            let is_idle = is_idle_name(&bytes[offset..]);
            if let Some(found) = is_idle.then(|| through(kernel, start + offset as u64)).flatten() {
                return Ok(found);
            }
        }
    }
    Err(Error::NoTasks { why: "no ring of processes leads from swapper/0 and back to it" })
}

/// The windows of `area`, the nearest to `near` first.
fn outwards(near: u64, area: Range<u64>) -> impl Iterator<Item = u64> {
    let near = near & !(WINDOW - 1);
    let steps = (0..=FAR).step_by(WINDOW as usize);
    let both = steps.flat_map(move |step| {
        let below = near.checked_sub(step).filter(|_| step > 0);
        [near.checked_add(step), below].into_iter().flatten()
    });
    both.filter(move |at| *at < area.end && area.start < at.saturating_add(WINDOW))
}

fn is_idle_name(bytes: &[u8]) -> bool {
    bytes.strip_prefix(b"swapper").is_some_and(|rest| rest.starts_with(b"/0\0") || rest[0] == 0)
}

/// The ring that leads from the name at `name` to others and back.
fn through<M: ReadPhys>(kernel: Kernel<'_, M>, name: u64) -> Option<Found> {
    let word = kernel.word() as u64;
    let distances = (2 * word..=MOST_DISTANCE).step_by(kernel.word());
    let rings = distances.filter_map(|comm| {
        let head = name.checked_sub(comm)?;
        let mut ring = Ring::new(kernel.memory, head, kernel.word());
        let mut tasks = 0;
        for at in ring.by_ref() {
            let is_task = tasks < MOST && is_named(kernel, at.checked_add(comm)?);
            is_task.then_some(())?;
            tasks += 1;
        }
        (ring.is_whole() && tasks >= FEWEST).then_some(Found { head, comm, tasks })
    });
    rings.max_by_key(|found| found.tasks)
}

/// True if a name is at `at`: printable, with an end. A program may have set an empty one, or
/// letters beyond ASCII.
fn is_named<M: ReadPhys>(kernel: Kernel<'_, M>, at: u64) -> bool {
    let mut name = [0; NAME];
    let is_read = kernel.memory.read(at, &mut name).is_ok();
    let end = name.iter().position(|byte| *byte == 0);
    is_read && end.is_some_and(|end| name[..end].iter().all(|byte| *byte >= b' ' && *byte != 0x7f))
}
