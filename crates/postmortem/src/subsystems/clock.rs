//! The dead kernel's clocks at their last tick (Linux, `kernel/time/timekeeping.c`).

use crate::{Error, Kernel, Object};

const SECOND: u64 = 1_000_000_000;

/// Times of the last tick, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    /// Since 1970 (`CLOCK_REALTIME`).
    pub(crate) real: u64,
    /// `CLOCK_MONOTONIC`.
    pub(crate) monotonic: u64,
    /// Since the boot, with the time asleep (`CLOCK_BOOTTIME`), as /proc/uptime shows it.
    pub(crate) boot: u64,
}

impl Clock {
    /// Reads the clocks.
    ///
    /// # Errors
    /// Those of the variable and its members.
    pub(crate) fn read(kernel: &Kernel<'_>) -> Result<Self, Error> {
        let keeper = timekeeper(kernel)?;
        let number = |path| keeper.field(path)?.number();
        let shift = number("tkr_mono.shift")?.min(63);
        let since = number("tkr_mono.xtime_nsec")? >> shift;
        let monotonic = number("tkr_mono.base")?.saturating_add(since);
        Ok(Self {
            real: number("xtime_sec")?.saturating_mul(SECOND).saturating_add(since),
            monotonic,
            boot: monotonic.saturating_add(number("offs_boot")?),
        })
    }
}

/// The timekeeper: `timekeeper_data[0]` from 6.17 on; before, the member of `tk_core`, whose struct
/// has no name before 6.13. There a sequence count is in front of it.
fn timekeeper<'k>(kernel: &'k Kernel<'_>) -> Result<Object<'k>, Error> {
    let data = "struct tk_data";
    let at = kernel.symbol("timekeeper_data").or_else(|_| kernel.symbol("tk_core"))?;
    if kernel.types().has(data) {
        return kernel.object(data, at)?.field("timekeeper");
    }
    let types = kernel.types();
    let counts = ["seqcount_raw_spinlock_t", "seqcount_t"];
    let count = counts.iter().find_map(|name| types.find(name).ok());
    let count = count.ok_or_else(|| Error::NoType(counts.join(" or ")))?;
    let distance = types.size(count)?.next_multiple_of(types.word);
    kernel.object("struct timekeeper", at.wrapping_add(distance))
}
