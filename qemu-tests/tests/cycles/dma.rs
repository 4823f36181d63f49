//! DMA that the first kernel has started and that has not arrived when it dies.

use crate::common::*;

/// A page of old memory, and the last one below the slot.
const TARGETS: [u64; 2] = [64 * MIB, 16 * MIB - 4096];

/// A device that reaches all addresses below 4 GiB.
const EDU: &str = "edu,dma_mask=0xffffffff";

/// Time is counted in instructions of 4 ns, so that it does not hang on the host's load where the
/// transfer would arrive: between T1, some 60 ms after the guest began it, and the end of the dump,
/// which 512 MiB move to more than 100 ms.
const TIME: [&str; 2] = ["-icount", "shift=2"];

/// QEMU's `edu` devices write 100 ms after the command: the first kernel is dead by then, and the
/// dump in progress. Without the bus they cannot write, and memory does not change from T1 on.
#[test]
fn dma_in_flight_does_not_reach_memory_that_is_being_dumped() {
    let report = cycle(guest(), |config| {
        config.memory = 512 * MIB;
        config.devices = ["-device", EDU, "-device", EDU, TIME[0], TIME[1]]
            .into_iter()
            .map(str::to_string)
            .collect();
        config.first_append = TARGETS.map(|page| format!("edu={page:#x}")).join(" ");
    });
    assert_passes(&report);
    assert!(report.checks.iter().any(|check| check.name == "memory_kept_t1_t2"), "{report:#?}");
}
