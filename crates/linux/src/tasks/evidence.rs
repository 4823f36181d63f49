//! The layout of a `task_struct`, found in memory: for kernels that tell no offsets (i386 has no
//! BTF), and for dumps whose loader added none.
//!
//! Only facts are used that hold for each task. A word at one offset in all of them that is
//!
//! - a ring with the idle task, at a fixed distance from names: `tasks`;
//! - zero for the idle task, one for the next, and equal to its neighbour in each: `pid`, `tgid`;
//! - a pointer to one place in the task itself, before its ring: `group_leader`, so the start;
//! - a pointer to memory with the mark of a stack's end: `stack`;
//! - an address in that stack, not the same in all: `thread.sp`.
//!
//! Two answers are none.

mod fields;
mod find;
mod kernel;

use super::Tasks;
use crate::{Error, Symbol, Symbols, VirtualMemory};
use fields::Fields;
use kernel::Kernel;
use vmcore::{ReadPhys, Vmcoreinfo, vmcoreinfo_get};

impl<'a, M: ReadPhys> Tasks<'a, M> {
    /// The tasks of a kernel that tells no offsets: its memory has the evidence. `go_on` is asked
    /// now and then, and false ends the search. It takes some 50 KiB of heap.
    ///
    /// # Errors
    /// [`Error::NoTasks`] with the first field that was not found, or for which memory has two
    /// answers.
    pub fn by_evidence(
        memory: VirtualMemory<'a, M>,
        vmcoreinfo: &[u8],
        symbols: &Symbols,
        machine: u16,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Self, Error> {
        let kernel = Kernel { memory, machine };
        let known = symbols.get(Symbol::InitTask);
        let found = find::ring(kernel, &Vmcoreinfo::new(vmcoreinfo), known, go_on)?;
        let (init_task, mut layout) = Fields::new(kernel, found)?.layout(known, go_on)?;
        if is_before_5_14(vmcoreinfo) {
            layout.old_state = layout.state.take();
        }
        Ok(Self { memory, layout, symbols: *symbols, init_task, machine })
    }
}

/// True for a kernel whose `task_struct` has a field `state`, which is `__state` since then.
fn is_before_5_14(vmcoreinfo: &[u8]) -> bool {
    let release = vmcoreinfo_get(vmcoreinfo, "OSRELEASE").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (major, minor) = (numbers.next(), numbers.next());
    matches!((major, minor), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < (5, 14))
}
