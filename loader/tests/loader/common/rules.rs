//! Rules that hold for every plan, for any input.

use loader::{Plan, System};
use vmcore::{PhysRange, Segment};

/// The rules. Memory is compared at every address where anything begins or ends: between two of
/// these nothing changes.
pub(crate) fn check(system: &System, plan: &Plan) {
    let slot = bounds(plan.slot);
    for segment in &plan.segments {
        let (start, end) = bounds(segment.range);
        assert!(slot.0 <= start && end <= slot.1, "{} is outside the slot", segment.name);
        assert!(start % 4096 == 0 && end % 4096 == 0 && start < end, "{}", segment.name);
        assert!(segment.bytes.len() as u64 <= end - start, "{}", segment.name);
    }
    let disjoint =
        plan.segments.windows(2).all(|pair| pair[0].range.end() <= pair[1].range.start());
    assert!(disjoint, "segments overlap or are not sorted");
    let taken = |at| plan.segments.iter().any(|segment| holds(segment.range, at));
    assert!(plan.gap.length() >= 64 * 1024 && plan.slot.contains_range(plan.gap));
    assert!(!taken(plan.gap.start().get()) && !taken(plan.gap.end().get() - 1));
    assert!(taken(plan.entry.get()) && taken(plan.kernel_entry.get()));
    check_memory(plan);
    check_loads(system, plan);
}

/// The capture kernel's memory keeps clear of everything but the kernel itself.
fn check_memory(plan: &Plan) {
    let inside = |name: &str| name.starts_with("kernel-") || name == "initrd";
    for segment in plan.segments.iter().filter(|segment| !inside(&segment.name)) {
        assert!(plan.memory.iter().all(|range| !range.overlaps(segment.range)), "{}", segment.name);
    }
    for segment in plan.segments.iter().filter(|segment| inside(&segment.name)) {
        assert!(plan.memory.iter().any(|range| range.contains_range(segment.range)));
    }
}

/// The PT_LOADs are RAM less the reservations, each byte once.
fn check_loads(system: &System, plan: &Plan) {
    // The image of an x86_64 kernel is also a part of RAM.
    let (images, loads): (Vec<_>, Vec<_>) =
        plan.loads.iter().partition(|load| load.vaddr >= 0xffff_ffff_8000_0000);
    let ranges = |loads: Vec<&Segment>| -> Vec<PhysRange> {
        loads.into_iter().map(|load| load.memory_range().expect("no wrap")).collect()
    };
    let (images, loads) = (ranges(images), ranges(loads));
    let in_ram =
        |image: &PhysRange| loads.iter().filter(|load| load.contains_range(*image)).count() == 1;
    assert!(images.iter().all(in_ram));
    let memory = &system.memory;
    let all = loads.iter().chain(&memory.ram).chain(&memory.reservations);
    for edge in all.flat_map(|range| [range.start().get(), range.end().get()]) {
        for at in [edge.saturating_sub(1), edge] {
            let count =
                |ranges: &[PhysRange]| ranges.iter().filter(|range| holds(**range, at)).count();
            let wanted = count(&memory.ram) > 0 && count(&memory.reservations) == 0;
            assert_eq!(count(&loads), usize::from(wanted), "at {at:#x}");
        }
    }
    for load in &plan.loads {
        assert_eq!(load.filesz, load.memsz);
        let saved = load.paddr.get() < 640 * 1024;
        let moved = if saved { plan.backup.start().get() } else { 0 };
        assert_eq!(load.source.get(), load.paddr.get() + moved);
    }
}

fn bounds(range: PhysRange) -> (u64, u64) {
    (range.start().get(), range.end().get())
}

fn holds(range: PhysRange, at: u64) -> bool {
    let (start, end) = bounds(range);
    start <= at && at < end
}
