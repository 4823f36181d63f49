//! The dead kernel's log.

use linux::{Dmesg, KernelMemory, SegmentMap};
use vmcore::{PhysAddr, Segment, SegmentKind};

use crate::memory::{AT, Memory};

/// Virtual address of the mapped memory, and its length in bytes.
const VADDR: u64 = 0xc000_0000;
const LENGTH: u64 = 1 << 20;

/// Takes the bytes up to the first NUL as the text of VMCOREINFO, and those after it as memory.
///
/// # Panics
/// Panics if there are more records than there are bytes to make them of, or one cannot be printed.
pub fn dmesg(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(end);
    let memory = Memory(rest.get(1..).unwrap_or_default());
    let load = Segment {
        kind: SegmentKind::Load,
        source: PhysAddr::new(AT),
        vaddr: VADDR,
        paddr: PhysAddr::new(AT),
        filesz: LENGTH,
        memsz: LENGTH,
        flags: 7,
    };
    let loads = SegmentMap::new([Ok(load)]).expect("room for one");
    let Ok(mut log) = Dmesg::open(KernelMemory::new(&memory, &loads), text) else { return };
    let mut records = 0;
    while let Some(record) = log.next_record() {
        records += 1;
        // A descriptor has at least one word.
        assert!(records <= LENGTH / 4, "records that do not end");
        assert!(!record.to_string().is_empty());
    }
    let skipped = log.skipped();
    assert!(skipped.damaged + skipped.unfinished <= 1 << 26, "{skipped:?}");
}
