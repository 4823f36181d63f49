//! The selection of pages: views at a dump level.

use alloc::rc::Rc;
use core::cell::OnceCell;
use core::fmt;
use log::warn;
use vmcore::{DumpOffset, KeptView, Level, PageFilter, PhysAddr, Piece, ReadPhys, View};

/// The filter of the dead kernel's pages. It is made when it is needed, and once: a dump of level 0
/// does not look at page structs.
#[derive(Clone)]
pub struct Selection(Rc<Lazy>);

struct Lazy {
    open: Open,
    filter: OnceCell<Option<Rc<dyn PageFilter>>>,
    memory: &'static dyn ReadPhys,
}

/// Makes a filter, or reports why there is none.
type Open = alloc::boxed::Box<dyn Fn() -> Option<Rc<dyn PageFilter>>>;

/// The treatment of kept pages that are zero, at a level that leaves these out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeros {
    /// They are looked for.
    Test,
    /// They are kept: no memory is read.
    Keep,
}

impl Selection {
    /// A selection by the filter that `open` makes; it reports why it makes none. `memory` is old
    /// memory, for the test for zeros.
    pub fn new(
        memory: &'static dyn ReadPhys,
        open: impl Fn() -> Option<Rc<dyn PageFilter>> + 'static,
    ) -> Self {
        let open = alloc::boxed::Box::new(open);
        Self(Rc::new(Lazy { open, filter: OnceCell::new(), memory }))
    }

    /// True if a level has left out pages, or was to.
    pub fn is_used(&self) -> bool {
        self.0.filter.get().is_some()
    }

    /// `view` at `level`; the same view at level 0, and where the classes of pages cannot be found,
    /// which was reported.
    pub fn of(&self, view: &Rc<dyn View>, level: Level, zeros: Zeros) -> Rc<dyn View> {
        self.try_of(view, level, zeros).unwrap_or_else(|| view.clone())
    }

    fn try_of(&self, view: &Rc<dyn View>, level: Level, zeros: Zeros) -> Option<Rc<dyn View>> {
        let Lazy { open, filter, memory } = &*self.0;
        if level == Level::ALL {
            return None;
        }
        let filter = filter.get_or_init(open).clone()?;
        let memory = (zeros == Zeros::Test).then_some(*memory);
        match KeptView::new(view.clone(), filter, level, memory) {
            Ok(kept) => Some(Rc::new(kept)),
            Err(error) => {
                warn!("dump level {level}: {error}; all memory is kept");
                None
            }
        }
    }
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Selection").field(&self.0.filter.get()).finish()
    }
}

/// A view at level 31 that is made when its contents are asked for. Pages of zeros are kept: a link
/// does not send them as data.
#[derive(Debug)]
pub struct KernelPages {
    view: Rc<dyn View>,
    selection: Selection,
    kept: OnceCell<Rc<dyn View>>,
}

impl KernelPages {
    /// The kernel's own pages of `view`.
    pub const fn new(view: Rc<dyn View>, selection: Selection) -> Self {
        Self { view, selection, kept: OnceCell::new() }
    }

    fn kept(&self) -> &Rc<dyn View> {
        self.kept.get_or_init(|| self.selection.of(&self.view, Level::KERNEL, Zeros::Keep))
    }
}

impl View for KernelPages {
    fn len(&self) -> u64 {
        self.view.len()
    }

    fn piece(&self, at: DumpOffset, most: u64) -> Option<Piece<'_>> {
        self.kept().piece(at, most)
    }

    fn in_first_kernel(&self, at: PhysAddr) -> PhysAddr {
        self.view.in_first_kernel(at)
    }

    fn level(&self) -> Level {
        Level::KERNEL
    }

    fn in_doubt(&self) -> u64 {
        self.kept.get().map_or(0, |kept| kept.in_doubt())
    }
}
