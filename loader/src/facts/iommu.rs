//! The machine's IOMMUs, from the ACPI tables DMAR (Intel VT-d) and IVRS (AMD-Vi).
//!
//! Source: Intel VT-d specification 4.1, chapter 8; AMD I/O virtualization specification 48882,
//! chapter 5; Linux, `Documentation/ABI/testing/sysfs-firmware-acpi` for the tables' place.

use std::fmt;

use cmdline::{IommuKind, IommuUnit};
use vmcore::PhysAddr;

/// Most units that are handed over: their word must leave room on the command line.
pub const MOST_UNITS: usize = 64;

/// Bytes before the first structure, in both tables. The table's own length is at 4.
const FIRST: usize = 48;

/// Knowledge of the machine's IOMMUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Iommus {
    /// The tables cannot be read, or not be understood; the reason.
    Unknown(String),
    /// There are these, perhaps none.
    Known(Vec<Iommu>),
}

impl Default for Iommus {
    fn default() -> Self {
        Self::Unknown("the ACPI tables cannot be read".to_owned())
    }
}

/// An IOMMU, as firmware describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iommu {
    /// Its kind and the place of its registers.
    pub unit: IommuUnit,
    /// The PCI segment of its devices.
    pub segment: u16,
    /// The devices that it serves, where it serves a few by their place; empty where all others of
    /// the segment are its.
    pub devices: Vec<PciPlace>,
    /// True if all of these are graphics. Then the unit stays as it is: no dump goes over it, and
    /// some do not switch off (Linux, `quirk_igfx_skip_te_disable`).
    pub is_graphics: bool,
}

/// Place of a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciPlace {
    segment: u16,
    bus: u8,
    device: u8,
    function: u8,
}

impl fmt::Display for PciPlace {
    /// As in `/sys/bus/pci/devices`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, bus, device, function } = self;
        write!(f, "{segment:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

/// The tables as they are in `/sys/firmware/acpi/tables`; [`None`] for one that the machine does
/// not have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tables<'a> {
    /// Intel VT-d.
    pub dmar: Option<&'a [u8]>,
    /// AMD-Vi.
    pub ivrs: Option<&'a [u8]>,
    /// A virtio-iommu.
    pub viot: Option<&'a [u8]>,
}

impl Iommus {
    /// The units that `tables` name. `class` is the class code of a PCI function, where it is known.
    ///
    /// The tables come from firmware. A damaged one makes all units unknown: one that is missing
    /// would be left on.
    pub fn read(tables: Tables<'_>, class: impl Fn(PciPlace) -> Option<u32>) -> Self {
        match Self::parse(tables, &class) {
            Ok(units) => Self::Known(units),
            Err(reason) => Self::Unknown(reason.to_owned()),
        }
    }

    fn parse(
        tables: Tables<'_>,
        class: &dyn Fn(PciPlace) -> Option<u32>,
    ) -> Result<Vec<Iommu>, &'static str> {
        if tables.viot.is_some() {
            return Err("a virtio-iommu (ACPI table VIOT) cannot be switched off");
        }
        let mut units = Vec::new();
        if let Some(dmar) = tables.dmar {
            drhds(dmar, &mut units).ok_or("the ACPI table DMAR is damaged")?;
        }
        if let Some(ivrs) = tables.ivrs {
            ivhds(ivrs, &mut units).ok_or("the ACPI table IVRS is damaged")?;
        }
        if units.len() > MOST_UNITS {
            return Err("the ACPI tables name too many");
        }
        for unit in &mut units {
            let is_graphics =
                |place: &PciPlace| class(*place).is_some_and(|class| class >> 16 == 3);
            unit.is_graphics = !unit.devices.is_empty() && unit.devices.iter().all(is_graphics);
        }
        Ok(units)
    }

    /// True if there is one that is known.
    pub fn are_there(&self) -> bool {
        matches!(self, Self::Known(units) if !units.is_empty())
    }

