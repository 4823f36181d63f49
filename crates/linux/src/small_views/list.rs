//! The list of small views.

use alloc::vec::Vec;

use vmcore::NamedView;

use crate::Error;

/// A small view. Its address is a virtual one of the dead kernel.
pub type SmallView = NamedView<Vec<u8>>;

/// The views so far.
#[derive(Default)]
pub(super) struct Views {
    pub(super) list: Vec<SmallView>,
}

impl Views {
    /// Adds a view, unless there is nothing in it.
    pub(super) fn add(&mut self, name: &'static str, start: u64, bytes: Result<Vec<u8>, Error>) {
        let room = self.list.try_reserve(1).map_err(|_| Error::NO_MEMORY);
        match room.and(bytes) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => self.list.push(NamedView { name, start, view: bytes }),
            Err(error) => log::warn!("{name}: {error}"),
        }
    }
}
