//! The small views of a dump: names and places.

use core::fmt;

use crate::wire::{MAX_NAME, ViewInfo};

/// Most small views of a dump.
pub const MAX_SMALL_VIEWS: usize = 16;

/// The name of a small view.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ViewName(pub(super) [u8; MAX_NAME]);

impl ViewName {
    /// A name of 1–[`MAX_NAME`] characters of `a-z`, `0-9` and `-`.
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; MAX_NAME];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        ViewInfo::is_name(name.as_bytes()).then_some(Self(bytes))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(MAX_NAME);
        str::from_utf8(&self.0[..end]).unwrap_or_default()
    }

    pub(super) fn from_bytes(bytes: [u8; MAX_NAME]) -> Option<Self> {
        let name = Self(bytes);
        Self::new(name.as_str()).filter(|again| *again == name)
    }
}

impl fmt::Debug for ViewName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A small view in a dump's region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SmallView {
    /// Its name.
    pub name: ViewName,
    /// The address of its first byte: a virtual one for a stack, zero where there is none.
    pub start: u64,
    /// Start of the view, in bytes from the region's start.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// CRC-32C of its bytes.
    pub crc: u32,
}

/// The small views of a dump, no two of which have the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SmallViews {
    views: [SmallView; MAX_SMALL_VIEWS],
    count: usize,
}

impl SmallViews {
    /// Adds a view. [`None`] if there is no room, or another view has its name.
    pub(super) fn push(&mut self, view: SmallView) -> Option<()> {
        if self.as_slice().iter().any(|other| other.name == view.name) {
            return None;
        }
        *self.views.get_mut(self.count)? = view;
        self.count += 1;
        Some(())
    }

    pub(super) fn as_slice(&self) -> &[SmallView] {
        &self.views[..self.count]
    }
}
