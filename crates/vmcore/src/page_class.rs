//! Classes of pages that a dump leaves out (makedumpfile's, and those that we add).

use core::fmt;

/// The reason why a page is not in a dump. A reader sees zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum PageClass {
    /// All bytes are zero: nothing is lost.
    Zero = 1,
    /// Page cache without private data.
    Cache = 2,
    /// Page cache with private data.
    CachePrivate = 3,
    /// Memory of a user process.
    User = 4,
    /// Free memory.
    Free = 5,
    /// Offline or unplugged memory, which must not be touched.
    Offline = 6,
    /// Memory that the first kernel has not accepted from its hypervisor.
    Unaccepted = 7,
    /// Memory that the hardware reported as broken.
    HwPoison = 8,
    /// Memory whose read failed.
    Unreadable = 9,
}

impl PageClass {
    /// All classes, in the order of their codes.
    pub const ALL: [Self; 9] = [
        Self::Zero,
        Self::Cache,
        Self::CachePrivate,
        Self::User,
        Self::Free,
        Self::Offline,
        Self::Unaccepted,
        Self::HwPoison,
        Self::Unreadable,
    ];

    /// The number that stands for it in files and frames: 1 to 9.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The class with this number. Numbers of a later program are [`None`].
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }

    /// Its name, as maps and reports have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Cache => "cache",
            Self::CachePrivate => "cache-private",
            Self::User => "user",
            Self::Free => "free",
            Self::Offline => "offline",
            Self::Unaccepted => "unaccepted",
            Self::HwPoison => "hwpoison",
            Self::Unreadable => "unreadable",
        }
    }

    /// The class with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}

impl fmt::Display for PageClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_distinct_and_lead_back() {
        for (code, class) in (1..).zip(PageClass::ALL) {
            assert_eq!((class.code(), PageClass::from_code(code)), (code, Some(class)));
            assert_eq!(PageClass::from_name(class.name()), Some(class));
        }
        assert_eq!([0, 10, 15, 255].map(PageClass::from_code), [None; 4]);
        assert_eq!(PageClass::from_name("Zero"), None);
    }
}
