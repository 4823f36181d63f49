//! The contents of a dump: memory ranges, ELF core headers, notes, views.
//!
//! ```text
//! elfcorehdr= ──CoreHeader──▶ segments ──vmcore()──▶ View
//! ```
//!
//! Everything here is pure: it runs in the capture kernel, in the loader and in host tests alike.
//! Memory comes in through [`ReadPhys`]; nothing else is touched. A kernel that has just died left
//! those bytes, so every number in them is checked before it is used, every loop over them is
//! bounded, and no allocation has one as its size.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "fake")]
extern crate std;

mod addr;
mod crash_memory;
mod dump;
mod elfcore;
mod error;
mod holes;
mod kept;
mod nesting;
mod notes;
mod oldmem;
mod page_class;
mod ranges;
mod read;
mod select;
mod text;
mod utc;
mod view;
mod vmcoreinfo;

pub use addr::{DumpOffset, PhysAddr, PhysRange, RangeError, Span};
pub use crash_memory::{LinearMap, RWX, core_header, crash_memory_ranges, loads};
pub use dump::{HEAP_PER_LOAD, MAX_NOTE_AREA, MAX_NOTES, NoteArea, NoteOutcome, Vmcore, vmcore};
pub use elfcore::{Class, CoreHeader, ElfCoreHdr, Segment, SegmentKind, build};
pub use error::{Error, MAX_SEGMENTS};
/// `e_machine` of the machines whose dumps we make.
pub use goblin::elf::header::{EM_386, EM_X86_64};
pub use holes::Holes;
pub use kept::KeptView;
pub use notes::{
    NAME_ADDENDUM, NAME_CORE, NAME_VMCOREINFO, Note, Notes, Prstatus, note_of_text, notes,
};
pub use oldmem::oldmem;
pub use page_class::PageClass;
pub use ranges::{Bounded, MemoryRanges, RangeSet, Ranges, Storage};
pub use read::ReadPhys;
pub use select::{Level, NotALevel, PageFilter, Verdict, WINDOW, WINDOW_PAGES};
pub use text::{Text, zeros};
pub use utc::utc_date;
pub use view::{Extent, Extents, NamedView, Piece, View, What};
pub use vmcoreinfo::{LeftOut, MAX_ADDED, Vmcoreinfo, left_out, vmcoreinfo_get};

#[cfg(any(test, feature = "fake"))]
pub mod fake;
