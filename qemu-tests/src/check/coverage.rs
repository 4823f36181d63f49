//! A vmcore has all memory of the dead kernel, and nothing else.

use std::ops::Range;

use anyhow::{Result, bail, ensure};

use crate::check::core_file::Load;
use crate::check::evidence::Evidence;
use crate::check::ranges::{overlap, show, subtract, total, union};
use crate::host::memory::PAGE;

/// The first page: firmware's interrupt vectors, kept by Linux for itself.
const FIRST_PAGE: Range<u64> = 0..PAGE;
/// The extended BIOS data area's page, video memory and ROMs.
const LEGACY: Range<u64> = 0x9_f000..0x10_0000;
/// SeaBIOS keeps ACPI tables and its drivers' rings at the end of memory below 4 GiB: 128 KiB and a
/// few more for each disk; never more than this, in bytes. Memory there that the dead kernel itself
/// calls System RAM must be in the vmcore all the same.
const FIRMWARE_TOP: u64 = 256 << 10;

/// Checks that the PT_LOADs are RAM minus the slot minus the ranges listed as not RAM, and have
/// each byte once.
pub(crate) fn coverage(evidence: &Evidence<'_>) -> Result<String> {
    let loads = &evidence.core.loads;
    if let Some(load) = loads.iter().find(|load| load.filesz != load.memsz) {
        bail!("PT_LOAD at {:#x} holds {:#x} of {:#x} bytes", load.paddr, load.filesz, load.memsz);
    }
    let ranges: Vec<_> = loads
        .iter()
        .filter(|load| !loads.iter().any(|other| is_alias(load, other, evidence.is_stock)))
        .map(|load| load.paddr..load.paddr.saturating_add(load.filesz))
        .collect();
    if let Some((one, other)) = overlap(&ranges) {
        bail!("two PT_LOADs overlap: {}", show(&[one, other]));
    }
    let covered = union(ranges);
    let slot = std::slice::from_ref(&evidence.dead.slot);
    let ram = evidence.memory.ranges();
    nothing(subtract(&covered, &subtract(&ram, slot)), "is in the vmcore but slot or no RAM")?;
    let top = evidence.memory.below_4g();
    let known =
        [FIRST_PAGE, LEGACY, top.saturating_sub(FIRMWARE_TOP)..top, evidence.dead.slot.clone()];
    let told = &evidence.dead.holes;
    let missing = subtract(&ram, &covered);
    nothing(subtract(told, &missing), "is no RAM to the dead kernel and in the vmcore")?;
    let missing = subtract(&missing, told);
    nothing(subtract(&missing, &known), "is RAM and not in the vmcore")?;
    let unseen = subtract(&subtract(&evidence.dead.system_ram, slot), &covered);
    nothing(unseen, "is System RAM to the dead kernel and not in the vmcore")?;
    let holes = subtract(&missing, slot);
    let (bytes, left_out) = (total(&covered), show(&holes));
    let told = match told.len() {
        0 => String::new(),
        count => format!(" and less {count} holes"),
    };
    Ok(format!("{bytes} bytes are RAM less the slot less firmware's {left_out}{told}"))
}

/// True if `load` only gives other virtual addresses to bytes of `other`: to bytes in the file or,
/// with `repeats`, to bytes in memory.
pub(crate) fn is_alias(load: &Load, other: &Load, repeats: bool) -> bool {
    let bytes = |load: &Load| load.paddr..load.paddr.saturating_add(load.filesz);
    let (inner, outer) = (bytes(load), bytes(other));
    let is_same_place =
        load.paddr.wrapping_sub(load.offset) == other.paddr.wrapping_sub(other.offset);
    inner != outer
        && outer.start <= inner.start
        && inner.end <= outer.end
        && (repeats || is_same_place)
}

fn nothing(ranges: Vec<Range<u64>>, what: &str) -> Result<()> {
    ensure!(ranges.is_empty(), "{} {what}", show(&ranges));
    Ok(())
}
