//! The clock: the time stamp counter.

use crate::machine::progress;
use boot_stub::console;
use boot_stub::tsc;
use capture_kernel::Clock;
use capture_kernel::rate::{self, Found};

/// Longest time for which lines are held back, in milliseconds. Every wait reads the clock, and the
/// first reading after this time releases them. The first bytes of a dump take less.
const HELD: u64 = 100;

/// The time stamp counter and its rate.
#[derive(Clone, Copy)]
pub(crate) struct Tsc {
    per_millisecond: u64,
    /// Time of this clock, in milliseconds, from which on no console line is held back.
    release: u64,
}

impl Tsc {
    /// Finds the rate, which may be `khz`.
    pub(crate) fn find(khz: Option<u32>) -> Self {
        let (rate, found) = rate::find(khz, tsc::measure_once, tsc::calibrate);
        let per_millisecond = rate.unwrap_or(tsc::FALLBACK);
        let how = match found {
            Found::HandedOver => ", as kdump.tsc_khz= says",
            Found::Measured | Found::Differs(_) => "",
            Found::Unknown => {
                log::warn!("the PIT does not answer: deadlines may come late");
                ""
            }
        };
        if let Found::Differs(claimed) = found {
            log::warn!("kdump.tsc_khz={claimed} is wrong here, so the rate was measured");
        }
        log::info!("tsc_per_ms={per_millisecond}{how}");
        Self { per_millisecond, release: tsc::now() / per_millisecond + HELD }
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
        let now = tsc::now() / self.per_millisecond;
        if now >= self.release {
            console::release();
        }
        now
    }

    fn progress(&self) {
        progress::report();
    }
}
