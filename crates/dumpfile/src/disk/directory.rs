//! Which dumps are on a disk, and where.

use core::fmt;

use super::{BLOCK, DiskError, DiskState, FIRST_OFFSET, end};

/// Most dumps on one disk.
pub const MAX_DUMPS: usize = 32;

/// A dump, as the directory has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpEntry {
    /// Its number: later dumps have larger ones, and none is used twice.
    pub sequence: u64,
    /// Start of the dump's region, in bytes from the disk's start.
    pub offset: u64,
    /// Length of its region in bytes.
    pub length: u64,
    /// State of the dump. Its own header may have a newer one.
    pub state: DiskState,
    /// Differs from capture to capture. The dump's header has the same.
    pub key: u32,
}

impl DumpEntry {
    /// Returns the end of its region, exclusive.
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// True if it has bytes in common with a range.
    pub const fn overlaps(&self, offset: u64, length: u64) -> bool {
        self.offset < offset.saturating_add(length) && offset < self.end()
    }

    /// True if a dump can have this place.
    fn is_placed(&self) -> bool {
        let whole = |bytes: u64| bytes.is_multiple_of(BLOCK as u64);
        let is_whole = whole(self.offset) && whole(self.length) && self.length > 0;
        is_whole && self.offset >= FIRST_OFFSET && end(self.offset, self.length).is_some()
    }
}

/// The dumps on a disk, oldest first. None overlaps another.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Directory {
    entries: [DumpEntry; MAX_DUMPS],
    count: usize,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

impl Directory {
    /// The dumps, oldest first.
    pub fn as_slice(&self) -> &[DumpEntry] {
        &self.entries[..self.count]
    }

    /// True if there is no room for another dump.
    pub const fn is_full(&self) -> bool {
        self.count == MAX_DUMPS
    }

    /// Adds a dump that is newer than all others.
    ///
    /// # Errors
    /// [`DiskError::Directory`], [`DiskError::TooManyDumps`].
    pub fn push(&mut self, entry: DumpEntry) -> Result<(), DiskError> {
        let is_newer = self.as_slice().last().is_none_or(|last| last.sequence < entry.sequence);
        let is_free =
            !self.as_slice().iter().any(|other| other.overlaps(entry.offset, entry.length));
        if !(is_newer && is_free && entry.is_placed()) {
            return Err(DiskError::Directory(entry.sequence));
        }
        let many = DiskError::TooManyDumps(self.count as u32 + 1);
        *self.entries.get_mut(self.count).ok_or(many)? = entry;
        self.count += 1;
        Ok(())
    }

    /// The dumps for which `keep` says yes.
    #[must_use]
    pub fn retain(&self, keep: impl Fn(&DumpEntry) -> bool) -> Self {
        let mut kept = Self::default();
        for entry in self.as_slice().iter().filter(|entry| keep(entry)) {
            kept.entries[kept.count] = *entry;
            kept.count += 1;
        }
        kept
    }

    /// Notes the state of a dump, if it is there.
    pub fn set_state(&mut self, sequence: u64, state: DiskState) {
        if let Some(entry) = self.find(sequence) {
            entry.state = state;
        }
    }

    /// Gives up the end of a dump's region: from now on it has `length` bytes, if it had more.
    pub fn shrink(&mut self, sequence: u64, length: u64) {
        if let Some(entry) = self.find(sequence).filter(|entry| length > 0 && length < entry.length)
        {
            entry.length = length;
        }
    }

    fn find(&mut self, sequence: u64) -> Option<&mut DumpEntry> {
        self.entries[..self.count].iter_mut().find(|entry| entry.sequence == sequence)
    }
}
