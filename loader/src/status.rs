//! Whether this system would be captured if it died now, and what is missing.

use std::fmt;

use serde::Serialize;
use vmcore::PhysRange;

use crate::core_header::Core;
use crate::error::PlanError;
use crate::kexec;
use crate::plan::check_system;
use crate::system::System;
use crate::target::Target;

/// The state of the capture, as far as it can be seen from the first kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The version of the JSON: fields may be added, none is renamed.
    pub version: u32,
    /// Where the slot lies; unknown to who is not root.
    #[serde(serialize_with = "range")]
    pub slot: Option<PhysRange>,
    /// Size of the reservation in bytes, zero if there is none.
    pub reserved: Option<u64>,
    /// Whether a capture kernel is loaded.
    pub loaded: Option<bool>,
    /// Where `loader load` without `--target` would have the dump go.
    pub target: String,
    /// What keeps a capture kernel from being loaded, each with its next step.
    pub missing: Vec<String>,
    /// What to do next.
    pub next_step: String,
}

impl Status {
    /// Judges the facts.
    pub fn of(system: &System) -> Self {
        let slot = check_system(system);
        let missing = missing(system, slot.as_ref().err());
        let loaded = is_loaded(system);
        let next_step = match (loaded, missing.first()) {
            (Some(true), _) => "nothing: a panic will be captured".to_owned(),
            (_, Some(first)) => first.clone(),
            (_, None) => "run `loader load`".to_owned(),
        };
        let reserved = system.kexec.crash_size;
        let target = Target::found(&system.dump_disks);
        let target = target.map_or_else(|error| error.to_string(), |target| target.words);
        Self { version: 1, slot: slot.ok(), reserved, loaded, target, missing, next_step }
    }
}

/// Whether a capture kernel is loaded: the kernel's word, or that it has no place for one.
fn is_loaded(system: &System) -> Option<bool> {
    let no_place = !system.memory.hidden && system.memory.reservations.is_empty();
    let cannot_be =
        no_place || system.kexec.crash_size == Some(0) || system.kexec.supported == Some(false);
    system.kexec.crash_loaded.or(cannot_be.then_some(false))
}

/// Everything that is in the way, the most fundamental first.
fn missing(system: &System, slot: Option<&PlanError>) -> Vec<String> {
    let mut missing = Vec::new();
    missing.extend(slot.map(PlanError::to_string));
    missing.extend(kexec::check(system).err().map(|error| error.to_string()));
    if slot.is_none() {
        missing.extend(Core::find(system, None).err().map(|error| error.to_string()));
    }
    missing
}

fn range<S: serde::Serializer>(
    range: &Option<PhysRange>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Range {
        start: u64,
        length: u64,
    }
    let range = range.map(|range| Range { start: range.start().get(), length: range.length() });
    range.serialize(serializer)
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.reserved.or(self.slot.map(PhysRange::length));
        match (self.slot, size) {
            (Some(slot), _) => {
                writeln!(f, "reservation     {slot} ({} KiB)", slot.length() / 1024)?
            }
            (None, Some(0)) => writeln!(f, "reservation     none")?,
            (None, Some(size)) => {
                writeln!(f, "reservation     {} KiB, place unknown", size / 1024)?
            }
            (None, None) => writeln!(f, "reservation     unknown")?,
        }
        let loaded = match self.loaded {
            Some(true) => "loaded",
            Some(false) => "not loaded",
            None => "unknown (/sys/kernel/kexec/crash_loaded is missing)",
        };
        writeln!(f, "capture kernel  {loaded}")?;
        writeln!(f, "default target  {}", self.target)?;
        self.missing.iter().try_for_each(|what| writeln!(f, "missing         {what}"))?;
        writeln!(f, "next step       {}", self.next_step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iomem::MemoryMap;
    use std::path::Path;

    fn status(change: impl FnOnce(&mut System)) -> Status {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/i386-2g");
        let mut system = System::read(&folder).expect("a good fixture");
        change(&mut system);
        Status::of(&system)
    }

    #[test]
    fn ready_and_loaded() {
        let ready = status(|_| {});
        assert_eq!((ready.loaded, ready.missing.len()), (Some(false), 0));
        assert_eq!(ready.next_step, "run `loader load`");
        let loaded = status(|system| system.kexec.crash_loaded = Some(true));
        assert!(loaded.next_step.starts_with("nothing"));
    }

    #[test]
    fn nothing_is_loaded_where_nothing_can_be() {
        let loaded = |change: fn(&mut System)| {
            let unsaid = |system: &mut System| {
                system.kexec.crash_loaded = None;
                change(system);
            };
            status(unsaid).loaded
        };
        assert_eq!(loaded(|_| {}), None, "it does not say");
        assert_eq!(loaded(|system| system.kexec.crash_size = Some(0)), Some(false));
        assert_eq!(loaded(|system| system.memory.reservations.clear()), Some(false));
        assert_eq!(loaded(|system| system.kexec.supported = Some(false)), Some(false));
        let hidden = MemoryMap { hidden: true, ..MemoryMap::default() };
        let unprivileged = |system: &mut System| {
            (system.memory, system.kexec.crash_loaded) = (hidden, None);
        };
        assert_eq!(status(unprivileged).loaded, None, "who sees no addresses cannot tell");
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let status = status(|system| {
            system.memory.reservations.clear();
            system.command_line.clear();
            system.kexec.crash_size = Some(0);
            system.kexec.disabled = Some(true);
        });
        assert_eq!(status.missing.len(), 2);
        assert!(status.next_step.contains("add crashkernel=32M"));
        assert!(status.missing[1].contains("kexec_load_disabled"));
        let text = status.to_string();
        assert!(text.contains("reservation     none\n") && text.contains("not loaded"), "{text}");
    }

    #[test]
    fn an_ordinary_user_learns_what_the_kernel_lets_him_see() {
        let status = status(|system| {
            system.memory = MemoryMap { hidden: true, ..MemoryMap::default() };
            system.kexec.capable = Some(false);
        });
        assert!(status.missing[0].contains("run this as root"), "{:?}", status.missing);
        assert!(status.to_string().contains("32768 KiB, place unknown"));
    }

    #[test]
    fn a_cpu_without_notes() {
        let status = status(|system| system.cpus[1].area = None);
        assert!(status.next_step.starts_with("CPU 1 has no crash notes"));
    }
}
