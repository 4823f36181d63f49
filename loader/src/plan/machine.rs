//! Facts of a machine that a loaded plan depends on, and their changes since the load.

use std::fmt;

use serde::{Deserialize, Serialize};
use vmcore::{PhysAddr, PhysRange, Segment};

use crate::facts::system::System;
use crate::json::RangeJson;
use crate::plan::core_header::Core;
use crate::plan::error::PlanError;
use crate::plan::reservation::check_system;
use crate::plan::types::{Plan, PlannedNotes};

/// Most ranges that are named one by one.
const NAMED: usize = 3;

/// Facts that a plan depends on. All addresses are physical.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Facts {
    /// Of a plan: the slot, or the part of it that the options allow. Of a machine: the slot.
    pub slot: RangeJson,
    /// The memory that is in the dump, lowest first; no two of them touch.
    pub ram: Vec<RangeJson>,
    /// The note area of each CPU.
    pub cpus: Vec<CpuFacts>,
    /// The note area of VMCOREINFO.
    pub vmcoreinfo: Option<RangeJson>,
}

/// The note area of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct CpuFacts {
    /// The CPU's number.
    pub cpu: u32,
    /// Area to which the first kernel writes its registers.
    pub notes: RangeJson,
}

impl From<&PlannedNotes> for CpuFacts {
    fn from(notes: &PlannedNotes) -> Self {
        Self { cpu: notes.cpu, notes: notes.area.into() }
    }
}

impl Facts {
    /// The facts that this plan depends on.
    pub fn of_plan(plan: &Plan) -> Self {
        Self::new(plan.slot, &plan.loads, &plan.notes, plan.vmcoreinfo)
    }

    /// The same of the machine as it is, or why there is nothing to compare with.
    pub(crate) fn of_system(system: &System) -> Result<Self, PlanError> {
        let slot = check_system(system)?;
        let core = Core::find(system, None)?;
        Ok(Self::new(slot, &core.loads(PhysAddr::new(0)), &core.notes, core.vmcoreinfo))
    }

    fn new(
        slot: PhysRange,
        loads: &[Segment],
        notes: &[PlannedNotes],
        vmcoreinfo: Option<PhysRange>,
    ) -> Self {
        Self {
            slot: slot.into(),
            ram: merged(loads.iter().filter_map(|load| load.memory_range().ok())),
            cpus: notes.iter().map(CpuFacts::from).collect(),
            vmcoreinfo: vmcoreinfo.map(RangeJson::from),
        }
    }

    /// Bytes of memory in the dump.
    pub fn bytes(&self) -> u64 {
        self.ram.iter().fold(0, |sum, range| sum.saturating_add(range.length))
    }

    /// Differences between a loaded plan and the machine as it is, one line each.
    pub(crate) fn misfits(&self, now: &Self) -> Vec<String> {
        let mut misfits = Vec::new();
        if !subtract(&[self.slot], &[now.slot]).is_empty() {
            let (old, new) = (Shown(self.slot), Shown(now.slot));
            misfits.push(format!("the reservation is {new} now, and the plan was made for {old}"));
        }
        let added = subtract(&now.ram, &self.ram);
        if !added.is_empty() {
            misfits.push(format!("memory was added: {} will not be in the dump", list(&added)));
        }
        let gone = subtract(&self.ram, &now.ram);
        if !gone.is_empty() {
            misfits.push(format!("memory is gone: {} is no RAM any more", list(&gone)));
        }
        misfits.extend(self.cpu_misfits(now));
        if self.vmcoreinfo != now.vmcoreinfo {
            misfits.push("VMCOREINFO is elsewhere now: crash and drgn will not find it".to_owned());
        }
        misfits
    }

    fn cpu_misfits(&self, now: &Self) -> Vec<String> {
        let area = |facts: &Self, number| {
            facts.cpus.iter().find(|cpu| cpu.cpu == number).map(|cpu| cpu.notes)
        };
        let mut numbers: Vec<_> = self.cpus.iter().chain(&now.cpus).map(|cpu| cpu.cpu).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let misfit = |cpu: u32| match (area(self, cpu), area(now, cpu)) {
            (Some(then), Some(now)) if then == now => None,
            (None, _) => {
                Some(format!("CPU {cpu} was added: its registers will not be in the dump"))
            }
            (_, None) => Some(format!("CPU {cpu} is gone")),
            _ => Some(format!(
                "the notes of CPU {cpu} are elsewhere now: its registers will be lost"
            )),
        };
        numbers.into_iter().filter_map(misfit).collect()
    }
}

/// The ranges lowest first, those that touch or overlap made one.
fn merged(ranges: impl Iterator<Item = PhysRange>) -> Vec<RangeJson> {
    let mut sorted: Vec<PhysRange> = ranges.filter(|range| !range.is_empty()).collect();
    sorted.sort_unstable_by_key(|range| range.start());
    let mut merged: Vec<RangeJson> = Vec::new();
    for range in sorted {
        let (start, end) = (range.start().get(), range.end().get());
        match merged.last_mut() {
            Some(last) if last.start + last.length >= start => {
                last.length = last.length.max(end - last.start);
            }
            _ => merged.push(range.into()),
        }
    }
    merged
}

