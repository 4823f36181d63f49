//! The clock: the time stamp counter.

use crate::watchdog;
use boot_stub::console::println;
use boot_stub::tsc;
use capture_kernel::Clock;

/// The time stamp counter and its rate.
pub(crate) struct Tsc {
    per_millisecond: u64,
}

impl Tsc {
    /// Measures the rate.
    pub(crate) fn calibrated() -> Self {
        let per_millisecond = tsc::calibrate().unwrap_or_else(|| {
            println!("kdump: the PIT does not answer: deadlines may come late");
            tsc::FALLBACK
        });
        println!("kdump: tsc_per_ms={per_millisecond}");
        Self { per_millisecond }
    }

    /// Ticks in a millisecond.
    pub(crate) const fn per_millisecond(&self) -> u64 {
        self.per_millisecond
    }

    /// Lets at least so many milliseconds pass; returns the ticks that did.
    pub(crate) fn pass(&self, milliseconds: u64) -> u64 {
        let start = tsc::now();
        tsc::wait(milliseconds * self.per_millisecond, || false);
        tsc::now().wrapping_sub(start)
    }
}

impl Clock for Tsc {
    fn milliseconds(&self) -> u64 {
        tsc::now() / self.per_millisecond
    }

    fn progress(&self) {
        watchdog::pet();
    }
}
