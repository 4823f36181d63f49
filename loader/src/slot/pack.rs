//! A slot without a running first kernel: the same plan, packed into a slot image.

use slot_image::{Contents, ContentsSegment, Name, encode};
use vmcore::PhysRange;

use crate::facts::iomem::MemoryMap;
use crate::facts::system::System;
use crate::images::files::Images;
use crate::plan::core_header::Core;
use crate::plan::error::PlanError;
use crate::plan::fill::{Ground, fill, parse};
use crate::plan::reservation::{check_system, pick_slot};
use crate::plan::types::{Plan, PlanOptions};

/// Knowledge about the first kernel when its slot is packed.
#[derive(Clone, Copy, Debug)]
pub struct SlotSpec<'a> {
    /// The memory that it will reserve (physical).
    pub slot: PhysRange,
    /// The least room for its ELF core header, in bytes.
    pub elfcorehdr: u64,
    /// All about it, where that is known; its own reservations do not count. Without, the plan is
    /// unsealed.
    pub system: Option<&'a System>,
}

/// Plans a slot that a first kernel is going to reserve. `memmap=` and `elfcorehdr=` depend on the
/// slot only.
///
/// # Errors
/// As [`plan()`](crate::plan()); [`PlanError::NeedsSystem`] for options that need the system.
pub fn plan_slot(
    spec: &SlotSpec<'_>,
    images: &Images<'_>,
    options: &PlanOptions,
) -> Result<Plan, PlanError> {
    let reservations = vec![spec.slot];
    let Some(system) = spec.system else {
        let memory = MemoryMap { reservations, ..MemoryMap::default() };
        let system = System { memory, ..System::default() };
        let (slot, core) = (pick_slot(&system)?, Core::unknown(spec.elfcorehdr));
        check_options(options)?;
        let ground = Ground { slot, core, system: &system };
        return fill(ground, &parse(images)?, options);
    };
    let memory = MemoryMap { reservations, ..system.memory.clone() };
    let system = System { memory, ..system.clone() };
    let slot = check_system(&system)?;
    let mut core = Core::find(&system, options.class)?;
    core.room = spec.elfcorehdr;
    let ground = Ground { slot, core, system: &system };
    fill(ground, &parse(images)?, options)
}

fn check_options(options: &PlanOptions) -> Result<(), PlanError> {
    if options.low_memory {
        return Err(PlanError::NeedsSystem { option: "--low-memory" });
    }
    if options.class.is_some() {
        return Err(PlanError::NeedsSystem { option: "the class of the core headers" });
    }
    Ok(())
}

/// The plan as a slot image: one file, small enough to be put in place.
///
/// # Errors
/// [`slot_image::Error::TooLarge`] and other errors of packing.
pub fn pack(plan: &Plan) -> Result<Vec<u8>, slot_image::Error> {
    let segments = plan.segments.iter().filter(|segment| segment.range != plan.backup);
    let segments = segments.map(|segment| ContentsSegment {
        name: Name::new(&segment.name),
        place: segment.range,
        bytes: &segment.bytes,
    });
    encode(&Contents {
        slot: plan.slot,
        entry: plan.entry,
        params: plan.params,
        elfcorehdr: plan.elfcorehdr,
        backup: plan.backup,
        sealed: plan.sealed,
        segments: segments.collect(),
    })
}
