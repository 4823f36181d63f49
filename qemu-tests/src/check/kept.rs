//! Memory outside the slot stays as it was.

use std::ops::Range;

use anyhow::{Result, bail};

use crate::check::dead_kernel::DeadKernel;
use crate::check::truth::Truth;
use crate::host::memory::{Digests, GuestMemory, PAGE};
use crate::report::Check;

/// Checks that memory outside the slot did not change between the moments that have digests. Until
/// the devices are quiet, data in flight to the dead kernel may still arrive.
pub fn memory_kept(memory: &GuestMemory, dead: &DeadKernel, truth: &Truth) -> Vec<Check> {
    let (slot, arriving) = (&dead.slot, &dead.arriving);
    let mut checks = Vec::new();
    if let (Some(t0), Some(t1)) = (&truth.purgatory, &truth.quiesced) {
        checks.push(Check::new("memory_kept_t0_t1", kept(memory, slot, arriving, t0, t1)));
    }
    if let (Some(t1), Some(t2)) = (&truth.quiesced, &truth.end) {
        checks.push(Check::new("memory_kept_t1_t2", kept(memory, slot, &[], t1, t2)));
    }
    if let (Some(t0), None, Some(t2)) = (&truth.purgatory, &truth.quiesced, &truth.end) {
        checks.push(Check::new("memory_kept_t0_t2", kept(memory, slot, arriving, t0, t2)));
    }
    checks
}

/// No page outside the slot has changed between two moments, but for those `arriving`.
fn kept(
    memory: &GuestMemory,
    slot: &Range<u64>,
    arriving: &[u64],
    before: &Digests,
    after: &Digests,
) -> Result<String> {
    let mut changed = memory.changed_pages(before, after);
    changed.retain(|page| !slot.contains(page) && !arriving.contains(page));
    if let Some(first) = changed.first() {
        bail!("{} pages outside the slot were written, the first at {first:#x}", changed.len());
    }
    let pages = (memory.total() - (slot.end - slot.start)) / PAGE;
    Ok(format!("{pages} pages outside the slot are as they were"))
}
