//! Tiny ELF images, saved systems, and the rules that every plan keeps.

pub(crate) mod elf;
pub(crate) mod rules;

use std::path::{Path, PathBuf};

use loader::{Images, Plan, PlanError, PlanOptions, System, plan};

/// The folder of a saved system.
pub(crate) fn fixture_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A saved system.
pub(crate) fn fixture(name: &str) -> System {
    System::read(&fixture_folder(name)).expect("a good fixture")
}

/// A plan with the tiny images and without options.
pub(crate) fn plan_for(system: &System) -> Result<Plan, PlanError> {
    plan_with(system, &elf::kernel(), &PlanOptions::default())
}

/// A plan with the tiny purgatory.
pub(crate) fn plan_with(
    system: &System,
    capture_kernel: &[u8],
    options: &PlanOptions,
) -> Result<Plan, PlanError> {
    plan(system, &Images { capture_kernel, purgatory: &elf::purgatory() }, options)
}

/// The bytes of a segment.
pub(crate) fn segment<'p>(plan: &'p Plan, name: &str) -> &'p [u8] {
    let segment = plan.segments.iter().find(|segment| segment.name == name);
    &segment.expect("a segment of this name").bytes
}
