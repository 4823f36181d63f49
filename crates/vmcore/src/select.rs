//! The selection of pages: a filter finds the class of each page, the dump level says which classes
//! are left out.

use alloc::rc::Rc;
use core::fmt;
use core::str::FromStr;

use crate::{PageClass, PhysAddr};

/// Bytes of a window: the memory that a filter looks at in one step. One buddy block of order 10.
pub const WINDOW: u64 = 4 << 20;
/// Pages of a window.
pub const WINDOW_PAGES: usize = 1024;

/// The opinion of a filter on a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// The page belongs to the kernel: it is in every dump.
    #[default]
    Kept,
    /// The structures that describe the page are damaged, or cannot be read: it is in every dump.
    Doubt,
    /// The page belongs to this class, and the dump level decides.
    Excluded(PageClass),
}

/// Finds the class of each page from the structures of the dead kernel.
pub trait PageFilter: fmt::Debug {
    /// Finds the verdict on each page of the window that begins at `window`: a physical address of
    /// the first kernel, a multiple of [`WINDOW`]. It never fails: where it knows nothing, the
    /// verdict is [`Verdict::Doubt`]. The same window has the same verdicts each time. The
    /// contents of pages are not looked at, so no page is [`PageClass::Zero`].
    fn classify(&self, window: PhysAddr, into: &mut [Verdict; WINDOW_PAGES]);
}

impl<F: PageFilter + ?Sized> PageFilter for &F {
    fn classify(&self, window: PhysAddr, into: &mut [Verdict; WINDOW_PAGES]) {
        (**self).classify(window, into);
    }
}

impl<F: PageFilter + ?Sized> PageFilter for Rc<F> {
    fn classify(&self, window: PhysAddr, into: &mut [Verdict; WINDOW_PAGES]) {
        (**self).classify(window, into);
    }
}

/// A dump level: the classes of pages that are left out, as the bits of makedumpfile's `-d`.
///
/// | bit | class |
/// |---|---|
/// | 1 | pages of zeros |
/// | 2 | page cache without private data |
/// | 4 | all of the page cache |
/// | 8 | memory of user processes |
/// | 16 | free memory |
///
/// At every level but 0 pages that are offline, not accepted or broken are left out as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u8);

impl Level {
    /// All memory.
    pub const ALL: Self = Self(0);
    /// The kernel's own memory: every class is left out.
    pub const KERNEL: Self = Self(31);

    /// The level with this number; [`None`] above 31.
    pub const fn new(level: u8) -> Option<Self> {
        if level <= Self::KERNEL.0 { Some(Self(level)) } else { None }
    }

    /// Its number, 0 to 31.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// True if a dump at this level leaves out pages of `class`.
    pub const fn excludes(self, class: PageClass) -> bool {
        let bits = match class {
            PageClass::Zero => 1,
            PageClass::Cache => 2 | 4,
            PageClass::CachePrivate => 4,
            PageClass::User => 8,
            PageClass::Free => 16,
            PageClass::Offline | PageClass::Unaccepted | PageClass::HwPoison => 31,
            PageClass::Unreadable => return true,
        };
        self.0 & bits != 0
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text is not a dump level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a dump level is a number from 0 (all memory) to 31 (kernel pages only)")]
pub struct NotALevel;

impl FromStr for Level {
    type Err = NotALevel;

    fn from_str(text: &str) -> Result<Self, NotALevel> {
        text.parse().ok().and_then(Self::new).ok_or(NotALevel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table in makedumpfile(8), `-d`.
    #[test]
    fn levels_are_those_of_makedumpfile() {
        let [zero, cache, private, user, free] = [
            PageClass::Zero,
            PageClass::Cache,
            PageClass::CachePrivate,
            PageClass::User,
            PageClass::Free,
        ];
        let table = [
            (0, &[][..]),
            (1, &[zero][..]),
            (2, &[cache]),
            (4, &[cache, private]),
            (8, &[user]),
            (16, &[free]),
            (31, &[zero, cache, private, user, free]),
        ];
        for (number, left_out) in table {
            let level = Level::new(number).expect("a level");
            for class in [zero, cache, private, user, free] {
                assert_eq!(level.excludes(class), left_out.contains(&class), "{number} {class}");
            }
            assert_eq!(level.excludes(PageClass::Offline), number > 0);
        }
    }

    #[test]
    fn a_level_has_five_bits() {
        assert_eq!("31".parse(), Ok(Level::KERNEL));
        for text in ["32", "-1", "", "x", "256", "0x1f"] {
            assert_eq!(text.parse::<Level>(), Err(NotALevel), "{text}");
        }
    }
}
