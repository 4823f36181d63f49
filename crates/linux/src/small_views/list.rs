//! The list of small views.

use alloc::vec::Vec;
use core::fmt;

use crate::Error;

/// One small view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmallView {
    /// Its name, of `a-z0-9-`.
    pub name: &'static str,
    /// The dead kernel's virtual address of the first byte, zero where there is none.
    pub start: u64,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// The views so far.
pub(super) struct Views<'c> {
    pub(super) list: Vec<SmallView>,
    pub(super) complain: &'c mut dyn FnMut(fmt::Arguments<'_>),
}

impl Views<'_> {
    /// Adds a view, unless there is nothing in it.
    pub(super) fn add(&mut self, name: &'static str, start: u64, bytes: Result<Vec<u8>, Error>) {
        let room = self.list.try_reserve(1).map_err(|_| Error::NO_MEMORY);
        match room.and(bytes) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => self.list.push(SmallView { name, start, bytes }),
            Err(error) => (self.complain)(format_args!("{name}: {error}")),
        }
    }
}
