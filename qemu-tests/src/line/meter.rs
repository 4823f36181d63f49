//! Counts what comes from the guest, and acts at a byte of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts the bytes that have come from the guest, and does something when there are so many.
#[derive(Clone, Default)]
pub struct Meter {
    count: Arc<AtomicU64>,
    trip: Option<Arc<Trip>>,
}

struct Trip {
    after: u64,
    act: Box<dyn Fn() -> bool + Send + Sync>,
    /// It has acted.
    done: AtomicBool,
    /// Nothing is passed on from then on.
    cuts: bool,
}

impl Meter {
    /// One that calls `act` when `after` bytes have been counted, before those after them are
    /// passed on; and again before each further piece, until `act` returns true.
    pub fn with_trip(after: u64, act: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self::new(after, Box::new(act), false)
    }

    /// The same; nothing is passed on after `after` bytes.
    pub fn with_cut(after: u64, act: impl Fn() + Send + Sync + 'static) -> Self {
        let act = move || {
            act();
            true
        };
        Self::new(after, Box::new(act), true)
    }

    fn new(after: u64, act: Box<dyn Fn() -> bool + Send + Sync>, cuts: bool) -> Self {
        let trip = Trip { after, act, done: AtomicBool::new(false), cuts };
        Self { trip: Some(Arc::new(trip)), ..Self::default() }
    }

    /// Returns the number of bytes counted.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts the bytes, in up to two pieces, and hands each to `pass`; between them `act` is
    /// called.
    pub(super) fn pass(&self, bytes: &[u8], mut pass: impl FnMut(&[u8])) {
        let mut pass = |bytes: &[u8]| {
            self.count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            pass(bytes);
        };
        let Some(trip) = &self.trip else { return pass(bytes) };
        let is_done = trip.done.load(Ordering::SeqCst);
        let left = trip.after.saturating_sub(self.count());
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        if is_done && trip.cuts {
            return;
        }
        if is_done || left > bytes.len() {
            return pass(bytes);
        }
        let (first, rest) = bytes.split_at(left);
        pass(first);
        let done = (trip.act)();
        trip.done.store(done, Ordering::SeqCst);
        if !(done && trip.cuts) {
            pass(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Returns the pieces that a meter passes on, and its actions: three at most, with success the
    /// last time.
    fn log(
        meter: impl FnOnce(Box<dyn Fn() -> bool + Send + Sync>) -> Meter,
        acts: usize,
    ) -> Vec<String> {
        let log = Arc::new(Mutex::new(Vec::new()));
        let meter = meter({
            let (log, count) = (Arc::clone(&log), Mutex::new(0));
            Box::new(move || {
                *count.lock().unwrap() += 1;
                log.lock().unwrap().push("trip".to_string());
                *count.lock().unwrap() == acts
            })
        });
        for bytes in ["abc", "de", "fg", "hijklmn"] {
            meter.pass(bytes.as_bytes(), |piece| {
                log.lock().unwrap().push(String::from_utf8_lossy(piece).into_owned());
            });
        }
        let log = log.lock().unwrap();
        log.iter().filter(|text| !text.is_empty()).cloned().collect()
    }

    #[test]
    fn the_trip_comes_once_and_to_the_byte() {
        assert_eq!(log(|act| Meter::with_trip(5, act), 1), ["abc", "de", "trip", "fg", "hijklmn"]);
        assert_eq!(
            log(|act| Meter::with_trip(4, act), 1),
            ["abc", "d", "trip", "e", "fg", "hijklmn"]
        );
    }

    #[test]
    fn the_trip_waits_for_what_it_is_about() {
        let expected = ["abc", "d", "trip", "e", "trip", "fg", "hijklmn"];
        assert_eq!(log(|act| Meter::with_trip(4, act), 2), expected);
    }

    #[test]
    fn after_a_cut_nothing_comes() {
        let cut =
            |act: Box<dyn Fn() -> bool + Send + Sync>| Meter::with_cut(4, move || assert!(act()));
        assert_eq!(log(cut, 1), ["abc", "d", "trip"]);
    }
}
