//! Timers: the wheels of ticks, and the queues of high-resolution timers (Linux,
//! `kernel/time/timer.c`, `hrtimer.c`).

mod cpu;
mod functions;
mod queue;
mod sleeper;
mod wheel;

#[cfg(test)]
mod tests;

use serde::Serialize;

use super::clock::Clock;
use super::holes::Holes;
use crate::report::{Severity, Warning, duration};
use crate::{Error, Kernel};

pub use cpu::CpuTimers;
pub use queue::{ClockBase, QueuedTimer};
pub use sleeper::Sleeper;
pub use wheel::{Wheel, WheelTimer};

/// Nanoseconds by which a high-resolution timer may be late.
const LATE: i64 = 10_000_000_000;
/// The timers of a kernel.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Timers {
    /// `CLOCK_MONOTONIC` at the last tick, in nanoseconds.
    pub now_ns: Option<u64>,
    /// Number of ticks since the boot, with the value that the kernel starts at.
    pub jiffies: u64,
    /// Nanoseconds of a tick, if they are known.
    pub tick_ns: Option<u64>,
    /// By CPU.
    pub cpus: Vec<CpuTimers>,
    /// Missing parts, with the reasons.
    #[serde(skip)]
    pub missing: Vec<String>,
}

/// Reads the timers of the CPUs that were online.
///
/// # Errors
/// [`Error::NoTypes`]; [`Error::NoSymbol`], [`Error::Memory`]: the ticks are not known.
pub fn read(kernel: &Kernel<'_>) -> Result<Timers, Error> {
    kernel.check_types()?;
    let mut holes = Holes::default();
    let clock = holes.take("clocks", Clock::read(kernel));
    let jiffies = kernel.word(kernel.symbol("jiffies_64")?)?;
    let tick = kernel.symbol("tick_nsec").and_then(|at| kernel.word(at)).ok();
    let mut cpus = Vec::new();
    for cpu in kernel.online_cpus()? {
        let wheels =
            holes.take(&format!("timer wheels of CPU {cpu}"), wheel::read(kernel, cpu, jiffies));
        let now = clock.map(|clock| clock.monotonic);
        let clocks =
            holes.take(&format!("timer queues of CPU {cpu}"), queue::read(kernel, cpu, now));
        let (wheels, clocks) = (wheels.unwrap_or_default(), clocks.unwrap_or_default());
        cpus.push(CpuTimers { cpu, wheels, clocks });
    }
    functions::of_modules(kernel, &mut cpus);
    let (now_ns, tick_ns) = (clock.map(|clock| clock.monotonic), tick.filter(|tick| *tick > 0));
    Ok(Timers { now_ns, jiffies, tick_ns, cpus, missing: holes.into_list() })
}

/// Conclusions for the first page.
pub fn warnings(timers: &Timers) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for cpu in &timers.cpus {
        let all = cpu.clocks.iter().filter(|clock| !clock.is_soft).flat_map(|clock| &clock.timers);
        let late = all.filter_map(|timer| timer.in_ns).min().filter(|late| *late < -LATE);
        if let Some(late) = late {
            let late = duration(late.unsigned_abs());
            let text =
                format!("a timer of CPU {} is late by {late}: it took no interrupts", cpu.cpu);
            warnings.push(Warning { severity: Severity::Critical, text, section: "timer" });
        }
    }
    warnings
}
