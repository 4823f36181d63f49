//! Logs that can only be walked from the oldest record on: each record locates the next one.

use alloc::vec::Vec;

use super::memory::MAX_TEXT;
use super::record::{Caller, Record, Skipped};
use crate::Error;
use vmcore::zeros;

/// Number of records that may be skipped for each one that [`Chain::look_at_last`] keeps. Real logs
/// are far shorter. Without this limit, a log of 2 GiB could keep a capture kernel busy for
/// minutes.
const WALK: u64 = 64;

/// A place between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Index of the next byte, counted from the start of the log's memory.
    pub(super) index: u64,
    /// True if the log continues at the start when it reaches the end of its memory.
    pub(super) wraps: bool,
}

/// A record whose text was read.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) ts_nsec: Option<u64>,
    pub(super) caller: Option<Caller>,
    /// Offset of the text in the text buffer, in bytes.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Memory that holds records.
pub(super) trait Records {
    /// Place after the record at `at`; `None` at the end of the log.
    ///
    /// # Errors
    /// The place of the next record is unknown.
    fn next(&self, at: Cursor) -> Result<Option<Cursor>, Error>;

    /// Reads the record at `at`, its text into `text`, which has [`MAX_TEXT`] bytes.
    ///
    /// # Errors
    /// The record is inconsistent or unreadable.
    fn read(&self, at: Cursor, text: &mut [u8]) -> Result<Found, Error>;
}

/// A log, from its oldest record to its newest.
pub(super) struct Chain<R> {
    records: R,
    at: Cursor,
    /// Number of records that may still be passed.
    left: u64,
    /// True if the walk stopped before the end of the log.
    ended: bool,
    skipped: Skipped,
    text: Vec<u8>,
}

impl<R: Records> Chain<R> {
    /// The records from `start` on.
    ///
    /// # Errors
    /// [`Error::NO_MEMORY`].
    pub(super) fn new(records: R, start: Cursor) -> Result<Self, Error> {
        let text = zeros(MAX_TEXT)?;
        let (left, skipped) = (u64::MAX, Skipped::default());
        Ok(Self { records, at: start, left, ended: false, skipped, text })
    }

    /// As [`super::Dmesg::next_record`].
    pub(super) fn next_record(&mut self) -> Option<Record<'_>> {
        loop {
            let at = self.at;
            match self.pass(at) {
                Ok(next) => self.at = next?,
                Err(_) => {
                    // The place of the next record is unknown: the walk ends here.
                    self.skipped.damaged += u64::from(!self.ended);
                    self.ended = true;
                    return None;
                }
            }
            match self.records.read(at, &mut self.text) {
                Ok(found) => return Some(found.record(&self.text)),
                Err(_) => self.skipped.damaged += 1,
            }
        }
    }

    /// As [`super::Dmesg::skipped`].
    pub(super) const fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// As [`super::Dmesg::look_at_last`].
    pub(super) fn look_at_last(&mut self, count: u64) {
        self.left = count.saturating_mul(WALK);
        self.keep_last_of(count, |_, _| 1);
    }

    /// Skips the oldest records until the `cost` of the rest is at most `budget`.
    pub(super) fn keep_last(&mut self, budget: u64, cost: impl Fn(&Record<'_>) -> u64) {
        self.keep_last_of(budget, |chain, at| match chain.records.read(at, &mut chain.text) {
            Ok(found) => cost(&found.record(&chain.text)),
            Err(_) => 0,
        });
    }

    /// Walks to the end, and moves the start along whenever the cost between them exceeds the
    /// budget.
    fn keep_last_of(&mut self, budget: u64, mut cost: impl FnMut(&mut Self, Cursor) -> u64) {
        let (mut ahead, mut sum) = (self.at, 0_u64);
        while let Ok(Some(next)) = self.pass(ahead) {
            sum = sum.saturating_add(cost(self, ahead));
            ahead = next;
            while sum > budget {
                let start = self.at;
                let Ok(Some(next)) = self.pass(start) else { return };
                sum = sum.saturating_sub(cost(self, start));
                self.at = next;
            }
        }
    }

    fn pass(&mut self, at: Cursor) -> Result<Option<Cursor>, Error> {
        let next = self.records.next(at)?;
        if next.is_some() {
            self.left = self.left.checked_sub(1).ok_or(Error::Dump(vmcore::Error::TooLong))?;
        }
        Ok(next)
    }
}

impl Found {
    fn record<'t>(&self, text: &'t [u8]) -> Record<'t> {
        let Self { ts_nsec, caller, start, end } = *self;
        let text = text.get(start..end).unwrap_or_default();
        Record { seq: None, ts_nsec, caller, shows_caller: false, text }
    }
}