    /// The word for the capture kernel's command line; empty where they are not known.
    pub(crate) fn word(&self) -> String {
        let Self::Known(units) = self else { return String::new() };
        let units: Vec<_> = units
            .iter()
            .filter(|unit| !unit.is_graphics)
            .map(|unit| unit.unit.to_string())
            .collect();
        let list = if units.is_empty() { "none".to_owned() } else { units.join(",") };
        format!("kdump.iommu={list}")
    }
}

impl fmt::Display for Iommus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = match self {
            Self::Unknown(reason) => return write!(f, "not known: {reason}"),
            Self::Known(units) if units.is_empty() => return f.write_str("none"),
            Self::Known(units) => units,
        };
        for (index, Iommu { unit, segment, is_graphics, .. }) in units.iter().enumerate() {
            let kind = match unit.kind {
                IommuKind::Vtd => "VT-d",
                IommuKind::Amd => "AMD-Vi",
            };
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{kind} at {}", unit.registers)?;
            if *segment > 0 {
                write!(f, " (PCI segment {segment:#x})")?;
            }
            if *is_graphics {
                f.write_str(" (graphics only, left alone)")?;
            }
        }
        Ok(())
    }
}

/// Adds the DRHDs of a DMAR table. [`None`] if the table is damaged, or has none.
fn drhds(table: &[u8], into: &mut Vec<Iommu>) -> Option<()> {
    const DRHD: u16 = 0;
    /// The unit has all devices of the segment that no other has.
    const ALL: u8 = 1;
    let before = into.len();
    for bytes in structures(table, b"DMAR")? {
        if u16_at(bytes, 0)? != DRHD {
            continue;
        }
        let segment = u16_at(bytes, 6)?;
        let devices = match bytes.get(4)? & ALL {
            0 => scopes(bytes.get(16..)?, segment)?,
            _ => Vec::new(),
        };
        add(into, IommuKind::Vtd, u64_at(bytes, 8)?, segment, devices)?;
    }
    (into.len() > before).then_some(())
}

/// The PCI functions that a DRHD's device scopes name. Empty if one of them is no function on its
/// first bus: the place of others depends on the buses between.
fn scopes(mut rest: &[u8], segment: u16) -> Option<Vec<PciPlace>> {
    const ENDPOINT: u8 = 1;
    /// Type, length, flags, reserved, enumeration id, first bus; then pairs of device and function.
    const FIXED: usize = 6;
    let (mut places, mut all) = (Vec::new(), true);
    while !rest.is_empty() {
        let (scope, after) = rest.split_at_checked((*rest.get(1)?).into())?;
        match (scope.first()?, scope.get(FIXED..)?) {
            (&ENDPOINT, &[device, function]) => {
                places.push(PciPlace { segment, bus: scope[5], device, function });
            }
            _ => all = false,
        }
        rest = after;
    }
    Some(if all { places } else { Vec::new() })
}

/// Adds the IVHDs of an IVRS table, of which there may be three for each unit. [`None`] if the
/// table is damaged, or has none.
fn ivhds(table: &[u8], into: &mut Vec<Iommu>) -> Option<()> {
    const IVHDS: [u8; 3] = [0x10, 0x11, 0x40];
    let before = into.len();
    for bytes in structures(table, b"IVRS")? {
        if IVHDS.contains(bytes.first()?) {
            add(into, IommuKind::Amd, u64_at(bytes, 8)?, u16_at(bytes, 16)?, Vec::new())?;
        }
    }
    (into.len() > before).then_some(())
}

/// Adds a unit, once. [`None`] if it is at address zero.
fn add(
    into: &mut Vec<Iommu>,
    kind: IommuKind,
    registers: u64,
    segment: u16,
    devices: Vec<PciPlace>,
) -> Option<()> {
    let unit = IommuUnit { kind, registers: PhysAddr::new(registers) };
    if !into.iter().any(|known| known.unit == unit) {
        into.push(Iommu { unit, segment, devices, is_graphics: false });
    }
    (registers != 0).then_some(())
}

