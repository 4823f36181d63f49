//! The parts of a dump that leave the machine.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::OnceCell;
use core::fmt;
use core::ops::Range;
use dumpfile::{Contents, Crc32c};
use vmcore::{Level, View};

use crate::selection::{Selection, Zeros};

/// A view and its name in a dump.
pub type NamedView = vmcore::NamedView<Rc<dyn View>>;

/// A dump.
#[derive(Debug, Default)]
pub struct Dump {
    /// Tells it from every other where it is sent in frames.
    pub id: [u8; 16],
    /// The first small views, in the order in which they leave the machine, before all else.
    pub first: Vec<NamedView>,
    /// The small views that take longer to read. They leave the machine after [`Self::first`].
    pub later: Later,
    /// The view that the command line asks for, with all pages; [`None`] where it cannot be made,
    /// which was reported.
    pub bulk: Option<NamedView>,
    /// The dump level that the command line asks for. Without one it is 0, and 31 on a target
    /// without room for that.
    pub level: Option<Level>,
    /// The selection of the bulk's pages; [`None`] where nothing is known of the dead kernel.
    pub selection: Option<Selection>,
    /// The content of the bulk.
    pub contents: Contents,
    /// The parts of the bulk that leave the machine first where there is no room for all of it, as
    /// offsets in bytes: headers, the dead kernel's image, page structs.
    pub urgent: Urgent,
    /// Views that leave the machine only on request.
    pub on_request: Vec<NamedView>,
}

/// Parts of the bulk that are looked for when they are needed: to find the dead kernel's image
/// takes time.
#[derive(Default)]
pub struct Urgent(Option<Box<dyn Fn() -> Vec<Range<u64>>>>);

impl Urgent {
    /// The parts that `find` will return.
    pub fn new(find: impl Fn() -> Vec<Range<u64>> + 'static) -> Self {
        Self(Some(Box::new(find)))
    }

    /// The parts.
    pub fn parts(&self) -> Vec<Range<u64>> {
        self.0.as_ref().map(|find| find()).unwrap_or_default()
    }
}

impl fmt::Debug for Urgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Urgent").finish_non_exhaustive()
    }
}

/// Small views that are read when they are needed, and once.
#[derive(Default)]
pub struct Later {
    read: Option<Box<dyn Fn() -> Vec<NamedView>>>,
    most: u64,
    views: OnceCell<Vec<NamedView>>,
}

impl Later {
    /// The views that `read` will return: at most `most` bytes, each view rounded up to 4096.
    pub fn new(most: u64, read: impl Fn() -> Vec<NamedView> + 'static) -> Self {
        Self { read: Some(Box::new(read)), most, views: OnceCell::new() }
    }

    /// The views. The first call reads them.
    pub fn views(&self) -> &[NamedView] {
        self.views.get_or_init(|| self.read.as_ref().map(|read| read()).unwrap_or_default())
    }

    /// The most bytes of all of them, each rounded up to 4096.
    pub const fn most(&self) -> u64 {
        self.most
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Later").field(&self.views.get()).finish()
    }
}

/// An id for a dump, made of `seed` (the time, say) and of `notes`, which are short and differ from
/// crash to crash: they have the registers and, in VMCOREINFO, the time of the crash. The first
/// four bytes depend on both.
pub fn id(seed: u64, notes: &[u8]) -> [u8; 16] {
    // The checksum's code runs for the small views as well; that of a hash would run for this
    // alone, and nobody gains by two dumps with the same id.
    let of_notes = Crc32c::of(notes).to_le_bytes();
    let mut id = [0; 16];
    id[4..8].copy_from_slice(&of_notes);
    id[8..].copy_from_slice(&seed.to_le_bytes());
    let of_both = Crc32c::of(&id[4..]).to_le_bytes();
    id[..4].copy_from_slice(&of_both);
    id
}

impl Dump {
    /// The small views, in the order in which they leave the machine.
    pub fn small(&self) -> impl Iterator<Item = &NamedView> {
        self.first.iter().chain(self.later.views())
    }

    /// All views, each with whether it leaves the machine without being asked for. `bulk` is the
    /// bulk at some level.
    pub fn views<'v>(
        &'v self,
        bulk: Option<&'v NamedView>,
    ) -> impl Iterator<Item = (&'v NamedView, bool)> {
        let pushed = self.small().chain(bulk).map(|view| (view, true));
        pushed.chain(self.on_request.iter().map(|view| (view, false)))
    }

    /// The bulk at `level`. Its view has level 0 instead where the classes of pages cannot be
    /// found, which is reported.
    pub fn bulk_at(&self, level: Level, zeros: Zeros) -> Option<NamedView> {
        let bulk = self.bulk.as_ref()?;
        let at_level = |selection: &Selection| selection.of(&bulk.view, level, zeros);
        let view = self.selection.as_ref().map_or_else(|| bulk.view.clone(), at_level);
        Some(NamedView { view, ..bulk.clone() })
    }

    /// True if there is nothing that could leave the machine.
    pub fn is_empty(&self) -> bool {
        self.views(self.bulk.as_ref()).next().is_none()
    }

    /// Length of the bulk in bytes.
    pub fn length(&self) -> u64 {
        self.bulk.as_ref().map_or(0, |bulk| bulk.view.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_where_time_or_notes_do_and_so_do_their_first_bytes() {
        let ids = [id(1, b"one"), id(2, b"one"), id(1, b"two"), id(1 << 40, b"one"), id(1, b"")];
        for (index, id) in ids.iter().enumerate() {
            assert!(
                ids[..index].iter().all(|other| other[..4] != id[..4] && other[4..] != id[4..])
            );
        }
    }
}
