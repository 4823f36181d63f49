//! The limits of the watchdog, and its count of ticks without progress. No registers.

/// Time between two looks of the watchdog, in milliseconds.
pub const TICK: u64 = 250;
/// Seconds that there are beside the waits, which have their own end.
const SPARE: u32 = 5;

/// Seconds that may pass without progress if any one wait takes `timeout` seconds at most. Two
/// waits have time to end in their own way, and to be reported, before the watchdog acts.
pub const fn limit(timeout: u32) -> u32 {
    timeout.saturating_mul(2).saturating_add(SPARE)
}

/// Counts of a timer in a [`TICK`], given that `counts` passed in `elapsed` ticks of the TSC, of
/// which there are `per_millisecond`. [`None`] if the timer stands still.
pub fn period(counts: u32, elapsed: u64, per_millisecond: u64) -> Option<u32> {
    let ticks = u128::from(TICK) * u128::from(per_millisecond);
    let period = (u128::from(counts) * ticks).checked_div(elapsed.into())?;
    (period > 0).then(|| u32::try_from(period).unwrap_or(u32::MAX))
}

/// Counts how long nothing has changed.
#[derive(Clone, Copy, Debug)]
pub struct Watch<S> {
    seen: S,
    /// Ticks without a change.
    stale: u64,
    most: u64,
}

impl<S: PartialEq> Watch<S> {
    /// A watch that has just seen `sign`, with a limit of `limit` seconds.
    pub const fn new(sign: S, limit: u32) -> Self {
        Self { seen: sign, stale: 0, most: limit as u64 * 1000 / TICK }
    }

    /// Looks again; returns true after the limit.
    pub fn is_over(&mut self, sign: S) -> bool {
        self.stale = if self.seen == sign { self.stale + 1 } else { 0 };
        self.seen = sign;
        self.stale > self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_waits_end_first() {
        assert_eq!(limit(30), 65);
        assert_eq!(limit(1), 7);
        assert_eq!(limit(u32::MAX), u32::MAX);
    }

    /// A bus clock of 1 GHz, divided by 128, for 2 ms on a CPU of 3 GHz: as QEMU has it.
    #[test]
    fn a_period_is_a_tick() {
        assert_eq!(period(15_625, 6_000_000, 3_000_000), Some(1_953_125));
        // A CPU that was away for a while has let both count.
        assert_eq!(period(156_250, 60_000_000, 3_000_000), Some(1_953_125));
        assert_eq!(period(0, 6_000_000, 3_000_000), None);
        assert_eq!(period(1, 0, 3_000_000), None);
        assert_eq!(period(1, u64::MAX, 1), None);
        assert_eq!(period(u32::MAX, 1, u64::MAX), Some(u32::MAX));
    }

    #[test]
    fn a_watch_ends_after_the_limit_and_not_before() {
        let mut watch = Watch::new(1, 7);
        assert_eq!((0..1000).position(|_| watch.is_over(1)), Some(28), "more than 7 s");
    }

    #[test]
    fn each_change_begins_anew() {
        let mut watch = Watch::new(0, 2);
        for round in 1..50 {
            assert!(!watch.is_over(round));
            assert!((0..8).all(|_| !watch.is_over(round)), "{round}");
        }
        assert!(watch.is_over(49));
        assert!(!watch.is_over(50), "late, but it is progress");
    }
}