/// The structures after a table's header. In both tables, each has its own length in bytes 2 and
/// 3. [`None`] if it is another table, or a length does not fit.
fn structures<'t>(table: &'t [u8], signature: &[u8]) -> Option<Vec<&'t [u8]>> {
    let length = table.starts_with(signature).then(|| u32_at(table, 4)).flatten()?;
    let mut rest = table.get(..length as usize)?.get(FIRST..)?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let length = usize::from(u16_at(rest, 2)?);
        let (structure, after) = rest.split_at_checked(length.max(1))?;
        found.push(structure);
        rest = after;
    }
    Some(found)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A table with these bytes after its header of 48.
    fn table(signature: &[u8; 4], structures: &[&[u8]]) -> Vec<u8> {
        let body = structures.concat();
        let mut table = signature.to_vec();
        table.extend((48 + body.len() as u32).to_le_bytes());
        table.resize(48, 0x5a);
        [table, body].concat()
    }

    /// A DRHD: flags, segment, registers, scopes.
    fn drhd(flags: u8, segment: u8, registers: u64, scopes: &[u8]) -> Vec<u8> {
        let length = 16 + scopes.len() as u8;
        let head = [0, 0, length, 0, flags, 0, segment, 0];
        [&head[..], &registers.to_le_bytes(), scopes].concat()
    }

    /// An RMRR, as a board has it for its USB controller: 0x18 bytes and a scope.
    const RMRR: [u8; 32] = [
        1, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0x2e, 0x78, 0, 0, 0, 0, 0xff, 0xff, 0x30, 0x78, 0, 0, 0, 0,
        1, 8, 0, 0, 0, 0, 0x14, 0,
    ];
    /// Scopes: the graphics of the CPU, 00:02.0; an IOAPIC; a function behind a bridge.
    const GRAPHICS: [u8; 8] = [1, 8, 0, 0, 0, 0, 2, 0];
    const IO_APIC: [u8; 8] = [3, 8, 0, 0, 2, 0xf0, 0x1f, 0];
    const BEHIND: [u8; 10] = [1, 10, 0, 0, 0, 0, 0x1c, 0, 0, 0];

    fn class(place: PciPlace) -> Option<u32> {
        (place.to_string() == "0000:00:02.0").then_some(0x03_0000)
    }

    fn read(tables: Tables<'_>) -> Iommus {
        Iommus::read(tables, class)
    }

    fn of_dmar(structures: &[&[u8]]) -> Iommus {
        read(Tables { dmar: Some(&table(b"DMAR", structures)), ..Tables::default() })
    }

    #[test]
    fn a_board_of_intel() {
        let all = drhd(1, 0, 0xfed9_1000, &IO_APIC);
        let graphics = drhd(0, 0, 0xfed9_0000, &GRAPHICS);
        let units = of_dmar(&[&graphics, &all, &RMRR]);
        assert_eq!(units.word(), "kdump.iommu=vtd@0xfed91000");
        assert_eq!(
            units.to_string(),
            "VT-d at 0xfed90000 (graphics only, left alone), VT-d at 0xfed91000"
        );
        let other = drhd(0, 1, 0x3ff_c000_0000, &[GRAPHICS, IO_APIC].concat());
        assert_eq!(of_dmar(&[&other, &all]).word(), "kdump.iommu=vtd@0x3ffc0000000,vtd@0xfed91000");
        assert!(of_dmar(&[&other, &all]).to_string().contains("0x3ffc0000000 (PCI segment 0x1), "));
        let behind = drhd(0, 0, 0xfed9_0000, &[&GRAPHICS[..], &BEHIND].concat());
        assert_eq!(of_dmar(&[&behind]).word(), "kdump.iommu=vtd@0xfed90000");
        assert_eq!(of_dmar(&[&graphics]).word(), "kdump.iommu=none", "nothing else is translated");
    }

    /// Firmware describes a unit three times, for old and new kernels.
    #[test]
    fn a_board_of_amd() {
        let ivhd = |kind: u8, base: u64, more: usize| {
            let length = 24 + more as u8;
            let head = [&[kind, 0xb0, length, 0, 2, 0, 0x40, 0][..], &base.to_le_bytes()].concat();
            [head, vec![0; 8 + more]].concat()
        };
        let ivmd = [0x21, 8, 32, 0].into_iter().chain([0xff; 28]).collect::<Vec<_>>();
        let ivrs = table(
            b"IVRS",
            &[
                &ivhd(0x10, 0xfeb8_0000, 12),
                &ivhd(0x11, 0xfeb8_0000, 32),
                &ivhd(0x40, 0xfeb8_0000, 40),
                &ivmd,
                &ivhd(0x40, 0xf210_0000, 16),
            ],
        );
        let units = read(Tables { ivrs: Some(&ivrs), ..Tables::default() });
        assert_eq!(units.word(), "kdump.iommu=amd@0xfeb80000,amd@0xf2100000");
        let cut = read(Tables { ivrs: Some(&ivrs[..ivrs.len() - 1]), ..Tables::default() });
        assert_eq!(cut.to_string(), "not known: the ACPI table IVRS is damaged");
    }

    #[test]
    fn none_and_not_known_are_told_apart() {
        let none = read(Tables::default());
        assert_eq!((none.word().as_str(), none.to_string().as_str()), ("kdump.iommu=none", "none"));
        let virtio = read(Tables { viot: Some(b"VIOT"), ..Tables::default() });
        assert!(virtio.to_string().contains("virtio-iommu"), "{virtio}");
        let zero = drhd(1, 0, 0, &[]);
        let short = [0, 0, 3, 0];
        let long = [&drhd(1, 0, 0xfed9_0000, &[])[..], &[0, 0, 17, 0]].concat();
        let scope = drhd(0, 0, 0xfed9_0000, &GRAPHICS[..5]);
        let no_length = drhd(0, 0, 0xfed9_0000, &[1, 0]);
        let many: Vec<_> = (1..=65).map(|unit| drhd(1, 0, unit << 12, &[])).collect();
        let many: Vec<_> = many.iter().map(Vec::as_slice).collect();
        assert_eq!(of_dmar(&many[..64]).word().split(',').count(), 64);
        for damaged in [
            of_dmar(&[]),
            of_dmar(&[&RMRR]),
            of_dmar(&[&zero]),
            of_dmar(&[&short]),
            of_dmar(&[&long]),
            of_dmar(&[&scope]),
            of_dmar(&[&no_length]),
            of_dmar(&many),
            read(Tables { dmar: Some(b"DMAR"), ..Tables::default() }),
            read(Tables { dmar: Some(&table(b"IVRS", &[])), ..Tables::default() }),
            virtio,
            Iommus::default(),
        ] {
            assert_eq!(damaged.word(), "", "{damaged}");
            assert!(damaged.to_string().starts_with("not known: "), "{damaged}");
        }
    }

    proptest! {
        /// Any bytes after a right header: each unit is one that the capture kernel takes.
        #[test]
        fn arbitrary_tables_do_no_harm(
            kinds in prop::collection::vec((0..3_u8, 0..40_u8, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            cut in 0..400_usize,
        ) {
            let structures: Vec<_> = kinds
                .into_iter()
                .map(|(kind, length, bytes)| [&[kind * 0x10, 0, length, 0][..], &bytes].concat())
                .collect();
            let structures: Vec<_> = structures.iter().map(Vec::as_slice).collect();
            for signature in [b"DMAR", b"IVRS"] {
                let mut table = table(signature, &structures);
                table.truncate(cut.max(4));
                let (dmar, ivrs) = if signature == b"DMAR" { (Some(&table[..]), None) } else { (None, Some(&table[..])) };
                let word = read(Tables { dmar, ivrs, viot: None }).word();
                cmdline::Options::parse(word.as_bytes(), &mut |problem| panic!("{problem}"));
            }
        }
    }
}
