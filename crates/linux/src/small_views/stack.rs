//! The stack of the CPU that crashed.

use alloc::vec::Vec;

use handoff::layout::PAGE_SIZE;

use super::list::Views;
use crate::stack_size::{LARGEST_STACK, stack_size};
use crate::{Caller, Error, KernelMemory, VirtualMemory};
use vmcore::zeros;
use vmcore::{NoteArea, NoteOutcome, Prstatus, ReadPhys, Vmcore, notes};

/// The stack pointer is a multiple of this, or is rounded down to one.
const ALIGN: u64 = 16;

/// The names of the stacks when it is not known which CPU crashed. All are in the vmcore.
const UNKNOWN: [&str; 4] = ["stack-0", "stack-1", "stack-2", "stack-3"];

/// The most bytes of all stacks.
pub(super) const MOST: usize = UNKNOWN.len() * LARGEST_STACK;

/// Stacks and tasks of the CPUs that saved their registers.
#[derive(Clone, Debug, Default)]
pub(super) struct Cpus {
    machine: u16,
    list: Vec<Cpu>,
    /// Number of CPUs, from number 0 on, with their place in the list: each of them saved its
    /// registers.
    known: usize,
}

#[derive(Clone, Copy, Debug)]
struct Cpu {
    pid: u32,
    stack_pointer: u64,
}

impl Cpus {
    /// Those that have a note in `vmcore`.
    ///
    /// # Errors
    /// [`Error::NO_MEMORY`].
    pub(super) fn of(vmcore: &Vmcore) -> Result<Self, Error> {
        let mut list = Vec::new();
        let status = notes(vmcore.notes()).flatten().filter(|note| note.is_prstatus());
        for status in status.filter_map(|note| Prstatus::parse(vmcore.machine, note.desc).ok()) {
            list.try_reserve(1).map_err(|_| Error::NO_MEMORY)?;
            list.push(Cpu { pid: status.pid, stack_pointer: status.stack_pointer });
        }
        let is_whole = |area: &&NoteArea| area.outcome == NoteOutcome::Kept { notes: 1 };
        let known = vmcore.note_areas.iter().take_while(is_whole).count();
        Ok(Self { machine: vmcore.machine, list, known })
    }

    /// The CPU that crashed: the only one, or the one that wrote the newest line of the log, which
    /// is that of the panic.
    fn crashed(&self, newest: Option<Caller>) -> Option<Cpu> {
        only(self.iter()).or_else(|| {
            let newest = newest?;
            let of_task = |task| only(self.iter().filter(|cpu| cpu.pid == task));
            newest.task().and_then(of_task).or_else(|| self.of_number(newest.cpu()?))
        })
    }

    /// A CPU by its number. There is a note area for each CPU, in their order; a CPU that saved
    /// nothing would shift the later ones.
    fn of_number(&self, number: u32) -> Option<Cpu> {
        let number = usize::try_from(number).ok()?;
        self.list.get(number).copied().filter(|_| number < self.known)
    }

    fn iter(&self) -> impl Iterator<Item = Cpu> {
        self.list.iter().copied()
    }
}

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
    let mut add = |name, cpu: Cpu| {
        let start = cpu.stack_pointer & !(ALIGN - 1);
        views.add(name, start, read(start, size, read_page));
    };
    match cpus.crashed(newest) {
        Some(cpu) => add("stack", cpu),
        None => cpus.iter().zip(UNKNOWN).for_each(|(cpu, name)| add(name, cpu)),
    }
}

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
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
