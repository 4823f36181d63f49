//! Knowledge about a dead Linux: its memory by virtual addresses, its image, its log, its stacks.
//!
//! ```text
//! segments ──KernelMemory──▶ Dmesg ──▶ first_views(), LaterViews
//!          ──VirtualMemory (KernelMemory, PageTables)──▶ Filter, Tasks, backtraces
//! ```
//!
//! The capture kernel and the host's tools use the same code. VMCOREINFO supplies each address and
//! each offset; nothing is built in for one version of Linux. The bytes were left by a kernel that
//! has just died: each number is checked, each loop is bounded, and no allocation has a foreign
//! number as its size.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod backtrace;
mod backtraces;
mod btf;
mod cpus;
mod dmesg;
mod error;
mod filter;
mod kernel_image;
mod kernel_memory;
mod keys;
mod page_cache;
mod page_tables;
mod small_views;
mod stack_size;
mod tasks;
mod virtual_map;
mod virtual_memory;

pub use backtrace::{
    Budget, Frame, Kallsyms, KallsymsTables, Located, MOST_FRAMES, MOST_MODULES, MOST_NAME,
    MOST_NAMES, Module, ModuleOrc, ModuleSymbol, Modules, MostNames, Name, NamedFrame, Names,
    Sources, Start, Symbol, Symbols, Trace, TraceEnd, Trust, Unwinder,
};
pub use backtraces::{Backtraces, CpuTrace, DeadKernel, Effort, MOST_SHORT, MOST_WHOLE, Most};
pub use btf::{Btf, BtfKind, BtfMember, BtfType};
pub use cpus::{Cpus, SavedCpu};
pub use dmesg::{Caller, Dmesg, Record, Skipped};
pub use error::Error;
pub use filter::Filter;
pub use kernel_image::{MOST_IMAGE, in_file, kernel_image};
pub use kernel_memory::{KernelMemory, SegmentMap};
pub use small_views::{LaterViews, SmallView, first_views, vmcoreinfo};
pub use tasks::{Comm, Stack, Task, TaskLayout, TaskList, Tasks};
pub use virtual_map::with_virtual_addresses;
pub use virtual_memory::{PageWalk, VirtualMemory};
