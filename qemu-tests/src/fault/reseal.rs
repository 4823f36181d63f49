//! Faults that a loader might build in: what lies in the slot is wrong, and its digests are right.

use anyhow::{Context, Result, ensure};
use handoff::PurgatoryParams;
use loader::Plan;
use vmcore::PhysRange;
use zerocopy::FromBytes;

/// Lets `change` loose on the bytes of the segment called `name` and takes its digest again, so that
/// purgatory finds nothing wrong. `params_at` is the offset of the parameter block in purgatory.
///
/// # Errors
/// When the plan has no such segment, no region is exactly this segment, or there is no parameter
/// block at that offset.
pub fn reseal(plan: &mut Plan, params_at: usize, name: &str, change: fn(&mut [u8])) -> Result<()> {
    let bytes = segment(plan, name)?;
    change(bytes);
    let bytes = bytes.clone();
    let named = plan.segments.iter().find(|segment| segment.name == name);
    let range = PhysRange::new(named.context("found above")?.range.start(), bytes.len() as u64)?;
    let block = segment(plan, "purgatory")?.get_mut(params_at..).context("a short purgatory")?;
    let (params, _) = PurgatoryParams::mut_from_prefix(block)
        .map_err(|_| anyhow::anyhow!("purgatory has no room for a parameter block"))?;
    ensure!(params.magic == handoff::purgatory::PARAMS_MAGIC, "no parameter block there");
    slot_image::set_region_digest(params, range, &bytes)
        .with_context(|| format!("purgatory checks no region that is \"{name}\""))?;
    Ok(())
}

fn segment<'p>(plan: &'p mut Plan, name: &str) -> Result<&'p mut Vec<u8>> {
    let segment = plan.segments.iter_mut().find(|segment| segment.name == name);
    Ok(&mut segment.with_context(|| format!("the plan has no segment \"{name}\""))?.bytes)
}
