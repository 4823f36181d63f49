//! The stack of the CPU that crashed.

use alloc::vec::Vec;

use handoff::layout::PAGE_SIZE;

use super::list::Views;
use crate::stack_size::{LARGEST_STACK, stack_size};
use crate::{Caller, Cpus, Error, KernelMemory, SavedCpu, VirtualMemory};
use vmcore::{ReadPhys, zeros};

/// The stack pointer is a multiple of this, or is rounded down to one.
const ALIGN: u64 = 16;

/// The names of the stacks when it is not known which CPU crashed. All are in the vmcore.
const UNKNOWN: [&str; 4] = ["stack-0", "stack-1", "stack-2", "stack-3"];

/// The most bytes of all stacks.
pub(super) const MOST: usize = UNKNOWN.len() * LARGEST_STACK;

/// Adds the stack of the CPU that crashed, or of the first few.
pub(super) fn add<M: ReadPhys>(
    views: &mut Views,
    cpus: &Cpus,
    newest: Option<Caller>,
    memory: KernelMemory<'_, M>,
    vmcoreinfo: &[u8],
) {
    let size = stack_size(cpus.machine);
    let memory = VirtualMemory::new(memory, vmcoreinfo);
    let read_page = |at, into: &mut [u8]| memory.read(at, into);
    let mut add = |name, cpu: SavedCpu| {
        let start = cpu.sp & !(ALIGN - 1);
        views.add(name, start, read(start, size, read_page));
    };
    match cpus.crashed(newest) {
        Some(cpu) => add("stack", cpu),
        None => cpus.iter().zip(UNKNOWN).for_each(|(cpu, name)| add(name, cpu)),
    }
}

/// The bytes from `start` up to the end of the stack, or up to the first page that is not there.
/// Each read of `read_page` is within one page.
///
/// # Errors
/// That of the first page.
fn read(
    start: u64,
    size: u64,
    read_page: impl Fn(u64, &mut [u8]) -> Result<(), Error>,
) -> Result<Vec<u8>, Error> {
    let mut bytes = zeros((size - start % size) as usize)?;
    let mut done = 0;
    while done < bytes.len() {
        let at = start.checked_add(done as u64).ok_or(Error::Unmapped { at: start })?;
        let count = ((PAGE_SIZE - at % PAGE_SIZE) as usize).min(bytes.len() - done);
        match read_page(at, &mut bytes[done..done + count]) {
            Err(error) if done == 0 => return Err(error),
            Err(_) => bytes.truncate(done),
            Ok(()) => done += count,
        }
    }
    Ok(bytes)
}
