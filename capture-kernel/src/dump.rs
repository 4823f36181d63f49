//! The parts of a dump that leave the machine.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::OnceCell;
use core::fmt;
use core::ops::Range;
use dumpfile::Contents;
use sha2::{Digest, Sha256};
use vmcore::View;

/// A view and its name in a dump.
#[derive(Clone, Debug)]
pub struct NamedView {
    /// 1 to 32 characters of `a-z`, `0-9` and `-`.
    pub name: &'static str,
    /// The bytes.
    pub view: Rc<dyn View>,
    /// The address of its first byte: a physical one for oldmem, a virtual one for a stack, zero
    /// where there is none.
    pub start: u64,
}

/// A dump.
#[derive(Debug, Default)]
pub struct Dump {
    /// Tells it from every other where it is sent in frames.
    pub id: [u8; 16],
    /// The first small views, in the order in which they leave the machine, before all else.
    pub first: Vec<NamedView>,
    /// The small views that take longer to read. They leave the machine after [`Self::first`].
    pub later: Later,
    /// The view that the command line asks for; [`None`] where it cannot be made, which was
    /// reported.
    pub bulk: Option<NamedView>,
    /// The content of the bulk.
    pub contents: Contents,
    /// The parts of the bulk that leave the machine first where there is no room for all of it:
    /// headers and the dead kernel's image, as offsets in bytes.
    pub urgent: Vec<Range<u64>>,
    /// Views that leave the machine only on request.
    pub on_request: Vec<NamedView>,
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
/// crash to crash: they have the registers and, in VMCOREINFO, the time of the crash.
pub fn id(seed: u64, notes: &[u8]) -> [u8; 16] {
    let hash = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(notes).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    id
}

impl Dump {
    /// The small views, in the order in which they leave the machine.
    pub fn small(&self) -> impl Iterator<Item = &NamedView> {
        self.first.iter().chain(self.later.views())
    }

    /// All views, each with whether it leaves the machine without being asked for.
    pub fn views(&self) -> impl Iterator<Item = (&NamedView, bool)> {
        let pushed = self.small().chain(&self.bulk).map(|view| (view, true));
        pushed.chain(self.on_request.iter().map(|view| (view, false)))
    }

    /// Length of the bulk in bytes.
    pub fn length(&self) -> u64 {
        self.bulk.as_ref().map_or(0, |bulk| bulk.view.len())
    }
}
