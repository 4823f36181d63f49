//! Lines between the guest and a collector: what goes over them, what a bad one does to it, and where
//! both of them are at hand.
//!
//! ```text
//! QEMU's COM1 ─▶ Tap ─ text ─▶ the harness's console
//!      ▲          └─ noise ─▶ collector
//!      └─── noise ◀─ proxy ◀──────┘
//! ```

mod noise;
mod other_version;
mod proxy;
mod relay;
mod text;

pub use noise::{Mangler, Rates};
pub use other_version::hello as hello_of_another_version;
pub use proxy::{LineProxy, Tap};
pub use relay::Relay;
pub use text::TextOf;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the bytes that have come from the guest, and does something when there are so many.
#[derive(Clone, Default)]
pub struct Meter {
    count: Arc<AtomicU64>,
    trip: Option<Trip>,
}

#[derive(Clone)]
struct Trip {
    after: u64,
    act: Arc<dyn Fn() + Send + Sync>,
}

impl Meter {
    /// One that calls `act` when `after` bytes have been counted, before those behind them are passed on.
    pub fn with_trip(after: u64, act: impl Fn() + Send + Sync + 'static) -> Self {
        Self { trip: Some(Trip { after, act: Arc::new(act) }), ..Self::default() }
    }

    /// How many bytes were counted.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts the bytes, in up to two pieces, and hands each to `pass`; between them `act` is called.
    fn pass(&self, bytes: &[u8], mut pass: impl FnMut(&[u8])) {
        let before = self.count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let left = self.trip.as_ref().and_then(|trip| trip.after.checked_sub(before));
        let left = left.and_then(|left| usize::try_from(left).ok());
        match (left, &self.trip) {
            (Some(left), Some(trip)) if (1..=bytes.len()).contains(&left) => {
                pass(&bytes[..left]);
                (trip.act)();
                pass(&bytes[left..]);
            }
            _ => pass(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn the_trip_comes_once_and_to_the_byte() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let meter = Meter::with_trip(5, {
            let log = Arc::clone(&log);
            move || log.lock().unwrap().push("trip".to_string())
        });
        for bytes in ["abc", "de", "fg", "hijklmn"] {
            meter.pass(bytes.as_bytes(), |piece| {
                log.lock().unwrap().push(String::from_utf8_lossy(piece).into_owned());
            });
        }
        assert_eq!(*log.lock().unwrap(), ["abc", "de", "trip", "", "fg", "hijklmn"]);
        assert_eq!(meter.count(), 14);
    }
}
