//! What a dump is: memory ranges, command line, ELF core headers, notes, views.
//!
//! ```text
//! command line ──Options──▶ elfcorehdr= ──CoreHeader──▶ segments ──vmcore()──▶ View
//!                                                          └─────KernelMemory──▶ Dmesg ──▶ small_views()
//! ```
//!
//! Everything here is pure: it runs in the capture kernel, in the loader and in host tests alike.
//! Memory comes in through [`ReadPhys`]; nothing else is touched. The bytes behind it were left by
//! a kernel that has just died, so every number in them is checked before it is used, every loop
//! over them is bounded, and nothing is allocated by their word alone.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod addr;
mod crash_memory;
mod dmesg;
mod dump;
mod elfcore;
mod error;
mod holes;
mod kernel_image;
mod kernel_memory;
mod nesting;
mod notes;
mod number;
mod oldmem;
mod options;
mod page_cache;
mod page_class;
mod page_tables;
mod ranges;
mod read;
mod small_views;
mod text;
mod utc;
mod view;
mod vmcoreinfo;

pub use addr::{DumpOffset, PhysAddr, PhysRange};
pub use crash_memory::{LinearMap, RWX, core_header, crash_memory_ranges, loads};
pub use dmesg::{Caller, Dmesg, Record, Skipped};
pub use dump::{HEAP_PER_LOAD, MAX_NOTE_AREA, MAX_NOTES, NoteArea, NoteOutcome, Vmcore, vmcore};
pub use elfcore::{Class, CoreHeader, MAX_SEGMENTS, Segment, SegmentKind, build};
pub use error::Error;
/// `e_machine` of the machines whose dumps we make.
pub use goblin::elf::header::{EM_386, EM_X86_64};
pub use holes::Holes;
pub use kernel_image::{KernelImage, MOST_IMAGE};
pub use kernel_memory::{KernelMemory, SegmentMap};
pub use notes::{
    NAME_ADDENDUM, NAME_CORE, NAME_VMCOREINFO, Note, Notes, Prstatus, note_of_text, notes,
};
pub use number::{memparse, size_at};
pub use oldmem::oldmem;
pub use options::{
    Action, Compress, DEFAULT_TIMEOUT, ElfCoreHdr, MAX_MEMMAP, MAX_TARGETS, MAX_VIRTIO_MMIO,
    Options, PowerOff, Problem, SerialPort, TargetEntry, TargetSpec, Trouble, ViewSpec,
};
pub use page_class::PageClass;
pub use ranges::{MemoryRanges, RangeSet, Ranges, Storage};
pub use read::ReadPhys;
pub use small_views::{LaterViews, SmallView, first_views, small_views};
pub use utc::utc_date;
pub use view::{Extent, Extents, Piece, View, What};
pub use vmcoreinfo::{LeftOut, MAX_ADDED, left_out, vmcoreinfo_get};

#[cfg(test)]
mod fake;
