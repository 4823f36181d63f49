//! The meaning of the addresses that devices use.

use super::Error;
use vmcore::PhysAddr;

/// State of the IOMMUs, which may translate the addresses that devices use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Translation {
    /// Not known: the command line has no `kdump.iommu=`.
    #[default]
    Unknown,
    /// No: they are physical.
    Off,
    /// The IOMMU with its registers at this physical address may, for some devices or all.
    On(PhysAddr),
}

impl Translation {
    /// Allows a device to get physical addresses. If nothing is known it may: most machines do not
    /// translate.
    ///
    /// # Errors
    /// [`Error::Translated`].
    pub fn check(self) -> Result<(), Error> {
        match self {
            Self::Unknown | Self::Off => Ok(()),
            Self::On(unit) => Err(Error::Translated(unit)),
        }
    }

    /// The same for a virtio device that says that an IOMMU translates its addresses, if there is
    /// one (F_ACCESS_PLATFORM). All others get past every IOMMU.
    ///
    /// # Errors
    /// [`Error::Translated`], [`Error::BehindIommu`].
    pub fn check_virtio(self) -> Result<(), Error> {
        match self {
            Self::Unknown => Err(Error::BehindIommu),
            Self::Off | Self::On(_) => self.check(),
        }
    }
}
