//! The slot: the reservation that the kernel loads into, and the part of it that options allow.

use handoff::layout::{PAGE_SIZE, SLOT_ALIGN, SLOT_LIMIT};
use vmcore::{PhysAddr, PhysRange};

use crate::facts::crashkernel::why_nothing;
use crate::facts::system::{Machine, System};
use crate::plan::error::PlanError;
use crate::plan::types::PlanOptions;

/// Checks everything that does not depend on the images, and picks the slot.
pub(crate) fn check_system(system: &System) -> Result<PhysRange, PlanError> {
    if system.memory.hidden {
        return Err(PlanError::AddressesHidden);
    }
    if let Some(kind) = system.confidential {
        return Err(PlanError::ConfidentialGuest { kind });
    }
    if system.encrypts_memory {
        return Err(PlanError::EncryptedMemory);
    }
    pick_slot(system)
}

/// The end of the memory that an i386 kernel surely maps linearly, if it does not report it: it
/// reserves below this by itself (Linux, `CRASH_ADDR_LOW_MAX`).
const SURELY_LOWMEM: PhysAddr = PhysAddr::new(512 << 20);

/// The reservation that the kernel loads into, `crashk_res`. With `,high` there are two, and that
/// is the upper one; the lower one is for DMA buffers of a second Linux (Linux,
/// `reserve_crashkernel_low`).
pub(crate) fn pick_slot(system: &System) -> Result<PhysRange, PlanError> {
    let highest = system.memory.reservations.iter().max_by_key(|slot| slot.start());
    let slot = *highest.ok_or_else(|| no_slot(system))?;
    if slot.end().get() > SLOT_LIMIT {
        return Err(PlanError::SlotAbove4G { slot });
    }
    let lowmem_end = system.lowmem_end.unwrap_or(SURELY_LOWMEM);
    if system.machine == Some(Machine::I386) && slot.end() > lowmem_end {
        return Err(PlanError::SlotAboveLowmem { slot, lowmem_end });
    }
    if slot.start().get() == 0 || !slot.start().is_aligned(SLOT_ALIGN) {
        return Err(PlanError::SlotUnaligned { slot });
    }
    let end = slot.end().align_down(PAGE_SIZE);
    PhysRange::from_bounds(slot.start(), end.max(slot.start())).map_err(PlanError::from)
}

/// The part of the slot that `--mem-min` and `--mem-max` allow; it begins as slots do.
pub(crate) fn bounded(slot: PhysRange, options: &PlanOptions) -> Result<PhysRange, PlanError> {
    let error = PlanError::BoundsOutsideSlot { slot };
    let (mut start, mut end) = (slot.start(), slot.end());
    if let Some(lowest) = options.mem_min.filter(|lowest| *lowest > start) {
        start = lowest.align_up(SLOT_ALIGN).ok_or_else(|| error.clone())?;
    }
    if let Some(highest) = options.mem_max {
        let past = PhysAddr::new(highest.get().saturating_add(1));
        end = end.min(past.align_down(PAGE_SIZE));
    }
    PhysRange::from_bounds(start, end).ok().filter(|left| !left.is_empty()).ok_or(error)
}

fn no_slot(system: &System) -> PlanError {
    let memory = system.memory.ram.iter().map(|range| range.length()).sum();
    match why_nothing(&system.command_line, memory) {
        Some((word, why)) => PlanError::ReservationFailed { word, why },
        None => PlanError::NoReservation,
    }
}
