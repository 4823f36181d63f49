//! Ticks of the kernel (Linux, `include/linux/jiffies.h`).

use super::clock::Clock;
use crate::{Error, Kernel};

/// Frequencies that a kernel can be built with (`CONFIG_HZ`).
const FREQUENCIES: [u64; 4] = [100, 250, 300, 1000];
/// Time in seconds that the 32-bit count of ticks had left at the boot.
const BEFORE_OVERFLOW: u64 = 300;
const SECOND: u64 = 1_000_000_000;

/// The count of ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Jiffies {
    /// The count.
    pub(crate) now: u64,
    /// Ticks in a second.
    pub(crate) frequency: u64,
}

impl Jiffies {
    /// Reads the count.
    ///
    /// # Errors
    /// Those of the variables.
    pub(crate) fn read(kernel: &Kernel<'_>, clock: &Clock) -> Result<Self, Error> {
        let now = kernel.global("jiffies_64")?.number()?;
        Ok(Self { now, frequency: frequency(now, clock.monotonic) })
    }

    /// Nanoseconds of a number of ticks.
    pub(crate) const fn nanoseconds(&self, ticks: u64) -> u64 {
        ticks.saturating_mul(SECOND / self.frequency)
    }

    /// Nanoseconds since a tick, whose number is an `unsigned long` of `word` bytes. 0 for one
    /// after the last tick.
    pub(crate) const fn since(&self, tick: u64, word: u64) -> u64 {
        let ticks = self.now.wrapping_sub(tick);
        let ticks = if word == 4 { ticks as i32 as i64 } else { ticks as i64 };
        if ticks < 0 { 0 } else { self.nanoseconds(ticks as u64) }
    }
}

/// The frequency with which the count fits the time since the boot best. The kernel has no
/// variable for it.
fn frequency(now: u64, monotonic: u64) -> u64 {
    let distance = |frequency: &u64| {
        let first = (1 << 32) - BEFORE_OVERFLOW * frequency;
        let expected = (monotonic / 1_000_000).saturating_mul(*frequency) / 1000;
        now.abs_diff(first.saturating_add(expected))
    };
    FREQUENCIES.into_iter().min_by_key(distance).unwrap_or(FREQUENCIES[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux counts from -300 s on: a kernel that died after 5 s is at 2^32 - 295 s.
    #[test]
    fn the_frequency_fits_count_and_time() {
        for expected in FREQUENCIES {
            for seconds in [0, 5, 86_400 * 400] {
                let now = (1 << 32) - 300 * expected + seconds * expected;
                assert_eq!(frequency(now, seconds * SECOND + 3_000_000), expected, "{seconds} s");
            }
        }
        let jiffies = Jiffies { now: 0x1_0000_0010, frequency: 250 };
        let ages = [jiffies.since(0xffff_fffe, 8), jiffies.since(0xffff_fffe, 4)];
        assert_eq!(ages, [18 * 4_000_000; 2]);
        // The count has 32 bits on i386, and has gone through zero.
        assert_eq!(jiffies.since(5, 4), 11 * 4_000_000);
        assert_eq!(jiffies.since(0x1_0000_0011, 8), 0);
    }
}