/// The parts of the first ranges that are in none of the others; both are sorted, and none overlaps
/// another of its own.
fn subtract(from: &[RangeJson], others: &[RangeJson]) -> Vec<RangeJson> {
    let end = |range: &RangeJson| range.start.saturating_add(range.length);
    let mut left = Vec::new();
    for range in from {
        let mut start = range.start;
        let first = others.partition_point(|other| end(other) <= start);
        for other in others[first..].iter().take_while(|other| other.start < end(range)) {
            if other.start > start {
                left.push(RangeJson { start, length: other.start - start });
            }
            start = start.max(end(other));
        }
        if start < end(range) {
            left.push(RangeJson { start, length: end(range) - start });
        }
    }
    left
}

/// Ranges as text.
fn list(ranges: &[RangeJson]) -> String {
    let named: Vec<_> = ranges.iter().take(NAMED).map(|range| Shown(*range).to_string()).collect();
    let more = ranges.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more ranges") } else { String::new() };
    format!("{}{more}", named.join(", "))
}

/// A range for a person.
pub(crate) struct Shown(pub(crate) RangeJson);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RangeJson { start, length } = self.0;
        let end = start.saturating_add(length);
        write!(f, "{start:#x}..{end:#x} ({} KiB)", length / 1024)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn range(start: u64, end: u64) -> RangeJson {
        RangeJson { start: start * MIB, length: (end - start) * MIB }
    }

    /// A machine with RAM from 1 to 512 MiB, two CPUs and a slot of 32 MiB at 16 MiB.
    pub(crate) fn facts() -> Facts {
        let area = |start| RangeJson { start: start * MIB, length: 4096 };
        Facts {
            slot: range(16, 48),
            ram: vec![range(1, 16), range(48, 512)],
            cpus: [(0, 100), (1, 200)].map(|(cpu, at)| CpuFacts { cpu, notes: area(at) }).to_vec(),
            vmcoreinfo: Some(area(300)),
        }
    }

    fn misfits(change: impl FnOnce(&mut Facts)) -> Vec<String> {
        let mut now = facts();
        change(&mut now);
        facts().misfits(&now)
    }

    #[test]
    fn a_machine_that_has_not_changed_fits() {
        assert_eq!(misfits(|_| ()), [""; 0]);
        assert_eq!(misfits(|now| now.slot = range(16, 80)), [""; 0], "the plan used a part of it");
    }

    #[test]
    fn memory_that_comes_and_goes_is_named() {
        let added = misfits(|now| now.ram = vec![range(1, 16), range(48, 640)]);
        assert_eq!(
            added,
            ["memory was added: 0x20000000..0x28000000 (131072 KiB) will not be in the dump"]
        );
        let gone = misfits(|now| now.ram = vec![range(1, 16), range(48, 256), range(257, 512)]);
        assert_eq!(gone, ["memory is gone: 0x10000000..0x10100000 (1024 KiB) is no RAM any more"]);
        let scattered = (256..300).map(|at| range(at * 4, at * 4 + 1));
        let many = misfits(|now| now.ram.extend(scattered));
        assert!(many.len() == 1 && many[0].contains("and 41 more ranges"), "{many:?}");
        assert_eq!(misfits(|now| now.ram = vec![range(2, 20), range(48, 512)]).len(), 2);
    }

    #[test]
    fn cpus_that_come_and_go_are_named() {
        let cpu = |cpu| CpuFacts { cpu, notes: range(210, 211) };
        let said = misfits(|now| now.cpus.push(cpu(7)));
        assert_eq!(said, ["CPU 7 was added: its registers will not be in the dump"]);
        assert_eq!(misfits(|now| now.cpus.truncate(1)), ["CPU 1 is gone"]);
        let moved = misfits(|now| now.cpus[1] = cpu(1));
        assert!(moved.len() == 1 && moved[0].contains("CPU 1 are elsewhere"), "{moved:?}");
    }

    #[test]
    fn a_reservation_or_vmcoreinfo_that_has_moved_is_named() {
        let moved = misfits(|now| now.slot = range(64, 96));
        assert!(moved[0].starts_with("the reservation is 0x4000000..0x6000000"), "{moved:?}");
        assert_eq!(misfits(|now| now.slot = range(16, 32)).len(), 1, "it has shrunk");
        assert!(misfits(|now| now.vmcoreinfo = None)[0].starts_with("VMCOREINFO"));
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let range = |start, end| {
            PhysRange::from_bounds(PhysAddr::new(start), PhysAddr::new(end)).expect("a range")
        };
        let ranges = [(8, 9), (0, 2), (2, 4), (5, 6), (5, 5), (1, 3)];
        let merged = merged(ranges.into_iter().map(|(start, end)| range(start, end)));
        let expected = [(0, 4), (5, 6), (8, 9)].map(|(start, end)| range(start, end).into());
        assert_eq!(merged, expected);
    }
}
