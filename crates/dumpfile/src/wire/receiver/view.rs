//! Parts of the views that are there.

use alloc::string::String;
use alloc::vec::Vec;

use vmcore::PageClass;

use crate::LeftRanges;
use crate::chunk::Codec;
use crate::wire::{CLASSES, Range, Ranges};

/// Number of bytes that are hashed at once.
const BLOCK: u64 = 1 << 20;
/// Number of times that a block is fetched before it counts as different for good.
pub(super) const ATTEMPTS: u8 = 3;

/// Parts that are there already, from an earlier session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The dump's id.
    pub id: [u8; 16],
    /// The stored part of each view.
    pub views: Vec<HeldView>,
}

/// The part of a view that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldView {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its stored ranges.
    pub have: Ranges,
    /// The parts of that which the sender has left out; zero here. Zeros are not in it.
    pub left: LeftRanges,
    /// Number of pages by class code, 0 for the kept ones, as the sender has selected them.
    pub totals: Option<[u64; CLASSES]>,
    /// The dump level that the sender has selected by.
    pub level: u8,
}

/// State of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewState {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// The address of its first byte.
    pub start: u64,
    /// True if it is part of the dump.
    pub pushed: bool,
    /// The wanted part, from byte to byte (exclusive), if any.
    pub wanted: Option<(u64, u64)>,
    /// The ranges that are there.
    pub have: Ranges,
    /// The dump level that the sender has selected by.
    pub level: u8,
    /// The encoding of its chunks in this session.
    pub codec: Codec,
    /// The parts that the sender has left out; zero here. Zeros are not in it.
    pub left: LeftRanges,
    /// Number of pages by class code, 0 for the kept ones, as the sender has selected them.
    pub totals: Option<[u64; CLASSES]>,
    /// Ranges that still differ from the sender's after `ATTEMPTS` fetches, or that arrived damaged
    /// that often.
    pub differs: Ranges,
    /// Ranges that were compared.
    pub(super) compared: Ranges,
}

impl ViewState {
    /// Returns the ranges that are wanted and not there, ascending, as (start, end) in bytes.
    pub fn missing(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let (start, end) = self.wanted.unwrap_or((0, 0));
        self.have.gaps((start, end))
    }

    /// Bytes that are wanted, and bytes of these that are there.
    pub fn progress(&self) -> (u64, u64) {
        let (start, end) = self.wanted.unwrap_or((0, 0));
        let missing: u64 = self.missing().map(|(from, to)| to - from).sum();
        (end - start, end - start - missing)
    }

    /// The first part that was not compared, within one block.
    pub(super) fn uncompared(&self) -> Option<(u64, u64)> {
        let (start, end) = self.wanted?;
        let (from, to) = self.compared.gaps((start, end)).next()?;
        Some((from, to.min((from / BLOCK + 1).saturating_mul(BLOCK))))
    }

    /// Notes that `start..end`, which is not stored yet, is left out. Parts that were there before
    /// stay kept. A range too many for the list is still visible by its zeros.
    pub(super) fn leave_out(&mut self, start: u64, end: u64, class: PageClass) {
        if class != PageClass::Zero {
            for (from, to) in self.have.gaps((start, end.min(self.length))) {
                let _ = self.left.insert(from, to, class);
            }
        }
    }

    /// Takes back a range that was stored.
    pub(super) fn forget(&mut self, start: u64, end: u64) {
        self.have.give_up((start, end));
        self.left.remove(start, end);
    }

    /// Notes that a range that does not come as it is on the other side is not fetched any more.
    pub(super) fn give_up(&mut self, start: u64, end: u64) {
        let _ = self.differs.insert((start, end));
        let _ = self.compared.insert((start, end));
        let _ = self.have.insert((start, end));
    }

    /// Notes the outcome of a comparison, made so often; says whether the range is fetched again.
    pub(super) fn compared(&mut self, range: Range, same: bool, attempts: u8) -> bool {
        let (from, to) = (range.offset(), range.end());
        if !same && attempts < ATTEMPTS {
            self.forget(from, to);
            return true;
        }
        // Blocks are compared in their order, so both lists stay short.
        let _ = self.compared.insert((from, to));
        if !same {
            let _ = self.differs.insert((from, to));
        }
        false
    }
}
