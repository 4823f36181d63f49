//! The first kernel's IOMMUs: their translation is turned off.
//!
//! A driver of ours gives devices physical addresses. While an IOMMU translates, such an address is
//! other memory, or none. So translation ends after all devices have lost the bus, and before one of
//! them gets it back. The dead kernel's tables stay as they are.

mod amd;
mod vtd;

use crate::driver::registers::Registers;
use crate::driver::translation::Translation;
use crate::{Clock, Deadline};
use cmdline::{IommuKind, IommuUnit};
use log::{info, warn};
use thiserror::Error;
use vmcore::{PhysRange, RangeSet};

/// Time for each step of a unit, in milliseconds.
const TIMEOUT: u64 = 1000;
/// Time for steps that are not needed for the dump.
const SHORT_TIMEOUT: u64 = 100;

/// State of a unit before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Was {
    On,
    Off,
}

/// The reason why a unit may go on translating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum Trouble {
    /// The registers would be in RAM.
    #[error("that is memory, not an IOMMU")]
    InMemory,
    /// They begin elsewhere than firmware may put them.
    #[error("registers begin at a multiple of {0:#x}")]
    NotAligned(u64),
    /// They are beyond the CPU's addresses, or there is no room to map them.
    #[error("cannot be mapped")]
    NotMapped,
    /// This was read in place of a register.
    #[error("no IOMMU answers there (it reads {0:#010x})")]
    Absent(u32),
    /// The unit did not do something in time.
    #[error("the IOMMU did not {0} in time")]
    Timeout(&'static str),
}

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

/// Waits until `done`; `step` is the text of the error.
fn wait(
    clock: &dyn Clock,
    milliseconds: u64,
    step: &'static str,
    done: impl FnMut() -> bool,
) -> Result<(), Trouble> {
    let is_done = Deadline::after(clock, milliseconds).wait(clock, done);
    is_done.then_some(()).ok_or(Trouble::Timeout(step))
}

#[cfg(test)]
mod tests;
