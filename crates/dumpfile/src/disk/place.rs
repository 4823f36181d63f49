//! Place of the next dump.

use super::{BLOCK, Directory, DiskHeader, DiskState, DumpEntry, FIRST_OFFSET, Refused};

/// A place for a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The header with the new dump, in progress, and without the dumps that are given up for it.
    pub header: DiskHeader,
    /// The new dump.
    pub entry: DumpEntry,
    /// Dumps that are given up. They are lost as soon as the header is on the disk.
    pub given_up: Directory,
}

/// There is no place for a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// Bytes that the dump needs.
    pub need: u64,
    /// The largest place, in bytes, that there is or that there could be after giving up all dumps
    /// that may be given up.
    pub have: u64,
    /// True if the dump would fit if complete dumps were given up.
    pub complete_dumps: bool,
}

impl DiskHeader {
    /// Finds a place of `need` bytes for another dump on a disk of `capacity` bytes: the first gap
    /// that is large enough. If there is none, partial dumps are given up, and then, with
    /// `replace_complete`, complete ones: the oldest first, one at a time, and only those that are
    /// in the way. `key` is the new dump's.
    ///
    /// # Errors
    /// [`NoRoom`]; nothing is given up then.
    pub fn place(
        &self,
        capacity: u64,
        need: u64,
        key: u32,
        replace_complete: bool,
    ) -> Result<Placement, NoRoom> {
        let search = Search { dumps: self.dumps, capacity, need };
        let Some((offset, given_up)) = search.run(replace_complete) else {
            return Err(search.no_room(replace_complete));
        };
        self.with(offset, need, key, given_up)
    }

    /// Finds a place for a part of a dump, where [`Self::place`] finds none for all of it: the
    /// largest gap that there is without the partial dumps. Complete dumps are given up only with
    /// `replace_complete`, and only where no gap has `least` bytes.
    ///
    /// # Errors
    /// [`NoRoom`] when no gap has `least` bytes; nothing is given up then.
    pub fn place_part(
        &self,
        capacity: u64,
        least: u64,
        key: u32,
        replace_complete: bool,
    ) -> Result<Placement, NoRoom> {
        let search = Search { dumps: self.dumps, capacity, need: least };
        let mut kept = self.dumps.retain(|dump| !dump.state.is_partial());
        loop {
            let length = |(_, length): (u64, u64)| length / BLOCK as u64 * BLOCK as u64;
            let largest = gaps(&kept, capacity).max_by_key(|gap| (length(*gap), !gap.0));
            let largest = largest.map(|gap| (gap.0, length(gap)));
            match largest.filter(|(_, length)| *length >= least && !kept.is_full()) {
                Some((offset, length)) => {
                    let given_up = search.in_the_way(offset, length, &kept);
                    return self.with(offset, length, key, given_up);
                }
                None => {
                    let victim = victim(&kept, replace_complete);
                    let victim = victim.ok_or_else(|| search.no_room(replace_complete))?;
                    kept = kept.retain(|dump| dump.sequence != victim);
                }
            }
        }
    }

    /// The header with a new dump, and without those that are given up.
    fn with(
        &self,
        offset: u64,
        length: u64,
        key: u32,
        given_up: Directory,
    ) -> Result<Placement, NoRoom> {
        let state = DiskState::IN_PROGRESS;
        let entry = DumpEntry { sequence: self.next, offset, length, state, key };
        let is_kept = |dump: &DumpEntry| !given_up.as_slice().contains(dump);
        let mut header = Self {
            generation: self.generation.wrapping_add(1),
            next: self.next.saturating_add(1),
            refused: Refused::default(),
            dumps: self.dumps.retain(is_kept),
            ..*self
        };
        // A disk without unused numbers takes no more dumps.
        let no_room = NoRoom { need: length, have: 0, complete_dumps: false };
        let is_last = header.next == self.next;
        header.dumps.push(entry).ok().filter(|()| !is_last).ok_or(no_room)?;
        Ok(Placement { header, entry, given_up })
    }
}

/// The search for a place.
struct Search {
    dumps: Directory,
    capacity: u64,
    need: u64,
}

impl Search {
    /// Returns an offset, and the dumps to give up for it.
    fn run(&self, replace_complete: bool) -> Option<(u64, Directory)> {
        let mut kept = self.dumps;
        loop {
            if let Some(offset) = self.gap(&kept).filter(|_| !kept.is_full()) {
                return Some((offset, self.in_the_way(offset, self.need, &kept)));
            }
            let victim = victim(&kept, replace_complete)?;
            kept = kept.retain(|dump| dump.sequence != victim);
        }
    }

    /// Returns the dumps outside `kept` that overlap the place; never none if there is no room for
    /// another entry.
    fn in_the_way(&self, offset: u64, length: u64, kept: &Directory) -> Directory {
        let lost = self.dumps.retain(|dump| !kept.as_slice().contains(dump));
        let overlapping = lost.retain(|dump| dump.overlaps(offset, length));
        if self.dumps.is_full() && overlapping.as_slice().is_empty() { lost } else { overlapping }
    }

    /// The first gap that is large enough.
    fn gap(&self, kept: &Directory) -> Option<u64> {
        gaps(kept, self.capacity).find(|(_, length)| *length >= self.need).map(|(offset, _)| offset)
    }

    fn no_room(&self, replace_complete: bool) -> NoRoom {
        let complete_dumps = !replace_complete && self.run(true).is_some();
        NoRoom { need: self.need, have: self.most(replace_complete), complete_dumps }
    }

    /// The largest place that can be had.
    fn most(&self, replace_complete: bool) -> u64 {
        let kept = self.dumps.retain(|dump| !dump.state.is_partial() && !replace_complete);
        gaps(&kept, self.capacity).map(|(_, length)| length).max().unwrap_or(0)
    }
}

/// Which dump goes next: the oldest partial one; else, when that is allowed, the oldest.
fn victim(kept: &Directory, replace_complete: bool) -> Option<u64> {
    let kept = kept.as_slice();
    let partial = kept.iter().find(|dump| dump.state.is_partial());
    let victim = partial.or(kept.first().filter(|_| replace_complete));
    victim.map(|dump| dump.sequence)
}

/// Offset and length of everything between the dumps, in the disk's order.
fn gaps(kept: &Directory, capacity: u64) -> impl Iterator<Item = (u64, u64)> {
    let dumps = kept.as_slice();
    let starts = core::iter::once(FIRST_OFFSET).chain(dumps.iter().map(DumpEntry::end));
    let next = move |start: u64| {
        let later = dumps.iter().map(|dump| dump.offset).filter(|offset| *offset >= start);
        later.min().unwrap_or(capacity).min(capacity)
    };
    // In the order of the disk, which need not be that of the directory.
    let mut sorted = [u64::MAX; super::MAX_DUMPS + 1];
    for (slot, start) in sorted.iter_mut().zip(starts) {
        *slot = start;
    }
    sorted.sort_unstable();
    let starts = sorted.into_iter().take(dumps.len() + 1);
    starts.filter_map(move |start| next(start).checked_sub(start).map(|length| (start, length)))
}
