//! The rate of the time stamp counter, which the capture kernel would have to measure itself
//! (`kdump.tsc_khz=`). It checks the rate before it counts with it: so a rate that is wrong by
//! then, as in a machine that has moved, costs time and no more.
//!
//! Linux measures the rate but does not show it: `cpu MHz` in `/proc/cpuinfo` is that of the
//! moment.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::facts::system::System;

/// Time that is measured.
const SPAN: Duration = Duration::from_millis(50);
/// Number of looks at either end: the look that took least time counts.
const LOOKS: usize = 16;
/// A loaded rate is kept if a measurement differs by no more than this part of it.
const SAME: u32 = 128;

/// The rate in kHz; `None` where the counter is none to rely on. Takes 50 ms.
///
/// Two measurements are never quite the same. So the rate that was loaded last in this boot is kept
/// as long as it is right: else each load would be a change.
pub fn tsc_khz(system: &System, last: Option<u32>) -> Option<u32> {
    measure(system).map(|measured| choose(last, measured))
}

/// The rate that was loaded last, where it is right, or else the one that was measured.
fn choose(last: Option<u32>, measured: u32) -> u32 {
    let is_same = |last: &u32| last.abs_diff(measured) <= measured / SAME;
    last.filter(is_same).unwrap_or(measured)
}

fn measure(system: &System) -> Option<u32> {
    if !system.has_steady_tsc {
        return None;
    }
    let start = Moment::now();
    std::thread::sleep(SPAN);
    rate(start, Moment::now())
}

/// Clock and counter at one moment.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// CLOCK_MONOTONIC_RAW, which is never adjusted, in nanoseconds.
    clock: i128,
    /// The counter, in ticks.
    counter: u64,
}

impl Moment {
    fn now() -> Self {
        let look = || {
            let before = clock();
            let counter = counter();
            let took = clock() - before;
            (took, Self { clock: before + took / 2, counter })
        };
        let mut best = look();
        for _ in 1..LOOKS {
            let other = look();
            if other.0 < best.0 {
                best = other;
            }
        }
        best.1
    }
}

/// The rate in kHz; `None` where it is no rate.
fn rate(start: Moment, end: Moment) -> Option<u32> {
    let ticks = i128::from(end.counter.checked_sub(start.counter)?);
    let khz = (ticks * 1_000_000).checked_div(end.clock - start.clock)?;
    u32::try_from(khz).ok().filter(|khz| *khz > 0)
}

fn clock() -> i128 {
    let now = clock_gettime(ClockId::MonotonicRaw);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}

#[expect(unsafe_code, reason = "the instruction")]
fn counter() -> u64 {
    #[cfg(target_arch = "x86")]
    use core::arch::x86::_rdtsc;
    #[cfg(target_arch = "x86_64")]
    use core::arch::x86_64::_rdtsc;
    // SAFETY: the kernel says that the CPU has the counter; reading it has no effect.
    unsafe { _rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_by_nanoseconds() {
        let moment = |clock, counter| Moment { clock, counter };
        let start = moment(7_000, 1 << 40);
        let after = |clock: i128, ticks: u64| rate(start, moment(7_000 + clock, (1 << 40) + ticks));
        assert_eq!(after(50_000_000, 129_818_300), Some(2_596_366));
        assert_eq!(after(50_000_000, 49), None, "less than 1 kHz");
        assert_eq!(after(50_000_000, 1 << 60), None, "more than 32 bits");
        assert_eq!((after(0, 5), after(-9, 5)), (None, None));
        assert_eq!(rate(start, moment(50_000_000, 5)), None, "it was set back");
    }

    #[test]
    fn what_was_loaded_is_kept_as_long_as_it_is_right() {
        assert_eq!(choose(None, 2_596_366), 2_596_366);
        assert_eq!(choose(Some(2_596_300), 2_596_366), 2_596_300);
        assert_eq!(choose(Some(2_600_000), 2_596_366), 2_600_000);
        // Another machine, or a wrong word of the user's.
        for wrong in [1, 2_500_000, 2_700_000, 25_963_660, u32::MAX] {
            assert_eq!(choose(Some(wrong), 2_596_366), 2_596_366);
        }
    }

    /// The measurement itself, wherever the tests run: two of them agree.
    #[test]
    fn a_steady_counter_is_measured_and_no_other() {
        assert_eq!(measure(&System::default()), None);
        let system = System { has_steady_tsc: true, ..System::default() };
        assert!(measure(&system).is_some_and(|khz| khz > 1000));
    }
}
