//! The host side of a dump: format a dump disk, extract the vmcore from it or receive it over a
//! line, and show its contents.
//!
//! A dump disk is a file (the disk of a virtual machine) or a block device. The capture kernel of a
//! machine that has just crashed wrote its contents; its header is checked before a number in it is
//! used.

mod backtrace;
mod convert;
mod disk;
mod dmesg;
mod dump_disk;
mod error;
mod extract;
mod format;
mod hex;
mod in_use;
mod info;
mod json;
mod kdump_pages;
mod kind;
mod left_out;
mod link;
mod link_memory;
mod memory;
mod page_codec;
mod page_list;
mod parallel;
mod range_map;
mod raw_file;
mod read;
mod readers;
mod receive;
mod selection;
mod session;
mod sink;
mod source;
mod store;
mod stored_bulk;
mod text;
mod verify;
mod vmcore_bytes;
mod vmcore_file;

pub use backtrace::{
    BacktraceFormat, BacktraceSource, NamedFrame, Stack, Stacks, backtrace_of, backtrace_over,
    stacks_of_cpus, stacks_of_tasks,
};
pub use convert::{Conversion, Converted, Format, convert};
pub use dmesg::{Callers, LogFormat, LogPart, LogSource, dmesg, dmesg_of};
pub use dump_disk::{DumpDisk, StoredDump};
pub use error::Error;
pub use extract::{Extracted, ExtractedView, extract};
pub use format::format;
pub use hex::Hex;
pub use in_use::{InUse, Mapping, User};
pub use info::{
    Cpu, Cut, DiskInfo, DumpInfo, Info, KdumpInfo, Load, ViewInfo, VmcoreInfo, info, page_counts,
};
pub use json::hex;
pub use kind::FileKind;
pub use left_out::{Left, LeftByClass};
pub use link::LinkOptions;
pub use page_list::{ListFormat, list_pages};
pub use range_map::by_class as pages_by_class;
pub use read::{read, read_disk};
pub use readers::Readers;
pub use receive::{Received, ReceivedView, forget, receive};
pub use selection::PageSums;
pub use session::{Observer, Timeouts};
pub use source::Source;
pub use stored_bulk::{Part, Range, StoredBulk, Survey};
pub use verify::{Verified, VerifiedDump, verify};
pub use vmcore_bytes::Bytes as VmcoreBytes;
pub use vmcore_file::{Missing, VmcoreFile};
