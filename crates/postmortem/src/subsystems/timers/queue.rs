//! Queues of high-resolution timers.

use collector::Hex;
use serde::Serialize;

use super::sleeper::{MOST, Sleeper, sleeper};
use crate::{Error, Kernel, Object};

/// The function of a task that sleeps.
const SLEEP: &str = "hrtimer_wakeup";
/// Clocks by their numbers (Linux, `include/uapi/linux/time.h`).
const CLOCKS: [(u64, &str); 4] = [(0, "real"), (1, "monotonic"), (7, "boottime"), (11, "tai")];

/// The timers of a clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClockBase {
    /// Its number.
    pub index: u64,
    /// Name of the clock.
    pub clock: &'static str,
    /// True if its timers end in a softirq.
    pub is_soft: bool,
    /// Nanoseconds that the clock is ahead of `CLOCK_MONOTONIC`.
    pub offset_ns: u64,
    /// Its timers, the next one first.
    pub timers: Vec<QueuedTimer>,
}

/// A high-resolution timer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueuedTimer {
    /// Address of its `hrtimer`.
    pub address: Hex,
    /// The earliest end, in nanoseconds of the clock.
    pub soft_expires_ns: u64,
    /// The latest end.
    pub expires_ns: u64,
    /// Nanoseconds to the latest end; negative if it is late.
    pub in_ns: Option<i64>,
    /// Address of its function.
    pub function: Hex,
    /// Name of its function.
    pub name: String,
    /// The task that sleeps until then.
    pub sleeper: Option<Sleeper>,
}

/// The queues of a CPU.
///
/// # Errors
/// There are none, or a queue cannot be read.
pub(super) fn read(
    kernel: &Kernel<'_>,
    cpu: u32,
    now: Option<u64>,
) -> Result<Vec<ClockBase>, Error> {
    let bases = kernel.per_cpu("hrtimer_bases", cpu)?.field("clock_base")?;
    let count = bases.length()?;
    (0..count).map(|index| base(index, count, &bases.index(index)?, now)).collect()
}

fn base(index: u64, count: u64, base: &Object<'_>, now: Option<u64>) -> Result<ClockBase, Error> {
    let number = base.field("clockid")?.number()?;
    let clock = CLOCKS.iter().find(|(other, _)| *other == number);
    // The second half is for softirqs.
    let is_soft = index >= count / 2;
    let offset_ns = base.field("offset").and_then(|offset| offset.number()).unwrap_or(0);
    let now = now.map(|now| now.wrapping_add(offset_ns));
    let tree = base.first_of(&["active.rb_root", "active"])?;
    let mut timers = Vec::new();
    for timer in tree.rbtree("struct hrtimer", "node.node")?.take(MOST) {
        timers.push(read_timer(&timer?, now)?);
    }
    let clock = clock.map_or("?", |(_, name)| *name);
    Ok(ClockBase { index, clock, is_soft, offset_ns, timers })
}

fn read_timer(timer: &Object<'_>, now: Option<u64>) -> Result<QueuedTimer, Error> {
    let kernel = timer.kernel();
    let expires_ns = timer.field("node.expires")?.number()?;
    let function = timer.field("function")?.number()?;
    let name = kernel.symbolized(function);
    let sleeper = (name == SLEEP).then(|| sleeper(timer, "struct hrtimer_sleeper", "timer"));
    Ok(QueuedTimer {
        address: Hex(timer.address()),
        soft_expires_ns: timer.field("_softexpires")?.number()?,
        expires_ns,
        in_ns: now.map(|now| expires_ns.wrapping_sub(now) as i64),
        function: Hex(function),
        name,
        sleeper: sleeper.flatten(),
    })
}
