//! The rate of the time stamp counter: handed over by the loader and checked briefly, or measured.

/// A rate that is handed over may differ from one short measurement by this part of it: deadlines
/// that come so much sooner or later do no harm.
const TOLERATED: u64 = 8;

/// The way to a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was handed over, and a measurement agrees.
    HandedOver,
    /// It was measured.
    Measured,
    /// It was measured, because the rate that was handed over (in ticks per millisecond) is wrong.
    Differs(u64),
    /// Nothing answers that it could be measured against.
    Unknown,
}

/// Finds the rate in ticks per millisecond, [`None`] where it cannot be known. `khz` is the rate
/// that was handed over, if any; `once` measures briefly, `calibrate` as well as possible. A host
/// that lets a virtual CPU wait makes a brief measurement too long: one that does not agree decides
/// nothing.
pub fn find(
    khz: Option<u32>,
    once: impl FnOnce() -> Option<u64>,
    calibrate: impl FnOnce() -> Option<u64>,
) -> (Option<u64>, Found) {
    let Some(claimed) = khz.map(u64::from) else {
        let rate = calibrate();
        return (rate, rate.map_or(Found::Unknown, |_| Found::Measured));
    };
    let agreed = (Some(claimed), Found::HandedOver);
    match once() {
        // It would not answer the calibration either, and that waits long.
        None => (None, Found::Unknown),
        Some(measured) if is_near(claimed, measured) => agreed,
        Some(_) => match calibrate() {
            None => (None, Found::Unknown),
            Some(rate) if is_near(claimed, rate) => agreed,
            Some(rate) => (Some(rate), Found::Differs(claimed)),
        },
    }
}

fn is_near(claimed: u64, measured: u64) -> bool {
    claimed.abs_diff(measured) <= measured / TOLERATED
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// The calibrated rate: a counter of 2 GHz.
    const RATE: u64 = 2_000_000;

    /// Finds the rate where a brief measurement says `measured`; how often it was calibrated.
    fn found(khz: Option<u32>, measured: Option<u64>) -> (Option<u64>, Found, u32) {
        let calibrations = Cell::new(0);
        let calibrate = || {
            calibrations.set(calibrations.get() + 1);
            Some(RATE)
        };
        let (rate, found) = find(khz, || measured, calibrate);
        (rate, found, calibrations.get())
    }

    #[test]
    fn a_rate_that_fits_is_taken_as_it_is_and_not_calibrated() {
        for measured in [RATE - 1000, RATE, RATE / 8 * 9] {
            let expected = (Some(1_999_123), Found::HandedOver, 0);
            assert_eq!(found(Some(1_999_123), Some(measured)), expected, "{measured}");
        }
    }

    #[test]
    fn a_rate_that_is_an_eighth_off_is_the_last_one_that_fits() {
        for fits in [1_750_000, 2_250_000] {
            assert_eq!(found(Some(fits), Some(RATE)).1, Found::HandedOver, "{fits}");
        }
        for wrong in [1_749_999, 2_250_001] {
            let expected = (Some(RATE), Found::Differs(wrong.into()), 1);
            assert_eq!(found(Some(wrong), Some(RATE)), expected);
        }
    }

    /// Ten times too small or too large, the smallest and the largest, that of another machine.
    #[test]
    fn a_rate_that_is_wrong_is_never_taken() {
        for wrong in [200_000, 20_000_000, 0, 1, u32::MAX, 3_400_000] {
            let expected = (Some(RATE), Found::Differs(wrong.into()), 1);
            for measured in [RATE, RATE + 500, RATE / 2, 1, 0] {
                // Measurements that happen to agree with a wrong rate are wrong themselves.
                if !is_near(wrong.into(), measured) {
                    assert_eq!(found(Some(wrong), Some(measured)), expected, "{measured}");
                }
            }
        }
    }

    #[test]
    fn a_virtual_cpu_that_had_to_wait_is_measured_again_before_the_rate_is_given_up() {
        let expected = (Some(2_000_500), Found::HandedOver, 1);
        assert_eq!(found(Some(2_000_500), Some(9_000_000)), expected);
    }

    #[test]
    fn where_nothing_answers_no_rate_is_believed() {
        assert_eq!(found(Some(2_000_000), None), (None, Found::Unknown, 0));
        assert_eq!(find(None, || None, || None), (None, Found::Unknown));
        assert_eq!(find(Some(1), || Some(RATE), || None), (None, Found::Unknown));
    }

    #[test]
    fn without_a_rate_it_is_measured() {
        assert_eq!(found(None, None), (Some(RATE), Found::Measured, 1));
    }
}
