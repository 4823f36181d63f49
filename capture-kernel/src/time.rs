//! The clock: the time stamp counter.

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
}

impl Clock for Tsc {
    fn milliseconds(&self) -> u64 {
        tsc::now() / self.per_millisecond
    }
}
