//! The first kernel's IOMMUs: their translation is turned off.
//!
//! A driver of ours gives devices physical addresses. While an IOMMU translates, such an address is
//! other memory, or none. So translation ends after all devices have lost the bus, and before one of
//! them gets it back. The dead kernel's tables stay as they are.

mod amd;
mod step;
mod vtd;

use self::step::{Trouble, Was};
use crate::Clock;
use crate::driver::registers::Registers;
use crate::driver::translation::Translation;
use cmdline::{IommuKind, IommuUnit};
use log::{info, warn};
use vmcore::{PhysRange, RangeSet};

/// Turns the translation of all `units` off, which `map` gives access to, and logs the result for
/// each. Registers are not looked for in `ram`.
pub fn turn_off<R: Registers>(
    units: impl Iterator<Item = IommuUnit>,
    ram: &RangeSet,
    clock: &dyn Clock,
    mut map: impl FnMut(PhysRange) -> Option<R>,
) -> Translation {
    let mut translation = Translation::Off;
    for unit in units {
        let mapped = place(unit, ram).and_then(|place| map(place).ok_or(Trouble::NotMapped));
        let was = mapped.and_then(|mut registers| match unit.kind {
            IommuKind::Vtd => vtd::turn_off(&mut registers, clock),
            IommuKind::Amd => amd::turn_off(&mut registers, clock),
        });
        match was {
            Ok(Was::On) => info!("IOMMU {unit}: translation turned off"),
            Ok(Was::Off) => info!("IOMMU {unit}: translation is off"),
            Err(trouble) => {
                warn!("IOMMU {unit}: {trouble}; devices that it may translate for are not used");
                if translation == Translation::Off {
                    translation = Translation::On(unit.registers);
                }
            }
        }
    }
    translation
}

/// The registers of a unit, where they may be.
fn place(unit: IommuUnit, ram: &RangeSet) -> Result<PhysRange, Trouble> {
    let length = match unit.kind {
        IommuKind::Vtd => vtd::LENGTH,
        IommuKind::Amd => amd::LENGTH,
    };
    if !unit.registers.get().is_multiple_of(length) {
        return Err(Trouble::NotAligned(length));
    }
    let place = PhysRange::new(unit.registers, length).map_err(|_| Trouble::NotMapped)?;
    if ram.iter().any(|ram| ram.overlaps(place)) {
        return Err(Trouble::InMemory);
    }
    Ok(place)
}

#[cfg(test)]
mod tests;
