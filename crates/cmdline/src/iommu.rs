//! The value of `kdump.iommu=`: the places of a machine's IOMMUs.

use core::fmt;

use vmcore::PhysAddr;

use crate::number::{split_once, whole_number};

/// The values that are right, as an error names them.
pub(crate) const RIGHT: &str = "none, or a list of vtd@ADDRESS and amd@ADDRESS";

/// The registers of an IOMMU: their layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IommuKind {
    /// `vtd`: Intel VT-d.
    Vtd,
    /// `amd`: AMD-Vi.
    Amd,
}

/// An IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IommuUnit {
    /// The layout of its registers.
    pub kind: IommuKind,
    /// The physical address of its registers.
    pub registers: PhysAddr,
}

impl fmt::Display for IommuUnit {
    /// As on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            IommuKind::Vtd => "vtd",
            IommuKind::Amd => "amd",
        };
        write!(f, "{kind}@{}", self.registers)
    }
}

/// All IOMMUs of a machine, as text: a large machine has some 64, and they are needed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IommuList<'a>(&'a [u8]);

impl<'a> IommuList<'a> {
    /// Checks the text of a list; `none` is the empty one.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        let list = Self(if text == b"none" { &[] } else { text });
        (list.0.len() < text.len() || items(text).all(|item| unit(item).is_some())).then_some(list)
    }

    /// The units, in the order given.
    pub fn iter(self) -> impl Iterator<Item = IommuUnit> + use<'a> {
        items(self.0).filter_map(unit)
    }

    /// True if the machine has none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

fn items(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b',')
}

fn unit(item: &[u8]) -> Option<IommuUnit> {
    let (kind, address) = split_once(item, b'@');
    let kind = match kind {
        b"vtd" => IommuKind::Vtd,
        b"amd" => IommuKind::Amd,
        _ => return None,
    };
    let address = whole_number(address).filter(|address| *address != 0)?;
    Some(IommuUnit { kind, registers: PhysAddr::new(address) })
}
