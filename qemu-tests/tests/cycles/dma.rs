//! DMA that the first kernel has started and that has not arrived when it dies.

use crate::common::*;

/// A page of old memory, and the last one below the slot.
const TARGETS: [u64; 2] = [64 * MIB, 16 * MIB - 4096];

/// A device that reaches all addresses below 4 GiB.
const EDU: &str = "edu,dma_mask=0xffffffff";

/// QEMU's `edu` devices write 100 ms after they are told: the first kernel is dead by then, and the dump
/// under way. Without the bus they cannot, and memory stays as it is from T1 on.
#[test]
fn dma_in_flight_does_not_reach_memory_that_is_being_dumped() {
    let report = cycle(guest(), |config| {
        config.memory = 256 * MIB;
        config.devices = ["-device", EDU].repeat(2).into_iter().map(str::to_string).collect();
        config.first_append = TARGETS.map(|page| format!("edu={page:#x}")).join(" ");
    });
    assert_passes(&report);
    assert!(report.checks.iter().any(|check| check.name == "memory_kept_t1_t2"), "{report:#?}");
}
