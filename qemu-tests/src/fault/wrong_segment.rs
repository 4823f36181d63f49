//! A segment of the slot is wrong, and its digest is right: a fault that a loader might build in.

use anyhow::{Context, ensure};
use handoff::purgatory::PARAMS_SYMBOL;
use handoff::{Block, PurgatoryParams};
use loader::Plan;
use vmcore::{PhysAddr, PhysRange};
use zerocopy::FromBytes;

use super::hooks::*;
use crate::host::image::Image;

pub(super) struct WrongSegment {
    pub(super) name: &'static str,
    pub(super) change: fn(&mut [u8]),
}

impl Hooks for WrongSegment {
    /// Changes the segment and takes its digest again, so that purgatory finds nothing wrong.
    fn guest(&mut self, guest: &mut Guest, config: &Config) -> Result<()> {
        let range = guest.segment(self.name)?;
        let plan = guest.plan_mut();
        let bytes = segment(plan, self.name)?;
        (self.change)(bytes);
        let bytes = bytes.clone();
        let range = PhysRange::new(PhysAddr::new(range.start), bytes.len() as u64)?;
        let at = usize::try_from(Image::open(&config.purgatory)?.symbol(PARAMS_SYMBOL)?.start)?;
        let block = segment(plan, "purgatory")?.get_mut(at..).context("a short purgatory")?;
        let (params, _) = PurgatoryParams::mut_from_prefix(block)
            .map_err(|_| anyhow::anyhow!("purgatory has no room for a parameter block"))?;
        ensure!(params.block.magic == PurgatoryParams::MAGIC, "no parameter block there");
        slot_image::set_region_digest(params, range, &bytes)
            .with_context(|| format!("purgatory checks no region that is \"{}\"", self.name))
    }
}

fn segment<'p>(plan: &'p mut Plan, name: &str) -> Result<&'p mut Vec<u8>> {
    let segment = plan.segments.iter_mut().find(|segment| segment.name == name);
    Ok(&mut segment.with_context(|| format!("the plan has no segment \"{name}\""))?.bytes)
}
