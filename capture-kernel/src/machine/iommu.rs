//! The IOMMUs that the command line names.

use crate::machine::registers::Bar;
use crate::machine::time::Tsc;
use capture_kernel::driver::translation::Translation;
use capture_kernel::iommu;
use cmdline::Options;
use vmcore::{Error, PhysRange, RangeSet};

/// Turns their translation off. If `ram` is not known, no address is a register.
pub(crate) fn turn_off(
    options: &Options<'_>,
    ram: Result<RangeSet, Error>,
    clock: &Tsc,
) -> Translation {
    let Some(units) = options.iommu else { return Translation::Unknown };
    let map = |place: PhysRange| Bar::map((place.start().get(), place.length() as usize));
    match ram {
        Ok(ram) => iommu::turn_off(units.iter(), &ram, clock, map),
        Err(error) => {
            log::warn!("kdump.iommu= is not used, the memory map is not known: {error}");
            units.iter().next().map_or(Translation::Off, |unit| Translation::On(unit.registers))
        }
    }
}
