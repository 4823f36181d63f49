//! The work of each fuzz target: one function for every parser of foreign bytes. A function
//! returns, whatever the bytes; it panics only if a promise of the parser is broken.
//!
//! `cargo xtask fuzz` feeds them with libFuzzer's inputs; the corpora in `fuzz/corpus` go through
//! them in every `cargo test`.

mod ahci;
mod backtrace;
mod bends;
mod btf;
mod command_line;
mod dmesg;
mod dump_disk;
mod dwarf;
mod elfcorehdr;
mod flattened;
mod frames;
mod kallsyms;
mod kdump_file;
mod memory;
mod notes;
mod nvme;
mod objects;
mod page_filter;
mod partitions;
mod scsi;
mod slot_image;
mod types;

pub use ahci::ahci;
pub use backtrace::backtrace;
pub use btf::btf;
pub use command_line::command_line;
pub use dmesg::dmesg;
pub use dump_disk::dump_disk;
pub use dwarf::dwarf;
pub use elfcorehdr::elfcorehdr;
pub use flattened::flattened;
pub use frames::frames;
pub use kallsyms::kallsyms;
pub use kdump_file::kdump_file;
pub use notes::notes;
pub use nvme::nvme;
pub use objects::objects;
pub use page_filter::page_filter;
pub use partitions::partitions;
pub use scsi::scsi;
pub use slot_image::slot_image;

/// A target's function.
pub type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub const TARGETS: [(&str, Target); 19] = [
    ("ahci", ahci),
    ("backtrace", backtrace),
    ("btf", btf),
    ("command_line", command_line),
    ("dmesg", dmesg),
    ("dump_disk", dump_disk),
    ("dwarf", dwarf),
    ("elfcorehdr", elfcorehdr),
    ("flattened", flattened),
    ("frames", frames),
    ("kallsyms", kallsyms),
    ("kdump_file", kdump_file),
    ("notes", notes),
    ("nvme", nvme),
    ("objects", objects),
    ("page_filter", page_filter),
    ("partitions", partitions),
    ("scsi", scsi),
    ("slot_image", slot_image),
];
