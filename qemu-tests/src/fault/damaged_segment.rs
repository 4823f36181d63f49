//! One byte of a segment of the slot changes before the test guest starts.

use anyhow::Context;

use super::hooks::*;

pub(super) struct DamagedSegment {
    pub(super) name: &'static str,
    pub(super) offset: usize,
}

impl Hooks for DamagedSegment {
    fn guest(&mut self, guest: &mut Guest, _config: &Config) -> Result<()> {
        let Self { name, offset } = *self;
        let mut segments = guest.plan_mut().segments.iter_mut();
        let segment = segments.find(|segment| segment.name == name);
        let byte = segment.and_then(|segment| segment.bytes.get_mut(offset));
        *byte.with_context(|| format!("the plan has no byte {offset} of \"{name}\""))? ^= 1;
        Ok(())
    }
}
